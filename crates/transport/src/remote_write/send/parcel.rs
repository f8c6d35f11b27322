//! From samples in the order of their commits to bodies of requests.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use relatum_model::exemplar::Exemplar;
use relatum_model::exposition::MetricDescription;
use relatum_model::labels::METRIC_NAME;
use relatum_model::relabel;
use relatum_model::remote_write::{Encoder, Version, description_of};
use relatum_model::storage::{Position, Tail, TailBatch};
use relatum_model::{HistogramSample, Labels, Sample, Samples};

use super::Route;

/// A body that grows beyond this is finished, though it may have more samples: receivers refuse bodies of tens of megabytes.
pub(super) const BODY_BYTES_FULL: usize = 4 << 20;

/// The body of one request.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    /// Compressed; empty when there is nothing to send.
    pub(super) body: Bytes,
    /// Which message it is; a parcel outlives a change of the route.
    pub(super) version: Version,
    /// Floats and histograms.
    pub(super) n_samples: u64,
    /// How many of them are histograms.
    pub(super) n_histograms: u64,
    pub(super) n_exemplars: u64,
    /// The time of the newest sample.
    pub(super) newest_ms: i64,
    /// Where the log stands when this parcel has arrived; `None` if more parcels of the same place follow.
    pub(super) reached: Option<Position>,
}

impl Parcel {
    fn empty(version: Version) -> Self {
        Parcel { version, newest_ms: i64::MIN, ..Parcel::default() }
    }
}

/// What became of a batch from the log.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// In the order in which they must be sent.
    pub(super) parcels: Vec<Parcel>,
    /// Samples that relabelling dropped.
    pub(super) n_relabelled_away: u64,
    /// Samples beyond `sample_age_limit`.
    pub(super) n_too_old: u64,
}

/// Relabels and encodes a batch as `route` says. Of one series, the samples of a parcel stay in their order and the parcels
/// in theirs; which series comes first within a parcel says nothing. An exemplar goes with the first samples of its series. Where each
/// series says what it is, `tail` is asked for that.
pub(super) fn pack<'b>(batch: &'b TailBatch, tail: &'b dyn Tail, route: &'b Route, now_ms: i64) -> Packed {
    let version = route.version();
    let mut packed = Packed::default();
    let oldest_ms = oldest_ms(route, now_ms);
    let mut series = SeriesNumbers::new(route, tail);
    let mut rows: Vec<(usize, Item<'b>)> = Vec::with_capacity(batch.samples.len() + batch.histograms.len());
    let mut add = |labels: &'b Labels, item: Item<'b>| {
        if item.t_ms() < oldest_ms {
            packed.n_too_old += 1;
            return;
        }
        match series.number(labels) {
            Some(number) => rows.push((number, item)),
            None => packed.n_relabelled_away += 1,
        }
    };
    let starts = batch.starts_ms.iter().copied().chain(std::iter::repeat(0));
    for ((labels, sample), start_ms) in batch.samples.iter().zip(starts) {
        add(labels, Item::Float(*sample, start_ms));
    }
    // 2.0 cannot do without them.
    if route.config.send_native_histograms || version == Version::V2 {
        for (labels, sample) in &batch.histograms {
            add(labels, Item::Histogram(sample));
        }
    }
    let mut exemplars: HashMap<usize, Vec<&Exemplar>, FixedState> = HashMap::default();
    if route.config.send_exemplars {
        for (labels, exemplar) in &batch.exemplars {
            if let Some(number) = series.number(labels) {
                exemplars.entry(number).or_default().push(exemplar);
            }
        }
    }
    let n_samples_max = usize::try_from(route.config.queue.max_samples_per_send).unwrap_or(usize::MAX).max(1);
    for rows in rows.chunks_mut(n_samples_max) {
        // Stable, so the samples of one series keep their order.
        rows.sort_by_key(|(number, _)| *number);
        let (mut encoder, mut parcel) = (Encoder::of(version), Parcel::empty(version));
        for of_one_series in rows.chunk_by(|a, b| a.0 == b.0) {
            if encoder.body_bytes() >= BODY_BYTES_FULL {
                let full = std::mem::replace(&mut encoder, Encoder::of(version));
                packed.parcels.push(seal(full, std::mem::replace(&mut parcel, Parcel::empty(version))));
            }
            let mut samples = Samples::default();
            for (_, item) in of_one_series {
                match item {
                    Item::Float(sample, start_ms) => samples.push_started(sample.t_ms, *start_ms, sample.value),
                    Item::Histogram(sample) => samples.histograms.push((*sample).clone()),
                }
                parcel.newest_ms = parcel.newest_ms.max(item.t_ms());
            }
            let number = of_one_series[0].0;
            let examples = exemplars.remove(&number).unwrap_or_default();
            let (labels, described) = &series.all[number];
            encoder.push_series(labels, &samples, &examples, described.as_deref());
            parcel.n_samples += of_one_series.len() as u64;
            parcel.n_histograms += samples.histograms.len() as u64;
            parcel.n_exemplars += examples.len() as u64;
        }
        packed.parcels.push(seal(encoder, parcel));
    }
    packed
}

/// What one series has for one moment.
enum Item<'b> {
    /// And when it began to count.
    Float(Sample, i64),
    Histogram(&'b HistogramSample),
}

impl Item<'_> {
    fn t_ms(&self) -> i64 {
        match self {
            Item::Float(sample, _) => sample.t_ms,
            Item::Histogram(sample) => sample.t_ms,
        }
    }
}

