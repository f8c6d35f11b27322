//! The store as others see it, and its background work.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use relatum_model::Matcher;
use relatum_model::exposition::{MetricDescription, MetricFamily, MetricKind};
use relatum_model::storage::{
    Append, AppendError, Appender, Exemplars, Lag, Position, Reader, Scope, Select, SelectError, SeriesExemplars, Tail,
    TailBatch, TimeRange,
};
use tracing::{error, info, warn};

use crate::batch::Batch;
use crate::core::Core;
use crate::error::OpenError;
use crate::metrics;
use crate::options::Options;
use crate::repair::Repair;
use crate::replay::Recovery;
use crate::stats::Stats;
use crate::view::View;

/// A store of samples in one directory, for one process at a time.
///
/// All calls may come from any thread. Dropping it closes it.
#[derive(Debug)]
pub struct Store {
    core: Arc<Core>,
    workers: Mutex<Vec<Worker>>,
}

/// A background thread and the channel whose end tells it to stop.
#[derive(Debug)]
struct Worker {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Store {
    /// Opens the store in `dir`, which is made if it is not there, and reads back what it holds.
    ///
    /// Damage in the log does not fail the opening: what is whole is kept, and [`Store::opened`] says what was not.
    pub fn open(dir: &Path, options: Options) -> Result<Store, OpenError> {
        let core = Arc::new(Core::open(dir, options)?);
        info!(series = core.head().index().len(), samples = core.recovery().samples, took = ?core.recovery().took, "opened the store");
        let mut workers = Vec::new();
        if let Some(interval) = core.options().sync_interval {
            workers.push(work(&core, "tsdb-sync", interval, |core| {
                if !core.is_poisoned()
                    && let Err(reason) = core.sync()
                {
                    error!(reason = &reason as &dyn std::error::Error, "cannot make the log durable");
                }
            })?);
        }
        if let Some(interval) = core.options().maintenance_interval {
            workers.push(work(&core, "tsdb-maintain", interval, |core| {
                if let Err(reason) = core.maintain() {
                    warn!(reason = &reason as &dyn std::error::Error, "cannot shorten the log");
                }
            })?);
        }
        Ok(Store { core, workers: Mutex::new(workers) })
    }

    /// As [`Select::open`] for somebody without time: a reading is cancelled where something has to be made ready first that takes the longer
    /// the more series there are, as checking a block that nobody read yet, or putting new series in order.
    pub fn open_at_hand(&self, scope: &Scope, range: TimeRange) -> Box<dyn Reader + '_> {
        Box::new(View::open(&self.core, scope, range, true))
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// What opening found.
    pub fn opened(&self) -> &Recovery {
        self.core.recovery()
    }

    /// How the store stands.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// How many chunks are in memory. Looks at every series.
    pub fn head_chunks(&self) -> usize {
        self.core.head().all().iter().map(|series| series.state().chunks()).sum()
    }

    /// The store's own metrics, under the names that dashboards for Prometheus expect where there is one.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        metrics::families(&self.core.stats(), self.core.recovery())
    }

    /// Keeps samples for this long from now on; zero keeps all. What is older goes with the next maintenance.
    pub fn set_retention(&self, retention: Duration) {
        self.core.set_retention(retention);
    }

    /// Lets blocks and log take so many bytes from now on; zero for any number. The oldest blocks go with the next maintenance.
    pub fn set_retention_bytes(&self, bytes: u64) {
        self.core.set_retention_bytes(bytes);
    }

    /// Takes samples this far behind the newest of their series from now on; zero takes none.
    pub fn set_out_of_order_window(&self, window: Duration) {
        self.core.set_window(window);
    }

    /// Keeps up to so many exemplars from now on; those that came first go.
    pub fn set_exemplars_max(&self, max: usize) {
        self.core.exemplars.set_max(max);
    }

    /// Remembers what somebody says of a metric. It is on disk with the next [`Store::maintain`] or [`Store::close`].
    pub fn describe(&self, metric: &str, kind: MetricKind, help: &str, unit: &str) {
        self.core.metadata.describe(metric, kind, help, unit);
    }

    /// Calls `each` with what was said last of each metric, in the order of their names.
    pub fn described(&self, each: impl FnMut(&str, &MetricDescription)) {
        self.core.metadata.visit(each);
    }

