//! What a request says of metrics: kind, help and unit.
//!
//! 1.0 says it of families, mostly in requests of their own; 2.0 says it of each series, again and again.

use std::collections::HashSet;

use super::{SYMBOLS_MAX, Version};
use crate::exposition::{MetricDescription, MetricKind};
use crate::labels::METRIC_NAME;
use crate::protobuf::Fields;

/// What a request says of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description<'a> {
    /// The name of the family.
    pub metric: &'a str,
    /// What it measures.
    pub kind: MetricKind,
    /// What it is, for people; may be empty.
    pub help: &'a str,
    /// Its unit; may be empty.
    pub unit: &'a str,
}

/// Calls `each` for what `body`, which [`super::Decoder`] read before, says of metrics. What makes no sense is left out, and of 2.0 each
/// metric is told once.
pub fn descriptions<'a>(version: Version, body: &'a [u8], mut each: impl FnMut(Description<'a>)) {
    match version {
        Version::V1 => of_families(Fields::new(body, 0), &mut each),
        Version::V2 => of_series(Fields::new(body, 0), &mut each),
    };
}

fn kind_of(number: u64) -> MetricKind {
    usize::try_from(number).ok().and_then(|at| MetricKind::ALL.get(at).copied()).unwrap_or_default()
}

/// Reads as far as the bytes are a request.
fn of_families<'a>(mut fields: Fields<'a>, each: &mut impl FnMut(Description<'a>)) -> Option<()> {
    while let Some((number, field)) = fields.next().ok()? {
        if number != 3 {
            continue;
        }
        let mut said = Description { metric: "", kind: MetricKind::Unknown, help: "", unit: "" };
        let mut fields = field.message().ok()?;
        while let Some((number, field)) = fields.next().ok()? {
            match number {
                1 => said.kind = kind_of(field.uint().ok()?),
                2 => said.metric = field.text().unwrap_or_default(),
                4 => said.help = field.text().unwrap_or_default(),
                5 => said.unit = field.text().unwrap_or_default(),
                _ => {}
            }
        }
        if !said.metric.is_empty() {
            each(said);
        }
    }
    Some(())
}

fn of_series<'a>(fields: Fields<'a>, each: &mut impl FnMut(Description<'a>)) -> Option<()> {
    let mut symbols: Vec<&'a str> = Vec::new();
    let mut rest = fields.clone();
    while let Some((number, field)) = rest.next().ok()? {
        if number == 4 && symbols.len() < SYMBOLS_MAX {
            symbols.push(field.text().unwrap_or_default());
        }
    }
    let symbol = |number: u64| usize::try_from(number).ok().and_then(|at| symbols.get(at).copied()).unwrap_or_default();
    let (mut fields, mut told) = (fields, HashSet::new());
    while let Some((number, field)) = fields.next().ok()? {
        if number != 5 {
            continue;
        }
        let (mut series, mut metric, mut said) = (field.message().ok()?, None, None);
        while let Some((number, field)) = series.next().ok()? {
            match number {
                1 => {
                    let mut name = None;
                    let pair = |number: u64| match name.take() {
                        None => name = Some(number),
                        Some(name) if symbol(name) == METRIC_NAME => metric = Some(number),
                        Some(_) => {}
                    };
                    field.uints(pair).ok()?;
                }
                5 => {
                    let (mut kind, mut help, mut unit) = (MetricKind::Unknown, "", "");
                    let mut fields = field.message().ok()?;
                    while let Some((number, field)) = fields.next().ok()? {
                        match number {
                            1 => kind = kind_of(field.uint().ok()?),
                            3 => help = symbol(field.uint().ok()?),
                            4 => unit = symbol(field.uint().ok()?),
                            _ => {}
                        }
                    }
                    // Senders that know nothing say so of every series.
                    said = Some((kind, help, unit)).filter(|said| *said != (MetricKind::Unknown, "", ""));
                }
                _ => {}
            }
        }
        if let (Some(number), Some((kind, help, unit))) = (metric, said)
            && told.insert(number)
            && !symbol(number).is_empty()
        {
            each(Description { metric: family_of(symbol(number), kind), kind, help, unit });
        }
    }
    Some(())
}

/// The ends of the names of series of each kind, beside the family's own name. A counter is `x_total` of the family `x` in OpenMetrics
/// only.
fn suffixes(kind: MetricKind) -> &'static [&'static str] {
    match kind {
        MetricKind::Histogram => &["_bucket", "_count", "_sum", "_created"],
        MetricKind::GaugeHistogram => &["_bucket", "_count", "_sum", "_gcount", "_gsum"],
        MetricKind::Summary => &["_count", "_sum", "_created"],
        MetricKind::Counter => &["_total", "_created"],
        MetricKind::Info => &["_info"],
        MetricKind::Gauge | MetricKind::StateSet | MetricKind::Unknown => &[],
    }
}

