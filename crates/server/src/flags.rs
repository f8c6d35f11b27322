//! Prometheus' command-line flags: read from a command line, or from a rendered file with one flag a line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use relatum_config::spelling::similar;
use relatum_model::regex::AnchoredRegex;
use relatum_model::time::{format_duration, parse_duration};
use relatum_promql::syntax::ParseOptions;
use relatum_transport::remote_write::Version;
pub use relatum_tsdb::{Durability, UnknownDurability};
use thiserror::Error;

/// How much is logged, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Only what a person must look at.
    Error,
    /// Also what was unexpected.
    Warn,
    /// Also changes of state.
    Info,
    /// Everything.
    Debug,
}

impl LogLevel {
    /// The level by its name in any case. `fatal`, which some configurations name, logs what `error` does.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "error" | "fatal" => Some(LogLevel::Error),
            "warn" => Some(LogLevel::Warn),
            "info" => Some(LogLevel::Info),
            "debug" => Some(LogLevel::Debug),
            _ => None,
        }
    }

    /// The name, as flags and logs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }
}

/// The value of every flag; [`Flags::default`] holds Prometheus' defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// `--config.file`
    pub config_file: PathBuf,
    /// `--storage.tsdb.path`
    pub data_dir: PathBuf,
    /// `--web.listen-address`, which may be repeated
    pub listen: Vec<String>,
    /// `--web.external-url`; empty means the listen address
    pub external_url: String,
    /// `--web.config.file`
    pub web_config: Option<PathBuf>,
    /// `--tls.authorities-file`, which Prometheus does not have
    pub authorities: Option<PathBuf>,
    /// `--web.read-timeout`
    pub read_timeout: Duration,
    /// `--web.route-prefix`; `None` is the path of the external URL
    pub route_prefix: Option<String>,
    /// `--web.max-connections`
    pub connections_max: usize,
    /// `--web.access-log`
    pub access_log: bool,
    /// `--web.max-client-requests-per-second`; zero means no limit
    pub client_requests_per_second: u32,
    /// `--web.max-endpoint-requests`; zero means no limit
    pub endpoint_requests_max: usize,
    /// `--web.enable-admin-api`
    pub admin_api: bool,
    /// `--web.enable-otlp-receiver`
    pub otlp_receiver: bool,
    /// `--web.search.max-limit`, 0 for no bound.
    pub search_results_max: usize,
    /// `--web.max-notifications-subscribers`
    pub notification_subscribers_max: usize,
    /// `--storage.remote.read-sample-limit`: samples in one remote read that is answered in one message; zero means no limit
    pub read_samples_max: usize,
    /// `--storage.remote.read-concurrent-limit`; zero means no limit; counts at the start
    pub read_concurrency: usize,
    /// `--storage.remote.read-max-bytes-in-frame`
    pub read_frame_bytes: usize,
    /// `--web.enable-lifecycle`
    pub lifecycle: bool,
    /// `--storage.tsdb.durability`; counts when the store is opened
    pub durability: Durability,
    /// `--storage.tsdb.retention.time`; zero keeps everything
    pub retention: Duration,
    /// `--storage.tsdb.retention.size` in bytes; zero means no limit
    pub retention_bytes: u64,
    /// `--query.lookback-delta`
    pub lookback: Duration,
    /// `--query.timeout`
    pub timeout: Duration,
    /// `--query.max-samples`
    pub samples_max: usize,
    /// `--query.max-series`; zero for any number
    pub series_max: usize,
    /// `--query.max-memory` in bytes; zero for a part of what this process may have
    pub query_bytes_max: usize,
    /// `--query.results-cache-size` in bytes; zero for none
    pub results_cache_bytes: usize,
    /// `--query.slow-after`; zero for never
    pub slow_query: Duration,
    /// `--query.max-concurrency`
    pub concurrency: usize,
    /// `--log.level`
    pub log_level: LogLevel,
    /// `--config.auto-reload-interval`, which counts with `--enable-feature=auto-reload-config`
    pub auto_reload_interval: Duration,
    /// `--enable-feature`, all names together
    pub features: BTreeSet<String>,
    /// `--web.cors.origin`
    pub cors_origin: AnchoredRegex,
    /// `--web.remote-write-receiver.accepted-protobuf-messages`, which may be repeated
    pub write_messages: Vec<Version>,
    /// Flags that were given and have no effect here, with their values, to be named in the log.
    pub without_effect: BTreeMap<&'static str, String>,
}

