//! What a Prometheus understands: which files it wants, and which keys its version knows.
//!
//! A version that does not know a key refuses the whole file that has it. So what is too new is left out of what we render and
//! named, and everything else runs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

/// How scrape jobs are spread over files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// One file for each relation, which the main file names by `scrape_config_files`: a change touches one small file.
    #[default]
    Split,
    /// All in the main file, as the charm renders it and as every version reads it. What are flags is no file of ours here.
    Inlined,
}

/// A version of Prometheus; patch releases bring no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

/// The oldest version that is driven. One that nobody could ask yet gets only what this one knows.
pub const OLDEST: Version = Version { major: 2, minor: 42 };

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = String;

    /// Reads `2.42`, `v3.5.0-rc.1` or `2.42.0+ds`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = text.trim_start_matches('v').split(['.', '-', '+', '~']).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Version { major, minor }),
            _ => Err(format!("{text:?} is not a version such as 2.42 or 3.5.0")),
        }
    }
}

/// What is rendered for whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dialect {
    /// The files.
    pub layout: Layout,
    /// The version whose keys may be used; `None`: all that we know.
    pub version: Option<Version>,
}

/// A part of the configuration, whose keys have a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `global`
    Global,
    /// One of `scrape_configs`.
    Job,
    /// One of `alerting.alertmanagers`.
    Alertmanager,
    /// One of `remote_write`.
    RemoteWrite,
    /// One of a rule file's `groups`.
    Group,
    /// One of a group's `rules`.
    Rule,
}

/// A part, a key in it, where `.` goes deeper, and the first version with that key.
type Known = (Part, &'static str, Version);

const fn v(major: u32, minor: u32) -> Version {
    Version { major, minor }
}

/// Keys newer than [`OLDEST`], with the change that brought them: as the configuration's types have them in the tag of each release,
/// those of HTTP clients by the version of `prometheus/common` that the release is built with.
const KEYS: &[Known] = &[
    (Part::Global, "body_size_limit", v(2, 45)),                   // #12126
    (Part::Global, "sample_limit", v(2, 45)),                      // #12126
    (Part::Global, "target_limit", v(2, 45)),                      // #12126
    (Part::Global, "label_limit", v(2, 45)),                       // #12126
    (Part::Global, "label_name_length_limit", v(2, 45)),           // #12126
    (Part::Global, "label_value_length_limit", v(2, 45)),          // #12126
    (Part::Global, "keep_dropped_targets", v(2, 47)),              // #12647
    (Part::Global, "scrape_protocols", v(2, 49)),                  // #12738
    (Part::Global, "rule_query_offset", v(2, 53)),                 // #14061
    (Part::Global, "scrape_failure_log_file", v(2, 55)),           // #14734
    (Part::Global, "metric_name_validation_scheme", v(2, 55)),     // #14975
    (Part::Global, "convert_classic_histograms_to_nhcb", v(3, 4)), // #16226
    (Part::Global, "metric_name_escaping_scheme", v(3, 4)),        // #16066
    (Part::Global, "always_scrape_classic_histograms", v(3, 5)),   // #16452
    (Part::Global, "scrape_native_histograms", v(3, 8)),           // #17232
    (Part::Global, "extra_scrape_metrics", v(3, 10)),              // #17606
    (Part::Job, "native_histogram_bucket_limit", v(2, 45)),        // #12254
    (Part::Job, "keep_dropped_targets", v(2, 47)),                 // #12647
    (Part::Job, "track_timestamps_staleness", v(2, 48)),           // #13060
    (Part::Job, "scrape_protocols", v(2, 49)),                     // #12738
    (Part::Job, "enable_compression", v(2, 49)),                   // #13166
    (Part::Job, "native_histogram_min_bucket_factor", v(2, 50)),   // #13222
    (Part::Job, "scrape_failure_log_file", v(2, 55)),              // #14734
    (Part::Job, "http_headers", v(2, 55)),                         // #14817
    (Part::Job, "always_scrape_classic_histograms", v(3, 0)),      // #15178
    (Part::Job, "convert_classic_histograms_to_nhcb", v(3, 0)),    // #14978
    (Part::Job, "fallback_scrape_protocol", v(3, 0)),              // #15136
    (Part::Job, "metric_name_validation_scheme", v(2, 55)),        // #14975
    (Part::Job, "metric_name_escaping_scheme", v(3, 4)),           // #16066
    (Part::Job, "scrape_native_histograms", v(3, 8)),              // #17232
    (Part::Job, "extra_scrape_metrics", v(3, 10)),                 // #17606
    (Part::Job, "denied_networks", NEVER),
    (Part::Job, "no_proxy", v(2, 43)),                              // #12098
    (Part::Job, "proxy_from_environment", v(2, 43)),                // #12098
    (Part::Job, "proxy_connect_header", v(2, 43)),                  // #12098
    (Part::Job, "basic_auth.username_file", v(2, 49)),              // prometheus/common 0.45
    (Part::Job, "tls_config.ca", v(2, 45)),                         // prometheus/common 0.44
    (Part::Job, "tls_config.cert", v(2, 45)),                       // prometheus/common 0.44
    (Part::Job, "tls_config.key", v(2, 45)),                        // prometheus/common 0.44
    (Part::Alertmanager, "no_proxy", v(2, 43)),                     // #12098
    (Part::Alertmanager, "proxy_from_environment", v(2, 43)),       // #12098
    (Part::Alertmanager, "alert_relabel_configs", v(2, 51)),        // #12551
    (Part::Alertmanager, "http_headers", v(2, 55)),                 // #14817
    (Part::RemoteWrite, "no_proxy", v(2, 43)),                      // #12098
    (Part::RemoteWrite, "proxy_from_environment", v(2, 43)),        // #12098
    (Part::RemoteWrite, "queue_config.sample_age_limit", v(2, 50)), // #13002
    (Part::RemoteWrite, "protobuf_message", v(2, 54)),              // #13968
    (Part::RemoteWrite, "http_headers", v(2, 55)),                  // #14817
    (Part::RemoteWrite, "round_robin_dns", v(3, 1)),                // #15411
    (Part::Group, "query_offset", v(2, 53)),                        // #14061
    (Part::Group, "labels", v(3, 0)),                               // #11474
];

/// The version that knows what is ours alone: none of Prometheus.
const NEVER: Version = v(u32::MAX, 0);

/// The first version in which names may have any character.
const ANY_NAMES: Version = v(3, 0);

/// What was left out: the key and the first version that knows it, with how often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    counts: BTreeMap<(Part, String, Version), usize>,
}

