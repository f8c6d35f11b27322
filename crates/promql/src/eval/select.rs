//! Selectors: from the samples of series to the values at the steps.

use std::sync::Arc;

use relatum_model::histogram::CounterReset;
use relatum_model::storage::{Hints, SelectError, TimeRange};
use relatum_model::windows::{Glimpse, Shown};
use relatum_model::{HistogramSample, Matcher, NativeHistogram, Samples, Series, is_stale};

use super::enough::Counter;
use super::frames::Frames;
use super::histogram_column::cost;
use super::in_parts::{Made, Plan};
use super::window::{HistogramPoint, Notes};
use super::{Block, Column, Evaluator, HistogramColumn, Row, Steps, When};
use crate::annotation::texts;
use crate::error::QueryError;
use crate::functions::extended;
use crate::histogram::FloatHistogram;
use crate::probe::LookedAt;
use crate::syntax::{Edges, VectorSelector};

/// What of the newest sample becomes the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    Value,
    /// Its time in seconds.
    Time,
    /// Its time in seconds if it is a float, and itself if it is a histogram.
    FloatTime,
    /// When it began to count, in seconds; 0 if that is not known.
    Start,
}

impl Evaluator<'_> {
    /// An instant vector: of each series the newest sample at each step.
    pub(super) fn selector(&mut self, selector: &VectorSelector, steps: Steps) -> Result<Block, QueryError> {
        self.newest_samples(selector, steps, Take::Value)
    }

    /// The newest sample at each step, or its time.
    pub(super) fn newest_samples(
        &mut self,
        selector: &VectorSelector,
        steps: Steps,
        take: Take,
    ) -> Result<Block, QueryError> {
        let when = self.when(selector.at, selector.offset.as_ref())?;
        let is_smoothed = selector.edges == Edges::Smoothed && take == Take::Value;
        if is_smoothed {
            return self.smoothed(selector, when, steps);
        }
        self.newest_of(&selector.all_matchers(), when, steps, take)
    }

    /// As [`Evaluator::newest_samples`], of the series that satisfy `matchers`.
    pub(super) fn newest_of(
        &mut self,
        matchers: &[Matcher],
        when: When,
        steps: Steps,
        take: Take,
    ) -> Result<Block, QueryError> {
        let lookback_ms = self.settings.lookback_ms;
        let range = TimeRange {
            // A sample exactly as old as the lookback is too old.
            min_ms: when.at(steps.start_ms).saturating_sub(lookback_ms).saturating_add(1),
            max_ms: when.at(steps.last_ms()),
        };
        let mut block = Block::default();
        let mut sink = self.sink.take();
        let mut counter = Counter::new(self.enough.take(), steps);
        let windows = when.windows(steps, lookback_ms).filter(|_| steps.count > 1);
        let glimpse = windows.map(|windows| Glimpse { windows, first: false, falls: false });
        let hints = Hints { newest_in: (steps.count == 1).then_some(range), glimpse, ..instant_hints(steps) };
        let make = |_: &mut Frames, shown: &mut Shown, column: &mut Column, looked_at: &mut LookedAt| {
            looked_at.add(newest_column(&shown.samples, steps, when, lookback_ms, take, column));
            if !looked_at.steps().is_empty() {
                column.iter().for_each(|(step, _)| looked_at.steps()[step] += 1);
            }
            Ok(())
        };
        let plan = Plan {
            make: &make,
            loses_name: false,
            drops_name_later: false,
            wants_metrics: false,
            n_steps: steps.count,
        };
        let done = self.with_parts(matchers, range, &hints, |evaluator, parts| match &mut sink {
            Some(sink) => evaluator.fold_parts(parts, &plan, sink, |_, _| {}),
            None => evaluator
                .rows_of_parts(parts, &plan, counter.at_least(), |evaluator, made| {
                    let row = match made {
                        Made::Row { row, .. } => row,
                        Made::Whole(series) => {
                            let series = evaluator.bare(series);
                            let read = series.samples.len();
                            let row = newest_of_both(series, steps, when, lookback_ms, take);
                            evaluator.measuring.meter.count_read(read);
                            evaluator.count_row(&row, steps);
                            row
                        }
                    };
                    if row.slots() > 0 && counter.wants_more() {
                        counter.count(&row);
                        evaluator.budget.charge(row.cost())?;
                        block.rows.push(row);
                    }
                    Ok(counter.wants_more())
                })
                .map(|()| true),
        })?;
        if let Some(is_complete) = done {
            self.sink = sink.filter(|_| is_complete);
            return Ok(block);
        }
        self.each_series(matchers, range, &hints, |evaluator, series| {
            if !counter.wants_more() {
                return Ok(());
            }
            evaluator.budget.charge(steps.count)?;
            let row = if series.samples.histograms.is_empty() {
                let mut floats = Column::default();
                newest_column(&series.samples, steps, when, lookback_ms, take, &mut floats);
                Row::of_floats(series.labels, floats)
            } else {
                newest_of_both(series, steps, when, lookback_ms, take)
            };
            evaluator.budget.release(steps.count);
            evaluator.count_row(&row, steps);
            if row.slots() == 0 {
                return Ok(());
            }
            if let Some(sink) = &mut sink {
                return evaluator.budget.charge(sink.take(&row, false));
            }
            counter.count(&row);
            evaluator.budget.charge(row.cost())?;
            block.rows.push(row);
            Ok(())
        })?;
        self.sink = sink;
        Ok(block)
    }

    /// Counts what the steps looked at to find the values of a row of a selector.
    fn count_row(&self, row: &Row, steps: Steps) {
        let mut looked_at = self.measuring.looked_at(steps.count);
        row.floats.iter().for_each(|(step, _)| looked_at.add_at(step, 1));
        row.histograms.iter().for_each(|(step, histogram)| looked_at.add_at(step, cost(histogram)));
        self.measuring.meter.count(&looked_at);
    }

    /// An instant vector whose values are on the lines between the samples before and behind each moment.
    fn smoothed(&mut self, selector: &VectorSelector, when: When, steps: Steps) -> Result<Block, QueryError> {
        let lookback_ms = self.settings.lookback_ms;
        let range = TimeRange {
            min_ms: when.at(steps.start_ms).saturating_sub(lookback_ms).saturating_add(1),
            max_ms: when.at(steps.last_ms()).saturating_add(lookback_ms),
        };
        let mut block = Block::default();
        self.each_series(&selector.all_matchers(), range, &instant_hints(steps), |evaluator, series| {
            evaluator.budget.charge(steps.count)?;
            let Series { labels, samples } = series;
            let samples = without_stale(samples);
            let mut row = Row::of_floats(labels, Column::default());
            if samples.histograms.is_empty() {
                row.floats = smoothed_column(&samples, steps, when, lookback_ms);
            } else {
                let name = row.labels.metric_name().unwrap_or_default().to_owned();
                let mut notes = Notes::new(&mut evaluator.annotations, &name, selector.span);
                (row.floats, row.histograms) = smoothed_of_both(&samples, steps, when, lookback_ms, &mut notes);
            }
            evaluator.budget.release(steps.count);
            evaluator.count_row(&row, steps);
            evaluator.budget.charge(row.cost())?;
            if row.slots() > 0 {
                block.rows.push(row);
            }
            Ok(())
        })?;
        Ok(block)
    }

    /// The series without the buckets of its histograms if nobody will look at them.
    pub(super) fn bare(&self, mut series: Series) -> Series {
        if self.buckets_asked.are_spare() && !series.samples.histograms.is_empty() {
            series.samples.histograms = counts_and_sums(&series.samples.histograms);
        }
        series
    }

    /// Calls `visit` for every series that satisfies `matchers`, one after the other, with its samples in `range`.
    pub(super) fn each_series(
        &mut self,
        matchers: &[Matcher],
        range: TimeRange,
        hints: &Hints,
        mut visit: impl FnMut(&mut Self, Series) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        if range.is_empty() {
            return Ok(());
        }
        let reader = self.views.covering(range)?;
        let cancel = self.budget.cancel().clone();
        let without_buckets = self.buckets_asked.are_spare();
        let hints = Hints { without_buckets, ..hints.clone() };
        let mut one = |evaluator: &mut Self, series: Result<Series, SelectError>| {
            evaluator.budget.check()?;
            let series = evaluator.bare(series?);
            evaluator.budget.read_series(1)?;
            let n_samples = series.samples.len();
            evaluator.measuring.meter.count_read(n_samples);
            evaluator.budget.charge(n_samples)?;
            visit(evaluator, series)?;
            evaluator.budget.release(n_samples);
            Ok(())
        };
        let mut all = reader.series(matchers, &hints, &cancel)?;
        for series in all.by_ref().take(SERIES_ALONE) {
            one(self, series)?;
        }
        let Some(next) = all.next() else { return Ok(()) };
        // There are many: they are read on a thread of their own while this one calculates. The order stays.
        std::thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::sync_channel(BATCHES_AHEAD);
            scope.spawn(move || {
                loop {
                    let batch: Vec<_> = all.by_ref().take(BATCH_SERIES).collect();
                    if batch.is_empty() || sender.send(batch).is_err() {
                        return;
                    }
                }
            });
            one(self, next)?;
            // An error drops the receiver, which ends the other thread.
            receiver.into_iter().flatten().try_for_each(|series| one(self, series))
        })
    }
}