impl Default for Flags {
    fn default() -> Self {
        Flags {
            config_file: "prometheus.yml".into(),
            data_dir: "data/".into(),
            listen: vec!["0.0.0.0:9090".to_owned()],
            external_url: String::new(),
            web_config: None,
            authorities: None,
            access_log: false,
            client_requests_per_second: 0,
            endpoint_requests_max: 512,
            connections_max: 512,
            read_timeout: Duration::from_secs(300),
            route_prefix: None,
            admin_api: false,
            lifecycle: false,
            otlp_receiver: false,
            search_results_max: 10_000,
            notification_subscribers_max: 16,
            read_samples_max: 50_000_000,
            read_concurrency: 10,
            read_frame_bytes: 1 << 20,
            durability: Durability::Process,
            retention: Duration::from_secs(15 * 86_400),
            retention_bytes: 0,
            lookback: Duration::from_secs(300),
            timeout: Duration::from_secs(120),
            samples_max: 50_000_000,
            series_max: 0,
            query_bytes_max: 0,
            results_cache_bytes: 64 << 20,
            slow_query: Duration::ZERO,
            concurrency: 20,
            log_level: LogLevel::Info,
            auto_reload_interval: Duration::from_secs(30),
            features: BTreeSet::new(),
            cors_origin: AnchoredRegex::new(".*").expect("the default expression is valid"),
            write_messages: vec![Version::V1, Version::V2],
            without_effect: BTreeMap::new(),
        }
    }
}

/// Why a flag is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FlagError {
    /// No flag has this name.
    #[error("unknown flag {0}")]
    Unknown(String),
    /// The flag stands without the value it needs.
    #[error("flag {0} needs a value")]
    NoValue(String),
    /// The value is not of the flag's kind.
    #[error("cannot read flag --{name}={value}: {reason}")]
    BadValue {
        /// The flag.
        name: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Switch,
    Value,
}

/// One flag of Prometheus.
struct Flag {
    name: &'static str,
    kind: Kind,
    /// The value it has when nobody gives one, as Prometheus shows it.
    default: &'static str,
    /// What it does, for `--help`. Empty if the flag is taken only so that an existing command line works; the log says so.
    does: &'static str,
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, does: &'static str) -> Flag {
    Flag { name, kind, default, does }
}

