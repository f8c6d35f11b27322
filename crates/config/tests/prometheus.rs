//! The main configuration: what it means, what is wrong with it and where, and how it is shown.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use relatum_config::prometheus::{
    Config, Discovery, DiscoveryKind, Escaping, Feature, ScrapeConfigFile, ScrapeProtocol,
};
use relatum_config::rule_tests::RuleTestFile;
use relatum_config::rules::RuleFile;
use relatum_config::template::Template;
use relatum_config::web::WebConfig;
use relatum_config::{TargetFormat, parse_targets};

const WHOLE: &str = "\
# password: not for other eyes
global:
  scrape_interval: 30s
  sample_limit: 1_000
  external_labels: {site: north, host: $HOST}
rule_files: [rules/*.yml, /abs/rules.yml]
scrape_configs:
- job_name: node
  honor_timestamps: off
  params: {'match[]': [up, down]}
  body_size_limit: 10MB
  basic_auth: &auth
    username: me
    password: hunter2
  proxy_url: http://user:hunter2@proxy:3128
  tls_config:
    ca_file: ca.pem
  relabel_configs:
  - source_labels: [__address__]
    target_label: instance
  static_configs:
  - targets: ['a:1', \"b:2\"]
    labels: {env: yes}
- job_name: 'second'
  basic_auth: *auth
  scrape_timeout: 5s
  metrics_path: /p
alerting:
  alertmanagers:
  - static_configs: [{targets: [am:9093]}]
    path_prefix: /am
remote_write:
- url: https://receiver/api
  authorization: {credentials: hunter2}
";

#[test]
fn reads_what_is_there_and_fills_in_the_rest() {
    let mut config = Config::parse(WHOLE).unwrap();
    config.global.expand_external_labels(|name| (name == "HOST").then(|| "box".to_owned()));
    assert_eq!(config.global.external_labels.to_string(), r#"{host="box", site="north"}"#);
    config.join_directory(Path::new("/etc/p"));
    assert_eq!(config.rule_files, ["/etc/p/rules/*.yml", "/abs/rules.yml"]);
    let [node, second] = &config.scrape_configs[..] else { panic!("two jobs") };
    assert_eq!((node.scrape_interval, node.scrape_timeout), (Duration::from_secs(30), Duration::from_secs(10)));
    assert_eq!((node.honor_timestamps, node.limits.samples, node.limits.body_bytes), (false, 1000, 10 << 20));
    assert_eq!(node.params["match[]"], ["up", "down"]);
    assert_eq!(node.scrape_protocols, ScrapeProtocol::DEFAULT);
    assert_eq!(node.metric_name_escaping_scheme, Escaping::AllowUtf8);
    assert_eq!(node.static_configs[0].targets, ["a:1", "b:2"]);
    // A label's value is text as it is written, whatever YAML thinks of it.
    assert_eq!(node.static_configs[0].labels.to_string(), r#"{env="yes"}"#);
    assert_eq!(node.http.tls.ca_file.as_deref(), Some(Path::new("/etc/p/ca.pem")));
    assert_eq!(node.http.proxy.url.as_ref().unwrap().expose(), "http://user:hunter2@proxy:3128");
    assert_eq!((second.metrics_path.as_str(), second.scrape_timeout), ("/p", Duration::from_secs(5)));
    assert_eq!(second.http.basic_auth, node.http.basic_auth);
    assert_eq!(second.http.basic_auth.as_ref().unwrap().password.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(config.alerting.alertmanagers[0].timeout, Duration::from_secs(10));
    assert!(!config.remote_write[0].http.enable_http2);
}

#[test]
fn never_shows_a_secret() {
    let config = Config::parse(WHOLE).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!config.redacted.contains("hunter2") && !config.redacted.contains("other eyes"), "{}", config.redacted);
    for line in ["    password: <secret>", "  proxy_url: http://user:xxxxx@proxy:3128", "    credentials: <secret>"] {
        assert!(config.redacted.contains(&format!("{line}\n")), "no line {line:?} in\n{}", config.redacted);
    }
    // What is shown is a configuration again, the same but for the secrets.
    let again = Config::parse(&config.redacted).unwrap();
    assert_eq!(again.global, config.global);
    assert_eq!(again.scrape_configs[0].static_configs, config.scrape_configs[0].static_configs);
    assert_eq!(again.redacted, config.redacted);
}

/// `expected` are all problems, as people see them.
#[track_caller]
fn refuses(text: &str, expected: &[&str]) {
    let problems = Config::parse(text).expect_err(text);
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(shown, expected, "{text}");
}

#[track_caller]
fn accepts(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"))
}

#[test]
fn names_every_problem_with_its_place() {
    refuses(
        "global:\n  scrape_intervall: 5s\nscrape_configs:\n- job_name: a\n  scrape_timeout: 2m\n  sample_limit: many\n  oauth2: {}\n",
        &[
            "2:3: field scrape_intervall not found, did you mean scrape_interval? (in global.scrape_intervall)",
            "5:19: scrape timeout greater than scrape interval for scrape config with job name \"a\" (in scrape_configs[0].scrape_timeout)",
            "6:17: cannot unmarshal !!str `many` into uint (in scrape_configs[0].sample_limit)",
            "7:11: oauth2 client_id must be configured (in scrape_configs[0].oauth2)",
            "7:11: oauth2 token_url must be configured (in scrape_configs[0].oauth2)",
        ],
    );
    refuses("a: 1\na: 2\n", &["1:1: field a not found (in a)", "2:1: field a already set (in a)"]);
    refuses(
        "global: {external_labels: {a: 1, a: 2}}\n",
        &["1:34: key \"a\" already set in map (in global.external_labels.a)"],
    );
    refuses("scrape_configs: {a: b}\n", &["1:17: cannot unmarshal !!map into []string (in scrape_configs)"]);
    refuses("- a\n", &["1:1: cannot unmarshal !!seq into a section with keys"]);
    refuses("global:\n---\nglobal:\n", &["the file has more than one YAML document"]);
    refuses(
        "global: {scrape_interval: -1s}\n",
        &["1:27: not a valid duration string: \"-1s\" (in global.scrape_interval)"],
    );
    refuses(
        "scrape_configs:\n- job_name: a\n  authorization: {type: Basic}\n",
        &[
            "3:18: authorization type cannot be set to \"basic\", use \"basic_auth\" instead (in scrape_configs[0].authorization)",
        ],
    );
    refuses(
        "scrape_configs:\n- job_name: a\n  tls_config: {cert_file: a}\n  scheme: ftp\n",
        &[
            "3:15: exactly one of key or key_file must be configured when a client certificate is configured (in scrape_configs[0].tls_config)",
            "4:11: scheme must be 'http' or 'https', got \"ftp\" (in scrape_configs[0].scheme)",
        ],
    );
}

/// What no rule can change is wrong at once, and what one may rewrite or drop is seen only when it has.
#[test]
fn addresses_that_can_never_be_asked() {
    for (rules, is_refused) in [
        ("", true),
        ("{target_label: site, replacement: a}", true),
        ("{target_label: __address__, replacement: 'a:1'}", false),
        ("{source_labels: [job], target_label: '$1', replacement: a}", false),
        ("{action: drop, source_labels: [__address__], regex: '.*/.*'}", false),
        ("{action: labelmap, regex: 'x(.*)'}", false),
    ] {
        let text = format!(
            "scrape_configs:\n- job_name: a\n  static_configs: [{{targets: [a/b]}}]\n  relabel_configs: [{rules}]\n"
        );
        if is_refused {
            let place = "scrape_configs[0].static_configs[0].targets[0]";
            refuses(&text, &[format!("3:31: \"a/b\" is not a valid hostname (in {place})").as_str()]);
        } else {
            accepts(&text);
        }
    }
}

