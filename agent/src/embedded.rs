//! The workload in this process: the server, driven by the rendered files alone.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use relatum_relations::prometheus_scrape::SCRAPE_JOBS;
use relatum_relations::prometheus_scrape::permissions::DENIED_TARGETS;
use relatum_server::files::{self, DiskFiles, Loaded, Wildcard};
use relatum_server::flags::{Durability, Flags, LogLevel};
use relatum_server::listen;
use relatum_server::{Engine, Prepared, ReloadError, RemoteState, Start, TargetStatus};
use tokio::task::JoinHandle;
use tracing::{Level, error, warn};

use crate::control::Problem;
use crate::daemon::{self, Running, StartError, Wiring};
use crate::log::LogRing;
use crate::options::Options;
use crate::packed::PackedText;
use crate::pipeline::render::{ARGUMENTS_PATH, MAIN_PATH, WEB_PATH};
use crate::workload::{Fault, Files, Ready, Remote, Standing, Workload, differing};

/// Of targets that lead where they may not, `status` names this many.
const DENIED_SHOWN_MAX: usize = 20;

/// Starts an agent with the server in this process; it is ready when this returns.
pub async fn start(options: Options) -> Result<Running, StartError> {
    let durability = match options.durability.as_deref() {
        None => Durability::default(),
        Some(text) => text.parse().map_err(|source| StartError::Durability { text: text.to_owned(), source })?,
    };
    daemon::start_with(options, move |wiring| Ok(Arc::new(Embedded::open(wiring, durability)?))).await
}

/// The server as a workload.
struct Embedded {
    engine: Arc<Engine>,
    root: PathBuf,
    log: LogRing,
    http: Mutex<Option<JoinHandle<()>>>,
    durability: Durability,
    /// What was checked last, so that preparing does not parse again.
    checked: Mutex<Option<(Files, Loaded)>>,
}

impl Embedded {
    /// Opens the samples and listens; nothing is scraped or evaluated before the first commit.
    fn open(wiring: Wiring, durability: Durability) -> Result<Embedded, StartError> {
        // The rest comes with the first rendered files.
        let flags = Flags { data_dir: wiring.samples, durability, ..Flags::default() };
        let start = Start::new(flags);
        let front = start.front();
        let (rules_known, configured, stopping) =
            (resume_rules(&start, &wiring.rendered), start.configured(), wiring.stopping.clone());
        let stopped = wiring.stopping.cancelled_owned();
        let serving = listen::serve(wiring.listener, (wiring.mount)(start.router()), front, stopped);
        // While the log is read, requests are told so or wait. Where nobody knows who may come in, connections wait themselves.
        let http = tokio::spawn(async move {
            let may_serve = rules_known
                || tokio::select! {
                    is_configured = configured => is_configured,
                    () = stopping.cancelled() => false,
                };
            if may_serve {
                serving.await;
            }
        });
        let engine = start.open().map_err(|error| {
            http.abort();
            StartError::Workload(Box::new(error))
        })?;
        engine.add_metrics(wiring.metrics);
        let (root, log) = (wiring.rendered, wiring.log);
        Ok(Embedded { engine, root, log, http: Mutex::new(Some(http)), durability, checked: Mutex::default() })
    }

    fn load(&self, files: &Files) -> Result<(Loaded, Flags), Vec<Fault>> {
        let arguments = files.get(ARGUMENTS_PATH).map(PackedText::read).unwrap_or_default();
        let mut flags = Flags::parse_file(&arguments)
            .map_err(|error| vec![Fault { path: ARGUMENTS_PATH.to_owned(), message: error.to_string() }])?;
        flags.durability = self.durability;
        let mut checked = crate::lock(&self.checked);
        let (below, main) = (Below { root: &self.root, files }, self.root.join(MAIN_PATH));
        let amended = checked.as_ref().and_then(|(known, loaded)| {
            let changed: Vec<PathBuf> = differing(known, files).map(|path| self.root.join(path)).collect();
            if changed.is_empty() {
                return Some(loaded.clone());
            }
            self.engine.check_changed(loaded, &below, &main, &changed)
        });
        let loaded = match amended {
            Some(loaded) => loaded,
            None => self.engine.check(&below, &main).map_err(|error| faults(&error, &self.root, files))?,
        };
        *checked = Some((files.clone(), loaded.clone()));
        Ok((loaded, flags))
    }
}

