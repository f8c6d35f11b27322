//! `relatum status`

mod filter;

use std::net::SocketAddr;
use std::time::Duration;

use relatum_agent::control::Status;

use crate::Global;
use crate::failure::CommandFailure;
use crate::juju_status;
use crate::output::{Format, bad, put, state, warning};
use crate::table::Table;
use crate::watch;

/// The application that the agent is itself.
const APPLICATION: &str = "prometheus";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only applications and units of these names; * and ? stand for letters
    #[arg(value_name = "APP | UNIT")]
    names: Vec<String>,
    /// Show the relations, too
    #[arg(long, alias = "integrations")]
    relations: bool,
    /// Show it again and again until Ctrl-C, every second or as often as said
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "1s", value_parser = watch::interval)]
    watch: Option<Duration>,
}

/// Shows the model, its applications and units, and what is wrong.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let client = global.client();
    let show = async || {
        let mut status = client.status().await?;
        if !args.names.is_empty() {
            filter::narrow(&mut status, &args.names)?;
            if status.applications.is_empty() {
                eprintln!("nothing goes by {}", args.names.join(" or "));
            }
        }
        match global.format {
            Format::Tabular => Ok(tabular(&status, args.relations)),
            format => format.text(&juju_status::document(&status)?, |_| String::new()),
        }
    };
    match args.watch {
        Some(interval) => watch::run(interval, show).await,
        None => put(&show().await?),
    }
}

fn tabular(status: &Status, with_relations: bool) -> String {
    let mut model = Table::new(&["Model", "~Controller", "~Cloud/Region", "Version", "Timestamp"]);
    model.row([
        status.model.name.clone(),
        "relatum".to_owned(),
        "localhost".to_owned(),
        status.model.version.clone(),
        clock(status.at_ms),
    ]);
    let mut sections = vec![model, applications(status), units(status)];
    if with_relations {
        sections.push(relations(status));
    }
    if !status.problems.is_empty() {
        sections.push(problems(status));
    }
    let mut text: String =
        sections.iter().filter(|table| !table.is_empty()).map(Table::render).collect::<Vec<_>>().join("\n");
    if let (Some(at_ms), Some(seconds)) = (status.reloaded_at_ms, status.reload_seconds) {
        let pending = if status.pending { "; what is related now is not in effect yet" } else { "" };
        let (clock, ms) = (clock(at_ms), seconds * 1000.0);
        text.push_str(&format!("\nRevision {}, last reload at {clock} in {ms:.0} ms{pending}\n", status.revision));
    }
    for (at, line) in status.warnings.iter().enumerate() {
        if at == 0 {
            text.push('\n');
        }
        let mut prose = Table::new(&[""]);
        prose.row([line.clone()]);
        text.push_str(&prose.render_behind(&format!("{} ", warning("warning:"))));
    }
    text
}

fn applications(status: &Status) -> Table {
    let mut table =
        Table::new(&["App", "~Version", "Status", ">Scale", "~Charm", "~Channel", "~>Rev", "~Exposed", "Message"]);
    // Juju's columns, so that who reads its status finds here what they look for; charms tell us no channel and no revision.
    let open = status.listen.parse::<SocketAddr>().is_ok_and(|address| !address.ip().is_loopback());
    for application in &status.applications {
        table.row([
            application.name.clone(),
            application.version.clone(),
            state(&application.status.current),
            application.scale.to_string(),
            application.charm.clone(),
            String::new(),
            String::new(),
            if open && application.name == APPLICATION { "yes" } else { "no" }.to_owned(),
            application.status.message.clone(),
        ]);
    }
    table
}

fn units(status: &Status) -> Table {
    let mut table = Table::new(&["Unit", "Workload", "~Agent", "Address", "Ports", "Message"]);
    for unit in &status.units {
        table.row([
            format!("{}{}", unit.name, if unit.leader { "*" } else { "" }),
            state(&unit.workload.current),
            // The agents of others are not ours to ask.
            state(if unit.application == APPLICATION { "idle" } else { "unknown" }),
            unit.address.clone(),
            unit.ports.join(","),
            unit.workload.message.clone(),
        ]);
    }
    table
}

fn relations(status: &Status) -> Table {
    let mut table = Table::new(&["Integration provider", "Requirer", "~Interface", "~Type", ">Id", "Message"]);
    for relation in &status.relations {
        // As in juju, only what is not simply joined gets a message.
        let message = match (relation.status.current.as_str(), relation.status.message.as_str()) {
            ("joined", "") => String::new(),
            (current, "") => state(current),
            (current, message) => format!("{} - {message}", state(current)),
        };
        table.row([
            relation.provider.clone(),
            relation.requirer.clone(),
            relation.interface.clone(),
            relation.kind.clone(),
            relation.id.to_string(),
            message,
        ]);
    }
    table
}

fn problems(status: &Status) -> Table {
    let mut table = Table::new(&["Problem in", "Unit", "+Key", "+Message", "Hint"]);
    for problem in &status.problems {
        let cell = |value: &Option<String>| value.clone().unwrap_or_default();
        table.row([
            bad(problem.relation.as_deref().unwrap_or("agent")),
            cell(&problem.unit),
            cell(&problem.place()),
            problem.message.clone(),
            cell(&problem.hint),
        ]);
    }
    table
}

/// The time of day in UTC, as juju's timestamp column shows it.
fn clock(at_ms: i64) -> String {
    let seconds = at_ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