/// How many series are read before it pays to read the others on a thread of their own.
const SERIES_ALONE: usize = 128;
/// How many series are handed over at once, and how many such batches may wait.
const BATCH_SERIES: usize = 64;
const BATCHES_AHEAD: usize = 4;

/// Puts the newest sample at each step into `column`; returns how many there are.
fn newest_column(
    samples: &Samples,
    steps: Steps,
    when: When,
    lookback_ms: i64,
    take: Take,
    column: &mut Column,
) -> usize {
    let mut found = 0;
    let (times, values) = (&samples.timestamps, &samples.values);
    // How many samples are not behind the moment.
    let mut seen = 0;
    for step in 0..steps.count {
        let at_ms = when.at(steps.at(step));
        while seen < times.len() && times[seen] <= at_ms {
            seen += 1;
        }
        let Some(newest) = seen.checked_sub(1) else { continue };
        if times[newest] > at_ms.saturating_sub(lookback_ms) && !is_stale(values[newest]) {
            let value = match take {
                Take::Value => values[newest],
                Take::Time | Take::FloatTime => times[newest] as f64 / 1000.0,
                Take::Start => samples.starts.get(newest).copied().unwrap_or(0) as f64 / 1000.0,
            };
            column.push(step, value);
            found += 1;
        }
    }
    found
}