/// Puts in effect who may come in, and how, as the last run left it: a server with a certificate shows it from its first connection
/// on. False if that cannot be read.
fn resume_rules(start: &Start, rendered: &Path) -> bool {
    let path = rendered.join(WEB_PATH);
    if let Ok(false) = path.try_exists() {
        return true;
    }
    match start.web().prepare(&DiskFiles, Some(&path)) {
        Ok(rules) => {
            start.web().commit(rules);
            true
        }
        Err(problems) => {
            let error = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            warn!(error, "who may come in is known after the first pass only: no connection is taken before");
            false
        }
    }
}

/// Rendered files as the server names them, whether they are on disk yet or not.
struct Below<'a> {
    root: &'a Path,
    files: &'a Files,
}

impl files::Files for Below<'_> {
    fn read(&self, path: &Path) -> io::Result<Arc<str>> {
        let below = path.strip_prefix(self.root).ok().and_then(Path::to_str);
        let text = below.and_then(|path| self.files.get(path)).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.read().into())
    }

    fn matching(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        // Nothing but what is rendered belongs to the set, whatever else a pattern may be about.
        let Ok(pattern) = pattern.strip_prefix(self.root) else { return Ok(Vec::new()) };
        let pattern = Wildcard::new(pattern)?;
        let matching = self.files.keys().filter(|path| pattern.matches(Path::new(&***path)));
        Ok(matching.map(|path| self.root.join(&**path)).collect())
    }
}

impl Workload for Embedded {
    fn check(&self, files: &Files) -> Vec<Fault> {
        self.load(files).err().unwrap_or_default()
    }

    fn prepare<'a>(&'a self, files: &Files) -> Result<Box<dyn Ready + 'a>, Vec<Fault>> {
        let (loaded, flags) = self.load(files)?;
        let level = flags.log_level;
        let prepared = self
            .engine
            .prepare(&Below { root: &self.root, files }, loaded, flags)
            .map_err(|error| faults(&error, &self.root, files))?;
        Ok(Box::new(Reload { embedded: self, prepared, level }))
    }

    /// Names that lead where relations may not go: only who connects to them knows.
    fn standing(&self) -> Standing {
        let denied = self.engine.scrape().denied_targets();
        let checked = if denied.is_empty() { None } else { crate::lock(&self.checked).clone() };
        let files = checked.map(|(files, _)| files).unwrap_or_default();
        let problem = |target: &TargetStatus| {
            let file = file_of_job(&format!("scrape job {}", target.pool), &files);
            let relation = file.as_deref().and_then(|path| path.strip_prefix("scrape/")?.strip_suffix(".yml"));
            Problem {
                relation: relation
                    .and_then(|name| name.rsplit_once('_'))
                    .map(|(endpoint, id)| format!("{endpoint}:{id}")),
                key: Some(SCRAPE_JOBS.to_owned()),
                message: target.last_error.clone().unwrap_or_default(),
                hint: Some(format!("{DENIED_TARGETS} lists what relations may not reach")),
                ..Problem::default()
            }
        };
        Standing { problems: denied.iter().take(DENIED_SHOWN_MAX).map(problem).collect(), warnings: Vec::new() }
    }

    fn remotes(&self) -> Vec<Remote> {
        let newest_ms = self.engine.store().stats().max_time_ms;
        let remote = |state: RemoteState| Remote {
            lag_ms: state.newest_sent_ms.map(|sent_ms| {
                newest_ms.map_or(0, |newest_ms| u64::try_from(newest_ms.saturating_sub(sent_ms)).unwrap_or(0))
            }),
            name: state.id.name,
            failure: state.failure,
        };
        self.engine.remotes().states().into_iter().map(remote).collect()
    }

    fn copy_samples(&self, to: &Path) -> Result<bool, String> {
        self.engine.store().snapshot(to).map_err(|error| crate::chain(&error))?;
        Ok(true)
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let http = crate::lock(&self.http).take();
            if let Some(Err(error)) = match http {
                Some(http) => Some(http.await),
                None => None,
            } {
                error!(%error, "the HTTP server ended badly");
            }
            self.engine.close().await;
        })
    }
}

struct Reload<'a> {
    embedded: &'a Embedded,
    prepared: Prepared,
    level: LogLevel,
}

impl Ready for Reload<'_> {
    fn commit(self: Box<Self>) {
        self.embedded.engine.commit(self.prepared);
        self.embedded.log.set_level(match self.level {
            LogLevel::Error => Level::ERROR,
            LogLevel::Warn => Level::WARN,
            LogLevel::Info => Level::INFO,
            LogLevel::Debug => Level::DEBUG,
        });
    }
}