/// Every flag that is understood. One that protects something, such as `--web.config.file`, is refused until it does.
const FLAGS: &[Flag] = &[
    flag("agent", Kind::Switch, "false", ""),
    flag("alertmanager.drain-notification-queue-on-shutdown", Kind::Switch, "true", ""),
    flag("alertmanager.notification-batch-size", Kind::Value, "256", ""),
    flag("alertmanager.notification-queue-capacity", Kind::Value, "10000", ""),
    flag("auto-gomaxprocs", Kind::Switch, "true", ""),
    flag("auto-gomemlimit", Kind::Switch, "true", ""),
    flag("auto-gomemlimit.ratio", Kind::Value, "0.9", ""),
    flag("auto-gomemlimit.refresh-interval", Kind::Value, "0s", ""),
    flag(
        "config.auto-reload-interval",
        Kind::Value,
        "30s",
        "how often to look for changed files, with --enable-feature=auto-reload-config",
    ),
    flag("config.file", Kind::Value, "prometheus.yml", "the configuration file"),
    flag("enable-feature", Kind::Value, "", "features to switch on, separated by commas"),
    flag("log.format", Kind::Value, "logfmt", ""),
    flag("log.level", Kind::Value, "info", "error, warn, info or debug"),
    flag("query.lookback-delta", Kind::Value, "5m", "how old the newest sample of a series may be to count"),
    flag("query.max-concurrency", Kind::Value, "20", "how many queries run at once"),
    flag(
        "query.max-memory",
        Kind::Value,
        "0B",
        "about how many bytes of memory one query may take, such as 512MB; 0 for a quarter of what the process may have",
    ),
    flag("query.max-samples", Kind::Value, "50000000", "how many samples one query may load"),
    flag(
        "query.max-series",
        Kind::Value,
        "0",
        "how many series one query may read; 0 for any number (not a flag of Prometheus)",
    ),
    flag(
        "query.results-cache-size",
        Kind::Value,
        "64MB",
        "how many bytes of results of range queries are kept; 0B for none (not a flag of Prometheus)",
    ),
    flag(
        "query.slow-after",
        Kind::Value,
        "0s",
        "warn of queries that take so long; 0s for none (not a flag of Prometheus)",
    ),
    flag("query.timeout", Kind::Value, "2m", "how long one query may take"),
    flag("rules.alert.for-grace-period", Kind::Value, "10m", ""),
    flag("rules.alert.for-outage-tolerance", Kind::Value, "1h", ""),
    flag("rules.alert.resend-delay", Kind::Value, "1m", ""),
    flag("rules.max-concurrent-evals", Kind::Value, "4", ""),
    flag("scrape.adjust-timestamps", Kind::Switch, "true", ""),
    flag("scrape.discovery-reload-interval", Kind::Value, "5s", ""),
    flag("scrape.timestamp-tolerance", Kind::Value, "2ms", ""),
    flag("storage.agent.checkpoint-batch-size", Kind::Value, "1000", ""),
    flag("storage.agent.checkpoint-from-in-memory-series", Kind::Switch, "false", ""),
    flag("storage.agent.no-lockfile", Kind::Switch, "false", ""),
    flag("storage.agent.path", Kind::Value, "data-agent/", ""),
    flag("storage.agent.retention.max-time", Kind::Value, "0s", ""),
    flag("storage.agent.retention.min-time", Kind::Value, "0s", ""),
    flag("storage.agent.wal-compression", Kind::Switch, "true", ""),
    flag("storage.agent.wal-compression-type", Kind::Value, "snappy", ""),
    flag("storage.agent.wal-segment-size", Kind::Value, "0B", ""),
    flag("storage.agent.wal-truncate-frequency", Kind::Value, "0s", ""),
    flag("storage.remote.flush-deadline", Kind::Value, "1m", ""),
    flag("storage.remote.read-concurrent-limit", Kind::Value, "10", "how many remote reads run at once"),
    flag(
        "storage.remote.read-max-bytes-in-frame",
        Kind::Value,
        "1048576",
        "the largest frame of a streamed remote read",
    ),
    flag(
        "storage.remote.read-sample-limit",
        Kind::Value,
        "5e7",
        "how many samples a remote read in one message may have",
    ),
    flag("storage.tsdb.allow-overlapping-compaction", Kind::Switch, "true", ""),
    flag("storage.tsdb.block-reload-interval", Kind::Value, "1m", ""),
    flag("storage.tsdb.delay-compact-file.path", Kind::Value, "", ""),
    flag("storage.tsdb.delayed-compaction.max-percent", Kind::Value, "10", ""),
    flag(
        "storage.tsdb.durability",
        Kind::Value,
        "process",
        "when samples are acknowledged: process, once written, or fsync, once on disk (not a flag of Prometheus)",
    ),
    flag("storage.tsdb.head-chunks-write-queue-size", Kind::Value, "0", ""),
    flag("storage.tsdb.max-block-chunk-segment-size", Kind::Value, "0B", ""),
    flag("storage.tsdb.max-block-duration", Kind::Value, "", ""),
    flag("storage.tsdb.min-block-duration", Kind::Value, "2h", ""),
    flag("storage.tsdb.no-lockfile", Kind::Switch, "false", ""),
    flag("storage.tsdb.path", Kind::Value, "data/", "where samples are kept"),
    flag("storage.tsdb.retention.size", Kind::Value, "0B", "how many bytes of samples to keep, such as 512MB"),
    flag("storage.tsdb.retention.time", Kind::Value, "15d", "how long to keep samples"),
    flag("storage.tsdb.samples-per-chunk", Kind::Value, "120", ""),
    flag("storage.tsdb.wal-compression", Kind::Switch, "true", ""),
    flag("storage.tsdb.wal-compression-type", Kind::Value, "snappy", ""),
    flag("storage.tsdb.wal-segment-size", Kind::Value, "0B", ""),
    flag(AUTHORITIES, Kind::Value, "", "authorities to trust beside the system's; not a flag of Prometheus"),
    flag("web.access-log", Kind::Switch, "false", "a line in the log for each request (not a flag of Prometheus)"),
    flag("web.config.file", Kind::Value, "", "TLS, users and headers, in Prometheus' own file format"),
    flag("web.console.libraries", Kind::Value, "console_libraries", ""),
    flag("web.console.templates", Kind::Value, "consoles", ""),
    flag("web.cors.origin", Kind::Value, ".*", "which origins browsers may call from, as a regular expression"),
    flag("web.enable-admin-api", Kind::Switch, "false", "allow deletion and snapshots over HTTP"),
    flag("web.enable-lifecycle", Kind::Switch, "false", "allow reload and shutdown over HTTP"),
    flag("web.enable-otlp-receiver", Kind::Switch, "false", "take metrics of OpenTelemetry"),
    flag("web.enable-remote-write-receiver", Kind::Switch, "true", "take remote writes; it is always on"),
    flag("web.external-url", Kind::Value, "", "the address under which others reach this server"),
    flag("web.listen-address", Kind::Value, "0.0.0.0:9090", "where to listen; may be repeated"),
    flag("web.local-assets", Kind::Value, "", ""),
    flag(
        "web.max-client-requests-per-second",
        Kind::Value,
        "0",
        "more requests of one client are answered with 429; 0 for no limit (not a flag of Prometheus)",
    ),
    flag("web.max-connections", Kind::Value, "512", "how many connections may be open at once"),
    flag(
        "web.max-endpoint-requests",
        Kind::Value,
        "512",
        "more requests of one path at once are answered with 503; 0 for no limit (not a flag of Prometheus)",
    ),
    flag("web.max-notifications-subscribers", Kind::Value, "16", "how many may listen to notifications"),
    flag("web.page-title", Kind::Value, "Prometheus Time Series Collection and Processing Server", ""),
    flag("web.read-timeout", Kind::Value, "5m", "how long a request may take to arrive, and a connection may be idle"),
    flag(
        "web.remote-write-receiver.accepted-protobuf-messages",
        Kind::Value,
        "prometheus.WriteRequest,io.prometheus.write.v2.Request",
        "which remote writes to take, 1.0 or 2.0; may be repeated",
    ),
    flag(
        "web.route-prefix",
        Kind::Value,
        "",
        "the path below which everything lies; that of the external URL if not given",
    ),
    flag("web.search.max-limit", Kind::Value, "10000", "how many results one search may ask for; 0 for no bound"),
    flag("web.user-assets", Kind::Value, "", ""),
];

