//! Names of metrics, labels and units: OpenTelemetry's, as Prometheus writes them.
//!
//! The rules are those of OpenTelemetry's specification, "Prometheus and OpenMetrics Compatibility".

use relatum_config::prometheus::{OtlpConfig, TranslationStrategy};

/// What kind of metric a name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    Counter,
    Other,
}

/// How names are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Names {
    suffixes: bool,
    utf8: bool,
    sanitize_underscore: bool,
    keep_underscores: bool,
}

impl Names {
    pub(super) fn of(config: &OtlpConfig) -> Self {
        use TranslationStrategy::{NoTranslation, NoUtf8EscapingWithSuffixes, UnderscoreEscapingWithSuffixes};
        let strategy = config.translation_strategy;
        Names {
            suffixes: matches!(strategy, UnderscoreEscapingWithSuffixes | NoUtf8EscapingWithSuffixes),
            utf8: matches!(strategy, NoUtf8EscapingWithSuffixes | NoTranslation),
            sanitize_underscore: config.label_name_underscore_sanitization,
            keep_underscores: config.label_name_preserve_multiple_underscores,
        }
    }

    /// Whether two names of attributes may become the same label.
    pub(super) fn may_collide(self) -> bool {
        !self.utf8
    }

    /// The name of the metric `name`; an error says why there is none.
    pub(super) fn metric(self, name: &str, unit: &str, kind: Kind) -> Result<String, String> {
        let built = match (self.utf8, self.suffixes) {
            (true, false) => name.to_owned(),
            (true, true) => with_suffixes(name, unit, kind),
            (false, true) => from_tokens(name, unit, kind),
            (false, false) => {
                let parts = name.split(|c: char| !is_metric_char(c) && c != '_').filter(|part| !part.is_empty());
                no_leading_digit(parts.collect::<Vec<_>>().join("_"))
            }
        };
        if built.is_empty() {
            return Err(format!("normalization for metric {name:?} resulted in empty name"));
        }
        if built != name && built.bytes().all(|byte| byte == b'_') {
            return Err(format!("normalization for metric {name:?} resulted in invalid name {built:?}"));
        }
        Ok(built)
    }

    /// The name of the label for the attribute `name`.
    pub(super) fn label(self, name: &str) -> Result<String, String> {
        if name.is_empty() {
            return Err("label name is empty".to_owned());
        }
        if self.utf8 {
            return match name.bytes().all(|byte| byte == b'_') {
                true => Err(format!("label name {name:?} contains only underscores")),
                false => Ok(name.to_owned()),
            };
        }
        let mut built = if self.keep_underscores {
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
        } else {
            // Names between two underscores on each side are reserved, and keep them.
            match name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__")) {
                Some(inner) => format!("__{}__", single_underscores(inner, |c| c.is_ascii_alphanumeric())),
                None => single_underscores(name, |c| c.is_ascii_alphanumeric()),
            }
        };
        if built.starts_with(|c: char| c.is_ascii_digit()) {
            built.insert_str(0, "key_");
        } else if self.sanitize_underscore && built.starts_with('_') && !built.starts_with("__") {
            built.insert_str(0, "key");
        }
        match built.bytes().all(|byte| byte == b'_') {
            true => Err(format!("normalization for label name {name:?} resulted in invalid name {built:?}")),
            false => Ok(built),
        }
    }
}

