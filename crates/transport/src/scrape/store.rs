//! From an answer to samples in the store: everything about a scrape that needs no network.

use std::time::Duration;

use relatum_model::exemplar::Exemplar;
use relatum_model::exposition::{self, Entry, MetricKind, ParsedSample};
use relatum_model::labels::METRIC_NAME;
use relatum_model::relabel::NameScheme;
use relatum_model::storage::{Append, Appender, Refused, SeriesRef};
use relatum_model::text::{is_legacy_label_name, is_legacy_metric_name, quote};
use relatum_model::{Labels, relabel, stale_nan};
use tracing::{debug, error, warn};

use super::ScrapeError;
use super::cache::SeriesCache;
use super::counters::Counters;
use super::job::Job;
use super::metadata::Metadata;
use super::target::Target;

/// The prefix of a label that had to make room for one of the target.
const EXPORTED_PREFIX: &str = "exported_";

/// The series that every scrape adds about itself, in the order of their values.
const REPORT_NAMES: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    // Only with `extra_scrape_metrics`.
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];
const REPORT_NAMES_PLAIN: usize = 5;

/// What is remembered of a target from scrape to scrape.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) cache: SeriesCache,
    // In the order of `REPORT_NAMES`, as many as were needed yet. Their labels are the store's to keep.
    report: Vec<SeriesRef>,
    // When the last scrape was that a staleness marker must end.
    last_t_ms: Option<i64>,
}

/// What one scrape brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    scraped: usize,
    kept: usize,
    series_added: usize,
}

/// The outcome of getting the body: the text, or why there is none.
pub(crate) type Fetched<'a> = Result<(&'a [u8], &'a str), ScrapeError>;

/// Stores scrapes of one target of one job.
pub(crate) struct Store<'a> {
    pub(crate) append: &'a dyn Append,
    pub(crate) job: &'a Job,
    pub(crate) target: &'a Target,
    pub(crate) metadata: &'a Metadata,
    pub(crate) counters: &'a Counters,
}

