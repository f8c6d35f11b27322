//! `--enable-feature=auto-reload-config`: looks at the configuration files now and then and reloads when one has changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tracing::{error, info};

use crate::Engine;
use crate::files::{DiskFiles, Files};

/// Prometheus looks no more often.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

impl Engine {
    /// Reloads whenever a file of the configuration has changed, while the flags ask for that. For ever.
    ///
    /// A configuration that is refused is tried again when it changes again.
    pub async fn reload_when_changed(self: Arc<Self>) {
        let mut known: Option<Stamp> = None;
        loop {
            let live = self.live();
            if live.flags.has_feature("auto-reload-config") {
                let engine = Arc::clone(&self);
                let seen = tokio::task::spawn_blocking(move || engine.stamp(&DiskFiles)).await.ok();
                if known.is_some() && seen.is_some() && known != seen {
                    let engine = Arc::clone(&self);
                    match tokio::task::spawn_blocking(move || engine.reload()).await {
                        Ok(Ok(())) => info!("the configuration had changed and was reloaded"),
                        Ok(Err(error)) => error!(%error, "the configuration was not reloaded; the last good one stays"),
                        Err(_) => error!("the reload ended unexpectedly; the last good configuration stays"),
                    }
                }
                known = seen.or(known);
            }
            tokio::time::sleep(live.flags.auto_reload_interval.max(INTERVAL_MIN)).await;
        }
    }

    /// What all files of the configuration are now, as far as they can be read.
    fn stamp(&self, files: &dyn Files) -> Stamp {
        let live = self.live();
        let mut paths = BTreeSet::from([live.flags.config_file.clone()]);
        // What the main file names now, should it have changed, is seen when it was loaded.
        for pattern in live.config.scrape_config_files.iter().chain(&live.config.rule_files) {
            paths.extend(files.matching(Path::new(pattern)).unwrap_or_default());
        }
        let digest = |path: &PathBuf| files.read(path).ok().map(|text| Sha256::digest(text.as_bytes()).into());
        Stamp(paths.into_iter().map(|path| (digest(&path), path)).collect())
    }
}

/// Each file with the digest of its text; none if it cannot be read.
#[derive(Debug, PartialEq, Eq)]
struct Stamp(Vec<(Option<[u8; 32]>, PathBuf)>);
