//! `relatum`: one program, one file per command.
//!
//! Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 failed, 2 the command makes no sense as typed (3: see `check`).

mod alerts;
mod api;
mod backup;
mod chart;
mod check;
mod completion;
mod config;
mod daemon;
mod datasource;
mod debug_log;
mod demo;
mod diff;
mod dry_run;
mod explain;
mod failure;
mod fmt;
mod history;
mod juju_status;
mod line_diff;
mod lint;
mod logging;
mod offer;
mod offers;
mod output;
mod promql;
mod query;
mod query_plan;
mod relate;
mod remove_application;
mod remove_offer;
mod remove_relation;
mod remove_unit;
mod render;
mod replay;
mod rollback;
mod rules;
mod run;
mod serve;
mod shared_labels;
mod show_relation;
mod show_unit;
mod sparkline;
mod status;
mod table;
mod targets;
mod test_rules;
mod tsdb;
mod version;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use relatum_agent::control::client::Client;

use crate::failure::CommandFailure;
use crate::output::{Colour, Format};

/// Say what is related to what; relatum scrapes it, alerts on it and tells Grafana.
#[derive(Debug, Parser)]
#[command(
    name = "relatum",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Where help lists what every command takes.
const GLOBAL: &str = "Options of all commands";

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
struct Global {
    /// The agent's data directory [default: /var/lib/relatum for root, else the XDG state folder]
    #[arg(long, global = true, help_heading = GLOBAL, env = "RELATUM_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How to print
    #[arg(long, global = true, help_heading = GLOBAL, value_enum, default_value_t = Format::Tabular)]
    format: Format,
    /// When to use colours; NO_COLOR in the environment turns off what is automatic
    #[arg(long, global = true, help_heading = GLOBAL, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    color: Colour,
}

impl Global {
    fn client(&self) -> Client {
        Client::new(&self.data_dir.clone().unwrap_or_else(relatum_agent::options::data_dir))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on embedded defaults, to look at
    Demo(demo::Args),
    /// Run the daemon
    Agent(daemon::Args),
    /// Run the engine alone, as a stand-in for prometheus; takes its flags
    Serve(serve::Args),
    /// Relate addresses, an application's databags, or two applications
    #[command(alias = "integrate")]
    Relate(relate::Args),
    /// Remove a relation
    RemoveRelation(remove_relation::Args),
    /// Remove units of an application
    RemoveUnit(remove_unit::Args),
    /// Remove applications with all their relations
    RemoveApplication(remove_application::Args),
    /// Offer an endpoint to other agents
    Offer(offer::Args),
    /// List the offers and who uses them
    Offers,
    /// Remove an offer and the relations to it
    RemoveOffer(remove_offer::Args),
    /// Show or change the options of an application
    Config(config::Args),
    /// Show the model, its applications, units and relations
    Status(status::Args),
    /// Show one relation with its databags
    ShowRelation(show_relation::Args),
    /// Show units with their relations, as juju does
    ShowUnit(show_unit::Args),
    /// Run an action of the charm
    Run(run::Args),
    /// Say where a target, rule or label came from and what changed it on the way
    Explain(explain::Args),
    /// Warn of rules that are right and yet can never fire
    Lint(lint::Args),
    /// Print the rendered files as they are
    Render(render::Args),
    /// Run the steps of a pass on saved databags, without an agent
    Replay(replay::Args),
    /// List what was changed when, and by whom
    History(history::Args),
    /// Show what differs between two revisions
    Diff(diff::Args),
    /// Go back to what was written at a revision
    Rollback(rollback::Args),
    /// List the scrape targets
    Targets,
    /// List the rules
    Rules,
    /// List the alerts that are pending or firing
    Alerts,
    /// Ask with PromQL
    Query(query::Args),
    /// Check configuration and rule files, as promtool does
    Check(check::Args),
    /// Lay out the expressions of rule files for reading
    Fmt(fmt::Args),
    /// Carry out unit tests of rules, as promtool does
    Test(test_rules::Args),
    /// Look at the files of a store
    Tsdb(tsdb::Args),
    /// Write all of an agent into a folder; it may go on running
    Backup(backup::BackupArgs),
    /// Make the data directory of an agent from a backup
    Restore(backup::RestoreArgs),
    /// Format a query, or change its matchers
    Promql(promql::Args),
    /// Print what another program needs to find us
    Datasource(datasource::Args),
    /// Show the agent's log
    DebugLog(debug_log::Args),
    /// Print the completion script of a shell
    Completion(completion::Args),
    /// Print the version
    Version,
}

/// The commands for which an option of all has no effect: it is taken there, because it may stand before the command or in the
/// environment, but help does not offer it.
const WITHOUT_EFFECT: [(&str, &[&[&str]]); 2] = [
    (
        "data_dir",
        &[
            &["serve"],
            &["replay"],
            &["check"],
            &["fmt"],
            &["test"],
            &["tsdb"],
            &["promql"],
            &["completion"],
            &["version"],
        ],
    ),
    (
        "format",
        &[
            &["demo"],
            &["agent"],
            &["serve"],
            &["check", "config"],
            &["check", "rules"],
            &["check", "web-config"],
            &["check", "metrics"],
            &["fmt"],
            &["test"],
            &["tsdb", "dump"],
            &["tsdb", "create-blocks-from"],
            &["promql"],
            &["completion"],
            &["debug-log"],
        ],
    ),
];

/// The whole command line.
fn command() -> clap::Command {
    let mut command = Cli::command();
    for (option, commands) in WITHOUT_EFFECT {
        let known = command.get_arguments().find(|argument| argument.get_id() == option).cloned();
        let hidden = known.expect("it is an option of all commands").hide(true);
        for path in commands {
            command = with_option(command, path, &hidden);
        }
    }
    command
}

/// `command` with `option` at the subcommand at `path`, in place of the one that it would have from above.
fn with_option(command: clap::Command, path: &[&str], option: &clap::Arg) -> clap::Command {
    match path.split_first() {
        None => command.arg(option.clone()),
        Some((first, rest)) => command.mut_subcommand(first, |command| with_option(command, rest, option)),
    }
}

fn main() -> ExitCode {
    relatum_tsdb::system::share_heaps();
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit());
    // One provider for all of TLS; a second call in one process would be a programming error.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nothing else has chosen a TLS provider before main");
    run(cli).unwrap_or_else(|failure| failure.report())
}

