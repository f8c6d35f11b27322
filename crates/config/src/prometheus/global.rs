//! The section `global`: what jobs and rules take where they do not say otherwise.

use std::path::PathBuf;
use std::time::Duration;

use relatum_model::relabel::NameScheme;
use relatum_model::text::quote;
use relatum_model::{Labels, LabelsBuilder};

use super::feature::Feature;
use super::scrape::ScrapeProtocol;
use super::size::read_size;
use crate::yaml::{Cursor, Section};

/// The section `global`.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalConfig {
    /// How often targets are scraped.
    pub scrape_interval: Duration,
    /// How long a scrape may take; never more than the interval.
    pub scrape_timeout: Duration,
    /// How often rule groups are evaluated.
    pub evaluation_interval: Duration,
    /// How far in the past rules are evaluated, so that late samples are there.
    pub rule_query_offset: Duration,
    /// Labels that say which server this is: on alerts, and on samples that leave.
    ///
    /// `$NAME` and `${NAME}` in the values stand as written until [`GlobalConfig::expand_external_labels`].
    pub external_labels: Labels,
    /// What scrapes ask for; `None` leaves the choice to the job.
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// The limits of jobs that set none.
    pub limits: Limits,
    /// Where queries are logged.
    pub query_log_file: Option<PathBuf>,
    /// Where failed scrapes are logged.
    pub scrape_failure_log_file: Option<PathBuf>,
    /// Which names are allowed.
    pub metric_name_validation_scheme: NameScheme,
    /// How targets are asked to write names that need quotes; `None` follows from the validation scheme.
    pub metric_name_escaping_scheme: Option<Escaping>,
    /// Whether native histograms are scraped.
    pub scrape_native_histograms: bool,
    /// Whether classic histograms become native ones with the same buckets.
    pub convert_classic_histograms_to_nhcb: bool,
    /// Whether a classic histogram is scraped although there is a native one.
    pub always_scrape_classic_histograms: bool,
    /// Whether each scrape also stores its timeout, sample limit and body size.
    pub extra_scrape_metrics: bool,
}

/// Bounds of one scrape. 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// The largest uncompressed body, in bytes.
    pub body_bytes: u64,
    /// The most samples after relabelling.
    pub samples: u64,
    /// The most targets of a job after relabelling.
    pub targets: u64,
    /// The most labels of a series.
    pub labels: u64,
    /// The longest label name, in bytes.
    pub label_name_bytes: u64,
    /// The longest label value, in bytes.
    pub label_value_bytes: u64,
    /// How many of a job's dropped targets are kept for people to see.
    pub dropped_targets_kept: u64,
}

/// How a target is asked to write names outside the legacy alphabet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Escaping {
    /// As they are.
    #[default]
    AllowUtf8,
    /// Each such character becomes `_`.
    Underscores,
    /// Dots become `_dot_`, others `__`.
    Dots,
    /// Each such character becomes its code point, so that it can be read back.
    Values,
}

impl Escaping {
    /// The word in the file, and in the `escaping` parameter of the Accept header.
    pub fn as_str(self) -> &'static str {
        match self {
            Escaping::AllowUtf8 => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        }
    }
}

impl Default for GlobalConfig {
    fn default() -> Self {
        GlobalConfig {
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            evaluation_interval: Duration::from_secs(60),
            rule_query_offset: Duration::ZERO,
            external_labels: Labels::empty(),
            scrape_protocols: None,
            limits: Limits::default(),
            query_log_file: None,
            scrape_failure_log_file: None,
            metric_name_validation_scheme: NameScheme::Utf8,
            metric_name_escaping_scheme: None,
            scrape_native_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            always_scrape_classic_histograms: false,
            extra_scrape_metrics: false,
        }
    }
}

impl GlobalConfig {
    /// Reads the section; one that is missing or null has the defaults.
    pub(super) fn read(cursor: Option<Cursor<'_>>) -> Self {
        let defaults = GlobalConfig::default();
        let Some(mut section) = cursor.and_then(Cursor::section) else { return defaults };
        let duration = |cursor: Option<Cursor<'_>>| cursor.and_then(Cursor::duration).filter(|d| !d.is_zero());
        let bool = |cursor: Option<Cursor<'_>>| cursor.and_then(Cursor::bool).unwrap_or(false);

        let names = section.take("metric_name_validation_scheme").and_then(read_name_scheme).unwrap_or_default();
        let scrape_interval = duration(section.take("scrape_interval")).unwrap_or(defaults.scrape_interval);
        let timeout = section.take("scrape_timeout");
        let scrape_timeout = duration(timeout).unwrap_or(defaults.scrape_timeout.min(scrape_interval));
        if let Some(timeout) = timeout.filter(|_| scrape_timeout > scrape_interval) {
            timeout.invalid("global scrape timeout greater than scrape interval");
        }
        let protocols = section.take("scrape_protocols").filter(|cursor| !cursor.is_null());
        let native = section.take_switch("scrape_native_histograms", Feature::NativeHistograms, false);
        let to_native =
            section.take_switch("convert_classic_histograms_to_nhcb", Feature::ClassicToNativeHistograms, false);
        let query_log = section.take_feature("query_log_file", Feature::QueryLog);
        let failure_log = section.take_feature("scrape_failure_log_file", Feature::ScrapeFailureLog);
        let global = GlobalConfig {
            scrape_interval,
            scrape_timeout,
            evaluation_interval: duration(section.take("evaluation_interval")).unwrap_or(defaults.evaluation_interval),
            rule_query_offset: section.take("rule_query_offset").and_then(Cursor::duration).unwrap_or_default(),
            external_labels: section.take("external_labels").map(|c| read_labels(c, names)).unwrap_or_default(),
            scrape_protocols: protocols.and_then(|cursor| ScrapeProtocol::read_list(cursor, "for global config")),
            limits: Limits::read(&mut section),
            query_log_file: query_log.and_then(Cursor::path),
            scrape_failure_log_file: failure_log.and_then(Cursor::path),
            metric_name_validation_scheme: names,
            metric_name_escaping_scheme: section
                .take("metric_name_escaping_scheme")
                .and_then(|c| Escaping::read(c, "global")),
            scrape_native_histograms: native,
            convert_classic_histograms_to_nhcb: to_native,
            always_scrape_classic_histograms: bool(section.take("always_scrape_classic_histograms")),
            extra_scrape_metrics: bool(section.take("extra_scrape_metrics")),
        };
        section.finish();
        global
    }