/// A key that Prometheus does not have.
#[test]
fn networks_that_a_job_must_not_reach() {
    let networks = |list: &str| format!("scrape_configs:\n- job_name: a\n  denied_networks: {list}\n");
    let config = Config::parse(&networks("[10.0.0.0/8, '::1']")).unwrap();
    let read: Vec<String> = config.scrape_configs[0].denied_networks.iter().map(ToString::to_string).collect();
    assert_eq!(read, ["10.0.0.0/8", "::1"]);
    refuses(
        &networks("[10.0.0.0/8, localhost]"),
        &["3:33: \"localhost\" is no network (in scrape_configs[0].denied_networks[1])"],
    );
}

/// Every feature that a server may lack, with the place that asks for it; nothing is asked for by what is off or empty.
#[test]
fn says_which_features_a_file_uses() {
    let text = "\
global:
  query_log_file: q.log
  scrape_failure_log_file: f.log
  scrape_native_histograms: true
  convert_classic_histograms_to_nhcb: false
runtime: {gogc: 50}
otlp: {}
tracing: {endpoint: 'a:4317'}
storage:
  tsdb:
    stale_series_compaction_threshold: 0.5
    chunk_encoding: {floats: xor}
    retention: {size: 1GB, percentage: 80}
scrape_configs:
- job_name: a
  convert_classic_histograms_to_nhcb: true
  scrape_protocols: [PrometheusProto]
  fallback_scrape_protocol: PrometheusProto
  tls_config: {min_version: TLS11}
  basic_auth: {password_ref: p}
  dns_sd_configs: [{names: [a]}]
  file_sd_configs: []
- job_name: b
  oauth2: {client_id: a, token_url: b}
  scrape_protocols: [PrometheusText1.0.0, PrometheusProto]
remote_write:
- {url: 'http://a', sigv4: {}, failed_request_logging: true}
- {url: 'http://a', azuread: {sdk: {}}}
- {url: 'http://a', google_iam: {}}
remote_read: [{url: 'http://a'}]
";
    let config = accepts(text);
    let shown: Vec<String> = Config::parse_for(text, &[]).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "2:3: query_log_file is not supported yet (in global.query_log_file)",
            "3:3: scrape_failure_log_file is not supported yet (in global.scrape_failure_log_file)",
            "4:29: scrape_native_histograms is not supported yet (in global.scrape_native_histograms)",
            "6:1: runtime is not supported yet (in runtime)",
            "7:1: otlp is not supported yet (in otlp)",
            "8:1: tracing is not supported yet (in tracing)",
            "11:5: stale_series_compaction_threshold is not supported yet (in storage.tsdb.stale_series_compaction_threshold)",
            "12:30: chunk_encoding is not supported yet (in storage.tsdb.chunk_encoding.floats)",
            "13:23: retention by size is not supported yet (in storage.tsdb.retention.size)",
            "13:40: retention by percentage is not supported yet (in storage.tsdb.retention.percentage)",
            "16:39: convert_classic_histograms_to_nhcb is not supported yet (in scrape_configs[0].convert_classic_histograms_to_nhcb)",
            "17:21: scrape protocol PrometheusProto is not supported yet (in scrape_configs[0].scrape_protocols)",
            "18:29: scrape protocol PrometheusProto is not supported yet (in scrape_configs[0].fallback_scrape_protocol)",
            "19:29: a TLS version before 1.2 is not supported yet (in scrape_configs[0].tls_config.min_version)",
            "20:16: a reference to a secret manager is not supported yet (in scrape_configs[0].basic_auth.password_ref)",
            "21:3: dns_sd_configs is not supported yet (in scrape_configs[0].dns_sd_configs)",
            "24:3: oauth2 is not supported yet (in scrape_configs[1].oauth2)",
            "26:1: remote_write is not supported yet (in remote_write)",
            "27:21: sigv4 is not supported yet (in remote_write[0].sigv4)",
            "27:56: failed_request_logging is not supported yet (in remote_write[0].failed_request_logging)",
            "28:21: azuread is not supported yet (in remote_write[1].azuread)",
            "29:21: google_iam is not supported yet (in remote_write[2].google_iam)",
            "30:1: remote_read is not supported yet (in remote_read)",
        ]
    );
    let all: Vec<Feature> = Feature::all().collect();
    assert_eq!(Config::parse_for(text, &all).as_ref(), Ok(&config));
    assert_eq!(all.len(), 21 + DiscoveryKind::ALL.len());
    let job = "scrape_configs: [{job_name: a, http_sd_configs: [{url: 'http://a'}]}]\n";
    let file = ScrapeConfigFile::parse(job, &config.global).unwrap();
    assert_eq!(file.uses.iter().map(|found| found.feature.name()).collect::<Vec<_>>(), ["http_sd_configs"]);
    assert!(ScrapeConfigFile::parse_for(job, &config.global, &[]).is_err());
    assert!(file.scrape_configs[0].scrape_native_histograms, "the global switch holds here too");
}

