//! What OpenMetrics 1.0 forbids and Prometheus takes all the same: the rules about the order, the names and the values of
//! samples that belong together.
//!
//! A *family* is what one `TYPE` line speaks of, a *group* the samples of one of its label sets, a *point* those of a group
//! that have the same time. Rules about whole points and families are checked when the next one begins.

use std::collections::HashSet;

use super::series::labels_of;
use super::{Entry, MetricKind, ParsedSample};
use crate::labels::Labels;
use crate::text::quote;

/// How many characters the names and values of an exemplar may have together.
const EXEMPLAR_CHARS_MAX: usize = 128;

/// What is against the rules, and where in the body the line begins that is to blame.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) at: usize,
    pub(super) reason: String,
}

/// What was read so far, as far as the rules must remember it. Its size is bounded by that of the body.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules<'a> {
    /// Every name a sample of the families so far has or could have.
    taken: HashSet<String>,
    family: Option<Family<'a>>,
}

#[derive(Debug, Clone)]
struct Family<'a> {
    name: &'a str,
    /// Where it begins in the body.
    at: usize,
    kind: Option<MetricKind>,
    has_help: bool,
    unit: Option<&'a str>,
    groups: HashSet<Labels>,
    point: Option<Point>,
}

#[derive(Debug, Clone)]
struct Point {
    group: Labels,
    t_ms: Option<i64>,
    /// Where its last sample begins in the body.
    at: usize,
    series: HashSet<Labels>,
    has_total: bool,
    /// The bound and the value of the last bucket.
    bucket: Option<(f64, f64)>,
    has_negative_bound: bool,
    sum: Option<f64>,
    count: Option<f64>,
}

impl<'a> Rules<'a> {
    /// Looks at the next entry, which begins at `at` in the body.
    pub(super) fn check(&mut self, entry: &Entry<'a>, at: usize) -> Result<(), Violation> {
        let blame = |reason| Violation { at, reason };
        match *entry {
            Entry::Type { name, kind } => {
                let family = self.metadata(name, at)?;
                if family.kind.replace(kind).is_some() {
                    return Err(blame(format!("metric {} has more than one TYPE", quote(name))));
                }
            }
            Entry::Help { name, text } => {
                let family = self.metadata(name, at)?;
                if std::mem::replace(&mut family.has_help, true) {
                    return Err(blame(format!("metric {} has more than one HELP", quote(name))));
                }
                if text.ends_with('\r') {
                    return Err(blame("line ends with a carriage return".to_owned()));
                }
            }
            Entry::Unit { name, unit } => {
                let family = self.metadata(name, at)?;
                if family.unit.replace(unit).is_some() {
                    return Err(blame(format!("metric {} has more than one UNIT", quote(name))));
                }
            }
            Entry::Sample(sample) => self.sample(&sample, at)?,
            // The format knows no comments, so none is ever read from it.
            Entry::Comment(_) => {}
        }
        Ok(())
    }

    /// Looks at what the end of the body completes.
    pub(super) fn end(&mut self) -> Result<(), Violation> {
        let Some(family) = self.family.take() else { return Ok(()) };
        family.end()?;
        let kind = family.kind();
        // A name without suffix is taken in any case: people ask for it.
        for suffix in suffixes(kind).iter().chain(&[""]) {
            let name = format!("{}{suffix}", family.name);
            if self.taken.contains(&name) {
                return Err(Violation {
                    at: family.at,
                    reason: format!("metric {} clashes with an earlier one over {}", quote(family.name), quote(&name)),
                });
            }
        }
        self.taken.extend(suffixes(kind).iter().chain(&[""]).map(|suffix| format!("{}{suffix}", family.name)));
        Ok(())
    }

    fn metadata(&mut self, name: &'a str, at: usize) -> Result<&mut Family<'a>, Violation> {
        if self.family.as_ref().is_none_or(|family| family.name != name) {
            self.begin(name, at)?;
        }
        let family = self.family.as_mut().expect("the family of that name has begun");
        if family.point.is_some() {
            return Err(Violation {
                at,
                reason: format!("metadata of metric {} stands behind its samples", quote(name)),
            });
        }
        Ok(family)
    }

    fn begin(&mut self, name: &'a str, at: usize) -> Result<(), Violation> {
        self.end()?;
        if name.starts_with('_') {
            return Err(Violation { at, reason: format!("metric name {} is reserved", quote(name)) });
        }
        self.family =
            Some(Family { name, at, kind: None, has_help: false, unit: None, groups: HashSet::new(), point: None });
        Ok(())
    }

    fn sample(&mut self, sample: &ParsedSample<'a>, at: usize) -> Result<(), Violation> {
        let name = sample.series.split('{').next().unwrap_or_default();
        let known = self.family.as_ref().and_then(|family| family.suffix_of(name));
        let suffix = match known {
            Some(suffix) => suffix,
            None => {
                self.begin(name, at)?;
                ""
            }
        };
        let family = self.family.as_mut().expect("the family of the sample has begun");
        family.sample(sample, suffix).map_err(|reason| Violation { at, reason })?;
        family.join(sample, suffix, at)
    }
}

impl<'a> Family<'a> {
    fn kind(&self) -> MetricKind {
        self.kind.unwrap_or_default()
    }

