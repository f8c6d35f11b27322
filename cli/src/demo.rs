//! `relatum demo`: an agent on embedded defaults, related to what is here anyway.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use relatum_agent::control::client::Client;
use relatum_agent::control::{Document, Relate, Status};
use relatum_agent::external::WorkloadFlags;
use relatum_agent::log::LogRing;
use relatum_agent::options::Options;

use crate::Global;
use crate::api::Api;
use crate::failure::CommandFailure;
use crate::logging;
use crate::output::{bad, faint, good, put};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// End when all targets are up, and fail if they are not by then
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    limit: Option<Duration>,
}

/// Where Prometheus listens, and where a node exporter does.
const LISTEN: &str = "127.0.0.1:9090";
const NODE_EXPORTER: &str = "127.0.0.1:9100";
const SELF_HEALTH: &str = include_str!("../../alert_rules/self_health.yaml");
const HOST_HEALTH: &str = include_str!("../../alert_rules/host_health.yaml");
/// Long enough for the slowest machine to open an empty store.
const START_PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// Runs until interrupted, or with `--for` until the targets are up.
pub(crate) fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let log = LogRing::default();
    // The demo talks itself; the log is there for `debug-log`, and on stderr only what a person must see.
    logging::start_quiet(&log);
    let data_dir = global.data_dir.clone().unwrap_or_else(state_dir);
    // A configuration of its own, so that the demo neither reads nor changes that of a real agent.
    let config = data_dir.join("config").join("relatum.yaml");
    create(&config)?;
    let defaults = [("scrape_interval", "15s"), ("evaluation_interval", "15s")];
    let options = Options {
        data_dir: Some(data_dir.clone()),
        listen: Some(free_address()?),
        config: Some(config),
        model: Some("demo".to_owned()),
        option_defaults: defaults.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        log,
        host_metrics: true,
        ..Options::default()
    };
    logging::runtime()?.block_on(async {
        let mut agent = tokio::spawn(relatum_agent::run(options, WorkloadFlags::default()));
        let demo = show(&data_dir, args.limit);
        tokio::select! {
            ended = &mut agent => match ended {
                Ok(result) => result.map_err(CommandFailure::from),
                Err(error) => Err(CommandFailure::failed(format!("the agent ended unexpectedly: {error}"))),
            },
            shown = demo => {
                let client = Client::new(&data_dir);
                if client.shutdown().await.is_ok() {
                    // Whatever it still has to say, the demo's own result counts.
                    let _ = agent.await;
                }
                shown
            }
        }
    })
}

/// Relates, prints what there is to see, and waits; returns only with a limit, or on a failure.
async fn show(data_dir: &Path, limit: Option<Duration>) -> Result<(), CommandFailure> {
    let client = Client::new(data_dir);
    let status = started(&client).await?;
    let (own, host) = (("self_health", SELF_HEALTH), ("host_health", HOST_HEALTH));
    // Without a node exporter the agent itself tells how this host does.
    let node_exporter = answers(NODE_EXPORTER);
    if node_exporter {
        relate(&client, &status.listen, "relatum", &[own]).await?;
        relate(&client, NODE_EXPORTER, "node", &[host]).await?;
    } else {
        relate(&client, &status.listen, "relatum", &[own, host]).await?;
    }
    put(&introduction(&status, data_dir, node_exporter))?;
    let api = Api::of(&status)?;
    let deadline = tokio::time::Instant::now() + limit.unwrap_or(START_PATIENCE);
    loop {
        let (up, all) = targets(&api).await?;
        if all > 0 && up == all {
            put(&format!("\n{} all {all} targets are up\n", good("✓")))?;
            break;
        }
        if tokio::time::Instant::now() > deadline {
            let message = format!("only {up} of {all} targets are up");
            if limit.is_some() {
                return Err(CommandFailure::failed(message));
            }
            put(&format!("\n{} {message}: `relatum targets` tells why\n", bad("✗")))?;
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    if limit.is_none() {
        put(&faint("\nCtrl-C ends the demo; its data stays.\n"))?;
        std::future::pending::<()>().await;
    }
    Ok(())
}

async fn started(client: &Client) -> Result<Status, CommandFailure> {
    let deadline = tokio::time::Instant::now() + START_PATIENCE;
    loop {
        match client.status().await {
            Ok(status) => return Ok(status),
            Err(failure) if tokio::time::Instant::now() > deadline => return Err(failure.into()),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

async fn relate(client: &Client, address: &str, name: &str, rules: &[(&str, &str)]) -> Result<(), CommandFailure> {
    let document = |(name, text): &(&str, &str)| Document { name: format!("{name}.yaml"), text: (*text).to_owned() };
    let request = Relate {
        arguments: vec!["metrics-endpoint".to_owned(), address.to_owned()],
        name: Some(name.to_owned()),
        rules: rules.iter().map(document).collect(),
        ..Relate::default()
    };
    client.relate(&request).await?;
    Ok(())
}

async fn targets(api: &Api) -> Result<(usize, usize), CommandFailure> {
    let data = api.ask("targets", &[("state", "active")]).await?.data;
    let targets = data["activeTargets"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok((targets.iter().filter(|target| target["health"] == "up").count(), targets.len()))
}

fn introduction(status: &Status, data_dir: &Path, node_exporter: bool) -> String {
    let dir = data_dir.display();
    let hint = if node_exporter {
        String::new()
    } else {
        format!(
            "  {}\n",
            faint(&format!(
                "(no node exporter answers on {NODE_EXPORTER}: the agent tells the main things about this host)"
            ))
        )
    };
    format!(
        "\
relatum demo
  pages  {url}/
  data   {dir}
{hint}
Try next, in another terminal:
  export RELATUM_DATA_DIR={dir}
  relatum status --relations
  relatum targets
  relatum alerts
  relatum query range 'sum by (mode) (rate(node_cpu_seconds_total[1m]))' --since 15m
  relatum relate metrics-endpoint HOST:PORT
  relatum datasource grafana
",
        url = status.api_url.trim_end_matches('/'),
    )
}

/// Prometheus' port, or any other if that is taken.
fn free_address() -> Result<String, CommandFailure> {
    let bound = TcpListener::bind(LISTEN).or_else(|_| TcpListener::bind("127.0.0.1:0"));
    let address = bound.and_then(|listener| listener.local_addr());
    // The listener is closed again here; the agent opens its own a moment later.
    address
        .map(|address| address.to_string())
        .map_err(|error| CommandFailure::failed(format!("cannot listen on 127.0.0.1: {error}")))
}

fn answers(address: &str) -> bool {
    let address: SocketAddr = address.parse().expect("the address is a constant");
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

fn state_dir() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".local/state");
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    state.unwrap_or_else(home).join("relatum").join("demo")
}

fn create(config: &Path) -> Result<(), CommandFailure> {
    let folder = config.parent().expect("the file has a folder");
    std::fs::create_dir_all(folder)
        .and_then(|()| if config.exists() { Ok(()) } else { std::fs::write(config, "") })
        .map_err(|error| CommandFailure::failed(format!("cannot create {}: {error}", config.display())))
}

fn duration(text: &str) -> Result<Duration, String> {
    relatum_model::time::parse_duration(text).map_err(|error| error.to_string())
}