fn run(cli: Cli) -> Result<ExitCode, CommandFailure> {
    let global = cli.global;
    global.color.choose();
    match cli.command {
        // These have more to say than done or failed.
        Command::Check(args) => return check::run(&global, &args),
        Command::Fmt(args) => return fmt::run(&args),
        Command::Test(args) => return test_rules::run(&args),
        Command::Tsdb(args) => return tsdb::run(&global, &args),
        Command::Demo(args) => demo::run(&global, &args),
        Command::Agent(args) => daemon::run(&global, &args),
        Command::Serve(args) => serve::run(&args),
        Command::Backup(args) => backup::backup(&global, &args),
        Command::Restore(args) => backup::restore(&global, &args),
        Command::Promql(args) => promql::run(&global, &args),
        Command::Completion(args) => completion::run(&args),
        Command::Version => version::run(&global),
        command => runtime()?.block_on(talk(&global, command)),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// The commands that talk to a running agent.
async fn talk(global: &Global, command: Command) -> Result<(), CommandFailure> {
    match command {
        Command::Relate(args) => relate::run(global, args).await,
        Command::RemoveRelation(args) => remove_relation::run(global, &args).await,
        Command::RemoveUnit(args) => remove_unit::run(global, &args).await,
        Command::RemoveApplication(args) => remove_application::run(global, &args).await,
        Command::Offer(args) => offer::run(global, &args).await,
        Command::Replay(args) => replay::run(global, &args),
        Command::Offers => offers::run(global).await,
        Command::RemoveOffer(args) => remove_offer::run(global, &args).await,
        Command::Config(args) => config::run(global, &args).await,
        Command::Status(args) => status::run(global, &args).await,
        Command::ShowRelation(args) => show_relation::run(global, &args).await,
        Command::ShowUnit(args) => show_unit::run(global, &args).await,
        Command::Run(args) => run::run(global, &args).await,
        Command::Explain(args) => explain::run(global, &args).await,
        Command::Lint(args) => lint::run(global, &args).await,
        Command::Render(args) => render::run(global, &args).await,
        Command::History(args) => history::run(global, &args).await,
        Command::Diff(args) => diff::run(global, &args).await,
        Command::Rollback(args) => rollback::run(global, &args).await,
        Command::Targets => targets::run(global).await,
        Command::Rules => rules::run(global).await,
        Command::Alerts => alerts::run(global).await,
        Command::Query(args) => query::run(global, &args).await,
        Command::Datasource(args) => datasource::run(global, &args).await,
        Command::DebugLog(args) => debug_log::run(global, &args).await,
        Command::Demo(_)
        | Command::Agent(_)
        | Command::Serve(_)
        | Command::Check(_)
        | Command::Fmt(_)
        | Command::Test(_)
        | Command::Tsdb(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Promql(_)
        | Command::Completion(_)
        | Command::Version => {
            unreachable!("run() keeps what needs no agent")
        }
    }
}

/// The threads of a short command.
fn runtime() -> Result<tokio::runtime::Runtime, CommandFailure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandFailure::failed(format!("cannot start: {error}")))
}
