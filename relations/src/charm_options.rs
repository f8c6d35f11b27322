//! The options of the charm: what they do to Prometheus, and what the charm's status says where one is wrong.

use serde_json::{Map, Value};

/// What the charm does where an option is not set.
const LOG_LEVEL: &str = "info";
const RETENTION_TIME: &str = "15d";
const RETENTION_SIZE: &str = "80%";
const EVALUATION_INTERVAL: &str = "1m";

const LOG_LEVELS: [&str; 5] = ["debug", "info", "warn", "error", "fatal"];
/// Fewer exemplars than this are not worth the trouble.
pub const EXEMPLARS_MIN: u64 = 100_000;
const GIB: f64 = 1_073_741_824.0;

/// What the options come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// `--log.level`.
    pub log_level: String,
    /// Whether to compress the log of writes.
    pub compresses_wal: bool,
    /// How many exemplars to keep; `None` keeps none.
    pub exemplars_max: Option<u64>,
    /// `--storage.tsdb.retention.time`; `None` if the option is wrong.
    pub retention_time: Option<String>,
    /// `--storage.tsdb.retention.size`; `None` if the option is wrong, or nobody knows how large the disk is.
    pub retention_size: Option<String>,
    /// `global.evaluation_interval`; `None` if the option is wrong, of which the charm says nothing.
    pub evaluation_interval: Option<String>,
    /// The texts with which the charm is blocked, in the order in which it looks. The first shows.
    pub blocked: Vec<String>,
}

/// Whether `value` may be set for `option`. The text is the charm's status; what the charm does not check is taken.
pub fn check(option: &str, value: &str) -> Result<(), String> {
    match option {
        "metrics_retention_time" | "evaluation_interval" if !is_duration(value) => {
            Err(format!("Invalid time spec : {value}"))
        }
        "maximum_retention_size" => percent(value)
            .map(|_| ())
            .map_err(|reason| format!("Invalid retention size: {reason}, only metrics_retention_time is in effect")),
        "log_level" if !LOG_LEVELS.contains(&value.to_lowercase().as_str()) => {
            let (levels, value) = (LOG_LEVELS.join("/"), value.to_lowercase());
            Err(format!("Invalid loglevel: {value} given, {levels} allowed. Defaulting to DEBUG loglevel."))
        }
        _ => Ok(()),
    }
}

/// `--storage.tsdb.retention.size` for a store on a disk of `disk_bytes`; `None` if `maximum_retention_size` is not valid.
pub fn retention_size(maximum_retention_size: &str, disk_bytes: u64) -> Option<String> {
    percent(maximum_retention_size).ok().map(|percent| gib(disk_bytes as f64 * percent / 100.0))
}

/// Understands `options`, of which those missing have the charm's defaults. `disk_bytes` is the size of the disk that the store is on.
pub fn effect(options: &Map<String, Value>, disk_bytes: Option<u64>) -> Effect {
    let text = |key: &str, default: &str| options.get(key).and_then(Value::as_str).unwrap_or(default).to_owned();
    let mut blocked = Vec::new();
    let mut checked = |key: &str, default: &str| {
        let value = text(key, default);
        check(key, &value).map_err(|reason| blocked.push(reason)).ok().map(|()| value)
    };
    let retention_time = checked("metrics_retention_time", RETENTION_TIME);
    let retention_share = checked("maximum_retention_size", RETENTION_SIZE);
    let log_level = checked("log_level", LOG_LEVEL).map_or_else(|| "debug".to_owned(), |level| level.to_lowercase());
    let exemplars = options.get("max_global_exemplars_per_user").and_then(Value::as_u64).unwrap_or(0);
    Effect {
        log_level,
        compresses_wal: options.get("metrics_wal_compression").and_then(Value::as_bool).unwrap_or(false),
        exemplars_max: (exemplars > 0).then(|| exemplars.max(EXEMPLARS_MIN)),
        retention_time,
        retention_size: retention_share.zip(disk_bytes).and_then(|(share, bytes)| retention_size(&share, bytes)),
        evaluation_interval: Some(text("evaluation_interval", EVALUATION_INTERVAL)).filter(|text| is_duration(text)),
        blocked,
    }
}

/// The command that runs Prometheus as the charm runs it. With `has_certificate` it reads the web configuration beside its own.
pub fn command(effect: &Effect, external_url: &str, has_certificate: bool) -> String {
    let mut command = "/bin/prometheus --config.file=/etc/prometheus/prometheus.yml \
                       --storage.tsdb.path=/var/lib/prometheus --web.enable-lifecycle"
        .to_owned();
    let mut add = |flag: &str, value: &str| command.push_str(&format!(" --{flag}{value}"));
    if has_certificate {
        add("web.config.file=", "/etc/prometheus/prometheus-web-config.yml");
    }
    add("web.external-url=", external_url.trim_end_matches('/'));
    add("web.route-prefix=", "/");
    add("web.enable-remote-write-receiver", "");
    add("log.level=", &effect.log_level);
    if effect.compresses_wal {
        add("storage.tsdb.wal-compression", "");
    }
    if effect.exemplars_max.is_some() {
        add("enable-feature=", "exemplar-storage");
    }
    for (flag, value) in [("time=", &effect.retention_time), ("size=", &effect.retention_size)] {
        if let Some(value) = value {
            add(&format!("storage.tsdb.retention.{flag}"), value);
        }
    }
    command
}

/// One number with one unit, or 0: the charm knows no `1h30m`.
fn is_duration(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let has_digits = unit.len() < text.len();
    text == "0" || (has_digits && ["y", "w", "d", "h", "m", "s", "ms"].contains(&unit))
}

/// Each fault has the text that it has with the charm, one of which is Python's.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').ok_or("Must be a number followed by '%', e.g. '80%'")?;
    match number.trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        Ok(_) => Err("Percentage value must be in the range 0-100.".to_owned()),
        Err(_) => Err(format!("could not convert string to float: '{number}'")),
    }
}

/// At most three decimals. The unit is the one Prometheus has always used for 2^30.
fn gib(bytes: f64) -> String {
    let text = format!("{:.3}", bytes / GIB);
    format!("{}GB", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, expected) in
            [("15d", true), ("0", true), ("90ms", true), ("1h30m", false), ("d", false), ("1", false)]
        {
            assert_eq!(is_duration(text), expected, "{text}");
        }
        for (text, expected) in
            [("80%", Some(80.0)), ("12.5%", Some(12.5)), ("101%", None), ("NaN%", None), ("8", None)]
        {
            assert_eq!(percent(text).ok(), expected, "{text}");
        }
        for (option, value, text) in [
            (
                "maximum_retention_size",
                "101%",
                "Invalid retention size: Percentage value must be in the range 0-100., only metrics_retention_time is in effect",
            ),
            (
                "maximum_retention_size",
                "ten%",
                "Invalid retention size: could not convert string to float: 'ten', only metrics_retention_time is in effect",
            ),
            (
                "log_level",
                "Loud",
                "Invalid loglevel: loud given, debug/info/warn/error/fatal allowed. Defaulting to DEBUG loglevel.",
            ),
        ] {
            assert_eq!(check(option, value), Err(text.to_owned()));
        }
        for (bytes, expected) in
            [(8.0 * GIB, "8GB"), (0.8 * GIB, "0.8GB"), (GIB / 3.0, "0.333GB"), (10.0 * GIB, "10GB"), (0.0, "0GB")]
        {
            assert_eq!(gib(bytes), expected);
        }
    }
}