/// As [`newest_column`], of a series with histograms.
fn newest_of_both(series: Series, steps: Steps, when: When, lookback_ms: i64, take: Take) -> Row {
    let Series { labels, samples } = series;
    let (times, histograms) = (&samples.timestamps, &samples.histograms);
    let mut row = Row::of_floats(labels, Column::default());
    let (mut floats_seen, mut histograms_seen) = (0, 0);
    // The one that was taken last, as it is often taken again.
    let mut taken: Option<(i64, Arc<FloatHistogram>)> = None;
    for step in 0..steps.count {
        let at_ms = when.at(steps.at(step));
        while floats_seen < times.len() && times[floats_seen] <= at_ms {
            floats_seen += 1;
        }
        while histograms_seen < histograms.len() && histograms[histograms_seen].t_ms <= at_ms {
            histograms_seen += 1;
        }
        let oldest_ms = at_ms.saturating_sub(lookback_ms);
        let float = floats_seen.checked_sub(1).map(|at| times[at]).filter(|t| *t > oldest_ms);
        let histogram = histograms_seen.checked_sub(1).map(|at| &histograms[at]).filter(|h| h.t_ms > oldest_ms);
        match (float, histogram) {
            (None, None) => {}
            (Some(float_ms), histogram) if histogram.is_none_or(|histogram| histogram.t_ms < float_ms) => {
                let newest = floats_seen - 1;
                if is_stale(samples.values[newest]) {
                    continue;
                }
                let value = match take {
                    Take::Value => samples.values[newest],
                    Take::Time | Take::FloatTime => float_ms as f64 / 1000.0,
                    Take::Start => samples.starts.get(newest).copied().unwrap_or(0) as f64 / 1000.0,
                };
                row.floats.push(step, value);
            }
            (_, Some(newest)) if newest.histogram.is_stale() => {}
            (_, Some(newest)) => match take {
                Take::Value | Take::FloatTime => {
                    let histogram = match &taken {
                        Some((t_ms, histogram)) if *t_ms == newest.t_ms => Arc::clone(histogram),
                        _ => Arc::new(newest.histogram.to_float()),
                    };
                    taken = Some((newest.t_ms, Arc::clone(&histogram)));
                    row.histograms.push(step, histogram);
                }
                Take::Time => row.floats.push(step, newest.t_ms as f64 / 1000.0),
                Take::Start => row.floats.push(step, newest.start_ms as f64 / 1000.0),
            },
            (Some(_), None) => unreachable!("a float alone is the newest sample"),
        }
    }
    row
}