/// The one flag that only we have.
const AUTHORITIES: &str = "tls.authorities-file";

/// Names for `--enable-feature` that change what the engine does; those that change how queries are read
/// are the parser's.
pub(crate) const ENGINE_FEATURES: [&str; 10] = [
    "auto-reload-config",
    "exemplar-storage",
    "otlp-deltatocumulative",
    "otlp-native-delta-ingestion",
    "promql-delayed-name-removal",
    "promql-per-step-stats",
    "search-api",
    "st-storage",
    "type-and-unit-labels",
    "use-start-timestamps",
];

/// The features that switch on a part of the syntax of queries.
const SYNTAX_FEATURES: [&str; 4] = [
    "promql-binop-fill-modifiers",
    "promql-duration-expr",
    "promql-experimental-functions",
    "promql-extended-range-selectors",
];

/// Features of one Prometheus or another that nobody needs here: there is nothing to switch, or it is always on.
const IDLE_FEATURES: [&str; 22] = [
    "agent",
    "auto-gomaxprocs",
    "auto-gomemlimit",
    "concurrent-rule-eval",
    "created-timestamp-zero-ingestion",
    "delayed-compaction",
    "expand-external-labels",
    "extra-scrape-metrics",
    "fast-startup",
    "memory-snapshot-on-shutdown",
    "metadata-wal-records",
    "native-histograms",
    "new-service-discovery-manager",
    "no-default-scrape-port",
    "old-ui",
    "otlp-write-receiver",
    "promql-at-modifier",
    "promql-negative-offset",
    "remote-write-receiver",
    "use-uncached-io",
    "utf8-names",
    "xor2-encoding",
];

