//! Drives the Prometheus beside us: asks what it is, has it read the files, and sees whether it did.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use relatum_config::prometheus::Config;
use relatum_config::rules::RuleFile;
use relatum_model::yaml;
use relatum_server::flags::Flags;
use relatum_server::listen::{self, Front};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::peer::{LastReload, Peer, Trouble};
use super::process::Process;
use super::reload::{Reload, without_password};
use super::{ExternalOptions, listener};
use crate::control::Problem;
use crate::daemon::Wiring;
use crate::dialect::{Dialect, Layout, OLDEST, Version};
use crate::packed::PackedText;
use crate::pipeline::render::MAIN_PATH;
use crate::workload::{Fault, Files, NotRun, Ready, Standing, Workload};

/// How often it is asked how it does, and how often while something is wrong.
const PERIOD: Duration = Duration::from_secs(5);
const PERIOD_IN_TROUBLE: Duration = Duration::from_secs(1);

/// How long after a signal the files may be still unread.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(10);

/// How often that is looked at.
const SIGNAL_PERIOD: Duration = Duration::from_millis(20);

/// Where a Prometheus answers when nobody says.
const URL_DEFAULT: &str = "http://127.0.0.1:9090";

/// The workload.
pub(super) struct External {
    driver: Arc<Driver>,
    http: Mutex<Vec<JoinHandle<()>>>,
}

/// What asks and tells.
struct Driver {
    options: ExternalOptions,
    main: PathBuf,
    runtime: Handle,
    state: Mutex<State>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// What is known of the workload.
#[derive(Debug, Default)]
struct State {
    version: Option<Version>,
    /// Different after it was started again.
    incarnation: Option<String>,
    /// Why it cannot be driven, and what to do.
    trouble: Option<(String, &'static str)>,
    /// What could not be seen when it read the files last.
    doubt: Option<String>,
    /// The files it read last, and found good.
    loaded: Files,
    /// The files it refused last, and what it said: they are not given to it again.
    refused: Option<(Files, Vec<Fault>)>,
    needs_reload: bool,
}

/// Where the workload is reached, for others.
pub(super) fn published_url(options: &ExternalOptions) -> String {
    let asked = match &options.reload {
        Reload::Http(url) => Some(url.clone()),
        Reload::Signal(pid) => Process::find(pid).ok().and_then(|process| process.url()),
    };
    without_password(&options.url.clone().or(asked).unwrap_or_else(|| URL_DEFAULT.to_owned()))
}

impl External {
    /// Begins to ask how it does, and answers HTTP for ourselves.
    pub(super) fn open(wiring: Wiring, options: ExternalOptions) -> External {
        let driver = Arc::new(Driver {
            main: wiring.rendered.join(MAIN_PATH),
            runtime: Handle::current(),
            state: Mutex::default(),
            wake: wiring.wake,
            options,
        });
        let forward = match &driver.options.reload {
            Reload::Http(url) => url.clone(),
            Reload::Signal(_) => published_url(&driver.options),
        };
        let routes = (wiring.mount)(listener::router(wiring.metrics, &forward));
        let serving = listen::serve(
            wiring.listener,
            routes,
            Front::new(Arc::default(), &Flags::default()),
            wiring.stopping.clone().cancelled_owned(),
        );
        let http = vec![tokio::spawn(serving), tokio::spawn(watch(Arc::clone(&driver), wiring.stopping))];
        External { driver, http: Mutex::new(http) }
    }
}

impl Workload for External {
    fn dialect(&self) -> Dialect {
        // The first pass comes before anybody was asked; a workload that is there is asked now.
        let known = crate::lock(&self.driver.state).incarnation.is_some();
        if !known {
            self.driver.runtime.block_on(self.driver.look());
        }
        let version = crate::lock(&self.driver.state).version;
        Dialect { layout: Layout::Inlined, version: Some(version.unwrap_or(OLDEST)) }
    }

    fn check(&self, files: &Files) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (path, text) in files {
            let text = text.read();
            let found = match &**path {
                MAIN_PATH => Config::parse(&text).err(),
                path if path.starts_with("rules/") => RuleFile::parse(&text).err(),
                _ => None,
            };
            let fault =
                |problem: relatum_config::Problem| Fault { path: path.to_string(), message: problem.to_string() };
            faults.extend(found.into_iter().flatten().map(fault));
        }
        faults
    }

