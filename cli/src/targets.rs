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
        let mut table = Table::new(&["Job", "Endpoint", "Health", "Labels", "Last scrape", ">Took", "Error"]);
        for target in targets.as_array().into_iter().flatten() {
            let text = |key: &str| target[key].as_str().unwrap_or_default().to_owned();
            let took = target["lastScrapeDuration"].as_f64().unwrap_or_default();
            table.row([
                text("scrapePool"),
                text("scrapeUrl"),
                state(&text("health")),
                labels(&target["labels"], &["job"]),
                text("lastScrape"),
                format!("{:.1}ms", took * 1000.0),
                text("lastError"),
            ]);
        }
        if table.is_empty() { "no targets\n".to_owned() } else { table.render() }
    })
}

/// A JSON object of labels in Prometheus' notation, `left_out` left out.
pub(crate) fn labels(object: &Value, left_out: &[&str]) -> String {
    let pairs = object.as_object().into_iter().flatten().filter(|(name, _)| !left_out.contains(&name.as_str()));
    relatum_model::Labels::from_pairs(
        pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())),
    )
    .to_string()
}
