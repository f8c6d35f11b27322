//! What is measured while a query runs: how long its parts take, how many samples they look at, and what each node of it gives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::eval::Cost;
use crate::syntax::Expr;

/// Of more nodes than this nothing is written down; queries that people read have fewer.
const NODES_MAX: usize = 1000;

/// Takes what is measured. Clones share it; whoever asked looks at it when the query is over, also if that failed.
#[derive(Debug, Clone, Default)]
pub struct Probe {
    measured: Arc<Mutex<QueryStats>>,
    explains: bool,
}

/// What a query took.
#[derive(Debug, Clone, Default)]
pub struct QueryStats {
    /// How long it took to read the text.
    pub preparation: Duration,
    /// How long it took to evaluate it.
    pub evaluation: Duration,
    /// How long it took to sort the result.
    pub sorting: Duration,
    /// The samples that the steps looked at; one that lies in the windows of several steps counts for each.
    pub samples_looked_at: u64,
    /// The samples that were read.
    pub samples_read: u64,
    /// The most samples that were held at once.
    pub samples_peak: usize,
    /// About how many bytes of memory it took at most.
    pub bytes_peak: usize,
    /// The nodes of the query in the order in which their evaluation began; none if nobody asked.
    pub nodes: Vec<Node>,
}

/// The evaluation of one node of a query.
#[derive(Debug, Clone)]
pub struct Node {
    /// How many nodes it is inside of.
    pub depth: usize,
    /// The node as text.
    pub expr: String,
    /// How long it took, all nodes inside included.
    pub took: Duration,
    /// How many series it gave; `None` for a number or a text, and where the evaluation failed.
    pub series: Option<usize>,
    /// The samples that it and the nodes inside read.
    pub samples_read: u64,
    /// Whether nothing was evaluated, because the query has the same expression elsewhere and its value was at hand.
    pub is_shared: bool,
}

impl Probe {
    /// Measures the query as a whole.
    pub fn new() -> Self {
        Probe::default()
    }

    /// Measures every node, too.
    pub fn explaining() -> Self {
        Probe { explains: true, ..Probe::default() }
    }

    /// What was measured so far.
    pub fn stats(&self) -> QueryStats {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn nodes(&self) -> usize {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).nodes.len()
    }

    fn change(&self, change: impl FnOnce(&mut QueryStats)) {
        change(&mut self.measured.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The counters of one evaluation, which all its threads share.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    looked_at: AtomicU64,
    read: AtomicU64,
}

impl Meter {
    /// Counts samples.
    pub(crate) fn count(&self, read: usize, looked_at: usize) {
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        self.looked_at.fetch_add(looked_at as u64, Ordering::Relaxed);
    }

    /// The samples that the steps looked at so far.
    pub(crate) fn looked_at(&self) -> u64 {
        self.looked_at.load(Ordering::Relaxed)
    }

    /// Counts samples that were looked at before and whose result is used again: they count for each use.
    pub(crate) fn count_looked_at(&self, samples: u64) {
        self.looked_at.fetch_add(samples, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

/// The measurements of one evaluation.
#[derive(Debug, Default)]
pub(crate) struct Measuring {
    probe: Option<Probe>,
    pub(crate) meter: Arc<Meter>,
    depth: usize,
    // How many nodes of other evaluations the probe had before.
    nodes_before: usize,
}

/// A node whose evaluation began.
pub(crate) struct Begun {
    at: usize,
    start: Instant,
    read_before: u64,
}

impl Measuring {
    pub(crate) fn new(probe: Option<Probe>) -> Self {
        let nodes_before = probe.as_ref().map_or(0, |probe| probe.nodes());
        Measuring { probe, nodes_before, ..Measuring::default() }
    }

    /// Forgets what was measured of the evaluation, which begins anew.
    pub(crate) fn start_again(&mut self) {
        let nodes_before = self.nodes_before;
        self.set(|stats| stats.nodes.truncate(nodes_before));
        (self.meter, self.depth) = Default::default();
    }

    /// Says that the evaluation of `expr` begins; [`Measuring::end`] is to follow.
    pub(crate) fn begin(&mut self, expr: &Expr) -> Option<Begun> {
        self.begin_node(expr, false)
    }

    /// As [`Measuring::begin`], where a value is at hand.
    pub(crate) fn begin_shared(&mut self, expr: &Expr) -> Option<Begun> {
        self.begin_node(expr, true)
    }

    fn begin_node(&mut self, expr: &Expr, is_shared: bool) -> Option<Begun> {
        let probe = self.probe.as_ref().filter(|probe| probe.explains)?;
        // A pair of parentheses does nothing of its own.
        if matches!(expr, Expr::Paren(_)) {
            return None;
        }
        let mut at = None;
        let depth = self.depth;
        probe.change(|stats| {
            if stats.nodes.len() < NODES_MAX {
                at = Some(stats.nodes.len());
                let (expr, took) = (expr.to_string(), Duration::ZERO);
                stats.nodes.push(Node { depth, expr, took, series: None, samples_read: 0, is_shared });
            }
        });
        self.depth += 1;
        Some(Begun { at: at.unwrap_or(NODES_MAX), start: Instant::now(), read_before: self.meter.read() })
    }

    /// Says what the evaluation of a node gave.
    pub(crate) fn end(&mut self, begun: Option<Begun>, series: Option<usize>) {
        let (Some(probe), Some(begun)) = (&self.probe, begun) else { return };
        self.depth -= 1;
        let read = self.meter.read() - begun.read_before;
        probe.change(|stats| {
            if let Some(node) = stats.nodes.get_mut(begun.at) {
                (node.took, node.series, node.samples_read) = (begun.start.elapsed(), series, read);
            }
        });
    }

    /// Says how long the text took to be read.
    pub(crate) fn prepared(&self, took: Duration) {
        self.set(|stats| stats.preparation = took);
    }

    /// Says how long the whole took, and the sorting of the result.
    pub(crate) fn finish(&self, evaluation: Duration, sorting: Duration, peak: Cost) {
        let Meter { looked_at, read } = &*self.meter;
        self.set(|stats| {
            (stats.evaluation, stats.sorting) = (evaluation, sorting);
            (stats.samples_peak, stats.bytes_peak) = (peak.samples, peak.bytes);
            stats.samples_looked_at = looked_at.load(Ordering::Relaxed);
            stats.samples_read = read.load(Ordering::Relaxed);
        });
    }

    fn set(&self, change: impl FnOnce(&mut QueryStats)) {
        if let Some(probe) = &self.probe {
            probe.change(change);
        }
    }
}