    fn prepare<'a>(&'a self, files: &Files) -> Result<Box<dyn Ready + 'a>, Vec<Fault>> {
        struct OnDisk;
        impl Ready for OnDisk {
            fn commit(self: Box<Self>) {}
        }
        match &crate::lock(&self.driver.state).refused {
            Some((refused, faults)) if refused == files => Err(faults.clone()),
            // It reads files, so nothing can be tried before they are there.
            _ => Ok(Box::new(OnDisk)),
        }
    }

    fn reload(&self, files: &Files) -> Result<(), NotRun> {
        let driver = &self.driver;
        let outcome = driver.runtime.block_on(driver.reload(files));
        let mut state = crate::lock(&driver.state);
        match outcome {
            Ok(doubt) => {
                state.settle(None);
                state.doubt = doubt;
                state.needs_reload = false;
                state.loaded.clone_from(files);
                Ok(())
            }
            Err(Failed::Refused(text)) => {
                state.needs_reload = false;
                let faults = driver.faults(&text, files, &state.loaded);
                state.refused = Some((files.clone(), faults.clone()));
                Err(NotRun::Refused(faults))
            }
            Err(Failed::Away(reason, hint)) => {
                state.settle(Some((reason, hint)));
                state.needs_reload = true;
                Err(NotRun::Absent)
            }
        }
    }

    fn restored(&self) {
        // So that it says of itself again that its configuration is good.
        let driver = &self.driver;
        let again = driver.runtime.block_on(async {
            match &driver.options.reload {
                Reload::Http(url) => Peer::new(url).reload().await.map_err(|trouble| trouble.message().to_owned()),
                Reload::Signal(pid) => Process::find(pid).and_then(|process| process.hang_up()),
            }
        });
        if let Err(reason) = again {
            warn!(reason, "the workload does not read the last good files again");
        }
    }

    fn needs_reload(&self) -> bool {
        crate::lock(&self.driver.state).needs_reload
    }

    fn standing(&self) -> Standing {
        let state = crate::lock(&self.driver.state);
        let problem = |(message, hint): &(String, &'static str)| Problem {
            key: Some("workload".to_owned()),
            hint: Some((*hint).to_owned()),
            ..Problem::new(message)
        };
        let unknown = state.version.is_none().then(|| {
            format!("the version of the workload is not known: only what Prometheus {OLDEST} knows is rendered")
        });
        let warnings = state.doubt.iter().cloned().chain(unknown).collect();
        Standing { problems: state.trouble.iter().map(problem).collect(), warnings }
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let tasks = std::mem::take(&mut *crate::lock(&self.http));
            for task in tasks {
                if let Err(error) = task.await {
                    error!(%error, "a part of the agent ended badly");
                }
            }
        })
    }
}

/// Why the files are not in use.
enum Failed {
    /// In the workload's words.
    Refused(String),
    /// What is in the way, and what to do.
    Away(String, &'static str),
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        let hint = match &trouble {
            Trouble::Refused(text) => return Failed::Refused(text.clone()),
            Trouble::Unreachable(_) => "the files are written; it is asked again and again",
            Trouble::NoLifecycle(_) => "start it with --web.enable-lifecycle, or use --reload signal:PID",
            Trouble::Strange(_) => "is it the URL of a Prometheus, as `--reload http:URL` wants it?",
        };
        Failed::Away(trouble.message().to_owned(), hint)
    }
}

fn away(reason: String) -> Failed {
    Failed::Away(reason, "the files are written; it is looked for again and again")
}

impl State {
    /// Notes what is in the way now, and says in the log once that it came or went.
    fn settle(&mut self, trouble: Option<(String, &'static str)>) {
        if self.trouble == trouble {
            return;
        }
        match &trouble {
            Some((reason, _)) => warn!(reason, "the workload cannot be driven"),
            None => info!("the workload can be driven"),
        }
        self.trouble = trouble;
    }
}

impl Driver {
    /// Asks what it is. True if the files have to be rendered or read anew.
    async fn look(&self) -> bool {
        let known = {
            let state = crate::lock(&self.state);
            state.incarnation.clone().zip(state.version)
        };
        let seen = self.ask(known).await;
        let mut state = crate::lock(&self.state);
        match seen {
            Ok((incarnation, version)) => {
                let is_new = state.incarnation.as_ref() != Some(&incarnation) || state.version != Some(version);
                if is_new {
                    info!(%version, "the workload is there");
                    (state.incarnation, state.version) = (Some(incarnation), Some(version));
                    // What reloading found wrong with the one before may be right with this one; reloading finds out.
                    state.needs_reload = true;
                    state.refused = None;
                }
                is_new || state.needs_reload
            }
            Err(Failed::Away(reason, hint)) => {
                state.settle(Some((reason, hint)));
                state.incarnation = None;
                state.needs_reload = true;
                false
            }
            Err(Failed::Refused(_)) => false,
        }
    }

    /// Who it is, and its version; `known` saves a program from being run again for the same answer.
    async fn ask(&self, known: Option<(String, Version)>) -> Result<(String, Version), Failed> {
        let incarnation;
        let version = match &self.options.reload {
            Reload::Http(url) => {
                let peer = Peer::new(url);
                incarnation = peer.incarnation().await?;
                match self.options.version {
                    Some(version) => version,
                    None => peer.version().await?,
                }
            }
            Reload::Signal(pid) => {
                let process = Process::find(pid).map_err(away)?;
                incarnation = process.incarnation();
                match (self.options.version, known) {
                    (Some(version), _) => version,
                    (None, Some((before, version))) if before == incarnation => version,
                    (None, _) => process.version().await.map_err(away)?,
                }
            }
        };
        Ok((incarnation, version))
    }

