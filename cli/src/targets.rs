//! `relatum targets`

use serde_json::Value;

use crate::Global;
use crate::api::Api;
use crate::failure::CommandFailure;
use crate::output::state;
use crate::table::Table;

/// Lists the active targets with their health.
pub(crate) async fn run(global: &Global) -> Result<(), CommandFailure> {
    let answer = Api::of_agent(global).await?.ask("targets", &[("state", "active")]).await?;
    global.format.print(&answer.data["activeTargets"], |targets| {
        // Unit and health say what most people look for; all labels are in the other formats.
        let mut table = Table::new(&["Unit", "Health", "Endpoint", "~Job", "~>Scraped", "~>Took", "Error"]);
        for target in targets.as_array().into_iter().flatten() {
            let text = |key: &str| target[key].as_str().unwrap_or_default().to_owned();
            let took = target["lastScrapeDuration"].as_f64().unwrap_or_default();
            table.row([
                target["labels"]["juju_unit"].as_str().unwrap_or_default().to_owned(),
                state(&text("health")),
                text("scrapeUrl"),
                text("scrapePool"),
                since(&text("lastScrape")),
                format!("{:.1}ms", took * 1000.0),
                text("lastError"),
            ]);
        }
        if table.is_empty() { "no targets\n".to_owned() } else { table.render() }
    })
}

/// How long a moment of the API is ago; Go's zero time means never.
pub(crate) fn since(moment: &str) -> String {
    let Ok(moment) = moment.parse::<jiff::Timestamp>() else { return String::new() };
    let seconds = jiff::Timestamp::now().as_second() - moment.as_second();
    match seconds {
        _ if moment.as_second() < 0 => "never".to_owned(),
        ..120 => format!("{}s ago", seconds.max(0)),
        120..7200 => format!("{}m ago", seconds / 60),
        7200..172_800 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// A JSON object of labels in Prometheus' notation, `left_out` left out.
pub(crate) fn labels(object: &Value, left_out: &[&str]) -> String {
    let pairs = object.as_object().into_iter().flatten().filter(|(name, _)| !left_out.contains(&name.as_str()));
    relatum_model::Labels::from_pairs(
        pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())),
    )
    .to_string()
}
