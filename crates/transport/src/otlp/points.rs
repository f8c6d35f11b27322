//! Points as samples, one batch for one request.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use relatum_config::prometheus::OtlpConfig;
use relatum_model::exemplar::{EXEMPLAR_CHARS_MAX, Exemplar};
use relatum_model::exposition::MetricKind;
use relatum_model::histogram::{Buckets, CUSTOM_SCHEMA, CounterReset, SCHEMA_MAX, SCHEMA_MIN, Span};
use relatum_model::otlp::{
    Attributes, Data, Example, ExplicitHistogram, ExponentialBuckets, ExponentialHistogram, Metric, Point,
    ResourceMetrics, Summary, Temporality,
};
use relatum_model::storage::{Appender, SeriesRef};
use relatum_model::text::format_value_plain;
use relatum_model::{Histogram, Labels, LabelsBuilder, NativeHistogram, stale_nan};
use tracing::debug;

use super::delta::{NotAdded, Streams, Sum, Sums};
use super::labels::{ResourceLabels, of_attributes, of_point, of_target, scope_labels};
use super::names::{Kind, Names, unit_name};
use super::{Deltas, OtlpOptions, OtlpReceiveError};

/// How far about zero the zero bucket reaches, as Prometheus has it.
const ZERO_THRESHOLD: f64 = 1e-128;

/// Empty buckets up to this many are cheaper than another span.
const GAP_MAX: i64 = 2;

/// How many samples `target_info` gets for one request at most: for a day's worth of points that come at once.
const TARGET_INFO_MAX: u64 = 1_000;

/// What of one request is on its way into the store.
pub(super) struct Batch<'s> {
    pub(super) appender: Box<dyn Appender + 's>,
    pub(super) samples: usize,
    pub(super) exemplars: usize,
    config: &'s OtlpConfig,
    options: OtlpOptions,
    names: Names,
    sums: &'s Sums,
    now: Instant,
    seen_targets: HashSet<(Labels, i64)>,
}

/// Where a metric stands.
struct Place<'p> {
    resource: &'p ResourceLabels,
    scope: &'p [(String, String)],
    /// The name of the metric, and what its series have because of its type and unit.
    name: String,
    typed: Vec<(&'static str, String)>,
}

/// When a sample is, and since when it counts.
#[derive(Clone, Copy)]
struct Moment {
    t_ms: i64,
    start_ms: i64,
}

type Done = Result<(), OtlpReceiveError>;

impl<'s> Batch<'s> {
    pub(super) fn new(
        appender: Box<dyn Appender + 's>,
        config: &'s OtlpConfig,
        options: OtlpOptions,
        sums: &'s Sums,
    ) -> Self {
        let names = Names::of(config);
        let now = Instant::now();
        Batch { appender, samples: 0, exemplars: 0, config, options, names, sums, now, seen_targets: HashSet::new() }
    }

    /// Adds all metrics of a resource, and what is known of it.
    pub(super) fn resource(&mut self, resource: &ResourceMetrics) -> Done {
        let (config, names) = (self.config, self.names);
        let labels = ResourceLabels::of(resource, config, names).map_err(OtlpReceiveError::Metric)?;
        let mut span = None;
        for scope in &resource.scopes {
            let scope_labels = scope_labels(scope, config, names).map_err(OtlpReceiveError::Metric)?;
            for metric in &scope.metrics {
                self.metric(metric, &labels, &scope_labels)?;
                for time_ns in times(&metric.data) {
                    let (min, max) = span.unwrap_or((time_ns, time_ns));
                    span = Some((min.min(time_ns), max.max(time_ns)));
                }
            }
        }
        let Some((first_ns, last_ns)) = span else { return Ok(()) };
        let target = of_target(resource, &labels, config, names).map_err(OtlpReceiveError::Metric)?;
        let Some(target) = target else { return Ok(()) };
        // Often enough that a query at any moment between finds one.
        let step_ns = u64::try_from(self.options.lookback.as_nanos() / 2).unwrap_or(u64::MAX);
        let step_ns = step_ns.max((last_ns - first_ns) / TARGET_INFO_MAX).max(1_000_000);
        let mut at_ns = first_ns;
        while at_ns < last_ns {
            self.target_info(&target, at_ns)?;
            at_ns = at_ns.saturating_add(step_ns);
        }
        self.target_info(&target, last_ns)
    }

