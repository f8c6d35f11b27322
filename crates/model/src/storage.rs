//! The seams between the store and those who use it: **select**, **append** and **tail**.
//!
//! `promql`, `transport` and `tsdb` do not know each other; one provides these traits, the others consume them. All calls may
//! block on disk, so callers in asynchronous code make them from a blocking thread.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::exemplar::Exemplar;
use crate::exposition::{MetricDescription, MetricKind};
use crate::histogram::NativeHistogram;
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::sample::{HistogramSample, Sample, Series};
use crate::windows::{Glimpse, Shown};

/// What a reader may see: matchers that are always applied, and the key under which results for this view may be cached.
///
/// There is no other way to read series, names or values, so whoever hands out the scope decides what is visible.
#[derive(Debug, Clone)]
pub struct Scope {
    matchers: Arc<[Matcher]>,
    cache_key: Arc<str>,
}

impl Scope {
    /// A view of everything.
    pub fn all() -> Self {
        Scope { matchers: Arc::from([]), cache_key: Arc::from("") }
    }

    /// A view of the series that satisfy all of `matchers`. The cache key is made from the matchers, so equal views share it.
    pub fn limited(mut matchers: Vec<Matcher>) -> Self {
        matchers.sort_by_key(ToString::to_string);
        let key: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        Scope { cache_key: Arc::from(key.join(",")), matchers: matchers.into() }
    }

    /// The matchers to apply to every selection.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Different for views that may show different series; `""` for the view of everything.
    pub fn cache_key(&self) -> &str {
        &self.cache_key
    }
}

/// A span of time, both ends included, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The first millisecond.
    pub min_ms: i64,
    /// The last millisecond.
    pub max_ms: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { min_ms: i64::MIN, max_ms: i64::MAX };

    /// Whether the range has no millisecond at all.
    pub fn is_empty(self) -> bool {
        self.min_ms > self.max_ms
    }

    /// What both ranges have; empty if that is nothing.
    #[must_use]
    pub fn and(self, other: TimeRange) -> TimeRange {
        TimeRange { min_ms: self.min_ms.max(other.min_ms), max_ms: self.max_ms.min(other.max_ms) }
    }

    /// Whether `t_ms` lies inside.
    #[inline]
    pub fn contains(self, t_ms: i64) -> bool {
        (self.min_ms..=self.max_ms).contains(&t_ms)
    }
}

/// A switch that asks running work to stop. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    switch: Arc<AtomicBool>,
    // When it goes on by itself.
    at: Option<Instant>,
}

impl Cancel {
    /// A switch that is off.
    pub fn new() -> Self {
        Cancel::default()
    }

    /// A switch that is off, and goes on by itself after `time`.
    pub fn after(time: Duration) -> Self {
        Cancel { switch: Arc::default(), at: Instant::now().checked_add(time) }
    }

    /// Asks to stop.
    pub fn cancel(&self) {
        self.switch.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_cancelled(&self) -> bool {
        self.switch.load(Ordering::Relaxed) || self.at.is_some_and(|at| Instant::now() >= at)
    }
}

/// What the caller will do with a selection; a store may use it to read less and must be right without it.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// Stop after this many series; 0 means all.
    pub limit: usize,
    /// The function or aggregation that will see the samples, for instance `rate`; empty for none.
    pub function: String,
    /// The distance of the evaluation steps in milliseconds; 0 for an instant query.
    pub step_ms: i64,
    /// The width of the window in milliseconds; 0 for an instant selector.
    pub range_ms: i64,
    /// Nobody will look at the buckets of native histograms.
    pub without_buckets: bool,
    /// Nobody will look at any sample of a series but its newest in this range, which may be a part of what the reader sees: queries share
    /// readers.
    pub newest_in: Option<TimeRange>,
    /// Nobody will look at more than this of the samples; heeded in [`Parts`] only.
    pub glimpse: Option<Glimpse>,
}

