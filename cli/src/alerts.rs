//! `relatum alerts`

use crate::Global;
use crate::api::Api;
use crate::failure::CommandFailure;
use crate::output::state;
use crate::shared_labels::SharedLabels;
use crate::table::Table;
use crate::targets::since;

/// Lists the alerts that are pending or firing.
pub(crate) async fn run(global: &Global) -> Result<(), CommandFailure> {
    let answer = Api::of_agent(global).await?.ask("alerts", &[]).await?;
    global.format.print(&answer.data["alerts"], |alerts| {
        let sets = alerts.as_array().into_iter().flatten().map(|alert| &alert["labels"]);
        let shared = SharedLabels::of(sets, &["alertname"]);
        let mut table = Table::new(&["Alert", "State", "Since", ">Value", "+Labels", "Summary"]);
        for alert in alerts.as_array().into_iter().flatten() {
            let text = |key: &str| alert[key].as_str().unwrap_or_default().to_owned();
            table.row([
                alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned(),
                state(&text("state")),
                since(&text("activeAt")),
                plain(&text("value")),
                shared.rest(&alert["labels"]),
                alert["annotations"]["summary"].as_str().unwrap_or_default().to_owned(),
            ]);
        }
        if table.is_empty() { "no alerts\n".to_owned() } else { shared.head() + &table.render() }
    })
}

/// The API writes `1e+00` where a person writes 1.
fn plain(value: &str) -> String {
    value.parse::<f64>().map_or_else(|_| value.to_owned(), relatum_model::text::format_value)
}