    /// Makes everything that was committed durable now.
    pub fn sync(&self) -> Result<(), AppendError> {
        self.core.sync()
    }

    /// Applies the retention and shortens the log when most of it has been forgotten. The background thread does the same.
    pub fn maintain(&self) -> Result<(), AppendError> {
        self.core.maintain()
    }

    /// Moves everything committed so far into blocks. [`Store::maintain`] does that with what is old enough.
    pub fn cut(&self) -> Result<(), AppendError> {
        self.core.cut_all()
    }

    /// Merges small blocks, as far as that is due. [`Store::maintain`] does the same.
    pub fn compact(&self) -> Result<(), AppendError> {
        self.core.compact()
    }

    /// Deletes the samples inside `range` of all series that satisfy all of `matchers`, durably.
    ///
    /// They take room on disk until their blocks are merged, or until [`Store::clean_deleted`].
    pub fn delete(&self, matchers: &[Matcher], range: TimeRange) -> Result<(), AppendError> {
        self.core.delete(matchers, range)
    }

    /// Gives back the room that deleted samples take.
    pub fn clean_deleted(&self) -> Result<(), AppendError> {
        self.core.clean_deleted()
    }

    /// Writes what is damaged anew without the damage: blocks of which something cannot be read, which stay beside the store under
    /// another name, and the log if opening found damage in it. What can be read of blocks that could not be opened and were set
    /// aside is brought back; those of which nothing can are told each time.
    pub fn repair(&self) -> Result<Vec<Repair>, AppendError> {
        let of_log =
            |dropped: &crate::Dropped| !dropped.file.ends_with(".block") && !dropped.file.starts_with("blocks/");
        self.core.repair(self.opened().dropped.iter().any(of_log))
    }

    /// Copies everything committed so far into `dir`, which can be opened as a store of its own.
    pub fn snapshot(&self, dir: &Path) -> Result<(), AppendError> {
        self.core.snapshot(dir)
    }

    /// Rewrites the log: what lives goes into one new file, the rest is removed. [`Store::maintain`] decides when that pays.
    pub fn checkpoint(&self) -> Result<(), AppendError> {
        self.core.checkpoint()
    }

    /// Writes an image of the head, with which a restart has less of the log to read. [`Store::maintain`] and [`Store::close`]
    /// decide when that pays.
    pub fn write_image(&self) -> Result<(), AppendError> {
        self.core.write_image()
    }

    /// Stops the background work and makes everything durable. Later appends are refused; reading goes on.
    pub fn close(&self) -> Result<(), AppendError> {
        self.core.begin_closing();
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        for Worker { stop, thread } in workers {
            drop(stop);
            if thread.join().is_err() {
                error!("a background thread of the store panicked");
            }
        }
        self.core.close()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(reason) = self.close() {
            error!(reason = &reason as &dyn std::error::Error, "cannot close the store");
        }
    }
}

fn work(
    core: &Arc<Core>,
    name: &str,
    interval: Duration,
    step: impl Fn(&Core) + Send + 'static,
) -> Result<Worker, OpenError> {
    let (stop, stopped) = channel::<()>();
    let core = Arc::clone(core);
    let run = move || {
        while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            step(&core);
        }
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map(|thread| Worker { stop, thread }).map_err(|source| OpenError::Thread { source })
}

impl Select for Store {
    fn open(&self, scope: &Scope, range: TimeRange) -> Result<Box<dyn Reader + '_>, SelectError> {
        Ok(Box::new(View::open(&self.core, scope, range, false)))
    }
}

impl Exemplars for Store {
    fn exemplars(&self, scope: &Scope, sets: &[Vec<Matcher>], range: TimeRange) -> Vec<SeriesExemplars> {
        self.core.exemplars.select(scope, sets, range)
    }
}

impl Append for Store {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Batch::new(&self.core))
    }
}

impl Tail for Store {
    fn end(&self) -> Position {
        self.core.tail_end()
    }

    fn read(&self, from: &Position, samples_max: usize) -> Result<TailBatch, SelectError> {
        self.core.tail_read(from, samples_max)
    }

    fn description(&self, family: &str) -> Option<MetricDescription> {
        self.core.metadata.of(family)
    }

    fn descriptions(&self, each: &mut dyn FnMut(&str, &MetricDescription)) {
        self.described(each);
    }

    fn lag(&self, from: &Position) -> Lag {
        self.core.tail_lag(from)
    }
}