fn instant_hints(steps: Steps) -> Hints {
    Hints { step_ms: if steps.is_instant { 0 } else { steps.step_ms }, ..Hints::default() }
}

/// As [`smoothed_column`], of a series with histograms. Where floats are near as well there is no value.
fn smoothed_of_both(
    samples: &Samples,
    steps: Steps,
    when: When,
    lookback_ms: i64,
    notes: &mut Notes<'_>,
) -> (Column, HistogramColumn) {
    let floats = smoothed_column(samples, steps, when, lookback_ms);
    let histograms = histogram_points(samples);
    let (mut found, mut smoothed) = (Column::default(), HistogramColumn::default());
    for step in 0..steps.count {
        let at_ms = when.at(steps.at(step));
        let (from_ms, to_ms) = (at_ms.saturating_sub(lookback_ms), at_ms.saturating_add(lookback_ms));
        let from = histograms.partition_point(|h| h.t_ms <= from_ms);
        let to = histograms.partition_point(|h| h.t_ms <= to_ms);
        let near = &histograms[from..to];
        let has_floats =
            samples.timestamps.partition_point(|t| *t <= from_ms) < samples.timestamps.partition_point(|t| *t <= to_ms);
        if near.is_empty() {
            if let Some(value) = floats.get(step) {
                found.push(step, value);
            }
            continue;
        }
        if has_floats {
            notes.warn(texts::mixed_types(notes.metric));
            continue;
        }
        let before = near.partition_point(|h| h.t_ms < at_ms);
        let histogram = match (before.checked_sub(1).map(|at| &near[at]), near.get(before)) {
            (_, Some(next)) if next.t_ms == at_ms => Some(FloatHistogram::clone(&next.histogram)),
            (Some(previous), Some(next)) => {
                let is_gauge = |point: &HistogramPoint| point.histogram.counter_reset == CounterReset::Gauge;
                let is_counter = !is_gauge(previous) || !is_gauge(next);
                if previous.histogram.has_custom_bounds() == next.histogram.has_custom_bounds() {
                    extended::between(previous, next, at_ms, is_counter, notes)
                } else {
                    notes.warn(texts::mixed_schemas(notes.metric));
                    None
                }
            }
            (Some(previous), None) => {
                // What is known of the sample before it says nothing of the value.
                let mut histogram = FloatHistogram::clone(&previous.histogram);
                histogram.counter_reset = CounterReset::Unknown;
                Some(histogram)
            }
            (None, _) => None,
        };
        if let Some(histogram) = histogram {
            smoothed.push(step, Arc::new(histogram));
        }
    }
    (found, smoothed)
}

