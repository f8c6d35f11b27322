//! What is measured while a query runs: how long its parts take, how many samples they look at, and what each node of it gives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::eval::{Cost, Steps};
use crate::syntax::Expr;

/// Of more nodes than this nothing is written down; queries that people read have fewer.
const NODES_MAX: usize = 1000;

/// Takes what is measured. Clones share it; whoever asked looks at it when the query is over, also if that failed.
#[derive(Debug, Clone, Default)]
pub struct Probe {
    measured: Arc<Mutex<QueryStats>>,
    explains: bool,
    counts_steps: bool,
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
    /// The same for each step by its time; empty if nobody asked.
    pub samples_looked_at_by_step: Vec<(i64, u64)>,
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

    /// Counts the samples that each step looks at, too.
    #[must_use]
    pub fn with_steps(self) -> Self {
        Probe { counts_steps: true, ..self }
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
    // What each step of the query looked at; empty if nobody asked.
    by_step: Mutex<Vec<u64>>,
}

/// Samples that were looked at: in all, and at each step if that is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct LookedAt {
    all: u64,
    by_step: Vec<u64>,
}

impl LookedAt {
    /// Counts samples, of which [`LookedAt::steps`] takes how many each step looked at.
    #[inline]
    pub(crate) fn add(&mut self, samples: usize) {
        self.all += samples as u64;
    }

    /// The counters of the steps; empty if nobody asks.
    #[inline]
    pub(crate) fn steps(&mut self) -> &mut [u64] {
        &mut self.by_step
    }

    /// Counts samples that one step looked at.
    #[inline]
    pub(crate) fn add_at(&mut self, step: usize, samples: usize) {
        self.add(samples);
        if let Some(at_step) = self.by_step.get_mut(step) {
            *at_step += samples as u64;
        }
    }

    /// What is here and was not there `before`.
    fn since(mut self, before: &LookedAt) -> LookedAt {
        self.all -= before.all;
        self.by_step.iter_mut().zip(&before.by_step).for_each(|(now, before)| *now -= before);
        self
    }
}

impl Meter {
    /// Counts samples that were read.
    pub(crate) fn count_read(&self, samples: usize) {
        self.read.fetch_add(samples as u64, Ordering::Relaxed);
    }

    /// Counts samples that were looked at.
    pub(crate) fn count(&self, looked_at: &LookedAt) {
        self.looked_at.fetch_add(looked_at.all, Ordering::Relaxed);
        if !looked_at.by_step.is_empty() {
            let mut by_step = self.by_step();
            by_step.iter_mut().zip(&looked_at.by_step).for_each(|(all, more)| *all += more);
        }
    }

    /// The samples that were looked at so far.
    fn looked_at(&self) -> LookedAt {
        LookedAt { all: self.looked_at.load(Ordering::Relaxed), by_step: self.by_step().clone() }
    }

    /// Forgets what was looked at since it was so much.
    fn set_back(&self, looked_at: LookedAt) {
        self.looked_at.store(looked_at.all, Ordering::Relaxed);
        *self.by_step() = looked_at.by_step;
    }

    fn by_step(&self) -> MutexGuard<'_, Vec<u64>> {
        self.by_step.lock().unwrap_or_else(PoisonError::into_inner)
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
    // The steps of the query if each of them counts, and is not inside of a subquery now.
    steps: Option<Steps>,
    is_inside: bool,
}

/// What was looked at before something was evaluated.
pub(crate) struct Before {
    looked_at: LookedAt,
    is_inside: bool,
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
        (self.meter, self.depth, self.is_inside) = Default::default();
        self.begin_steps(self.steps);
    }

    /// Says at which steps the query is evaluated.
    pub(crate) fn begin_steps(&mut self, steps: impl Into<Option<Steps>>) {
        let is_asked = self.probe.as_ref().is_some_and(|probe| probe.counts_steps);
        self.steps = steps.into().filter(|_| is_asked);
        *self.meter.by_step() = self.steps.map_or_else(Vec::new, |steps| vec![0; steps.count]);
    }

    /// A counter for what is looked at now, at so many steps.
    pub(crate) fn looked_at(&self, n_steps: usize) -> LookedAt {
        let is_asked = self.steps.is_some() && !self.is_inside;
        LookedAt { all: 0, by_step: if is_asked { vec![0; n_steps] } else { Vec::new() } }
    }

    /// Remembers what was looked at so far.
    pub(crate) fn before(&self) -> Before {
        Before { looked_at: self.meter.looked_at(), is_inside: self.is_inside }
    }

    /// As [`Measuring::before`], for a subquery, whose steps are not those of the query.
    pub(crate) fn before_subquery(&mut self) -> Before {
        let before = self.before();
        self.is_inside = true;
        before
    }

    /// What was looked at since `before`.
    pub(crate) fn since(&self, before: &Before) -> LookedAt {
        self.meter.looked_at().since(&before.looked_at)
    }

    /// Takes back what was looked at in a subquery: its samples are those that the windows over its values see. Returns how much that was.
    pub(crate) fn end_subquery(&mut self, before: Before) -> usize {
        let looked_at = self.since(&before).all;
        self.is_inside = before.is_inside;
        self.meter.set_back(before.looked_at);
        looked_at as usize
    }

    /// Counts what was looked at since `before` at the first step for each of the others, too, where it is not looked at again.
    pub(crate) fn repeat_since(&self, before: &Before, n_steps: usize) {
        let once = self.since(before).all;
        let mut again = self.looked_at(n_steps);
        again.all = once.saturating_mul(n_steps.saturating_sub(1) as u64);
        again.by_step.iter_mut().skip(1).for_each(|at_step| *at_step = once);
        self.meter.count(&again);
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
        let Meter { looked_at, read, .. } = &*self.meter;
        let by_step = self.meter.by_step();
        self.set(|stats| {
            let steps = self.steps.iter().flat_map(|steps| (0..steps.count).map(|step| steps.at(step)));
            stats.samples_looked_at_by_step = steps.zip(by_step.iter().copied()).collect();
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