    fn target_info(&mut self, labels: &Labels, at_ns: u64) -> Done {
        let t_ms = ms(at_ns);
        if self.seen_targets.insert((labels.clone(), t_ms)) {
            self.float(labels, Moment { t_ms, start_ms: 0 }, 1.0)?;
        }
        Ok(())
    }

    fn metric(&mut self, metric: &Metric, resource: &ResourceLabels, scope: &[(String, String)]) -> Done {
        let refused = |text: String| Err(OtlpReceiveError::Metric(text));
        let (kind, measured) = match &metric.data {
            Data::None => return refused(format!("metric {:?} has no data of a known kind", metric.name)),
            Data::Gauge(_) => (Kind::Gauge, MetricKind::Gauge),
            Data::Sum { is_monotonic: true, .. } => (Kind::Counter, MetricKind::Counter),
            Data::Sum { .. } => (Kind::Other, MetricKind::Gauge),
            Data::Histogram { .. } | Data::Exponential { .. } => (Kind::Other, MetricKind::Histogram),
            Data::Summary(_) => (Kind::Other, MetricKind::Summary),
        };
        let name = self.names.metric(&metric.name, &metric.unit, kind).map_err(OtlpReceiveError::Metric)?;
        let mut typed = Vec::new();
        if self.options.type_and_unit_labels {
            typed.push(("__type__", measured.as_str().to_owned()));
            typed.push(("__unit__", unit_name(&metric.unit)));
        }
        self.appender.describe(&name, measured, &metric.description, &unit_name(&metric.unit));
        let place = Place { resource, scope, name, typed };
        match &metric.data {
            Data::None => Ok(()),
            Data::Gauge(points) => points.iter().try_for_each(|point| self.number(&place, point)),
            Data::Sum { points, temporality, .. } => {
                let sums = &self.sums.numbers;
                self.each(&place, metric, points, *temporality, sums, |batch, point, _| batch.number(&place, point))
            }
            Data::Histogram { points, temporality } => {
                let sums = &self.sums.explicit;
                self.each(&place, metric, points, *temporality, sums, |batch, point, is_delta| {
                    if batch.config.convert_histograms_to_nhcb {
                        batch.custom(&place, point, is_delta)
                    } else {
                        batch.classic(&place, point)
                    }
                })
            }
            Data::Exponential { points, temporality } => {
                let sums = &self.sums.exponential;
                self.each(&place, metric, points, *temporality, sums, |batch, point, is_delta| {
                    batch.exponential(&place, metric, point, is_delta)
                })
            }
            Data::Summary(points) => points.iter().try_for_each(|point| self.summary(&place, point)),
        }
    }

    /// Adds points that may count since the point before; `add` is told whether they still do.
    fn each<T: Sum>(
        &mut self,
        place: &Place<'_>,
        metric: &Metric,
        points: &[Point<T>],
        temporality: Temporality,
        sums: &Streams<T>,
        mut add: impl FnMut(&mut Self, &Point<T>, bool) -> Done,
    ) -> Done {
        match (temporality, self.options.deltas) {
            (Temporality::Cumulative, _) => points.iter().try_for_each(|point| add(self, point, false)),
            (Temporality::Delta, Deltas::Keep) => points.iter().try_for_each(|point| add(self, point, true)),
            (Temporality::Delta, Deltas::Sum) => {
                for point in points {
                    let labels = self.builder(place, point)?;
                    let mut summed = point.clone();
                    match sums.add(&self.named(labels, &place.name, None), &mut summed, self.now) {
                        Ok(()) => add(self, &summed, false)?,
                        // It is in the sum already, or its stream began anew.
                        Err(NotAdded::Old) => {}
                        Err(NotAdded::TooMany) => {
                            return Err(OtlpReceiveError::Metric(
                                "too many streams of deltas; no more can be summed up".to_owned(),
                            ));
                        }
                    }
                }
                Ok(())
            }
            _ => {
                let text = format!("invalid temporality and type combination for metric {:?}", metric.name);
                Err(OtlpReceiveError::Metric(text))
            }
        }
    }