/// The series of a selection, one after the other in the order of their labels.
pub type SeriesSet<'a> = Box<dyn Iterator<Item = Result<Series, SelectError>> + Send + 'a>;

/// Why a selection failed.
#[derive(Debug, Error)]
pub enum SelectError {
    /// The caller asked to stop.
    #[error("query was canceled")]
    Cancelled,
    /// What is on disk cannot be read.
    #[error("cannot read {what}")]
    Read {
        /// The file or series.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// What is on disk is not what was written.
    #[error("cannot decode {what}: {reason}")]
    Damaged {
        /// The file or series.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Something whose series can be selected.
pub trait Select: Send + Sync {
    /// Opens a view of the series that `scope` allows, with samples inside `range`.
    ///
    /// The view is consistent: it shows every commit that finished before the call, and none in part.
    fn open(&self, scope: &Scope, range: TimeRange) -> Result<Box<dyn Reader + '_>, SelectError>;
}

/// A moment in the life of a store, as a view of it names it. Those of one process ascend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

/// An open view; see [`Select::open`].
pub trait Reader: Send + Sync {
    /// The moment that this view shows, for [`Reader::changed_since`] of a later one.
    fn moment(&self) -> Moment {
        Moment::default()
    }

    /// The oldest time of which this view may show something else than a view of the moment `before` did: whatever was written,
    /// deleted or taken in from elsewhere since, of any series; a store may name an earlier time. `i64::MAX` if it shows the same.
    ///
    /// What was computed of older samples alone still holds; what retention took away since is not counted. A store that cannot tell says
    /// `i64::MIN`: anything may be different.
    fn changed_since(&self, before: Moment) -> i64 {
        let _ = before;
        i64::MIN
    }

    /// The series that satisfy all of `matchers` and have a sample in the view's range, sorted by labels.
    fn series<'a>(&'a self, matchers: &[Matcher], hints: &Hints, cancel: &Cancel)
    -> Result<SeriesSet<'a>, SelectError>;

    /// The same series in parts, for several threads; `None` if the store can only go through them one after the other. The
    /// hint `limit` is not looked at.
    fn parts<'a>(
        &'a self,
        matchers: &[Matcher],
        hints: &Hints,
        cancel: &Cancel,
    ) -> Result<Option<Box<dyn Parts + 'a>>, SelectError> {
        let _ = (matchers, hints, cancel);
        Ok(None)
    }

    /// The label sets of those series, sorted, without their samples; not more than the first `limit` of them, unless that is 0.
    fn label_sets(&self, matchers: &[Matcher], limit: usize, cancel: &Cancel) -> Result<Vec<Labels>, SelectError>;

    /// The names of all labels of those series, sorted; not more than the first `limit` of them, unless that is 0.
    fn label_names(&self, matchers: &[Matcher], limit: usize, cancel: &Cancel) -> Result<Vec<String>, SelectError>;

    /// The values the label `name` has in those series, sorted; not more than the first `limit` of them, unless that is 0.
    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Vec<String>, SelectError>;
}

/// The series of a selection in parts; see [`Reader::parts`].
pub trait Parts: Send + Sync {
    /// How many parts there are.
    fn count(&self) -> usize;

    /// Calls `each` for the series of one part, in the order of their labels, until it breaks off. All of them come before those
    /// of the next part. The samples are at least one; they may be taken, and their memory is used again.
    fn visit(
        &self,
        part: usize,
        each: &mut dyn FnMut(&Labels, &mut Shown) -> ControlFlow<()>,
    ) -> Result<(), SelectError>;
}

/// The exemplars of one series, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesExemplars {
    /// What identifies the series.
    pub labels: Labels,
    /// Its exemplars; at least one.
    pub exemplars: Vec<Exemplar>,
}

