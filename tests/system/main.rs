//! Whole-system tests: what users do, with real processes and real peers.
//!
//! A test whose peer or corpus is missing is skipped, and its name says what it needs.

mod backups;
mod bad_input;
mod charms;
mod checks;
mod clients;
mod commands;
mod conformance;
mod crash;
mod declared;
mod descriptions;
mod engine_on_store;
mod external_queries;
mod external_workload;
mod generated_queries;
mod hostile_requests;
mod http_surface;
mod https;
mod ingress;
mod jubilant;
mod long_windows;
mod main_job;
mod metric_checks;
mod neighbours;
mod openapi;
mod opentelemetry;
mod operate;
mod prometheus_data;
mod readme;
mod remote_write;
mod serve_flags;
mod sessions;
mod shipped_rules;
mod socket_group;
mod tiers;
mod verdicts;

use libtest_mimic::{Arguments, Failed, Trial};
use relatum_tests::peers::Peer;

fn main() {
    let arguments = Arguments::from_args();
    let trials = [
        long_windows::trials(),
        main_job::trials(),
        metric_checks::trials(),
        neighbours::trials(),
        openapi::trials(),
        opentelemetry::trials(),
        operate::trials(),
        prometheus_data::trials(),
        commands::trials(),
        conformance::trials(),
        crash::trials(),
        declared::trials(),
        descriptions::trials(),
        engine_on_store::trials(),
        backups::trials(),
        bad_input::trials(),
        charms::trials(),
        checks::trials(),
        clients::trials(),
        external_queries::trials(),
        generated_queries::trials(),
        external_workload::trials(),
        http_surface::trials(),
        hostile_requests::trials(),
        https::trials(),
        ingress::trials(),
        jubilant::trials(),
        shipped_rules::trials(),
        readme::trials(),
        remote_write::trials(),
        serve_flags::trials(),
        sessions::trials(),
        socket_group::trials(),
        tiers::trials(),
        verdicts::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}

/// A test that needs nothing but the program.
fn plain(name: &str, test: fn() -> anyhow::Result<()>) -> Trial {
    with(name, &[], false, test)
}

/// A test that needs peers, and perhaps the corpora.
fn with(name: &str, peers: &[Peer], corpora: bool, test: fn() -> anyhow::Result<()>) -> Trial {
    let mut missing: Vec<&str> = peers.iter().filter(|p| p.find().is_none()).map(|p| p.variable()).collect();
    if corpora && self::corpora().is_none() {
        missing.push("RELATUM_CORPORA");
    }
    let trial = Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:#}"))));
    if missing.is_empty() {
        trial
    } else {
        trial.with_kind(format!("needs {}", missing.join(", "))).with_ignored_flag(true)
    }
}

/// The folder with outside corpora, if there is one.
fn corpora() -> Option<std::path::PathBuf> {
    std::env::var_os("RELATUM_CORPORA").map(Into::into).filter(|dir: &std::path::PathBuf| dir.is_dir())
}