fn is_metric_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// `text` with one underscore for each run of other characters.
fn single_underscores(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_kept(c) {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    out
}

fn no_leading_digit(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// The words of `name`, its unit and what its kind asks for, with underscores between.
fn from_tokens(name: &str, unit: &str, kind: Kind) -> String {
    let mut tokens: Vec<String> =
        name.split(|c: char| !is_metric_char(c)).filter(|token| !token.is_empty()).map(str::to_owned).collect();
    let (main, per) = unit_suffixes(unit);
    let clean = |text: &str| single_underscores(text, is_metric_char).trim_start_matches('_').to_owned();
    let (main, per) = (clean(&main), clean(&per));
    let per = per.trim_end_matches('_');
    let per = if per == "per" { "" } else { per };
    let main = if per.is_empty() { main.as_str() } else { main.trim_end_matches('_') };
    for part in [main, per] {
        if !part.is_empty() && !tokens.iter().any(|token| token == part) {
            tokens.push(part.to_owned());
        }
    }
    for (word, is_wanted) in [("total", kind == Kind::Counter), ("ratio", kind == Kind::Gauge && unit == "1")] {
        if is_wanted {
            tokens.retain(|token| token != word);
            tokens.push(word.to_owned());
        }
    }
    no_leading_digit(tokens.join("_"))
}

/// `name` as it is, with unit and what its kind asks for behind it.
fn with_suffixes(name: &str, unit: &str, kind: Kind) -> String {
    let mut name = name;
    let mut behind = String::new();
    let without = |name: &str, suffix: &str| {
        let is_there = name.ends_with(suffix) && name.len() > suffix.len() + 1;
        let end = if is_there { name.len() - suffix.len() - 1 } else { name.len() };
        // What stands before the suffix is taken for a separator, whatever it is.
        if name.is_char_boundary(end) { end } else { name.len() }
    };
    let (main, per) = unit_suffixes(unit);
    for (suffix, is_wanted) in [
        ("ratio", unit == "1" && kind == Kind::Gauge),
        ("total", kind == Kind::Counter),
        (per.as_str(), !per.is_empty()),
    ] {
        if is_wanted {
            name = &name[..without(name, suffix)];
            behind.insert_str(0, &format!("_{suffix}"));
        }
    }
    if main.is_empty() || name.ends_with(&main) { format!("{name}{behind}") } else { format!("{name}_{main}{behind}") }
}

/// The name of a unit, as metadata has it.
pub(super) fn unit_name(unit: &str) -> String {
    let (main, per) = unit_suffixes(unit);
    let clean = |text: &str| single_underscores(text, is_metric_char).trim_start_matches('_').to_owned();
    let parts = [clean(&main), clean(&per)];
    let joined = parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("_");
    joined.trim_matches('_').to_owned()
}

/// What a unit adds to a name: for itself, and for what it is counted per.
fn unit_suffixes(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let known = |text: &str| !text.is_empty() && !text.contains(['{', '}']);
    let (main, per) = (main.trim(), per.trim());
    let main = if known(main) { main_unit(main).to_owned() } else { String::new() };
    let per = if known(per) { per_unit(per) } else { "" };
    (main, if per.is_empty() { String::new() } else { format!("per_{per}") })
}

fn main_unit(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        unit => unit,
    }
}

fn per_unit(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        unit => unit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(translation_strategy: TranslationStrategy) -> Names {
        Names::of(&OtlpConfig { translation_strategy, ..OtlpConfig::default() })
    }

    #[track_caller]
    fn check((name, unit, kind): (&str, &str, Kind), expected: [&str; 4]) {
        use TranslationStrategy::*;
        let strategies = [
            UnderscoreEscapingWithSuffixes,
            UnderscoreEscapingWithoutSuffixes,
            NoUtf8EscapingWithSuffixes,
            NoTranslation,
        ];
        let built = strategies.map(|strategy| names(strategy).metric(name, unit, kind).unwrap_or_else(|error| error));
        assert_eq!(built, expected, "{name} {unit} {kind:?}");
    }

    #[test]
    fn metrics() {
        use Kind::{Counter, Gauge, Other};
        check(
            ("http.server.duration", "ms", Other),
            [
                "http_server_duration_milliseconds",
                "http_server_duration",
                "http.server.duration_milliseconds",
                "http.server.duration",
            ],
        );
        check(
            ("requests.total", "1", Counter),
            ["requests_total", "requests_total", "requests_total", "requests.total"],
        );
        check(("io", "By/s", Counter), ["io_bytes_per_second_total", "io", "io_bytes_per_second_total", "io"]);
        check(("usage", "1", Gauge), ["usage_ratio", "usage", "usage_ratio", "usage"]);
        check(("disk.seconds", "s", Gauge), ["disk_seconds", "disk_seconds", "disk.seconds", "disk.seconds"]);
        check(("2xx", "{requests}", Counter), ["_2xx_total", "_2xx", "2xx_total", "2xx"]);
        check(("a__b", "", Other), ["a_b", "a__b", "a__b", "a__b"]);
        check(
            (".", "", Other),
            [
                "normalization for metric \".\" resulted in empty name",
                "normalization for metric \".\" resulted in empty name",
                ".",
                ".",
            ],
        );
    }

    #[test]
    fn labels() {
        let escaped = names(TranslationStrategy::UnderscoreEscapingWithSuffixes);
        for (name, expected) in [
            ("http.method", "http_method"),
            ("1st", "key_1st"),
            ("_x", "key_x"),
            ("__x", "__x"),
            ("a..b", "a__b"),
            // One underscore, to which `key` was put.
            ("ä", "key_"),
            ("", "label name is empty"),
        ] {
            assert_eq!(escaped.label(name).unwrap_or_else(|error| error), expected, "{name}");
        }
        let single = Names { keep_underscores: false, ..escaped };
        assert_eq!(single.label("a..b").unwrap(), "a_b");
        assert_eq!(single.label("__a..b__").unwrap(), "__a_b__");
        let utf8 = names(TranslationStrategy::NoTranslation);
        assert_eq!(utf8.label("ä.b").unwrap(), "ä.b");
        assert!(utf8.label("__").is_err());
    }

    #[test]
    fn units() {
        for (unit, expected) in
            [("s", "seconds"), ("By/s", "bytes_per_second"), ("1", ""), ("{thing}", ""), ("thing/y", "thing_per_year")]
        {
            assert_eq!(unit_name(unit), expected, "{unit}");
        }
    }
}