    /// Replaces `$NAME` and `${NAME}` in the external labels by what `lookup` gives, nothing for what it does not know;
    /// `$$` is one dollar.
    pub fn expand_external_labels(&mut self, lookup: impl Fn(&str) -> Option<String>) {
        let expand = |(name, value): (&str, &str)| (name.to_owned(), expand(value, &lookup));
        self.external_labels = Labels::from_pairs(self.external_labels.iter().map(expand).collect::<Vec<_>>());
    }
}

impl Limits {
    /// Takes the limits out of the section they share with others.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let mut number = |key| section.take(key).and_then(Cursor::unsigned).unwrap_or(0);
        Limits {
            samples: number("sample_limit"),
            targets: number("target_limit"),
            labels: number("label_limit"),
            label_name_bytes: number("label_name_length_limit"),
            label_value_bytes: number("label_value_length_limit"),
            dropped_targets_kept: number("keep_dropped_targets"),
            body_bytes: section
                .take("body_size_limit")
                .and_then(|cursor| read_size(cursor, "body_size_limit"))
                .unwrap_or(0),
        }
    }

    /// These limits, with those of `global` where there is none.
    pub(super) fn or(self, global: Limits) -> Limits {
        let or = |own: u64, global: u64| if own == 0 { global } else { own };
        Limits {
            body_bytes: or(self.body_bytes, global.body_bytes),
            samples: or(self.samples, global.samples),
            targets: or(self.targets, global.targets),
            labels: or(self.labels, global.labels),
            label_name_bytes: or(self.label_name_bytes, global.label_name_bytes),
            label_value_bytes: or(self.label_value_bytes, global.label_value_bytes),
            dropped_targets_kept: or(self.dropped_targets_kept, global.dropped_targets_kept),
        }
    }
}

/// Which names are allowed; `None` when the file leaves it open.
pub(super) fn read_name_scheme(cursor: Cursor<'_>) -> Option<NameScheme> {
    match cursor.non_empty()?.as_str() {
        "legacy" => Some(NameScheme::Legacy),
        "utf8" => Some(NameScheme::Utf8),
        unknown => {
            cursor.invalid(format!("unrecognized ValidationScheme: {}", quote(unknown)));
            None
        }
    }
}

impl Escaping {
    /// `None` when the file leaves it open; `whose` names the section in the message.
    pub(super) fn read(cursor: Cursor<'_>, whose: &str) -> Option<Self> {
        const ALL: [Escaping; 4] = [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values];
        let text = cursor.non_empty()?;
        let scheme = ALL.into_iter().find(|scheme| scheme.as_str() == text);
        if scheme.is_none() {
            let [a, b, c, d] = ALL.map(Escaping::as_str);
            let text = quote(&text);
            cursor.invalid(format!(
                "unknown {whose} name escaping method specified, must be one of '{a}', '{b}', '{c}', or '{d}', got {text}"
            ));
        }
        scheme
    }
}

fn read_labels(cursor: Cursor<'_>, names: NameScheme) -> Labels {
    let mut labels = LabelsBuilder::new();
    for (name, key, value) in cursor.entries() {
        if !names.allows_label(&name) {
            key.invalid(format!("{} is not a valid label name", quote(&name)));
        } else if let Some(value) = value.string() {
            labels.set(name, value);
        }
    }
    labels.build()
}

/// The rules of Go's `os.Expand`.
fn expand(text: &str, lookup: &impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, after) = match rest.strip_prefix('{') {
            Some(inner) => match inner.split_once('}') {
                Some(split) => split,
                // An open brace without its end is eaten.
                None => ("", inner),
            },
            None => match rest.chars().next() {
                Some('$') => ("$", &rest[1..]),
                Some(c) if "*#@!?-0123456789".contains(c) => rest.split_at(1),
                _ => rest.split_at(rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count()),
            },
        };
        match name {
            "$" => out.push('$'),
            // A dollar before anything else stays.
            "" if !rest.starts_with('{') => out.push('$'),
            "" => {}
            name => out.push_str(&lookup(name).unwrap_or_default()),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_as_go_does() {
        let lookup = |name: &str| (name == "HOST").then(|| "box".to_owned());
        for (text, expected) in [
            ("plain", "plain"),
            ("$HOST-1", "box-1"),
            ("${HOST}1", "box1"),
            ("$NONE.", "."),
            ("5$$", "5$"),
            ("a$ b", "a$ b"),
            ("end$", "end$"),
        ] {
            assert_eq!(expand(text, &lookup), expected, "input {text:?}");
        }
    }
}