/// Something that keeps exemplars.
pub trait Exemplars: Send + Sync {
    /// The exemplars inside `range` of the series that `scope` allows and that satisfy all matchers of any of `sets`, sorted by
    /// labels.
    fn exemplars(&self, scope: &Scope, sets: &[Vec<Matcher>], range: TimeRange) -> Vec<SeriesExemplars>;
}

/// A store's own short name for a series, for callers that append to it again and again.
///
/// It may stop being valid at any time; that is why [`Appender::append`] always gets the labels as well. It never stands for another
/// series later, as long as the store is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SeriesRef(pub u64);

impl SeriesRef {
    /// No series: look it up by its labels.
    pub const NONE: SeriesRef = SeriesRef(0);
}

/// A sample of a series that the store named before; see [`Appender::append_known`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnownSample {
    /// Its series.
    pub series: SeriesRef,
    /// When it began to count; 0 if that is not known.
    pub start_ms: i64,
    /// The sample.
    pub sample: Sample,
}

/// Why one sample was not taken. The texts are Prometheus', because senders and dashboards know them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// Older than the newest sample of its series.
    #[error("out of order sample")]
    OutOfOrder,
    /// Another value is stored for the same moment.
    #[error("duplicate sample for timestamp")]
    DuplicateTimestamp,
    /// Older than what the store still takes.
    #[error("out of bounds")]
    TooOld,
    /// Further ahead of the clock than the store allows.
    #[error("out of bounds: timestamp is too far in the future")]
    TooFarInFuture,
    /// The label set is not one of a series.
    #[error("invalid label set: {0}")]
    InvalidLabels(String),
    /// The store keeps floats only.
    #[error("native histogram samples are not stored")]
    NativeHistogram,
}

/// Why one exemplar was not taken. The texts are Prometheus'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ExemplarRefused {
    /// Older than the newest one of its series.
    #[error("out of order exemplar")]
    OutOfOrder,
    /// Its labels are longer than [`crate::exemplar::EXEMPLAR_CHARS_MAX`].
    #[error("label length for exemplar exceeds maximum of 128 UTF-8 characters")]
    LabelsTooLong,
    /// There is no series it could belong to.
    #[error("unknown series for exemplar")]
    NoSeries,
}