    /// Has it read the files, which are on disk. Gives what could not be seen of it.
    async fn reload(&self, files: &Files) -> Result<Option<String>, Failed> {
        match &self.options.reload {
            Reload::Http(url) => {
                let peer = Peer::new(url);
                peer.reload().await?;
                self.compare(&peer, files).await
            }
            Reload::Signal(pid) => {
                let process = Process::find(pid).map_err(away)?;
                process.reads(&self.main).map_err(|other| self.other_file(&other))?;
                let url = self.options.url.clone().or_else(|| process.url());
                let before = match url.as_deref().map(Peer::new) {
                    Some(peer) => peer.last_reload().await.map(|before| Some(peer).zip(before)),
                    None => Ok(None),
                };
                process.hang_up().map_err(away)?;
                match before {
                    Ok(Some((peer, before))) => {
                        self.await_reload(&peer, before).await?;
                        self.compare(&peer, files).await
                    }
                    unseen => {
                        let reason = unseen.err().map(|trouble| format!(": {}", trouble.message()));
                        Ok(Some(format!(
                            "nobody can see whether the workload took the files{}; --workload-url says where it answers",
                            reason.unwrap_or_default()
                        )))
                    }
                }
            }
        }
    }

    /// Waits until the process says of itself how reading the files went.
    async fn await_reload(&self, peer: &Peer, before: LastReload) -> Result<(), Failed> {
        let begun = Instant::now();
        loop {
            tokio::time::sleep(SIGNAL_PERIOD).await;
            let now = peer.last_reload().await?.unwrap_or(before);
            let is_over = begun.elapsed() > SIGNAL_PATIENCE;
            match (now.successful, before.successful) {
                (true, _) if now.success_at > before.success_at => return Ok(()),
                (true, _) if is_over => {
                    let reason = format!("{} did not read the files within {SIGNAL_PATIENCE:?}", self.options.reload);
                    return Err(Failed::Away(reason, "is it very busy? its log says more"));
                }
                // It failed before, too, so only time tells this failure from that one.
                (false, was_good) if was_good || is_over => {
                    return Err(Failed::Refused(format!(
                        "{} refuses the files; its log says why",
                        self.options.reload
                    )));
                }
                _ => {}
            }
        }
    }

    /// Whether what it runs is what we rendered: it may read a file of another place.
    async fn compare(&self, peer: &Peer, files: &Files) -> Result<Option<String>, Failed> {
        let running = match peer.config().await {
            Ok(running) => running,
            Err(trouble) => return Ok(Some(format!("what the workload runs cannot be seen: {}", trouble.message()))),
        };
        let ours = files.get(MAIN_PATH).map(PackedText::read).unwrap_or_default();
        if jobs(&running) == jobs(&ours) {
            return Ok(None);
        }
        let other = peer.config_file().await?;
        Err(self.other_file(&other))
    }

    fn other_file(&self, other: &str) -> Failed {
        let ours = self.main.display();
        let reason = if other == self.main.to_string_lossy() {
            format!("the workload runs another {ours} than this one: is it on another host, or in a container?")
        } else {
            format!("the workload reads {other} and not {ours}")
        };
        Failed::Away(
            reason,
            "start it with --config.file as the main file below `rendered` in `relatum status --format json`",
        )
    }

    /// Which files its words are about.
    fn faults(&self, text: &str, files: &Files, loaded: &Files) -> Vec<Fault> {
        let folder = self.main.parent().unwrap_or(&self.main);
        let fault = |path: &str| Fault { path: path.to_owned(), message: text.to_owned() };
        let named =
            |path: &&Arc<str>| &***path != MAIN_PATH && text.contains(&*folder.join(&***path).to_string_lossy());
        let mut paths: Vec<&Arc<str>> = files.keys().filter(named).collect();
        if paths.is_empty() && text.contains("while applying the new configuration") {
            // It could read the main file, and what it did not like of the rest is in its log only: the rules that changed.
            let is_changed = |(path, text): &(&Arc<str>, &PackedText)| {
                path.starts_with("rules/") && loaded.get(*path) != Some(*text)
            };
            paths = files.iter().filter(is_changed).map(|(path, _)| path).collect();
        }
        match paths.as_slice() {
            [] if text.contains(&*self.main.to_string_lossy()) => vec![fault(MAIN_PATH)],
            [] => vec![fault("")],
            paths => paths.iter().map(|path| fault(path)).collect(),
        }
    }
}

/// The names of the jobs, which are enough to know a configuration by; `None` if it is not readable.
fn jobs(text: &str) -> Option<BTreeSet<String>> {
    let config: Value = yaml::from_str(text).ok()?;
    let jobs = config["scrape_configs"].as_array()?;
    Some(jobs.iter().filter_map(|job| Some(job["job_name"].as_str()?.to_owned())).collect())
}

/// Looks at it again and again, and has a pass run when it is there again or another.
async fn watch(driver: Arc<Driver>, stopping: CancellationToken) {
    loop {
        let in_trouble = crate::lock(&driver.state).trouble.is_some();
        let period = if in_trouble { PERIOD_IN_TROUBLE } else { PERIOD };
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
        if driver.look().await {
            (driver.wake)();
        }
    }
}