/// The family to which the series with this name belong.
fn family_of(name: &str, kind: MetricKind) -> &str {
    // Who writes says it of the series of a counter, whatever the family is called where it comes from.
    let suffixes = if matches!(kind, MetricKind::Counter | MetricKind::Info) { &[] } else { suffixes(kind) };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).filter(|family| !family.is_empty()).unwrap_or(name)
}

/// What is known of the series called `name`, where `find` knows families by their names.
pub fn description_of(name: &str, find: impl Fn(&str) -> Option<MetricDescription>) -> Option<MetricDescription> {
    find(name).or_else(|| {
        let (family, _) = name.rsplit_once('_').filter(|(family, _)| !family.is_empty())?;
        let suffix = &name[family.len()..];
        // Most names end in no such way, and need no second look.
        if !MetricKind::ALL.iter().any(|kind| suffixes(*kind).contains(&suffix)) {
            return None;
        }
        find(family).filter(|found| suffixes(found.kind).contains(&suffix))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use crate::protobuf::{push_message, push_text, push_uint};
    use crate::remote_write::Encoder;
    use crate::sample::Samples;

    fn told(version: Version, body: &[u8]) -> Vec<String> {
        let mut told = Vec::new();
        descriptions(version, body, |Description { metric, kind, help, unit }| {
            told.push(format!("{metric} {} {help:?} {unit}", kind.as_str()));
        });
        told
    }

    #[test]
    fn families_of_1_0() {
        let mut body = Vec::new();
        for (kind, name, help, unit) in [(1, "a_total", "Those.", ""), (77, "b", "", "s"), (2, "", "nameless", "")] {
            push_message(&mut body, 3, |out| {
                push_uint(out, 1, kind);
                push_text(out, 2, name);
                push_text(out, 4, help);
                push_text(out, 5, unit);
            });
        }
        assert_eq!(told(Version::V1, &body), ["a_total counter \"Those.\" ", "b unknown \"\" s"]);
        for end in 0..body.len() {
            told(Version::V1, &body[..end]);
        }
    }

    #[test]
    fn series_of_2_0() {
        let mut encoder = Encoder::of(Version::V2);
        let meaning = |kind, help: &str| MetricDescription { kind, help: help.to_owned(), unit: "s".to_owned() };
        for (name, meaning) in [
            ("h_bucket", Some(meaning(MetricKind::Histogram, "How long."))),
            ("h_sum", Some(meaning(MetricKind::Histogram, "How long."))),
            ("q_sum", Some(meaning(MetricKind::Summary, "Q."))),
            ("c_total", Some(meaning(MetricKind::Counter, "C."))),
            // Of each name what is said first.
            ("c_total", Some(meaning(MetricKind::Gauge, "Other."))),
            ("silent", None),
            ("_sum", Some(meaning(MetricKind::Summary, ""))),
        ] {
            let labels = Labels::from_pairs([("__name__", name), ("a", "__name__")]);
            encoder.push_series(&labels, &Samples::default(), &[], meaning.as_ref());
        }
        let body = encoder.finish();
        let expected = [
            "h histogram \"How long.\" s",
            "h histogram \"How long.\" s",
            "q summary \"Q.\" s",
            "c_total counter \"C.\" s",
            "_sum summary \"\" s",
        ];
        assert_eq!(told(Version::V2, &body), expected);
        for end in 0..body.len() {
            told(Version::V2, &body[..end]);
        }
    }

    #[test]
    fn families_that_series_belong_to() {
        let find = |family: &str| {
            let kind = match family {
                "h" | "h_count" => MetricKind::Histogram,
                "s" => MetricKind::Summary,
                "c" | "d_total" => MetricKind::Counter,
                "g" => MetricKind::Gauge,
                "i" => MetricKind::Info,
                _ => return None,
            };
            Some(MetricDescription { kind, help: family.to_owned(), unit: String::new() })
        };
        for (name, expected) in [
            ("h_bucket", Some("h")),
            // A family of its own.
            ("h_count", Some("h_count")),
            ("h_sum", Some("h")),
            ("s", Some("s")),
            ("s_sum", Some("s")),
            ("s_bucket", None),
            ("c_total", Some("c")),
            ("c", Some("c")),
            ("d_total", Some("d_total")),
            ("g_total", None),
            ("g", Some("g")),
            ("i_info", Some("i")),
            ("_sum", None),
            ("", None),
        ] {
            let found = description_of(name, find).map(|found| found.help);
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }
}
