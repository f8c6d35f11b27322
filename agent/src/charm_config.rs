//! The config options of the application `prometheus`: the charm's, and a few of ours.
//!
//! A value that is not valid is never in effect: `relatum config` refuses it, and one that comes from `relatum.yaml` is
//! replaced as the charm replaces it and shown with the charm's text, because that is what people search for.

use std::collections::BTreeMap;
use std::time::Duration;

use relatum_config::spelling;
use relatum_model::time::parse_duration;
use relatum_model::yaml;
use relatum_relations::charm_options::{self, EXEMPLARS_MIN};
use relatum_relations::prometheus_scrape::permissions::{ALLOW_PROXY_URL, DENIED_TARGETS, DeniedTargets, Permissions};
use serde_json::Value;

use crate::control::{ConfigOption, Problem, Source};

/// What an option holds; names as in juju.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Boolean,
    Number,
}

/// One option: name, kind, default (`None`: unset), description.
struct Known(&'static str, Kind, Option<&'static str>, &'static str);

const OPTIONS: &[Known] = &[
    Known(
        ALLOW_PROXY_URL,
        Kind::Boolean,
        Some("false"),
        "Whether jobs of relations may be scraped through a proxy of their choice.",
    ),
    Known("cpu", Kind::Text, None, "Kubernetes limit for the charm; without effect here."),
    Known(
        DENIED_TARGETS,
        Kind::Text,
        Some(""),
        "What jobs of relations may not reach: networks, addresses and names (*.name: all below), with commas between.",
    ),
    Known("evaluation_interval", Kind::Text, Some("1m"), "How often rules are evaluated."),
    Known(
        "external_labels",
        Kind::Text,
        Some(""),
        "Labels for alerts and for samples sent elsewhere: k=v,k=v or a JSON object.",
    ),
    Known("log_level", Kind::Text, Some("info"), "How much is logged: debug, info, warn, error or fatal."),
    Known(
        "max_global_exemplars_per_user",
        Kind::Number,
        Some("0"),
        "How many exemplars are kept; 0 is none, others are at least 100000.",
    ),
    Known("maximum_retention_size", Kind::Text, Some("80%"), "How much of the file system samples may take."),
    Known("memory", Kind::Text, None, "Kubernetes limit for the charm; without effect here."),
    Known("metrics_retention_time", Kind::Text, Some("15d"), "How long samples are kept."),
    Known("metrics_wal_compression", Kind::Boolean, Some("false"), "Whether the write-ahead log is compressed."),
    Known("scrape_interval", Kind::Text, Some("1m"), "How often targets are scraped whose job does not say."),
    Known("scrape_timeout", Kind::Text, Some("10s"), "How long a scrape may take; cut to the interval when not set."),
    Known("web_external_url", Kind::Text, Some(""), "Deprecated, without effect: relate ingress."),
];

/// All options, valid: what is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `debug`, `info`, `warn`, `error` or `fatal`.
    pub log_level: String,
    /// `None`: the flag is left out.
    pub retention_time: Option<String>,
    /// Share of the file system in percent, with its sign. `None`: the flag is left out.
    pub retention_share: Option<String>,
    /// Whether the WAL is compressed.
    pub wal_compression: bool,
    /// `None`: the key is left out.
    pub evaluation_interval: Option<String>,
    /// 0: none.
    pub exemplars_max: u64,
    /// Never empty.
    pub scrape_interval: String,
    /// Never longer than the interval.
    pub scrape_timeout: String,
    /// Name to value.
    pub external_labels: BTreeMap<String, String>,
    /// What jobs of relations may do.
    pub permissions: Permissions,
}

/// Values by option, and who set them.
pub type Values = BTreeMap<String, (String, Source)>;

/// Lays the sources over each other: user over file over default. What was said last by hand counts until it is reset.
pub fn layer(
    defaults: &BTreeMap<String, String>,
    user: &BTreeMap<String, String>,
    file: &BTreeMap<String, String>,
) -> Values {
    let mut values = Values::new();
    for Known(name, _, default, _) in OPTIONS {
        let default = defaults.get(*name).map(String::as_str).or(*default);
        values.extend(default.map(|value| ((*name).to_owned(), (value.to_owned(), Source::Default))));
    }
    for (source, layer) in [(Source::File, file), (Source::User, user)] {
        values.extend(layer.iter().map(|(name, value)| (name.clone(), (value.clone(), source))));
    }
    values
}