    fn builder<T>(&self, place: &Place<'_>, point: &Point<T>) -> Result<LabelsBuilder, OtlpReceiveError> {
        let mut builder =
            of_point(&point.attributes, place.resource, place.scope, self.names).map_err(OtlpReceiveError::Metric)?;
        for (name, value) in &place.typed {
            builder.set(*name, value);
        }
        Ok(builder)
    }

    fn named(&self, mut builder: LabelsBuilder, name: &str, extra: Option<(&str, &str)>) -> Labels {
        builder.set("__name__", name);
        if let Some((name, value)) = extra {
            builder.set(name, value);
        }
        builder.build()
    }

    fn moment<T>(&self, point: &Point<T>) -> Moment {
        Moment { t_ms: ms(point.time_ns), start_ms: if self.options.start_timestamps { ms(point.start_ns) } else { 0 } }
    }

    fn float(&mut self, labels: &Labels, at: Moment, value: f64) -> Done {
        self.appender
            .append_started(SeriesRef::NONE, labels, at.t_ms, at.start_ms, value)
            .map_err(OtlpReceiveError::Refused)?;
        self.samples += 1;
        Ok(())
    }

    fn native(&mut self, labels: &Labels, at: Moment, histogram: Histogram<u64>) -> Done {
        histogram.validate().map_err(|error| OtlpReceiveError::Metric(error.to_string()))?;
        let histogram = Arc::new(NativeHistogram::Integer(histogram));
        self.appender
            .append_histogram(SeriesRef::NONE, labels, at.t_ms, at.start_ms, &histogram)
            .map_err(OtlpReceiveError::Refused)?;
        self.samples += 1;
        Ok(())
    }

    fn number(&mut self, place: &Place<'_>, point: &Point<f64>) -> Done {
        let labels = self.named(self.builder(place, point)?, &place.name, None);
        self.float(&labels, self.moment(point), if point.is_stale { stale_nan() } else { point.value })?;
        self.examples(&labels, &point.exemplars)
    }