/// Why a feature has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleFeature {
    /// Prometheus has it, but there is nothing here that it could change.
    Known,
    /// Nobody has it. With it the name that was meant, if one is like it.
    Unknown(Option<&'static str>),
}

impl IdleFeature {
    fn of(feature: &str) -> Self {
        let known = || IDLE_FEATURES.into_iter().chain(ENGINE_FEATURES).chain(SYNTAX_FEATURES);
        if known().any(|known| known == feature) {
            IdleFeature::Known
        } else {
            IdleFeature::Unknown(similar(feature, known()))
        }
    }
}

impl Flags {
    /// Reads flags of the forms `--name=value`, `--name value`, `--switch` and `--no-switch`.
    pub fn parse<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Result<Self, FlagError> {
        let mut flags = Flags::default();
        let mut listen = Vec::new();
        let mut write_messages = Vec::new();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let arg = arg.as_ref();
            let unknown = || FlagError::Unknown(arg.to_owned());
            let body = arg.strip_prefix("--").ok_or_else(unknown)?;
            let (name, given) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (body, None),
            };
            let find = |name: &str| FLAGS.iter().find(|flag| flag.name == name);
            let (flag, negated) = match (find(name), name.strip_prefix("no-").and_then(find)) {
                (Some(flag), _) => (flag, false),
                (None, Some(flag)) if flag.kind == Kind::Switch => (flag, true),
                _ => return Err(unknown()),
            };
            let name = flag.name;
            let value = match (flag.kind, given) {
                (Kind::Switch, None) => (!negated).to_string(),
                (Kind::Switch, Some(value)) | (Kind::Value, Some(value)) => value,
                (Kind::Value, None) => {
                    args.next().map(|next| next.as_ref().to_owned()).ok_or(FlagError::NoValue(arg.to_owned()))?
                }
            };
            if name == "web.listen-address" {
                listen.push(value);
                continue;
            }
            if name == "web.remote-write-receiver.accepted-protobuf-messages" {
                write_messages.extend(messages(&value).map_err(|reason| bad_value(name, &value, reason))?);
                continue;
            }
            if flag.does.is_empty() {
                flags.without_effect.insert(name, value);
                continue;
            }
            flags.set(name, &value).map_err(|reason| bad_value(name, &value, reason))?;
        }
        if !listen.is_empty() {
            flags.listen = listen;
        }
        if !write_messages.is_empty() {
            flags.write_messages = write_messages;
        }
        Ok(flags)
    }

    /// Reads the text of a flag file: one flag a line; empty lines and lines that begin with `#` say nothing.
    pub fn parse_file(text: &str) -> Result<Self, FlagError> {
        Flags::parse(text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')))
    }

    /// A line for each flag and what it does.
    pub fn help() -> String {
        let mut text = String::from("usage: relatum serve [FLAG…]\n\n");
        for Flag { name, kind, does, .. } in FLAGS {
            let form = if *kind == Kind::Value { format!("--{name}=…") } else { format!("--{name}") };
            let does = if does.is_empty() { "taken, without effect" } else { does };
            // A name that is longer than its column has what it does on a line of its own.
            let gap = if form.len() < 40 { String::new() } else { format!("\n{:42}", "") };
            text.push_str(&format!("  {form:<40}{gap}{does}\n"));
        }
        text
    }

    /// Every flag with its value as text, for the API.
    pub fn as_map(&self) -> BTreeMap<&'static str, String> {
        let value = |name: &str| match name {
            "config.file" => self.config_file.display().to_string(),
            "storage.tsdb.path" => self.data_dir.display().to_string(),
            "web.listen-address" => self.listen.join(","),
            "web.external-url" => self.external_url.clone(),
            "web.config.file" => self.web_config.as_ref().map_or_else(String::new, |path| path.display().to_string()),
            AUTHORITIES => self.authorities.as_ref().map_or_else(String::new, |path| path.display().to_string()),
            "web.access-log" => self.access_log.to_string(),
            "web.max-client-requests-per-second" => self.client_requests_per_second.to_string(),
            "web.max-endpoint-requests" => self.endpoint_requests_max.to_string(),
            "web.max-connections" => self.connections_max.to_string(),
            "web.read-timeout" => format_duration(self.read_timeout),
            "web.route-prefix" => match self.prefix() {
                "" => "/".to_owned(),
                prefix => prefix.to_owned(),
            },
            "web.enable-admin-api" => self.admin_api.to_string(),
            "web.enable-lifecycle" => self.lifecycle.to_string(),
            "web.enable-remote-write-receiver" => "true".to_owned(),
            "web.remote-write-receiver.accepted-protobuf-messages" => {
                self.write_messages.iter().map(|version| version.message()).collect::<Vec<_>>().join(",")
            }
            "web.enable-otlp-receiver" => self.otlp_receiver.to_string(),
            "web.search.max-limit" => self.search_results_max.to_string(),
            "web.max-notifications-subscribers" => self.notification_subscribers_max.to_string(),
            "storage.remote.read-sample-limit" => format!("{:e}", self.read_samples_max),
            "storage.remote.read-concurrent-limit" => self.read_concurrency.to_string(),
            "storage.remote.read-max-bytes-in-frame" => self.read_frame_bytes.to_string(),
            "storage.tsdb.durability" => self.durability.as_str().to_owned(),
            "storage.tsdb.retention.time" => format_duration(self.retention),
            "storage.tsdb.retention.size" => format!("{}B", self.retention_bytes),
            "query.lookback-delta" => format_duration(self.lookback),
            "query.timeout" => format_duration(self.timeout),
            "query.max-memory" => format!("{}B", self.query_bytes_max),
            "query.results-cache-size" => format!("{}B", self.results_cache_bytes),
            "query.slow-after" => format_duration(self.slow_query),
            "query.max-samples" => self.samples_max.to_string(),
            "query.max-series" => self.series_max.to_string(),
            "query.max-concurrency" => self.concurrency.to_string(),
            "config.auto-reload-interval" => format_duration(self.auto_reload_interval),
            "log.level" => self.log_level.as_str().to_owned(),
            "enable-feature" => self.features.iter().cloned().collect::<Vec<_>>().join(","),
            "web.cors.origin" => self.cors_origin.pattern().to_owned(),
            _ => unreachable!("every flag with an effect has an arm"),
        };
        let shown = |flag: &Flag| match self.without_effect.get(flag.name) {
            Some(given) => given.clone(),
            None if flag.does.is_empty() => flag.default.to_owned(),
            None => value(flag.name),
        };
        // Who compares us with Prometheus shall find no more than its flags unless more is asked for.
        let is_shown = |flag: &&Flag| flag.name != AUTHORITIES || self.authorities.is_some();
        FLAGS.iter().filter(is_shown).map(|flag| (flag.name, shown(flag))).collect()
    }

    /// The path below which everything lies, without a slash at its end; empty if nothing is above.
    pub fn prefix(&self) -> &str {
        match &self.route_prefix {
            Some(prefix) => prefix,
            None => path_of(&self.external_url),
        }
    }

    /// Whether `--enable-feature` names `feature`.
    pub fn has_feature(&self, feature: &str) -> bool {
        self.features.contains(feature)
    }

    /// The features that were asked for and have no effect here, each with the reason, to be named in the log.
    pub fn features_without_effect(&self) -> Vec<(&str, IdleFeature)> {
        let mut syntax = ParseOptions::default();
        let is_idle = |feature: &&str| !ENGINE_FEATURES.contains(feature) && !syntax.enable(feature);
        let asked = self.features.iter().map(String::as_str).filter(is_idle);
        asked.map(|feature| (feature, IdleFeature::of(feature))).collect()
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "config.file" => self.config_file = value.into(),
            "storage.tsdb.path" => self.data_dir = value.into(),
            "storage.tsdb.durability" => {
                self.durability = value.parse().map_err(|error: UnknownDurability| error.to_string())?;
            }
            "web.external-url" => self.external_url = value.trim_end_matches('/').to_owned(),
            "web.config.file" => self.web_config = (!value.is_empty()).then(|| value.into()),
            AUTHORITIES => self.authorities = (!value.is_empty()).then(|| value.into()),
            "web.access-log" => self.access_log = switch(value)?,
            "web.max-client-requests-per-second" => {
                self.client_requests_per_second =
                    u32::try_from(number(value)?).map_err(|_| "it is too large".to_owned())?;
            }
            "web.max-endpoint-requests" => self.endpoint_requests_max = number(value)?,
            "web.max-connections" => self.connections_max = number(value)?.max(1),
            "web.read-timeout" => self.read_timeout = duration(value)?,
            "web.route-prefix" => self.route_prefix = Some(prefix(value)),
            "web.enable-admin-api" => self.admin_api = switch(value)?,
            "web.enable-lifecycle" => self.lifecycle = switch(value)?,
            "web.enable-remote-write-receiver" => drop(switch(value)?),
            "web.enable-otlp-receiver" => self.otlp_receiver = switch(value)?,
            "web.search.max-limit" => self.search_results_max = number(value)?,
            "web.max-notifications-subscribers" => self.notification_subscribers_max = number(value)?,
            "storage.remote.read-sample-limit" => self.read_samples_max = amount(value)?,
            "storage.remote.read-concurrent-limit" => self.read_concurrency = number(value)?,
            "storage.remote.read-max-bytes-in-frame" => self.read_frame_bytes = number(value)?.clamp(1 << 10, 1 << 26),
            "web.cors.origin" => self.cors_origin = AnchoredRegex::new(value).map_err(|error| error.to_string())?,
            "storage.tsdb.retention.time" => self.retention = duration(value)?,
            "storage.tsdb.retention.size" => self.retention_bytes = bytes(value)?,
            "query.lookback-delta" => self.lookback = duration(value)?,
            "query.timeout" => self.timeout = duration(value)?,
            "query.max-memory" => self.query_bytes_max = usize::try_from(bytes(value)?).unwrap_or(usize::MAX),
            "query.results-cache-size" => {
                self.results_cache_bytes = usize::try_from(bytes(value)?).unwrap_or(usize::MAX);
            }
            "query.slow-after" => self.slow_query = duration(value)?,
            "query.max-samples" => self.samples_max = number(value)?,
            "query.max-series" => self.series_max = number(value)?,
            "query.max-concurrency" => self.concurrency = number(value)?.max(1),
            "config.auto-reload-interval" => self.auto_reload_interval = duration(value)?,
            "log.level" => {
                self.log_level = LogLevel::parse(value).ok_or("it is none of error, warn, info, debug")?;
            }
            "enable-feature" => self.features.extend(value.split(',').filter(|f| !f.is_empty()).map(str::to_owned)),
            _ => unreachable!("every flag of the table has an arm"),
        }
        Ok(())
    }
}

