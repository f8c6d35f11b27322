//! `relatum rules`

use crate::Global;
use crate::api::Api;
use crate::failure::CommandFailure;
use crate::output::state;
use crate::table::Table;

/// Lists the rules, group by group, with their health.
pub(crate) async fn run(global: &Global) -> Result<(), CommandFailure> {
    let answer = Api::of_agent(global).await?.ask("rules", &[]).await?;
    global.format.print(&answer.data["groups"], |groups| {
        let mut table = Table::new(&["~Group", "Rule", "~Type", "State", "Health", "+Expression", "Error"]);
        for group in groups.as_array().into_iter().flatten() {
            for rule in group["rules"].as_array().into_iter().flatten() {
                let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
                table.row([
                    group["name"].as_str().unwrap_or_default().to_owned(),
                    text("name"),
                    text("type"),
                    state(&text("state")),
                    state(&text("health")),
                    text("query"),
                    text("lastError"),
                ]);
            }
        }
        if table.is_empty() { "no rules\n".to_owned() } else { table.render() }
    })
}