/// Numbers for series: each is relabelled once, however many samples it has.
struct SeriesNumbers<'b> {
    route: &'b Route,
    tail: &'b dyn Tail,
    known: HashMap<&'b Labels, Option<usize>, FixedState>,
    /// What becomes of each and what it is, by number.
    all: Vec<(Labels, Option<Rc<MetricDescription>>)>,
    /// By the names that the series have here.
    described: HashMap<&'b str, Option<Rc<MetricDescription>>, FixedState>,
}

impl<'b> SeriesNumbers<'b> {
    fn new(route: &'b Route, tail: &'b dyn Tail) -> Self {
        SeriesNumbers { route, tail, known: HashMap::default(), all: Vec::new(), described: HashMap::default() }
    }

    /// `None` for a series that is not sent.
    fn number(&mut self, labels: &'b Labels) -> Option<usize> {
        match self.known.entry(labels) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(free) => *free.insert(relabelled(labels, self.route).map(|relabelled| {
                let name = labels.get(METRIC_NAME).filter(|_| self.route.version() == Version::V2);
                let described = name.and_then(|name| {
                    let find = || description_of(name, |family| self.tail.description(family)).map(Rc::new);
                    self.described.entry(name).or_insert_with(find).clone()
                });
                self.all.push((relabelled, described));
                self.all.len() - 1
            })),
        }
    }
}

/// The time before which samples are not worth sending.
pub(super) fn oldest_ms(route: &Route, now_ms: i64) -> i64 {
    let limit = route.config.queue.sample_age_limit;
    if limit.is_zero() {
        return i64::MIN;
    }
    now_ms.saturating_sub(i64::try_from(limit.as_millis()).unwrap_or(i64::MAX))
}

fn seal(encoder: Encoder, parcel: Parcel) -> Parcel {
    Parcel { body: compressed(encoder), ..parcel }
}

/// What was encoded, as it is sent.
pub(super) fn compressed(encoder: Encoder) -> Bytes {
    let body = snap::raw::Encoder::new().compress_vec(&encoder.finish());
    body.expect("a body of some megabytes is far below snappy's bound").into()
}