impl Store<'_> {
    /// Stores a scrape, successful or not, with what it says about itself: `elapsed` is asked for how long it took.
    ///
    /// A scrape that cannot be stored whole (a line that is no sample, a limit) is not stored at all and counts as failed.
    pub(crate) fn scrape(
        &self,
        memory: &mut Memory,
        t_ms: i64,
        fetched: Fetched<'_>,
        elapsed: impl Fn() -> Duration,
    ) -> Result<(), ScrapeError> {
        let mut appender = self.append.appender();
        let mut counts = Counts::default();
        let body_bytes = match &fetched {
            Ok((body, _)) => body.len() as f64,
            Err(ScrapeError::BodySizeLimit) => -1.0,
            Err(_) => 0.0,
        };
        let mut result = match fetched {
            Ok((body, content_type)) => {
                let stored = self.samples(&mut *appender, memory, t_ms, body, content_type, &mut counts);
                if stored.is_err() {
                    appender.rollback();
                    appender = self.append.appender();
                    memory.cache.restart();
                }
                stored
            }
            Err(failure) => Err(failure),
        };
        self.end_vanished(&mut *appender, memory, t_ms);
        match &result {
            // An empty body is no reason to forget how the target writes its series.
            Ok(()) if counts.scraped > 0 => memory.cache.finish(),
            _ => memory.cache.finish_failed(),
        }
        let report = [
            if result.is_ok() { 1.0 } else { 0.0 },
            elapsed().as_secs_f64(),
            counts.scraped as f64,
            counts.kept as f64,
            counts.series_added as f64,
            self.target.timeout.as_secs_f64(),
            self.job.config.limits.samples as f64,
            body_bytes,
        ];
        self.report(&mut *appender, memory, t_ms, |index| report[index]);
        memory.last_t_ms = Some(t_ms);
        if let Err(failure) = appender.commit() {
            error!(error = &failure as &dyn std::error::Error, target = self.target.url, "scrape not stored");
            result = Err(ScrapeError::Commit(failure.to_string()));
        }
        result
    }

    /// Ends all series of the target, because it is scraped no more: at `now_ms`, but after its last scrape.
    pub(crate) fn end(&self, memory: &mut Memory, now_ms: i64) {
        let Some(last_t_ms) = memory.last_t_ms.take() else { return };
        let t_ms = now_ms.max(last_t_ms.saturating_add(1));
        let mut appender = self.append.appender();
        self.end_vanished(&mut *appender, memory, t_ms);
        memory.cache.finish_failed();
        self.report(&mut *appender, memory, t_ms, |_| stale_nan());
        if let Err(failure) = appender.commit() {
            error!(
                error = &failure as &dyn std::error::Error,
                target = self.target.url,
                "staleness markers not stored"
            );
        }
    }

    fn samples(
        &self,
        appender: &mut dyn Appender,
        memory: &mut Memory,
        t_ms: i64,
        body: &[u8],
        content_type: &str,
        counts: &mut Counts,
    ) -> Result<(), ScrapeError> {
        if body.is_empty() {
            return Ok(());
        }
        let format = super::body::format_of(content_type, self.job.config.fallback_scrape_protocol)?;
        let entries = exposition::parse(body, format).map_err(|error| ScrapeError::Parse(error.to_string()))?;
        let mut metadata = self.metadata.update();
        let mut refused = RefusedCounts::default();
        for entry in entries {
            match entry.map_err(|error| ScrapeError::Parse(error.to_string()))? {
                Entry::Type { name, kind } => metadata.set_kind(name, kind),
                Entry::Help { name, text } => metadata.set_help(name, text),
                Entry::Unit { name, unit } => metadata.set_unit(name, unit),
                Entry::Comment(_) => {}
                Entry::Sample(sample) => self.sample(appender, memory, t_ms, &sample, counts, &mut refused)?,
            }
        }
        refused.publish(self.counters, self.target);
        let limit = self.job.config.limits.samples;
        if limit > 0 && counts.kept as u64 > limit {
            self.counters.exceeded_sample_limit.add(1);
            return Err(ScrapeError::SampleLimit);
        }
        Ok(())
    }

    fn sample(
        &self,
        appender: &mut dyn Appender,
        memory: &mut Memory,
        t_ms: i64,
        sample: &ParsedSample<'_>,
        counts: &mut Counts,
        refused: &mut RefusedCounts,
    ) -> Result<(), ScrapeError> {
        let config = &self.job.config;
        counts.scraped += 1;
        let own_t_ms = sample.t_ms.filter(|_| config.honor_timestamps);
        let found = memory.cache.find(sample.series);
        let (index, is_repeated) = match found {
            Some(found) => found,
            None => (memory.cache.insert(sample.series, self.series_labels(sample)?, SeriesRef::NONE), false),
        };
        let entry = memory.cache.entry(index);
        let Some(labels) = &entry.labels else { return Ok(()) };
        counts.kept += 1;
        let limit = config.limits.samples;
        if limit > 0 && counts.kept as u64 > limit {
            // The rest is only counted, so that people see by how much.
            return Ok(());
        }
        let appended = if is_repeated && own_t_ms.is_none() {
            Err(Refused::DuplicateTimestamp)
        } else {
            appender.append(entry.reference, labels, own_t_ms.unwrap_or(t_ms), sample.value)
        };
        if let (Ok(reference), Some(exemplar)) = (&appended, &sample.exemplar) {
            let t_ms = own_t_ms.unwrap_or(t_ms);
            self.exemplar(appender, *reference, labels, exemplar, t_ms)?;
        }
        match appended {
            Ok(reference) => {
                if entry.reference != reference {
                    // The name may stand for another series already, if retention took this one meanwhile.
                    let own = appender.labels(reference).filter(|own| own == labels);
                    memory.cache.set_reference(index, reference, own);
                }
                counts.series_added += usize::from(found.is_none());
                if own_t_ms.is_none() || config.track_timestamps_staleness {
                    memory.cache.track(index);
                }
                Ok(())
            }
            Err(Refused::InvalidLabels(reason)) => Err(ScrapeError::Series(reason)),
            Err(reason) => {
                refused.add(&reason);
                Ok(())
            }
        }
    }

    /// Hands an exemplar on. One that is not taken harms nothing: the target shows it with every scrape until it has another.
    fn exemplar(
        &self,
        appender: &mut dyn Appender,
        reference: SeriesRef,
        series: &Labels,
        exemplar: &exposition::Exemplar<'_>,
        sample_ms: i64,
    ) -> Result<(), ScrapeError> {
        let labels = exposition::labels_of(exemplar.labels, MetricKind::Unknown)
            .map_err(|error| ScrapeError::Series(error.to_string()))?;
        let exemplar = Exemplar { labels, value: exemplar.value, t_ms: exemplar.t_ms.unwrap_or(sample_ms) };
        if let Err(reason) = appender.append_exemplar(reference, series, exemplar) {
            debug!(%reason, %series, "exemplar left out");
        }
        Ok(())
    }

    /// The labels under which a series is stored; `None` if relabelling drops it.
    fn series_labels(&self, sample: &ParsedSample<'_>) -> Result<Option<Labels>, ScrapeError> {
        let exposed = exposition::labels_of(sample.series, sample.kind)
            .map_err(|error| ScrapeError::Series(error.to_string()))?;
        let config = &self.job.config;
        let mut labels = exposed.to_builder();
        let mut moved = Vec::new();
        for (name, value) in &self.target.labels {
            match exposed.get(name) {
                Some(_) if config.honor_labels => {}
                Some(own) => {
                    moved.push((name, own));
                    labels.set(name, value);
                }
                None => {
                    labels.set(name, value);
                }
            }
        }
        // Shorter names first, so that what makes room for `a` cannot take the place that `exported_a` needs.
        moved.sort_by_key(|(name, _)| name.len());
        for (name, own) in moved {
            let mut name = format!("{EXPORTED_PREFIX}{name}");
            while !labels.get(&name).is_empty() {
                name.insert_str(0, EXPORTED_PREFIX);
            }
            labels.set(name, own);
        }
        if !relabel::apply(&config.metric_relabel_configs, &mut labels) {
            return Ok(None);
        }
        let labels = labels.build();
        if labels.is_empty() {
            return Ok(None);
        }
        self.check(&labels)?;
        Ok(Some(labels))
    }

    fn check(&self, labels: &Labels) -> Result<(), ScrapeError> {
        let Some(metric) = labels.metric_name() else {
            return Err(ScrapeError::Series("missing metric name (__name__ label)".to_owned()));
        };
        if self.job.config.metric_name_validation_scheme == NameScheme::Legacy
            && !(is_legacy_metric_name(metric) && labels.iter().all(|(name, _)| is_legacy_label_name(name)))
        {
            return Err(ScrapeError::Series(format!("invalid metric name or label names: {labels}")));
        }
        let result = check_limits(self.job, labels, metric);
        if result.is_err() {
            self.counters.exceeded_label_limits.add(1);
        }
        result
    }

    fn end_vanished(&self, appender: &mut dyn Appender, memory: &Memory, t_ms: i64) {
        for (labels, reference) in memory.cache.vanished() {
            // Refused only when the series has gone on elsewhere, for instance with a timestamp of its own: not ended then.
            let _ = appender.append(reference, &labels, t_ms, stale_nan());
        }
    }

    fn report(&self, appender: &mut dyn Appender, memory: &mut Memory, t_ms: i64, value: impl Fn(usize) -> f64) {
        let count = if self.job.config.extra_scrape_metrics { REPORT_NAMES.len() } else { REPORT_NAMES_PLAIN };
        if memory.report.len() < count {
            memory.report.reserve_exact(count - memory.report.len());
            memory.report.resize(count, SeriesRef::NONE);
        }
        for (index, (reference, name)) in memory.report.iter_mut().zip(REPORT_NAMES).enumerate().take(count) {
            let labels = appender.labels(*reference).unwrap_or_else(|| report_labels(name, &self.target.labels));
            // Out of order or a repetition when a target came back as another one: the series goes on there.
            if let Ok(known) = appender.append(*reference, &labels, t_ms, value(index)) {
                *reference = known;
            }
        }
    }
}