/// Reads the values, replacing what is not valid; a problem names its option as key.
pub fn settings(values: &Values) -> (Settings, Vec<Problem>) {
    let mut problems = Vec::new();
    for (name, (value, source)) in values {
        if *source != Source::Default
            && let Err(message) = check(name, value)
        {
            let hint = (*source == Source::File).then(|| "set under `options:` in relatum.yaml".to_owned());
            problems.push(Problem { key: Some(name.clone()), message, hint, ..Problem::default() });
        }
    }
    let text = |name: &str| values.get(name).map(|(value, _)| value.as_str()).unwrap_or_default();
    let valid = |name: &str| Some(text(name)).filter(|value| check(name, value).is_ok()).map(str::to_owned);
    let or_default = |name: &str| valid(name).unwrap_or_else(|| default(name).unwrap_or_default().to_owned());
    let scrape_interval = or_default("scrape_interval");
    let (timeout, timeout_source) =
        (or_default("scrape_timeout"), values.get("scrape_timeout").map(|(_, source)| *source));
    let too_long = parse_duration(&timeout).ok() > parse_duration(&scrape_interval).ok();
    if too_long && timeout_source != Some(Source::Default) {
        problems.push(Problem {
            key: Some("scrape_timeout".to_owned()),
            message: format!("{timeout} is longer than scrape_interval {scrape_interval}, which is used instead"),
            ..Problem::default()
        });
    }
    let settings = Settings {
        log_level: valid("log_level").map_or_else(|| "debug".to_owned(), |level| level.to_lowercase()),
        retention_time: valid("metrics_retention_time"),
        retention_share: valid("maximum_retention_size"),
        wal_compression: text("metrics_wal_compression") == "true",
        evaluation_interval: valid("evaluation_interval"),
        exemplars_max: match text("max_global_exemplars_per_user").parse() {
            Ok(0) | Err(_) => 0,
            Ok(number) => EXEMPLARS_MIN.max(number),
        },
        scrape_timeout: if too_long { scrape_interval.clone() } else { timeout },
        scrape_interval,
        external_labels: labels(text("external_labels")).unwrap_or_default(),
        permissions: Permissions {
            allow_proxy_url: text(ALLOW_PROXY_URL) == "true",
            denied: DeniedTargets::parse_fit(text(DENIED_TARGETS)),
        },
    };
    (settings, problems)
}

/// Whether `value` may be set for the option `name`. The texts are the charm's where it has one.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    let Known(_, kind, ..) = known(name)?;
    match kind {
        Kind::Boolean if !["true", "false"].contains(&value) => {
            return Err(format!("{value:?} is neither true nor false"));
        }
        Kind::Number if value.parse::<u64>().is_err() => {
            return Err(format!("{value:?} is not a whole number from 0 on"));
        }
        _ => {}
    }
    match name {
        // The charm would take these two, and Prometheus then would not start.
        "metrics_retention_time" | "evaluation_interval" if value != "0" && parse_duration(value).is_err() => {
            Err(format!("Invalid time spec : {value}"))
        }
        "evaluation_interval" if parse_duration(value).is_ok_and(|interval| interval.is_zero()) => {
            Err(format!("Invalid time spec : {value}"))
        }
        "scrape_interval" | "scrape_timeout" => match parse_duration(value) {
            Ok(Duration::ZERO) => Err("0 is no interval".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        },
        "external_labels" => labels(value).map(|_| ()),
        DENIED_TARGETS => DeniedTargets::parse(value).map(|_| ()),
        _ => charm_options::check(name, value),
    }
}

/// Whether there is an option `name`; the text if not.
pub fn check_name(name: &str) -> Result<(), String> {
    known(name).map(|_| ())
}

/// The option that is most like `name`, which is none.
pub fn similar(name: &str) -> Option<&'static str> {
    spelling::similar(name, OPTIONS.iter().map(|known| known.0))
}