/// Adds the external labels that the series does not have and relabels it; `None` if that leaves nothing to send.
fn relabelled(labels: &Labels, route: &Route) -> Option<Labels> {
    let steps = &route.config.write_relabel_configs;
    if route.external_labels.is_empty() && steps.is_empty() {
        return Some(labels.clone());
    }
    let mut builder = labels.to_builder();
    for (name, value) in &route.external_labels {
        if builder.get(name).is_empty() {
            builder.set(name, value);
        }
    }
    relabel::apply(steps, &mut builder).then(|| builder.build()).filter(|labels| !labels.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use relatum_config::prometheus::Config;
    use relatum_model::exposition::MetricKind;
    use relatum_model::histogram::{Buckets, Histogram, NativeHistogram, Span};
    use relatum_model::remote_write::{Decoder, descriptions};

    use super::*;
    use crate::http::HttpClients;
    use crate::memory::MemoryStore;

    fn route(more: &str) -> Route {
        let config = Config::parse(&format!("remote_write: [{{url: 'http://a/', {more}}}]\n")).unwrap();
        let config = config.remote_write[0].clone();
        Route {
            connection: HttpClients::default().connection(&config.http).unwrap(),
            url: reqwest::Url::parse("http://a/").unwrap(),
            headers: reqwest::header::HeaderMap::default(),
            external_labels: Labels::empty(),
            config,
        }
    }

    /// The series of all parcels: labels, floats with their starts, how many histograms, values of exemplars.
    fn shown(packed: &Packed) -> Vec<String> {
        let mut out = Vec::new();
        for parcel in &packed.parcels {
            let body = snap::raw::Decoder::new().decompress_vec(&parcel.body).unwrap();
            let mut decoder = Decoder::of(parcel.version, &body).unwrap();
            while let Some(series) = decoder.next_series().unwrap() {
                let floats: Vec<String> = series
                    .started_samples()
                    .map(|(start_ms, sample)| format!("{start_ms}..{}={}", sample.t_ms, sample.value))
                    .collect();
                let exemplars: Vec<f64> = series.exemplars.iter().map(|exemplar| exemplar.value).collect();
                let name = series.label_set().unwrap();
                out.push(format!("{name} {} h{} {exemplars:?}", floats.join(","), series.histograms().count()));
            }
        }
        out
    }

    /// What a parcel says of metrics.
    fn told(parcel: &Parcel) -> Vec<String> {
        let body = snap::raw::Decoder::new().decompress_vec(&parcel.body).unwrap();
        let mut told = Vec::new();
        descriptions(parcel.version, &body, |said| {
            told.push(format!("{} {} {} {}", said.metric, said.kind.as_str(), said.help, said.unit));
        });
        told
    }

    #[test]
    fn what_metrics_are() {
        let store = MemoryStore::default();
        store.describe("h", MetricKind::Histogram, "How long.", "s");
        store.describe("old", MetricKind::Gauge, "That.", "");
        let sample = Sample { t_ms: 10, value: 1.0 };
        let names = ["h_bucket", "h_sum", "old", "silent"];
        let samples = names.map(|name| (Labels::from_pairs([("__name__", name)]), sample)).to_vec();
        let batch = TailBatch { samples, ..TailBatch::default() };
        // A series keeps its meaning under another name.
        let renamed = "write_relabel_configs: [{source_labels: [__name__], regex: old, target_label: __name__, replacement: new}]";
        for (more, expected) in [
            ("", &[][..]),
            (
                "protobuf_message: io.prometheus.write.v2.Request",
                &["h histogram How long. s", "h histogram How long. s", "new gauge That. "],
            ),
        ] {
            let packed = pack(&batch, &store, &route(&format!("{renamed}, {more}")), 0);
            assert_eq!(told(&packed.parcels[0]), expected, "{more}");
        }
    }

    #[test]
    fn what_is_sent_beside_floats() {
        let labels = |name: &str| Labels::from_pairs([("__name__", name)]);
        let buckets = Buckets { spans: vec![Span { offset: 0, length: 1 }], counts: vec![2] };
        let histogram = Histogram { count: 2, sum: 1.0, positive: buckets, ..Histogram::default() };
        let histogram = Arc::new(NativeHistogram::Integer(histogram));
        let example = |value| Exemplar { labels: Labels::from_pairs([("trace_id", "x")]), value, t_ms: 9 };
        let batch = TailBatch {
            samples: vec![
                (labels("c"), Sample { t_ms: 10, value: 1.0 }),
                (labels("c"), Sample { t_ms: 20, value: 2.0 }),
            ],
            starts_ms: vec![0, 5],
            histograms: vec![(labels("h"), HistogramSample { t_ms: 10, start_ms: 7, histogram })],
            exemplars: vec![(labels("h"), example(3.0)), (labels("c"), example(4.0)), (labels("none"), example(5.0))],
            next: Position::default(),
        };
        for (more, expected) in [
            ("", &["c{} 0..10=1,0..20=2 h0 []"][..]),
            ("send_exemplars: true, send_native_histograms: true", &["c{} 0..10=1,0..20=2 h0 [4.0]", "h{}  h1 [3.0]"]),
            // A receiver of 2.0 takes histograms, asked or not.
            ("protobuf_message: io.prometheus.write.v2.Request", &["c{} 0..10=1,5..20=2 h0 []", "h{}  h1 []"]),
            (
                "protobuf_message: io.prometheus.write.v2.Request, send_exemplars: true, queue_config: {max_samples_per_send: 1}",
                &["c{} 0..10=1 h0 [4.0]", "c{} 5..20=2 h0 []", "h{}  h1 [3.0]"],
            ),
        ] {
            let packed = pack(&batch, &MemoryStore::default(), &route(more), 0);
            assert_eq!(shown(&packed), expected.iter().map(|row| row.replace("{}", "")).collect::<Vec<_>>(), "{more}");
            let sum = |count: fn(&Parcel) -> u64| packed.parcels.iter().map(count).sum::<u64>();
            let has_histogram = u64::from(!more.is_empty());
            assert_eq!(
                (sum(|parcel| parcel.n_samples), sum(|parcel| parcel.n_histograms)),
                (2 + has_histogram, has_histogram)
            );
        }
    }
}