#[test]
fn discoveries_are_typed_and_their_paths_join() {
    let mut config = accepts(
        "scrape_configs:\n- job_name: a\n  file_sd_configs: [{files: [t/*.json], refresh_interval: 1m}]\n  \
         marathon_sd_configs: [{servers: [a], auth_token_file: t, tls_config: {ca_file: ca}}]\n  \
         ec2_sd_configs: [{region: r, filters: [{name: n, values: [v]}]}]\n",
    );
    config.join_directory(Path::new("/etc/p"));
    let [Discovery::Ec2(ec2), Discovery::File(files), Discovery::Marathon(marathon)] =
        &config.scrape_configs[0].discoveries[..]
    else {
        panic!("three discoveries, by key")
    };
    assert_eq!((ec2.port, ec2.filters[0].values.as_slice()), (80, &["v".to_owned()][..]));
    assert_eq!((files.files[0].to_str(), files.refresh_interval.as_secs()), (Some("/etc/p/t/*.json"), 60));
    assert_eq!(marathon.auth_token_file.as_deref(), Some(Path::new("/etc/p/t")));
    assert_eq!(marathon.http.tls.ca_file.as_deref(), Some(Path::new("/etc/p/ca")));
}

/// Null is what Go makes of it: the zero value, which for some keys means the default.
#[test]
fn null_is_zero() {
    assert_eq!(accepts("").global, accepts("global:\n").global);
    assert_eq!(accepts("global:\n  scrape_interval: ~\nscrape_configs: null\n").global.scrape_interval.as_secs(), 60);
    let job = |lines: &str| accepts(&format!("scrape_configs:\n- job_name: a\n{lines}")).scrape_configs.remove(0);
    assert!(job("").honor_timestamps && !job("  honor_timestamps:\n").honor_timestamps);
    assert_eq!((job("").metrics_path.as_str(), job("  metrics_path:\n").metrics_path.as_str()), ("/metrics", ""));
    assert_eq!(job("  basic_auth:\n").http.basic_auth, None);
    assert_eq!(job("  relabel_configs: [{regex: , target_label: x}]\n").relabel_configs[0].regex.pattern(), "");
    refuses("scrape_configs:\n- job_name:\n", &["2:11: job_name is empty (in scrape_configs[0].job_name)"]);
    refuses(
        "remote_write: [{url: http://a, queue_config: }]\n",
        &["1:44: remote write queue max_shards must be positive (in remote_write[0].queue_config)"],
    );
}