fn bad_value(name: &str, value: &str, reason: String) -> FlagError {
    FlagError::BadValue { name: name.to_owned(), value: value.to_owned(), reason }
}

fn messages(value: &str) -> Result<Vec<Version>, String> {
    let message = |name: &str| [Version::V1, Version::V2].into_iter().find(|version| version.message() == name.trim());
    value.split(',').map(|name| message(name).ok_or_else(|| format!("{name} is no message of remote write"))).collect()
}

/// One slash before each part, and none after the last.
fn prefix(value: &str) -> String {
    let parts = value.split('/').filter(|part| !part.is_empty());
    parts.map(|part| format!("/{part}")).collect()
}

/// The path of a URL, without a slash at its end.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.find('/').map_or("", |at| rest[at..].trim_end_matches('/'))
}

fn switch(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| "it is neither true nor false".to_owned())
}

fn number(value: &str) -> Result<usize, String> {
    value.parse().map_err(|_| "it is not a whole number".to_owned())
}

/// A whole number that may be written with an exponent.
fn amount(value: &str) -> Result<usize, String> {
    match value.parse::<f64>() {
        Ok(number) if number.fract() == 0.0 && (0.0..=1e15).contains(&number) => Ok(number as usize),
        _ => Err("it is not a whole number".to_owned()),
    }
}