    /// What follows the family's name in `name`, if a sample of that name belongs to it.
    fn suffix_of(&self, name: &str) -> Option<&'static str> {
        let rest = name.strip_prefix(self.name)?;
        suffixes(self.kind()).iter().copied().find(|suffix| *suffix == rest)
    }

    /// Checks what can be said of a sample alone.
    fn sample(&self, sample: &ParsedSample<'a>, suffix: &str) -> Result<(), String> {
        use MetricKind::{Counter, GaugeHistogram, Histogram, Info, StateSet, Summary};
        let kind = self.kind();
        let labels = labels_of(sample.series, MetricKind::Unknown).map_err(|error| error.to_string())?;
        let value = sample.value;
        let is_count = matches!(suffix, "_count" | "_gcount" | "_bucket");
        if is_count || (matches!(suffix, "_total" | "_sum") && matches!(kind, Counter | Histogram | Summary)) {
            if value.is_nan() || value < 0.0 {
                return Err(format!("{suffix} must not be negative or NaN"));
            }
        } else if suffix == "_gsum" && value.is_nan() {
            return Err("_gsum must not be NaN".to_owned());
        } else if suffix == "_created" && !value.is_finite() {
            return Err("_created must be a time".to_owned());
        }
        if is_count && value.fract() != 0.0 {
            return Err(format!("{suffix} must be a whole number"));
        }
        match kind {
            StateSet if labels.get(self.name).is_none() => {
                return Err(format!("state needs a label {}", quote(self.name)));
            }
            StateSet if value != 0.0 && value != 1.0 => return Err("state must be 0 or 1".to_owned()),
            Info if value != 1.0 => return Err("info must be 1".to_owned()),
            Summary if suffix.is_empty() => {
                let quantile = labels.get("quantile").and_then(number);
                if !quantile.is_some_and(|quantile| (0.0..=1.0).contains(&quantile)) {
                    return Err("quantile needs a label \"quantile\" between 0 and 1".to_owned());
                }
                if value < 0.0 {
                    return Err("quantile must not be negative".to_owned());
                }
            }
            Summary if labels.get("quantile").is_some() => {
                return Err(format!("{suffix} must not have a label \"quantile\""));
            }
            Histogram | GaugeHistogram => match (suffix, labels.get("le")) {
                ("_bucket", Some(bound)) if self::bound(bound).is_some() => {}
                ("_bucket", _) => return Err("bucket needs a label \"le\" with its bound".to_owned()),
                (_, Some(_)) => return Err(format!("{suffix} must not have a label \"le\"")),
                (_, None) => {}
            },
            _ => {}
        }
        if let Some((name, _)) = labels.iter().find(|(name, _)| name.starts_with('_') && *name != "__name__") {
            return Err(format!("label name {} is reserved", quote(name)));
        }
        let Some(exemplar) = sample.exemplar else { return Ok(()) };
        if !matches!((kind, suffix), (Counter, "_total") | (Histogram | GaugeHistogram, "_bucket")) {
            return Err(format!("{} must not have an exemplar", quote(sample.series)));
        }
        if labels.get("le").and_then(bound).is_some_and(|bound| kind != Counter && exemplar.value > bound) {
            return Err("exemplar does not lie in its bucket".to_owned());
        }
        let labels = labels_of(exemplar.labels, MetricKind::Unknown).map_err(|error| error.to_string())?;
        if labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum::<usize>()
            > EXEMPLAR_CHARS_MAX
        {
            return Err(format!("labels of exemplar have more than {EXEMPLAR_CHARS_MAX} characters"));
        }
        Ok(())
    }