/// Prometheus takes these, and then panics or never says what a metric is.
#[test]
fn metadata_that_is_never_sent() {
    let with = |keys: &str| format!("remote_write: [{{url: http://a, metadata_config: {{{keys}}}}}]\n");
    let place = "(in remote_write[0].metadata_config";
    refuses(
        &with("send_interval: 0s"),
        &[&format!("1:65: remote write metadata_config send_interval must be positive {place}.send_interval)")],
    );
    refuses(
        &with("max_samples_per_send: 0"),
        &[&format!(
            "1:72: remote write metadata_config max_samples_per_send must be positive {place}.max_samples_per_send)"
        )],
    );
    let unsent = accepts(&with("send: false, send_interval: 0s, max_samples_per_send: 0"));
    assert!(!unsent.remote_write[0].metadata.send);
}

#[test]
fn yaml_as_go_reads_it() {
    let limits = |value: &str| accepts(&format!("global: {{sample_limit: {value}}}\n")).global.limits.samples;
    assert_eq!(["0x1F", "0b11", "017", "0o17", "1_000", "1e3", "+5"].map(limits), [31, 3, 15, 15, 1000, 1000, 5]);
    let merged = accepts(
        "scrape_configs:\n- &a {job_name: a, metrics_path: /m, scheme: https}\n- {<<: *a, job_name: b, scheme: http}\n",
    );
    let [a, b] = &merged.scrape_configs[..] else { panic!("two jobs") };
    assert_eq!((b.metrics_path.as_str(), b.scheme.as_str(), a.scheme.as_str()), ("/m", "http", "https"));
}