fn report_labels(name: &str, target: &Labels) -> Labels {
    let mut labels = target.to_builder();
    labels.set(METRIC_NAME, name);
    labels.build()
}

fn check_limits(job: &Job, labels: &Labels, metric: &str) -> Result<(), ScrapeError> {
    let limits = &job.config.limits;
    let exceeds = |count: usize, limit: u64| limit > 0 && count as u64 > limit;
    let short = |text: &str| text.chars().take(50).collect::<String>();
    if limits.labels > 0 && exceeds(labels.len(), limits.labels) {
        let (metric, count, limit) = (short(metric), labels.len(), limits.labels);
        let text = format!("label_limit exceeded (metric: {metric}, number of labels: {count}, limit: {limit})");
        return Err(ScrapeError::Series(text));
    }
    if limits.label_name_bytes == 0 && limits.label_value_bytes == 0 {
        return Ok(());
    }
    for (name, value) in labels {
        if exceeds(name.len(), limits.label_name_bytes) {
            return Err(ScrapeError::Series(format!(
                "label_name_length_limit exceeded (metric: {}, label name: {}, length: {}, limit: {})",
                short(metric),
                short(name),
                name.len(),
                limits.label_name_bytes
            )));
        }
        if exceeds(value.len(), limits.label_value_bytes) {
            return Err(ScrapeError::Series(format!(
                "label_value_length_limit exceeded (metric: {}, label name: {}, value: {}, length: {}, limit: {})",
                short(metric),
                short(name),
                quote(&short(value)),
                value.len(),
                limits.label_value_bytes
            )));
        }
    }
    Ok(())
}

/// Samples of one scrape that the store refused; the scrape is good without them.
#[derive(Debug, Default)]
struct RefusedCounts {
    out_of_order: u64,
    duplicate: u64,
    out_of_bounds: u64,
}

impl RefusedCounts {
    fn add(&mut self, reason: &Refused) {
        match reason {
            Refused::OutOfOrder => self.out_of_order += 1,
            Refused::DuplicateTimestamp => self.duplicate += 1,
            _ => self.out_of_bounds += 1,
        }
    }

    fn publish(&self, counters: &Counters, target: &Target) {
        for (count, counter, text) in [
            (self.out_of_order, &counters.out_of_order, "out of order"),
            (self.duplicate, &counters.duplicate, "another value for the same timestamp"),
            (self.out_of_bounds, &counters.out_of_bounds, "too old or too far in the future"),
        ] {
            if count > 0 {
                counter.add(count);
                warn!(target = target.url, samples = count, reason = text, "samples refused");
            }
        }
    }
}
