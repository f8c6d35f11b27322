//! From samples in the order of their commits to bodies of requests.

use std::collections::hash_map::Entry;

use bytes::Bytes;
use foldhash::fast::FixedState;
use relatum_model::relabel;
use relatum_model::remote_write::{Encoder, Version};
use relatum_model::storage::Position;
use relatum_model::{Labels, Sample};

use super::Route;

/// A body that grows beyond this is finished, though it may have more samples: receivers refuse bodies of tens of megabytes.
const BODY_BYTES_FULL: usize = 4 << 20;

/// The body of one request.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    /// Compressed; empty when there are no samples.
    pub(super) body: Bytes,
    /// Which message it is; a parcel outlives a change of the route.
    pub(super) version: Version,
    pub(super) n_samples: u64,
    /// The time of the newest sample.
    pub(super) newest_ms: i64,
    /// Where the log stands when this parcel has arrived; `None` if more parcels of the same place follow.
    pub(super) reached: Option<Position>,
}

impl Parcel {
    fn empty(version: Version) -> Self {
        Parcel { body: Bytes::new(), version, n_samples: 0, newest_ms: i64::MIN, reached: None }
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

/// Relabels and encodes `samples` as `route` says. Of one series, the samples of a parcel stay in their order and the parcels
/// in theirs; which series comes first within a parcel says nothing.
pub(super) fn pack(samples: &[(Labels, Sample)], route: &Route, now_ms: i64) -> Packed {
    let mut packed = Packed::default();
    let oldest_ms = oldest_ms(route, now_ms);
    // Every series is relabelled once, however many samples it has here.
    let mut numbers = std::collections::HashMap::with_hasher(FixedState::default());
    let mut series: Vec<Labels> = Vec::new();
    let mut rows: Vec<(usize, Sample)> = Vec::with_capacity(samples.len());
    for (labels, sample) in samples {
        if sample.t_ms < oldest_ms {
            packed.n_too_old += 1;
            continue;
        }
        let number = match numbers.entry(labels) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(free) => *free.insert(relabelled(labels, route).map(|labels| {
                series.push(labels);
                series.len() - 1
            })),
        };
        match number {
            Some(number) => rows.push((number, *sample)),
            None => packed.n_relabelled_away += 1,
        }
    }
    let n_samples_max = usize::try_from(route.config.queue.max_samples_per_send).unwrap_or(usize::MAX).max(1);
    let mut samples = Vec::new();
    for rows in rows.chunks_mut(n_samples_max) {
        // Stable, so the samples of one series keep their order.
        rows.sort_by_key(|(number, _)| *number);
        let (mut encoder, mut parcel) = (Encoder::of(route.version()), Parcel::empty(route.version()));
        for of_one_series in rows.chunk_by(|a, b| a.0 == b.0) {
            if encoder.body_bytes() >= BODY_BYTES_FULL {
                let full = std::mem::replace(&mut encoder, Encoder::of(route.version()));
                packed.parcels.push(seal(full, std::mem::replace(&mut parcel, Parcel::empty(route.version()))));
            }
            samples.clear();
            samples.extend(of_one_series.iter().map(|(_, sample)| *sample));
            encoder.push(&series[of_one_series[0].0], &samples);
            parcel.n_samples += samples.len() as u64;
            parcel.newest_ms = samples.iter().fold(parcel.newest_ms, |newest, sample| newest.max(sample.t_ms));
        }
        packed.parcels.push(seal(encoder, parcel));
    }
    packed
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
    let body = snap::raw::Encoder::new().compress_vec(&encoder.finish());
    Parcel { body: body.expect("a body of some megabytes is far below snappy's bound").into(), ..parcel }
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