fn faults(error: &ReloadError, root: &Path, files: &Files) -> Vec<Fault> {
    let fault = |problem: &files::FileProblem| {
        let path = problem.path.strip_prefix(root).unwrap_or(&problem.path).display().to_string();
        let message = problem.problem.to_string();
        // Certificates are opened job by job, when nobody knows any more which file a job stood in.
        let path = if path == MAIN_PATH { file_of_job(&message, files).unwrap_or(path) } else { path };
        Fault { path, message }
    };
    error.problems.iter().map(fault).collect()
}

/// The scrape file with the job that `message` says cannot be prepared.
fn file_of_job(message: &str, files: &Files) -> Option<String> {
    let (_, job) = message.split_once("scrape job ")?;
    let is_it = |line: &str| {
        let name = line.trim_start_matches([' ', '-']).strip_prefix("job_name: ")?.trim_matches(['"', '\'']);
        job.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with(": "))
    };
    let mut scrapes = files.iter().filter(|(path, _)| path.starts_with("scrape/"));
    scrapes.find(|(_, text)| text.read().lines().any(|line| is_it(line).is_some())).map(|(path, _)| path.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde_json::json;
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::control::client::Client;
    use crate::control::{Document, Relate, Related, RemoveRelation};

    async fn started(dir: &TempDir) -> (Running, Client) {
        let options = Options {
            data_dir: Some(dir.path().join("data")),
            listen: Some("127.0.0.1:0".into()),
            config: Some(dir.path().join("relatum.yaml")),
            ..Options::default()
        };
        std::fs::write(dir.path().join("relatum.yaml"), "").unwrap();
        let running = start(options).await.unwrap();
        let client = Client::new(running.data_dir());
        (running, client)
    }

    /// The body of the answer, read by hand: one request does not need a client library.
    async fn get(running: &Running, path: &str) -> String {
        let mut stream = TcpStream::connect(running.api_url().trim_start_matches("http://")).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn relate(client: &Client, address: &str, name: &str) -> Related {
        let request = Relate {
            arguments: vec!["metrics-endpoint".into(), address.into()],
            name: Some(name.into()),
            labels: BTreeMap::from([("site".into(), "a: yes {{".into())]),
            ..Relate::default()
        };
        client.relate(&request).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_related_runs_when_the_command_returns() {
        let dir = TempDir::new().unwrap();
        let (running, client) = started(&dir).await;
        assert!(get(&running, "/-/ready").await.starts_with("HTTP/1.1 200"));
        let related = relate(&client, "127.0.0.1:1", "nodes").await;
        assert_eq!(related.problems, []);
        let targets = get(&running, "/api/v1/targets?state=active").await;
        assert!(targets.contains("http://127.0.0.1:1/metrics") && targets.contains("a: yes {{"), "{targets}");
        assert!(get(&running, "/api/v1/rules").await.contains("nodes_HostHealth_rules"));

        // A certificate that is none keeps its own relation from being scraped, and no other.
        let broken = "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n";
        let jobs = json!([{"job_name": "j", "tls_config": {"ca_file": broken}, "static_configs": [{"targets": ["127.0.0.1:2"]}]}]);
        let bags =
            json!({"application": "broken", "app": {"scrape_jobs": jobs.to_string()}, "units": {"broken/0": {}}});
        let databag = Some(Document { name: "bag.json".into(), text: bags.to_string() });
        let request = Relate { arguments: vec!["metrics-endpoint".into()], databag, ..Relate::default() };
        let related = client.relate(&request).await.unwrap();
        assert_eq!(related.problems.len(), 1, "{:?}", related.problems);
        relate(&client, "127.0.0.1:3", "others").await;
        let targets = get(&running, "/api/v1/targets?state=active").await;
        assert!(
            targets.contains("127.0.0.1:1/") && !targets.contains("127.0.0.1:2/") && targets.contains("127.0.0.1:3/")
        );

        client.remove_relation(&RemoveRelation { arguments: vec!["nodes".into(), "prometheus".into()] }).await.unwrap();
        assert!(!get(&running, "/api/v1/targets?state=active").await.contains("127.0.0.1:1/"));
        assert!(!get(&running, "/api/v1/rules").await.contains("nodes_HostHealth_rules"));
        running.stop().await;
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_in_one_line() {
        let dir = TempDir::new().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let options = Options {
            data_dir: Some(dir.path().join("data")),
            listen: Some(address.clone()),
            config: Some(dir.path().join("relatum.yaml")),
            ..Options::default()
        };
        std::fs::write(dir.path().join("relatum.yaml"), "").unwrap();
        let failure = crate::run(options, crate::external::WorkloadFlags::default()).await.unwrap_err();
        assert!(failure.message.starts_with(&format!("cannot listen on {address}: ")), "{failure}");
        assert_eq!((failure.message.matches("in use").count(), failure.message.lines().count()), (1, 1), "{failure}");
    }

    /// A certificate that signs itself, where the web configuration says.
    fn write_rules(rendered: &Path) {
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::create_dir_all(rendered.join("tls")).unwrap();
        std::fs::write(rendered.join("tls/server.crt"), certified.cert.pem()).unwrap();
        std::fs::write(rendered.join("tls/server.key"), certified.signing_key.serialize_pem()).unwrap();
        let text = "tls_server_config: {cert_file: tls/server.crt, key_file: tls/server.key}\n";
        std::fs::write(rendered.join(WEB_PATH), text).unwrap();
    }

    async fn wiring(dir: &Path) -> (Wiring, std::net::SocketAddr) {
        let listener = listen::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wiring = Wiring {
            rendered: dir.join("rendered"),
            samples: dir.join("tsdb"),
            listener,
            log: LogRing::default(),
            stopping: CancellationToken::new(),
            metrics: Box::new(Vec::new),
            wake: Box::new(|| {}),
            mount: Box::new(|router| router),
        };
        (wiring, address)
    }

    /// What comes back for a request in plain text; empty if the connection is ended without an answer, `None` if nobody takes it.
    async fn plain_answer(address: std::net::SocketAddr) -> Option<String> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut bytes = Vec::new();
        let ended = tokio::time::timeout(Duration::from_millis(300), stream.read_to_end(&mut bytes)).await;
        ended.is_ok().then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_may_come_in_is_as_it_was_until_the_first_pass() {
        for (left, is_answered, is_taken) in
            [("nothing", true, true), ("certificate", false, true), ("half a file", false, false)]
        {
            let dir = TempDir::new().unwrap();
            let rendered = dir.path().join("rendered");
            match left {
                "nothing" => {}
                "certificate" => write_rules(&rendered),
                _ => {
                    std::fs::create_dir_all(&rendered).unwrap();
                    std::fs::write(rendered.join(WEB_PATH), "tls_server_config: {cert").unwrap();
                }
            }
            let (wiring, address) = wiring(dir.path()).await;
            let stopping = wiring.stopping.clone();
            let embedded = Embedded::open(wiring, Durability::default()).unwrap();
            assert_eq!(embedded.engine.web().is_tls(), left == "certificate", "{left}");
            let answer = plain_answer(address).await;
            assert_eq!(answer.is_some(), is_taken, "{left}: {answer:?}");
            let begins_well = answer.unwrap_or_default().starts_with("HTTP/1.1 200");
            assert_eq!(begins_well, is_answered, "{left}");
            // The first pass says otherwise: plain HTTP for everybody.
            let files: Files =
                [MAIN_PATH, ARGUMENTS_PATH].map(|path| (Arc::from(path), PackedText::from(""))).into_iter().collect();
            let flags = Flags { config_file: rendered.join(MAIN_PATH), ..Flags::default() };
            let below = Below { root: &rendered, files: &files };
            let loaded = embedded.engine.check(&below, &flags.config_file).unwrap();
            embedded.engine.commit(embedded.engine.prepare(&below, loaded, flags).unwrap());
            let answer = plain_answer(address).await.unwrap_or_default();
            assert!(answer.starts_with("HTTP/1.1 200"), "{left}: {answer:?}");
            stopping.cancel();
            embedded.close().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_cannot_be_opened_leaves_nobody_listening() {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("tsdb"), "no directory").unwrap();
        let (wiring, address) = wiring(dir.path()).await;
        assert!(Embedded::open(wiring, Durability::default()).is_err());
        let free = async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), free).await.expect("the listener is closed");
    }

    #[test]
    fn a_job_leads_to_its_file() {
        let files: Files = [
            ("prometheus.yml", "scrape_configs:\n- job_name: prometheus\n"),
            ("scrape/a_1.yml", "scrape_configs:\n- metrics_path: /m\n  job_name: juju_a-1\n"),
            ("scrape/a_2.yml", "scrape_configs:\n- job_name: \"juju_a-11\"\n"),
        ]
        .map(|(path, text)| (Arc::from(path), PackedText::from(text)))
        .into_iter()
        .collect();
        for (message, expected) in [
            ("cannot prepare scrape job juju_a-1: cannot read x", Some("scrape/a_1.yml")),
            ("cannot prepare scrape job juju_a-11: cannot read x", Some("scrape/a_2.yml")),
            ("cannot prepare scrape job prometheus: cannot read x", None),
            ("cannot prepare alertmanager 1: cannot read x", None),
        ] {
            assert_eq!(file_of_job(message, &files).as_deref(), expected, "{message}");
        }
    }
}