/// The histograms without their buckets. As these tell of resets, it is written down where one was and where none was.
fn counts_and_sums(samples: &[HistogramSample]) -> Vec<HistogramSample> {
    let mut previous: Option<FloatHistogram> = None;
    let mut bare = Vec::with_capacity(samples.len());
    for sample in samples {
        let whole = sample.histogram.to_float();
        let mut counter_reset = whole.counter_reset;
        if counter_reset == CounterReset::Unknown
            && !whole.is_stale()
            && let Some(previous) = &previous
        {
            let is_reset = whole.is_reset_since(previous);
            counter_reset = if is_reset { CounterReset::Reset } else { CounterReset::NotReset };
        }
        let FloatHistogram { schema, count, sum, .. } = whole;
        let histogram = FloatHistogram { schema, counter_reset, count, sum, ..FloatHistogram::default() };
        bare.push(HistogramSample { histogram: Arc::new(NativeHistogram::Float(histogram)), ..sample.clone() });
        if !whole.is_stale() {
            previous = Some(whole);
        }
    }
    bare
}

/// The histograms of a series as calculations have them.
pub(super) fn histogram_points(samples: &Samples) -> Vec<HistogramPoint> {
    let mut size_so_far = 0;
    let point = |sample: &HistogramSample| {
        let histogram = Arc::new(sample.histogram.to_float());
        size_so_far += cost(&histogram);
        HistogramPoint { t_ms: sample.t_ms, start_ms: sample.start_ms, histogram, size_so_far }
    };
    samples.histograms.iter().map(point).collect()
}

/// Like [`newest_column`], but on the line between the samples before and behind each moment.
fn smoothed_column(samples: &Samples, steps: Steps, when: When, lookback_ms: i64) -> Column {
    let (times, values) = (&samples.timestamps, &samples.values);
    let mut column = Column::default();
    // How many samples are before the moment.
    let mut before = 0;
    for step in 0..steps.count {
        let at_ms = when.at(steps.at(step));
        while before < times.len() && times[before] < at_ms {
            before += 1;
        }
        let previous = before.checked_sub(1).filter(|at| times[*at] > at_ms.saturating_sub(lookback_ms));
        let next = Some(before).filter(|at| *at < times.len() && times[*at] <= at_ms.saturating_add(lookback_ms));
        let value = match (previous, next) {
            (_, Some(next)) if times[next] == at_ms => values[next],
            (Some(previous), Some(next)) => {
                extended::on_line((times[previous], values[previous]), (times[next], values[next]), at_ms)
            }
            (Some(previous), None) => values[previous],
            (None, _) => continue,
        };
        column.push(step, value);
    }
    column
}

/// Whether there is a staleness marker. Most series have none, so this looks at all without stopping, several at once.
pub(super) fn has_stale(values: &[f64]) -> bool {
    values.iter().fold(false, |found, value| found | is_stale(*value))
}

/// The samples that are no staleness markers: ranges do not see those.
pub(super) fn without_stale(mut samples: Samples) -> Samples {
    if has_stale(&samples.values) {
        let keep: Vec<bool> = samples.values.iter().map(|value| !is_stale(*value)).collect();
        retain(&mut samples.timestamps, &keep);
        retain(&mut samples.starts, &keep);
        retain(&mut samples.values, &keep);
    }
    samples.histograms.retain(|sample| !sample.histogram.is_stale());
    samples
}

/// As [`without_stale`], of floats of which some may not be shown.
pub(super) fn forget_stale(shown: &mut Shown) {
    let Shown { samples, numbers } = shown;
    if !has_stale(&samples.values) {
        return;
    }
    let mut gone = 0;
    for (number, value) in numbers.iter_mut().zip(&samples.values) {
        *number -= gone;
        gone += u32::from(is_stale(*value));
    }
    let keep: Vec<bool> = samples.values.iter().map(|value| !is_stale(*value)).collect();
    retain(numbers, &keep);
    *samples = without_stale(std::mem::take(samples));
}

fn retain<T>(column: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    column.retain(|_| keep.next().copied().unwrap_or(false));
}