    /// Adds what was counted for example, oldest first. What is no exemplar is left out; nobody repeats a request for it.
    fn examples<'e>(&mut self, labels: &Labels, examples: impl IntoIterator<Item = &'e Example>) -> Done {
        let mut exemplars = Vec::new();
        for example in examples {
            exemplars.extend(exemplar(example, self.names));
        }
        exemplars.sort_by_key(|exemplar| exemplar.t_ms);
        for exemplar in exemplars {
            match self.appender.append_exemplar(SeriesRef::NONE, labels, exemplar) {
                Ok(kept) => self.exemplars += usize::from(kept),
                Err(reason) => debug!(%reason, series = %labels, "exemplar left out"),
            }
        }
        Ok(())
    }

    /// A histogram as Prometheus' own clients expose it: `_sum`, `_count` and cumulated `_bucket`s.
    fn classic(&mut self, place: &Place<'_>, point: &Point<ExplicitHistogram>) -> Done {
        let (builder, at, value) = (self.builder(place, point)?, self.moment(point), &point.value);
        let shown = |number: f64| if point.is_stale { stale_nan() } else { number };
        if let Some(sum) = value.sum {
            let labels = self.named(builder.clone(), &format!("{}_sum", place.name), None);
            self.float(&labels, at, shown(sum))?;
        }
        let labels = self.named(builder.clone(), &format!("{}_count", place.name), None);
        self.float(&labels, at, shown(value.count as f64))?;
        let bucket = format!("{}_bucket", place.name);
        let mut up_to = 0u64;
        // Each goes to the first bucket that it fits into.
        let mut examples: Vec<&Example> = point.exemplars.iter().collect();
        for (bound, count) in value.bounds.iter().zip(&value.bucket_counts) {
            up_to = up_to.saturating_add(*count);
            let labels = self.named(builder.clone(), &bucket, Some(("le", &format_value_plain(*bound))));
            self.float(&labels, at, shown(up_to as f64))?;
            self.examples(&labels, examples.extract_if(.., |example| example.value <= *bound))?;
        }
        let labels = self.named(builder, &bucket, Some(("le", "+Inf")));
        self.float(&labels, at, shown(value.count as f64))?;
        self.examples(&labels, examples)
    }

    fn custom(&mut self, place: &Place<'_>, point: &Point<ExplicitHistogram>, is_delta: bool) -> Done {
        let labels = self.named(self.builder(place, point)?, &place.name, None);
        let value = &point.value;
        let buckets = ExponentialBuckets { offset: 0, counts: value.bucket_counts.clone() };
        let mut histogram = Histogram {
            schema: CUSTOM_SCHEMA,
            counter_reset: reset_of(is_delta),
            count: value.count,
            sum: value.sum.unwrap_or_default(),
            positive: sparse(&buckets, 0, 0),
            custom_bounds: value.bounds.as_slice().into(),
            ..Histogram::default()
        };
        if point.is_stale {
            histogram = Histogram { sum: stale_nan(), ..Histogram::default() };
        }
        self.native(&labels, self.moment(point), histogram)?;
        self.examples(&labels, &point.exemplars)
    }

    fn exponential(
        &mut self,
        place: &Place<'_>,
        metric: &Metric,
        point: &Point<ExponentialHistogram>,
        is_delta: bool,
    ) -> Done {
        let labels = self.named(self.builder(place, point)?, &place.name, None);
        let value = &point.value;
        if value.scale < SCHEMA_MIN {
            return Err(OtlpReceiveError::Metric(format!(
                "cannot convert exponential to native histogram {:?}. Scale must be >= {SCHEMA_MIN}, was {}",
                metric.name, value.scale
            )));
        }
        let coarser = (value.scale - SCHEMA_MAX).clamp(0, 31);
        let mut histogram = Histogram {
            schema: value.scale.min(SCHEMA_MAX),
            counter_reset: reset_of(is_delta),
            zero_threshold: if value.zero_threshold > 0.0 { value.zero_threshold } else { ZERO_THRESHOLD },
            zero_count: value.zero_count,
            count: value.count,
            sum: value.sum.unwrap_or_default(),
            // Bucket 0 lies behind 1 there, and before it here.
            positive: sparse(&value.positive, coarser, 1),
            negative: sparse(&value.negative, coarser, 1),
            ..Histogram::default()
        };
        if point.is_stale {
            histogram = Histogram { sum: stale_nan(), ..Histogram::default() };
        }
        self.native(&labels, self.moment(point), histogram)?;
        self.examples(&labels, &point.exemplars)
    }

    fn summary(&mut self, place: &Place<'_>, point: &Point<Summary>) -> Done {
        let (builder, at, value) = (self.builder(place, point)?, self.moment(point), &point.value);
        let shown = |number: f64| if point.is_stale { stale_nan() } else { number };
        let labels = self.named(builder.clone(), &format!("{}_sum", place.name), None);
        self.float(&labels, at, shown(value.sum))?;
        let labels = self.named(builder.clone(), &format!("{}_count", place.name), None);
        self.float(&labels, at, shown(value.count as f64))?;
        for (quantile, found) in &value.quantiles {
            let labels = self.named(builder.clone(), &place.name, Some(("quantile", &format_value_plain(*quantile))));
            self.float(&labels, at, shown(*found))?;
        }
        Ok(())
    }
}

