//! `relatum run`

use std::collections::BTreeMap;

use relatum_agent::control::{RunAction, Task};
use serde_json::{Value, json};

use crate::Global;
use crate::failure::CommandFailure;
use crate::output::{Format, put};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  relatum run prometheus/0 validate-configuration    what promtool would say of what is rendered")]
pub(crate) struct Args {
    /// The unit; prometheus/leader is the one that leads
    #[arg(value_name = "UNIT")]
    unit: String,
    /// The action
    #[arg(value_name = "ACTION")]
    action: String,
    /// Taken for juju's sake: an action is over when the command is
    #[arg(long, value_name = "DURATION", hide = true)]
    wait: Option<String>,
}

/// Runs an action of the charm and prints what it gives, as juju does.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let request = RunAction { unit: args.unit.clone(), action: args.action.clone() };
    let task = global.client().run_action(&request).await?;
    if global.format == Format::Tabular {
        let unit = task.unit.replace('/', "-");
        anstream::eprintln!("Running operation {0} with 1 task\n  - task {0} on unit-{unit}\n", task.id);
        let results: BTreeMap<&String, &Value> = task.results.iter().filter(|(key, _)| *key != "return-code").collect();
        return put(&Format::Yaml.text(&results, |_| String::new())?);
    }
    put(&global.format.text(&document(&task), |_| String::new())?)
}

/// The task with juju's keys, below its unit.
fn document(task: &Task) -> Value {
    let moment = |at_ms: &i64| {
        jiff::Timestamp::from_millisecond(*at_ms)
            .map_or_else(|_| String::new(), |moment| moment.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string())
    };
    let timing: BTreeMap<&String, String> = task.timing.iter().map(|(key, at_ms)| (key, moment(at_ms))).collect();
    let mut shown = json!({
        "id": task.id,
        "results": task.results,
        "status": task.status,
        "timing": timing,
        "unit": task.unit,
    });
    if !task.message.is_empty() {
        shown["message"] = Value::from(task.message.as_str());
    }
    json!({ task.unit.clone(): shown })
}