    /// Checks a sample against those before it.
    fn join(&mut self, sample: &ParsedSample<'a>, suffix: &str, at: usize) -> Result<(), Violation> {
        let kind = self.kind();
        let blame = |reason: String| Violation { at, reason };
        let series = labels_of(sample.series, MetricKind::Unknown).expect("the labels were read before");
        let group = self.group_of(&series);
        let known = self.point.as_ref().filter(|point| point.group == group);
        let goes_on = match known {
            None => {
                self.end_point()?;
                if !self.groups.insert(group.clone()) {
                    return Err(blame(format!("samples of {} do not stand together", quote(sample.series))));
                }
                false
            }
            // Infos cannot be told apart, so nothing can be said of their times.
            Some(_) if kind == MetricKind::Info => true,
            Some(point) => {
                if point.t_ms.is_some() != sample.t_ms.is_some() {
                    return Err(blame("only some samples of the same labels have a time".to_owned()));
                }
                if sample.t_ms < point.t_ms {
                    return Err(blame("time goes backwards".to_owned()));
                }
                sample.t_ms == point.t_ms
            }
        };
        if !goes_on {
            self.end_point()?;
            self.point = Some(Point::new(group, sample.t_ms));
        }
        let name = self.name;
        let point = self.point.as_mut().expect("the point of the sample has begun");
        point.at = at;
        // Times that differ in less than a millisecond are the same for us.
        if !point.series.insert(series.clone()) && sample.t_ms.is_none() {
            return Err(blame(format!("series {} is repeated", quote(sample.series))));
        }
        match suffix {
            "_total" => point.has_total = true,
            "_sum" | "_gsum" => point.sum = Some(sample.value),
            "_count" | "_gcount" => point.count = Some(sample.value),
            "_bucket" => {
                let bound = series.get("le").and_then(bound).expect("the bound was read before");
                if let Some((last_bound, last_value)) = point.bucket {
                    if bound <= last_bound {
                        return Err(blame(format!("buckets of {} are not in order", quote(name))));
                    }
                    if sample.value < last_value {
                        return Err(blame(format!("buckets of {} do not add up", quote(name))));
                    }
                }
                point.has_negative_bound |= bound < 0.0;
                point.bucket = Some((bound, sample.value));
            }
            _ => {}
        }
        Ok(())
    }

    fn group_of(&self, series: &Labels) -> Labels {
        let own = match self.kind() {
            MetricKind::Info => return Labels::empty(),
            MetricKind::Histogram | MetricKind::GaugeHistogram => "le",
            MetricKind::Summary => "quantile",
            MetricKind::StateSet => self.name,
            _ => "",
        };
        series.filtered(|name| name != "__name__" && name != own)
    }

    fn end_point(&self) -> Result<(), Violation> {
        match &self.point {
            Some(point) => point.check(self.kind()).map_err(|reason| Violation {
                at: point.at,
                reason: format!("{reason} in metric {}", quote(self.name)),
            }),
            None => Ok(()),
        }
    }

    fn end(&self) -> Result<(), Violation> {
        self.end_point()?;
        let kind = self.kind();
        if matches!(kind, MetricKind::Info | MetricKind::StateSet) && self.unit.is_some_and(|unit| !unit.is_empty()) {
            let reason = format!("{} {} must not have a unit", kind.as_str(), quote(self.name));
            return Err(Violation { at: self.at, reason });
        }
        Ok(())
    }
}

impl Point {
    fn new(group: Labels, t_ms: Option<i64>) -> Self {
        Point {
            group,
            t_ms,
            at: 0,
            series: HashSet::new(),
            has_total: false,
            bucket: None,
            has_negative_bound: false,
            sum: None,
            count: None,
        }
    }

    /// Checks what can be said of all samples of one time.
    fn check(&self, kind: MetricKind) -> Result<(), String> {
        let (sum, count) = match kind {
            MetricKind::Counter if !self.has_total => return Err("no _total".to_owned()),
            MetricKind::Histogram => ("_sum", "_count"),
            MetricKind::GaugeHistogram => ("_gsum", "_gcount"),
            _ => return Ok(()),
        };
        let Some((_, all)) = self.bucket.filter(|(bound, _)| *bound == f64::INFINITY) else {
            return Err("no bucket with the bound +Inf".to_owned());
        };
        match (self.sum, self.count) {
            (Some(_), None) => Err(format!("{sum} without {count}")),
            (None, Some(_)) => Err(format!("{count} without {sum}")),
            (Some(_), Some(own)) if own != all => Err(format!("{count} is not the bucket with the bound +Inf")),
            (Some(_), _) if kind == MetricKind::Histogram && self.has_negative_bound => {
                Err("_sum beside buckets with negative bounds".to_owned())
            }
            (Some(value), _) if value < 0.0 && !self.has_negative_bound => {
                Err(format!("negative {sum} without buckets with negative bounds"))
            }
            _ => Ok(()),
        }
    }
}

/// What the names of a family's samples may end in.
fn suffixes(kind: MetricKind) -> &'static [&'static str] {
    match kind {
        MetricKind::Counter => &["_total", "_created"],
        MetricKind::Summary => &["", "_count", "_sum", "_created"],
        MetricKind::Histogram => &["_count", "_sum", "_bucket", "_created"],
        MetricKind::GaugeHistogram => &["_gcount", "_gsum", "_bucket"],
        MetricKind::Info => &["_info"],
        MetricKind::Gauge | MetricKind::StateSet | MetricKind::Unknown => &[""],
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| !number.is_nan())
}

/// The bound of a bucket; the infinite one has only one notation.
fn bound(text: &str) -> Option<f64> {
    number(text).filter(|bound| *bound != f64::INFINITY || text == "+Inf")
}
