//! `cargo xtask bench crowd`: an agent with very many relations, measured from outside: how fast it begins, how fast it follows one
//! change and a storm of them, and what it takes.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::relate::{Agent, Folder, IDLE_AFTER, memory_kib, percentile, wait_for};
use crate::{cargo, target_dir};

const RELATIONS: usize = 5000;
const UNITS: usize = 3;
const JOBS: usize = 2;
const RULES: usize = 4;
/// How many single changes are measured.
const CHANGES: usize = 20;
/// Of how many changes the storm is; they are written as fast as files can be, which is about a second.
const STORM: usize = 10_000;
/// A machine that does something else as well needs its time.
const PATIENCE: Duration = Duration::from_secs(300);

/// Prints each row with its target.
pub(crate) fn run() -> anyhow::Result<()> {
    crate::run(&mut cargo(&["build", "--release", "--quiet", "--package", "relatum-cli", "--bin", "relatum"]))?;
    let program = target_dir().join("release").join("relatum");
    let folder = Folder::new()?;
    let declared = folder.0.join("relations.d");
    std::fs::create_dir(&declared)?;
    std::fs::write(declared.join("crowd.yaml"), crowd())?;
    let n_targets = RELATIONS * UNITS * JOBS;
    println!("{:<66}{:>10}{:>10}", format!("{RELATIONS} relations, {n_targets} targets"), "", "target");

    let begun = Instant::now();
    let mut agent = Agent::start(&program, &folder.0)?;
    wait_for(PATIENCE, "all relations", || is_live(&agent, &format!("count(up) > {n_targets}")))?;
    row("declared for the first time, to a sample of every target", ms(begun.elapsed()), "");
    std::thread::sleep(IDLE_AFTER);
    row("memory", format!("{:.0} MB", memory_kib(agent.id())? as f64 / 1024.0), "300 MB");

    let changes = (0..CHANGES).map(|number| change(&agent, &folder.0, number)).collect::<anyhow::Result<Vec<_>>>()?;
    row("a databag changed by a command, to its return, median", ms(percentile(changes, 50)), "20 ms");
    row("a storm of changes of one file, from the last to its target", ms(storm(&agent, &declared)?), "2000 ms");

    agent.stop()?;
    let begun = Instant::now();
    let agent = Agent::start(&program, &folder.0)?;
    wait_for(PATIENCE, "the agent", || agent.get("/-/ready").is_ok())?;
    row("a cold start, to ready", ms(begun.elapsed()), "6000 ms");
    Ok(())
}

fn row(what: &str, value: String, target: &str) {
    println!("{what:<66}{value:>10}{target:>10}");
}

fn ms(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1000.0)
}

/// Whether the instant query has a result.
fn is_live(agent: &Agent, query: &str) -> bool {
    let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    agent.get(&format!("/api/v1/query?query={query}")).is_ok_and(|body| body.contains("\"value\""))
}

/// Changes one relation by hand, as often as it is called; each time to other jobs.
fn change(agent: &Agent, folder: &Path, number: usize) -> anyhow::Result<Duration> {
    // Not in the folder of the configuration, which the agent watches.
    let bags = folder.join("data").join("bags.json");
    let jobs = json!([{"job_name": "j", "static_configs": [{"targets": [format!("*:{}", 9100 + number)]}]}]);
    let bag = json!({
        "application": "single",
        "app": {"scrape_jobs": jobs.to_string(), "scrape_metadata": metadata("single").to_string()},
        "units": {"single/0": unit("127.8.0.1", "single/0")},
    });
    std::fs::write(&bags, bag.to_string())?;
    let begun = Instant::now();
    agent.command(&["relate", "metrics-endpoint", "--databag", &bags.display().to_string()])?;
    Ok(begun.elapsed())
}

/// Replaces one file again and again, and waits for what it says at the end.
fn storm(agent: &Agent, declared: &Path) -> anyhow::Result<Duration> {
    let (beside, file) = (declared.join(".storm"), declared.join("storm.yaml"));
    for number in 1..=STORM {
        let text = format!(
            "relations:\n- {{endpoint: metrics-endpoint, application: storm, addresses: ['127.7.{}.{}:1'], interval: 1h, labels: {{step: '{number}'}}}}\n",
            number / 250,
            number % 250,
        );
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, &file)?;
    }
    let last = Instant::now();
    let query = format!("up{{step=\"{STORM}\"}}");
    wait_for(PATIENCE, "the last change of the storm", || is_live(agent, &query))?;
    Ok(last.elapsed())
}

/// The file that declares all relations.
fn crowd() -> String {
    let mut text = "relations:\n".to_owned();
    for number in 0..RELATIONS {
        let application = format!("app{number}");
        let job = |job: usize| {
            json!({
                "job_name": format!("j{job}"),
                "metrics_path": format!("/m{job}"),
                "scrape_interval": "1h",
                "static_configs": [{"targets": [format!("*:{}", job + 1)], "labels": {"team": "a"}}],
            })
        };
        let rule = |rule: usize| {
            json!({
                "alert": format!("A{rule}"),
                "expr": format!(
                    "rate(http_requests_total{{code=~\"5..\",juju_model=\"shop\",juju_application=\"{application}\"}}[5m]) > {rule}"
                ),
                "for": "5m",
                "labels": {"severity": "warning", "juju_model": "shop", "juju_application": application},
                "annotations": {"summary": "{{ $labels.instance }} fails", "description": "The rate is {{ $value }}."},
            })
        };
        let jobs: Vec<_> = (0..JOBS).map(job).collect();
        let rules: Vec<_> = (0..RULES).map(rule).collect();
        let groups = json!({"groups": [{"name": format!("{application}_alerts"), "interval": "1h", "rules": rules}]});
        let units: serde_json::Map<_, _> = (0..UNITS)
            .map(|at| {
                let name = format!("{application}/{at}");
                let address = format!("127.{}.{}.{}", 10 + at, number / 250, number % 250);
                (name.clone(), unit(&address, &name))
            })
            .collect();
        let entry = json!({
            "endpoint": "metrics-endpoint",
            "application": application,
            "app": {
                "scrape_metadata": metadata(&application).to_string(),
                "scrape_jobs": serde_json::Value::from(jobs).to_string(),
                "alert_rules": groups.to_string(),
            },
            "units": units,
        });
        writeln!(text, "- {entry}").expect("a text can be written to");
    }
    text
}

fn metadata(application: &str) -> serde_json::Value {
    let uuid = "12de4fae-06cc-4ceb-9089-567be09fec78";
    json!({"model": "shop", "model_uuid": uuid, "application": application, "charm_name": "zinc-k8s"})
}

fn unit(address: &str, name: &str) -> serde_json::Value {
    json!({"prometheus_scrape_unit_address": address, "prometheus_scrape_unit_name": name})
}