impl LeftOut {
    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// One line for each key.
    pub fn lines(&self, version: Version) -> Vec<String> {
        let line = |((part, key, since), count): (&(Part, String, Version), &usize)| {
            let (one, many) = match part {
                Part::Global => ("the global section", "global sections"),
                Part::Job => ("1 scrape job", "scrape jobs"),
                Part::Alertmanager => ("1 Alertmanager", "Alertmanagers"),
                Part::RemoteWrite => ("1 remote write", "remote writes"),
                Part::Group => ("1 rule group", "rule groups"),
                Part::Rule => ("1 group", "groups"),
            };
            let place = if *count == 1 { one.to_owned() } else { format!("{count} {many}") };
            match *since {
                NEVER => format!("{key} is left out of {place}: Prometheus does not know it"),
                since => {
                    format!("{key} is left out of {place}: Prometheus knows it since {since}, and {version} is driven")
                }
            }
        };
        self.counts.iter().map(line).collect()
    }

    /// Counts what was left out of something else as well.
    pub fn merge(&mut self, other: &LeftOut) {
        for (what, count) in &other.counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
    }

    fn note(&mut self, part: Part, key: &str, since: Version) {
        *self.counts.entry((part, key.to_owned(), since)).or_default() += 1;
    }
}

impl Version {
    /// Takes out of `value`, which is a `part`, what this version does not know.
    pub fn trim(self, part: Part, value: &mut Value, left_out: &mut LeftOut) {
        for (_, path, since) in KEYS.iter().filter(|(of, _, since)| *of == part && *since > self) {
            if remove(value, path) {
                left_out.note(part, path, *since);
            }
        }
        match part {
            Part::Job => self.trim_target_labels(value, left_out),
            Part::Group => self.trim_rules(value, left_out),
            _ => {}
        }
    }

    fn trim_target_labels(self, job: &mut Value, left_out: &mut LeftOut) {
        for group in job.get_mut("static_configs").and_then(Value::as_array_mut).into_iter().flatten() {
            self.trim_labels(Part::Job, group.get_mut("labels"), left_out);
        }
    }

    fn trim_rules(self, group: &mut Value, left_out: &mut LeftOut) {
        let Some(rules) = group.get_mut("rules").and_then(Value::as_array_mut) else { return };
        if self < ANY_NAMES {
            rules.retain(|rule| {
                let is_known = !rule.get("expr").and_then(Value::as_str).is_some_and(has_quoted_name)
                    && rule.get("record").and_then(Value::as_str).is_none_or(|name| is_plain(name, true));
                if !is_known {
                    let name = rule.get("alert").or_else(|| rule.get("record")).and_then(Value::as_str);
                    left_out.note(Part::Rule, &format!("rule {}", name.unwrap_or_default()), ANY_NAMES);
                }
                is_known
            });
        }
        for rule in rules {
            for (_, path, since) in KEYS.iter().filter(|(of, _, since)| *of == Part::Rule && *since > self) {
                if remove(rule, path) {
                    left_out.note(Part::Rule, path, *since);
                }
            }
            self.trim_labels(Part::Rule, rule.get_mut("labels"), left_out);
        }
    }