/// An example with its trace, and with the rest that is known of it as far as that fits. `None` if its labels are none.
fn exemplar(example: &Example, names: Names) -> Option<Exemplar> {
    let of_trace = [("trace_id", &example.trace_id), ("span_id", &example.span_id)];
    let with = |attributes: &Attributes| {
        let mut builder = of_attributes(attributes, names, &[]).ok()?;
        for (name, value) in of_trace {
            if !value.is_empty() {
                builder.set(name, value);
            }
        }
        let labels = builder.build();
        let n_chars: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        (n_chars <= EXEMPLAR_CHARS_MAX).then_some(labels)
    };
    let labels = with(&example.attributes).or_else(|| with(&Attributes::default()))?;
    Some(Exemplar { labels, value: example.value, t_ms: ms(example.time_ns) })
}

fn ms(time_ns: u64) -> i64 {
    (time_ns / 1_000_000) as i64
}

fn reset_of(is_delta: bool) -> CounterReset {
    // What counts since the point before goes up and down.
    if is_delta { CounterReset::Gauge } else { CounterReset::Unknown }
}

fn times(data: &Data) -> Vec<u64> {
    fn all<T>(points: &[Point<T>]) -> Vec<u64> {
        points.iter().map(|point| point.time_ns).collect()
    }
    match data {
        Data::None => Vec::new(),
        Data::Gauge(points) | Data::Sum { points, .. } => all(points),
        Data::Histogram { points, .. } => all(points),
        Data::Exponential { points, .. } => all(points),
        Data::Summary(points) => all(points),
    }
}

/// Buckets side by side as runs of those that have something, `coarser` powers of two coarser and moved by `shift`.
fn sparse(buckets: &ExponentialBuckets, coarser: i32, shift: i64) -> Buckets<u64> {
    let mut found = Buckets::default();
    // The index behind the last bucket.
    let mut end: Option<i64> = None;
    for (at, count) in buckets.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let index = ((i64::from(buckets.offset) + at as i64) >> coarser) + shift;
        match end {
            Some(end) if index == end - 1 => {
                if let Some(last) = found.counts.last_mut() {
                    *last = u64::saturating_add(*last, *count);
                }
                continue;
            }
            Some(end) if index - end <= GAP_MAX => {
                let gap = (index - end) as u32;
                found.counts.extend(std::iter::repeat_n(0, gap as usize));
                if let Some(span) = found.spans.last_mut() {
                    span.length += gap + 1;
                }
            }
            _ => {
                // An index that no 32-bit number holds is told by whoever validates.
                let offset = i32::try_from(index - end.unwrap_or(0)).unwrap_or(i32::MAX);
                found.spans.push(Span { offset, length: 1 });
            }
        }
        found.counts.push(*count);
        end = Some(index + 1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_buckets() {
        for (offset, counts, coarser, shift, expected) in [
            (0, &[][..], 0, 1, vec![]),
            (0, &[1, 2][..], 0, 1, vec![(1, 1), (2, 2)]),
            (-3, &[1, 0, 0, 0, 0, 2], 0, 1, vec![(-2, 1), (3, 2)]),
            (-3, &[1, 0, 2], 0, 1, vec![(-2, 1), (-1, 0), (0, 2)]),
            // -3 and -2 fall together at -2 and -1.
            (-3, &[1, 2, 4, 8], 1, 1, vec![(-1, 1), (0, 6), (1, 8)]),
            (0, &[0, 0, 5], 0, 0, vec![(2, 5)]),
        ] {
            let buckets = sparse(&ExponentialBuckets { offset, counts: counts.to_vec() }, coarser, shift);
            assert_eq!(buckets.iter().collect::<Vec<_>>(), expected, "{offset} {counts:?}");
        }
    }
}