fn duration(value: &str) -> Result<Duration, String> {
    parse_duration(value).map_err(|error| error.to_string())
}

/// A size such as `512MB`: a number, with an optional fraction, and a unit of 1024-fold steps, as Prometheus reads it.
fn bytes(value: &str) -> Result<u64, String> {
    const UNITS: [&str; 7] = ["B", "KB", "MB", "GB", "TB", "PB", "EB"];
    let digits = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let unit = unit.replace("iB", "B");
    let power = UNITS.iter().position(|known| *known == unit);
    match (number.parse::<f64>(), power) {
        (Ok(0.0), _) if unit.is_empty() => Ok(0),
        (Ok(number), Some(power)) => Ok((number * 1024f64.powi(power as i32)) as u64),
        _ => Err("it is not a size such as 512MB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(args: &[&str], expected: Result<Flags, &str>) {
        assert_eq!(Flags::parse(args).map_err(|e| e.to_string()), expected.map_err(str::to_owned), "{args:?}");
    }

    #[test]
    fn flags_are_in_order() {
        assert!(FLAGS.is_sorted_by_key(|flag| flag.name));
    }

    #[test]
    fn command_lines() {
        check(&[], Ok(Flags::default()));
        check(
            &["--config.file=a.yml", "--web.listen-address", ":1", "--web.listen-address=:2", "--web.enable-lifecycle"],
            Ok(Flags {
                config_file: "a.yml".into(),
                listen: vec![":1".into(), ":2".into()],
                lifecycle: true,
                ..Flags::default()
            }),
        );
        check(
            &["--web.enable-lifecycle", "--no-web.enable-lifecycle", "--enable-feature=a,b", "--enable-feature=c"],
            Ok(Flags { features: ["a", "b", "c"].map(str::to_owned).into(), ..Flags::default() }),
        );
        check(&["--storage.tsdb.durability=fsync"], Ok(Flags { durability: Durability::Fsync, ..Flags::default() }));
        check(
            &["--storage.tsdb.durability=disk"],
            Err("cannot read flag --storage.tsdb.durability=disk: it is neither process nor fsync"),
        );
        check(&["--storage.remote.read-sample-limit=1e3"], Ok(Flags { read_samples_max: 1000, ..Flags::default() }));
        check(&["--query.max-series=5000"], Ok(Flags { series_max: 5000, ..Flags::default() }));
        check(&["--query.max-memory=512MB"], Ok(Flags { query_bytes_max: 512 << 20, ..Flags::default() }));
        check(&["--storage.tsdb.retention.size=1.5GB"], Ok(Flags { retention_bytes: 3 << 29, ..Flags::default() }));
        let asked = Flags::parse([
            "--enable-feature=exemplar-storage,old-ui,type-and-unit-labels,promql-experimental-functions",
        ]);
        assert_eq!(asked.unwrap().features_without_effect(), [("old-ui", IdleFeature::Known)]);
        for (feature, meant) in [
            ("promql-experimental-function", Some("promql-experimental-functions")),
            ("exemplar_storage", Some("exemplar-storage")),
            ("memory-snapshot-on-shutdwon", Some("memory-snapshot-on-shutdown")),
            ("anything", None),
        ] {
            let asked = Flags::parse([format!("--enable-feature={feature}")]).unwrap();
            assert_eq!(asked.features_without_effect(), [(feature, IdleFeature::Unknown(meant))]);
        }
        assert!(IDLE_FEATURES.into_iter().all(|feature| !ENGINE_FEATURES.contains(&feature)));
        // What the syntax takes is named in two places.
        assert!(SYNTAX_FEATURES.into_iter().all(|feature| ParseOptions::default().enable(feature)));
        check(
            &["--web.remote-write-receiver.accepted-protobuf-messages=io.prometheus.write.v2.Request"],
            Ok(Flags { write_messages: vec![Version::V2], ..Flags::default() }),
        );
        for (args, expected) in [
            (&["--web.external-url=http://a.b:1/c/d/"][..], "/c/d"),
            (&["--web.external-url=http://a.b:1"], ""),
            (&["--web.external-url=http://a.b/c", "--web.route-prefix=/"], ""),
            (&["--web.route-prefix=c//d/"], "/c/d"),
        ] {
            assert_eq!(Flags::parse(args).unwrap().prefix(), expected, "{args:?}");
        }
        check(&["--nonsense"], Err("unknown flag --nonsense"));
        check(&["serve"], Err("unknown flag serve"));
        check(&["--config.file"], Err("flag --config.file needs a value"));
        // Only a switch can be negated.
        check(&["--no-config.file=x"], Err("unknown flag --no-config.file=x"));
        check(&["--query.timeout=2"], Err("cannot read flag --query.timeout=2: not a valid duration string: \"2\""));
    }
}