/// What `relatum config prometheus` shows.
pub fn describe(values: &Values, defaults: &BTreeMap<String, String>) -> BTreeMap<String, ConfigOption> {
    let describe = |Known(name, kind, default, description): &Known| {
        let value = values.get(*name);
        let default = defaults.get(*name).map(String::as_str).or(*default);
        let json = |text: Option<&str>| text.map_or(Value::Null, |text| typed(*kind, text));
        let option = ConfigOption {
            value: json(value.map(|(value, _)| value.as_str())),
            default: json(default),
            kind: match kind {
                Kind::Text => "string",
                Kind::Boolean => "boolean",
                Kind::Number => "int",
            }
            .to_owned(),
            description: (*description).to_owned(),
            source: value.map_or(Source::Unset, |(_, source)| *source),
        };
        ((*name).to_owned(), option)
    };
    OPTIONS.iter().map(describe).collect()
}

fn known(name: &str) -> Result<&'static Known, String> {
    // What juju says to a name nobody knows.
    OPTIONS.iter().find(|known| known.0 == name).ok_or_else(|| format!("unknown option {name:?}"))
}

fn default(name: &str) -> Option<&'static str> {
    known(name).ok().and_then(|known| known.2)
}

fn typed(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Text => Value::from(text),
        Kind::Boolean => text.parse().map_or_else(|_| Value::from(text), Value::Bool),
        Kind::Number => text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from),
    }
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let text = text.trim();
    let labels: BTreeMap<String, String> = if text.starts_with('{') {
        yaml::from_str(text).map_err(|error| format!("external_labels: {error}"))?
    } else {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not name=value"))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        };
        text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect::<Result<_, String>>()?
    };
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match labels.keys().find(|name| !is_name(name)) {
        Some(name) => Err(format!("{name:?} is not a label name")),
        None => Ok(labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_value(name: &str, value: &str, valid: bool) {
        assert_eq!(check(name, value).is_ok(), valid, "{name}={value}: {:?}", check(name, value));
    }

    #[test]
    fn values() {
        check_value("log_level", "DEBUG", true);
        check_value("log_level", "verbose", false);
        check_value("metrics_retention_time", "30d", true);
        check_value("metrics_retention_time", "0", true);
        // One unit only, as the charm.
        check_value("metrics_retention_time", "1h30m", false);
        check_value("metrics_retention_time", "10 days", false);
        check_value("metrics_retention_time", "d", false);
        check_value("metrics_retention_time", "99999999999999999999y", false);
        check_value("maximum_retention_size", "12.5%", true);
        check_value("maximum_retention_size", "101%", false);
        check_value("maximum_retention_size", "NaN%", false);
        check_value("maximum_retention_size", "10GB", false);
        check_value("metrics_wal_compression", "yes", false);
        check_value("max_global_exemplars_per_user", "-1", false);
        check_value("scrape_interval", "1m30s", true);
        check_value("scrape_interval", "15", false);
        check_value("external_labels", "region=no,site=a b", true);
        check_value("external_labels", r#"{"region": "no"}"#, true);
        check_value("external_labels", "a-b=c", false);
        check_value("colour", "red", false);
    }

    #[test]
    fn invalid_values_are_replaced_as_the_charm_does() {
        let file =
            [("log_level", "verbose"), ("metrics_retention_time", "10 days"), ("maximum_retention_size", "10GB")];
        let file = file.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (settings, problems) = settings(&layer(&BTreeMap::new(), &BTreeMap::new(), &file));
        assert_eq!(
            (settings.log_level.as_str(), settings.retention_time, settings.retention_share),
            ("debug", None, None)
        );
        assert_eq!(problems.len(), 3);
        assert_eq!(problems[2].message, "Invalid time spec : 10 days");
    }

    #[test]
    fn a_default_timeout_follows_the_interval() {
        let user = BTreeMap::from([("scrape_interval".to_owned(), "5s".to_owned())]);
        let (short, problems) = settings(&layer(&BTreeMap::new(), &user, &BTreeMap::new()));
        assert_eq!((short.scrape_timeout.as_str(), problems.len()), ("5s", 0));
    }
}