/// Why nothing could be written.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The write-ahead log could not be written; the store takes no more writes.
    #[error("cannot write {what}")]
    Write {
        /// The file.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// There is no room on the disk. Nothing of the batch was kept; reading goes on, and so does writing when there is room.
    #[error("cannot write {what}: the disk is full; the store takes samples again when there is room")]
    Full {
        /// The file.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// An earlier write failed, so the store takes no more.
    #[error("cannot append: the store stopped taking writes after: {reason}")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
}

/// Something that takes samples.
pub trait Append: Send + Sync {
    /// Starts a batch. Nothing of it is visible or durable before [`Appender::commit`]; dropping it forgets it.
    fn appender(&self) -> Box<dyn Appender + '_>;
}

/// One batch of samples; see [`Append::appender`].
pub trait Appender: Send {
    /// Adds a sample of the series `labels`. `cached` is what an earlier call returned for it, or [`SeriesRef::NONE`].
    ///
    /// A refused sample leaves the rest of the batch as it is: the caller decides whether to commit or to roll back. A sample
    /// equal to the newest stored one is accepted and changes nothing.
    fn append(&mut self, cached: SeriesRef, labels: &Labels, t_ms: i64, value: f64) -> Result<SeriesRef, Refused>;

    /// Adds samples of series that the store named before, in their order, without a look at labels. Returns how many were taken:
    /// the one behind them is of a series that the store does not know by that name any more, or is refused. It changed nothing, and
    /// whoever knows its labels may try [`Appender::append`], which says what is wrong.
    ///
    /// A store that cannot do without labels takes none.
    fn append_known(&mut self, samples: &[KnownSample]) -> usize {
        let _ = samples;
        0
    }

    /// The labels of the series that `cached` stands for, if it still stands for one. They are the store's own copy, which
    /// [`Appender::append`] knows again without comparing.
    fn labels(&self, cached: SeriesRef) -> Option<Labels> {
        let _ = cached;
        None
    }

    /// As [`Appender::append`], for a sample that began to count at `start_ms`; 0 if that is not known.
    ///
    /// A store that does not keep start timestamps takes the sample without.
    fn append_started(
        &mut self,
        cached: SeriesRef,
        labels: &Labels,
        t_ms: i64,
        start_ms: i64,
        value: f64,
    ) -> Result<SeriesRef, Refused> {
        let _ = start_ms;
        self.append(cached, labels, t_ms, value)
    }

    /// As [`Appender::append_started`], for a native histogram, which may be a staleness marker.
    ///
    /// A store that does not keep histograms refuses them.
    fn append_histogram(
        &mut self,
        cached: SeriesRef,
        labels: &Labels,
        t_ms: i64,
        start_ms: i64,
        histogram: &Arc<NativeHistogram>,
    ) -> Result<SeriesRef, Refused> {
        let _ = (cached, labels, t_ms, start_ms, histogram);
        Err(Refused::NativeHistogram)
    }

    /// Adds an exemplar of the series `labels`, of which the store or this batch has a sample; returns whether it is kept. One
    /// that is there already changes nothing.
    ///
    /// A store that keeps no exemplars passes over them.
    fn append_exemplar(
        &mut self,
        cached: SeriesRef,
        labels: &Labels,
        exemplar: Exemplar,
    ) -> Result<bool, ExemplarRefused> {
        let _ = (cached, labels, exemplar);
        Ok(false)
    }

    /// Says what a metric is: it is known from now on, whatever becomes of the batch.
    ///
    /// A store that does not keep that passes over it.
    fn describe(&mut self, metric: &str, kind: MetricKind, help: &str, unit: &str) {
        let _ = (metric, kind, help, unit);
    }

    /// Makes the batch durable, then visible, as a whole.
    fn commit(self: Box<Self>) -> Result<(), AppendError>;

    /// Forgets the batch.
    fn rollback(self: Box<Self>);
}

/// A place in the stream of committed samples: opaque to all but the store that made it, and good across restarts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Position(pub String);

/// Samples in the order in which they were committed.
#[derive(Debug, Clone, Default)]
pub struct TailBatch {
    /// The floats, each with its series.
    pub samples: Vec<(Labels, Sample)>,
    /// When each of them began to count, 0 if that is not known; empty if it is known of none.
    pub starts_ms: Vec<i64>,
    /// The native histograms, each with its series.
    pub histograms: Vec<(Labels, HistogramSample)>,
    /// The exemplars, each with its series.
    pub exemplars: Vec<(Labels, Exemplar)>,
    /// Where to go on.
    pub next: Position,
}

/// How much a follower has not read yet, about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// In bytes of the log.
    pub bytes: u64,
    /// In samples.
    pub samples: u64,
}

/// Something whose committed samples can be followed.
pub trait Tail: Send + Sync {
    /// The position behind everything that is committed now.
    fn end(&self) -> Position;

    /// Up to `samples_max` samples and exemplars (at least one commit's worth) from `from` on; empty when there is nothing new.
    ///
    /// [`Position::default`] is the oldest sample still kept.
    fn read(&self, from: &Position, samples_max: usize) -> Result<TailBatch, SelectError>;

    /// What is known of the metric family `family`; nothing where nobody says.
    fn description(&self, family: &str) -> Option<MetricDescription> {
        let _ = family;
        None
    }

    /// Calls `each` with all that is known of metric families, in the order of their names.
    fn descriptions(&self, each: &mut dyn FnMut(&str, &MetricDescription)) {
        let _ = each;
    }

    /// How much there is behind `from`; nothing where nobody can tell.
    fn lag(&self, from: &Position) -> Lag {
        let _ = from;
        Lag::default()
    }
}