#[test]
fn hostile_texts_are_refused() {
    let mut bomb = "a: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("b{level}: &a{level} [{aliases}]\n"));
    }
    let refused = |text: &str| Config::parse(text).unwrap_err().remove(0).message;
    assert_eq!(refused(&bomb), "document contains excessive aliasing");
    let keys: String = (0..20_000).map(|at| format!("k{at}: 1\n")).collect();
    let flow = format!("global: {{{}}}\n", (0..20_000).map(|at| format!("k{at}: 1, ")).collect::<String>());
    for text in [
        &bomb,
        "a: &a [*a]\n",
        "a: *b\n",
        "global: {\u{0}: 1}\n",
        &"[".repeat(100_000),
        &"{a: ".repeat(100_000),
        &"- ".repeat(100_000),
        &"a:\n".repeat(20_000),
        &keys,
        &flow,
        "\"\\ud800\": 1\n",
        "a: \"\\",
    ] {
        let start = std::time::Instant::now();
        let problems = [
            Config::parse(text).err(),
            RuleFile::parse(text).err(),
            RuleTestFile::parse(text).err(),
            WebConfig::parse(text).err(),
            parse_targets(text, TargetFormat::Yaml).err(),
            parse_targets(text, TargetFormat::Json).err(),
        ];
        let shown = &text[..text.len().min(20)];
        for (reader, problems) in problems.into_iter().enumerate() {
            let problems = problems.unwrap_or_else(|| panic!("reader {reader} took {shown:?}"));
            assert!(problems[0].line > 0, "reader {reader}, {shown:?}: {}", problems[0]);
        }
        // What takes more hangs: it is far away even without optimization.
        assert!(start.elapsed() < Duration::from_secs(60), "{shown:?} took {:?}", start.elapsed());
    }
}

/// Templates and regular expressions without end: refused with a place or a reason, or read, and never for long.
#[test]
fn deep_templates_and_expressions_are_refused() {
    const DEEP: usize = 100_000;
    let start = std::time::Instant::now();
    for text in [
        "{{ ".to_owned() + &"(".repeat(DEEP),
        "{{ if 1 }}".repeat(DEEP),
        "{{ range $x := ".repeat(DEEP),
        "{{ \"a".to_owned() + &"b".repeat(DEEP),
        "{{ 1 | ".to_owned() + &"print | ".repeat(DEEP),
    ] {
        let error = Template::parse(&text).err().unwrap_or_else(|| panic!("{} was read", &text[..20]));
        assert!(error.line > 0, "{}", error.message);
    }
    for pattern in ["(".repeat(DEEP), "(".repeat(DEEP) + &")".repeat(DEEP), "[".repeat(DEEP), "a{1000}".repeat(1000)] {
        let error = relatum_model::Matcher::new(relatum_model::MatchOp::Regex, "a", &pattern);
        assert!(error.is_err(), "{} was read", &pattern[..20]);
    }
    // What takes more hangs: it is far away even without optimization.
    assert!(start.elapsed() < Duration::from_secs(60), "took {:?}", start.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Pieces of the formats in any order are read or refused, and never panic.
    #[test]
    fn never_panics(pieces in proptest::collection::vec(
        prop_oneof![
            any::<char>().prop_map(|c| c.to_string()),
            proptest::sample::select(vec![
                "global:", "scrape_configs:", "- ", "\n", "  ", "job_name: a", "static_configs", "{", "}", "[", "]", ": ", "&a ",
                "*a", "<<", "!!binary ", "\"", "'", "|\n", "groups:\n- name: g\n  rules:\n  - record: r\n    expr: ", "rules", "alert", "expr", "|\n      ", "up", "+", "tests:", "#", "{{", "}}", "$labels", ".", "|",
                "(", ")", "if ", "end", "printf \"%9999999d\" ", "humanize ", "1e999", "-0x", "~", ",", "- - - ",
            ]).prop_map(str::to_owned),
        ],
        0..40,
    )) {
        let text = pieces.concat();
        let _ = Config::parse(&text);
        let _ = RuleFile::parse(&text);
        let _ = RuleFile::format(&text);
        let _ = RuleTestFile::parse(&text);
        let _ = WebConfig::parse(&text);
        let _ = parse_targets(&text, TargetFormat::Yaml);
        let _ = parse_targets(&text, TargetFormat::Json);
        let _ = Template::parse(&text);
    }
}