    fn trim_labels(self, part: Part, labels: Option<&mut Value>, left_out: &mut LeftOut) {
        let Some(labels) = labels.and_then(Value::as_object_mut).filter(|_| self < ANY_NAMES) else { return };
        let unknown: Vec<String> = labels.keys().filter(|name| !is_plain(name, false)).cloned().collect();
        for name in unknown {
            labels.remove(&name);
            left_out.note(part, &format!("label {name:?}"), ANY_NAMES);
        }
    }
}

fn remove(value: &mut Value, path: &str) -> bool {
    let mut keys = path.split('.');
    let last = keys.next_back().unwrap_or_default();
    let found = keys.try_fold(value, |value, key| value.get_mut(key));
    found.and_then(Value::as_object_mut).and_then(|map: &mut Map<String, Value>| map.shift_remove(last)).is_some()
}

/// Whether `name` is one that every version takes; names of metrics may have colons.
fn is_plain(name: &str, colons: bool) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':'))
}

/// Whether a selector of `expr` has a name in quotation marks: a text that stands where a name has to, right behind `{` or, inside
/// braces, behind a comma.
fn has_quoted_name(expr: &str) -> bool {
    let (mut depth, mut before) = (0_u32, ' ');
    let mut chars = expr.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\'' | '`' => {
                if depth > 0 && matches!(before, '{' | ',') {
                    return true;
                }
                while let Some(inside) = chars.next() {
                    match inside {
                        '\\' if c != '`' => drop(chars.next()),
                        _ if inside == c => break,
                        _ => {}
                    }
                }
            }
            '#' => drop(chars.by_ref().find(|c| *c == '\n')),
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if !c.is_whitespace() {
            before = c;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions() {
        for (text, expected) in [
            ("2.42.0+ds", Some(v(2, 42))),
            ("v3.5", Some(v(3, 5))),
            ("3.0.0-rc.1", Some(v(3, 0))),
            ("2", None),
            ("", None),
            ("two.one", None),
        ] {
            assert_eq!(text.parse::<Version>().ok(), expected, "{text}");
        }
        assert!(v(2, 9) < v(2, 42) && v(2, 55) < v(3, 0));
    }

    #[track_caller]
    fn check(version: Version, part: Part, mut value: Value, expected: Value, lines: &[&str]) {
        let mut left_out = LeftOut::default();
        version.trim(part, &mut value, &mut left_out);
        assert_eq!(value, expected);
        let found = left_out.lines(version);
        assert_eq!(found.len(), lines.len(), "{found:?}");
        for (line, beginning) in found.iter().zip(lines) {
            assert!(line.starts_with(beginning), "{line}");
        }
    }

    #[test]
    fn keys_that_are_too_new_go() {
        let job =
            json!({"job_name": "a", "fallback_scrape_protocol": "PrometheusText0.0.4", "tls_config": {"ca": "x"}});
        check(
            OLDEST,
            Part::Job,
            job.clone(),
            json!({"job_name": "a", "tls_config": {}}),
            &["fallback_scrape_protocol is left out of 1 scrape job", "tls_config.ca is left out of 1 scrape job"],
        );
        check(v(3, 5), Part::Job, job.clone(), job, &[]);
        let bound = json!({"denied_networks": ["10.0.0.0/8"]});
        check(
            v(3, 99),
            Part::Job,
            bound,
            json!({}),
            &["denied_networks is left out of 1 scrape job: Prometheus does not"],
        );
        let labelled = json!({"static_configs": [{"targets": ["a:1"], "labels": {"a.b": "c", "d": "e"}}]});
        let plain = json!({"static_configs": [{"targets": ["a:1"], "labels": {"d": "e"}}]});
        check(v(2, 55), Part::Job, labelled, plain, &["label \"a.b\" is left out"]);
        let group = json!({"name": "g", "query_offset": "1m", "labels": {"a": "b"}, "rules": [
            {"alert": "A", "expr": "{\"a.b\"} > 0"}, {"alert": "B", "expr": "up", "keep_firing_for": "1m"},
        ]});
        let rest = json!({"name": "g", "query_offset": "1m", "rules": [
            {"alert": "B", "expr": "up", "keep_firing_for": "1m"},
        ]});
        check(v(2, 53), Part::Group, group, rest, &["labels is left out of 1 rule group", "rule A is left out"]);
    }

    #[test]
    fn quoted_names() {
        for (expr, expected) in [
            (r#"{"a.b"}"#, true),
            (r#"up{job="x", "a.b"="c"}"#, true),
            (r#"up{job="{", x='"'}"#, false),
            (r#"label_replace(up, "a", "$1", "b", "(.*)")"#, false),
            (r#"count_values("v", up{a="b"})"#, false),
            ("up # {\"a\"}\n", false),
            (r#"up{a="\"{", b="c"}"#, false),
        ] {
            assert_eq!(has_quoted_name(expr), expected, "{expr}");
        }
    }
}
