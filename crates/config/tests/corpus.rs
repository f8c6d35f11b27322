//! Prometheus' own configuration and rule files: the good are accepted, the bad refused for the reason Prometheus gives.
//!
//! The folder comes from `RELATUM_CORPORA`; without it the tests are skipped by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Trial};
use relatum_config::prometheus::{Config, ScrapeConfigFile, find_duplicate_job};
use relatum_config::rule_tests::RuleTestFile;
use relatum_config::rules::{RuleFile, RuleOptions};
use relatum_model::relabel::NameScheme;
use relatum_promql::syntax::ParseOptions;

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("configurations", &[], configurations),
        trial("scrape_files", &[], scrape_files),
        trial("rule_files", &[], rule_files),
        trial("unit_test_files", &[], unit_test_files),
        trial("same_verdict_as_promtool", &[PROMTOOL], same_verdict_as_promtool),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// The variable that names the `promtool` of a Prometheus 3.5.
const PROMTOOL: &str = "RELATUM_PEER_PROMTOOL3";

/// A test that needs the corpora, and perhaps more; without them it is skipped and says what it needs.
fn trial(name: &str, peers: &[&str], test: fn(&Path)) -> Trial {
    let needs = ["RELATUM_CORPORA"].iter().chain(peers);
    let missing: Vec<&str> = needs.copied().filter(|variable| std::env::var_os(variable).is_none()).collect();
    let trial = Trial::test(name, move || {
        let corpora = std::env::var_os("RELATUM_CORPORA").unwrap_or_default();
        test(&Path::new(&corpora).join("conformance"));
        Ok(())
    });
    if missing.is_empty() {
        trial
    } else {
        trial.with_kind(format!("needs {}", missing.join(", "))).with_ignored_flag(true)
    }
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries =
        fs::read_dir(folder).expect("the corpus is there").map(|entry| entry.expect("it can be listed").path());
    let yaml =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml"));
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("it can be read"))
    };
    yaml.map(read).collect()
}

/// What Prometheus says about the files it refuses; where our words differ, ours are here.
const REFUSED: &[(&str, &str)] = &[
    (
        "azure_authentication_method.bad.yml",
        r#"unknown authentication_type "invalid". Supported types are "OAuth", "ManagedIdentity", "SDK" or "WorkloadIdentity""#,
    ),
    ("azure_client_id_missing.bad.yml", "azure SD configuration requires a client_id"),
    ("azure_client_secret_missing.bad.yml", "azure SD configuration requires a client_secret"),
    ("azure_tenant_id_missing.bad.yml", "azure SD configuration requires a tenant_id"),
    ("bearertoken.bad.yml", "at most one of bearer_token & bearer_token_file must be configured"),
    (
        "bearertoken_basicauth.bad.yml",
        "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
    ),
    ("config_with_deprecated_am_api_config.yml", "expected Alertmanager api version to be one of [v2] but got v1"),
    ("dropequal.bad.yml", "relabel configuration for dropequal action requires 'target_label' value"),
    ("dropequal1.bad.yml", "dropequal action requires only 'source_labels' and `target_label`, and no other fields"),
    ("ec2_filters_empty_values.bad.yml", "EC2 SD configuration filter values cannot be empty"),
    ("empty_alert_relabel_config.bad.yml", "empty or null alert relabeling rule"),
    ("empty_metric_relabel_config.bad.yml", "empty or null metric relabeling rule"),
    ("empty_rr_config.bad.yml", "empty or null remote read config section"),
    ("empty_rw_relabel_config.bad.yml", "empty or null relabeling rule in remote write config"),
    ("empty_scrape_config.bad.yml", "empty or null scrape config section"),
    ("empty_static_config.bad.yml", "empty or null section in static_configs"),
    ("empty_target_relabel_config.bad.yml", "empty or null target relabeling rule"),
    ("eureka_invalid_server.bad.yml", "invalid eureka server URL"),
    ("hetzner_role.bad.yml", "unknown role"),
    ("http_token_file.bad.yml", "at most one of bearer_token & bearer_token_file must be configured"),
    ("http_url_no_host.bad.yml", "host is missing in URL"),
    ("http_url_no_scheme.bad.yml", "URL scheme must be 'http' or 'https'"),
    ("ionos_datacenter.bad.yml", "datacenter id can't be empty"),
    ("jobname.bad.yml", "job_name is empty"),
    ("jobname_dup.bad.yml", r#"found multiple scrape configs with job name "prometheus""#),
    ("keepequal.bad.yml", "relabel configuration for keepequal action requires 'target_label' value"),
    ("keepequal1.bad.yml", "keepequal action requires only 'source_labels' and `target_label`, and no other fields"),
    (
        "kubernetes_api_server_with_own_namespace.bad.yml",
        "cannot use 'api_server' and 'namespaces.own_namespace' simultaneously",
    ),
    ("kubernetes_bearertoken.bad.yml", "at most one of bearer_token & bearer_token_file must be configured"),
    (
        "kubernetes_bearertoken_basicauth.bad.yml",
        "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
    ),
    ("kubernetes_kubeconfig_with_apiserver.bad.yml", "cannot use 'kubeconfig_file' and 'api_server' simultaneously"),
    (
        "kubernetes_kubeconfig_with_http_config.bad.yml",
        "cannot use a custom HTTP client configuration together with 'kubeconfig_file'",
    ),
    ("kubernetes_namespace_discovery.bad.yml", "field foo not found"),
    ("kubernetes_role.bad.yml", "role"),
    ("kubernetes_selectors_endpoints.bad.yml", "endpoints role supports only pod, service, endpoints selectors"),
    (
        "kubernetes_selectors_incorrect_selector.bad.yml",
        "invalid selector: 'metadata.status-Running'; can't understand 'metadata.status-Running'",
    ),
    ("kubernetes_selectors_node.bad.yml", "node role supports only node selectors"),
    ("kubernetes_selectors_pod.bad.yml", "pod role supports only pod, node selectors"),
    ("labeldrop.bad.yml", "labeldrop action requires only 'regex', and no other fields"),
    ("labeldrop2.bad.yml", "labeldrop action requires only 'regex', and no other fields"),
    ("labeldrop4.bad.yml", "labeldrop action requires only 'regex', and no other fields"),
    ("labeldrop5.bad.yml", "labeldrop action requires only 'regex', and no other fields"),
    ("labelkeep.bad.yml", "labelkeep action requires only 'regex', and no other fields"),
    ("labelkeep2.bad.yml", "labelkeep action requires only 'regex', and no other fields"),
    ("labelkeep4.bad.yml", "labelkeep action requires only 'regex', and no other fields"),
    ("labelkeep5.bad.yml", "labelkeep action requires only 'regex', and no other fields"),
    ("labelmap.bad.yml", "!!binary value contains invalid base64 data"),
    ("labelname.bad.yml", r#""\xff" is not valid UTF-8"#),
    ("labelvalue.bad.yml", r#""\xff" is not valid UTF-8"#),
    ("lightsail_token_file.bad.yml", "at most one of bearer_token & bearer_token_file must be configured"),
    ("lowercase.bad.yml", "relabel configuration for lowercase action requires 'target_label' value"),
    ("lowercase3.bad.yml", "'replacement' can not be set for lowercase action"),
    (
        "marathon_authtoken_authorization.bad.yml",
        "marathon_sd: at most one of auth_token, auth_token_file & authorization must be configured",
    ),
    (
        "marathon_authtoken_basicauth.bad.yml",
        "marathon_sd: at most one of basic_auth, auth_token & auth_token_file must be configured",
    ),
    (
        "marathon_authtoken_bearertoken.bad.yml",
        "at most one of auth_token, auth_token_file & authorization must be configured",
    ),
    ("metric_name_validation_scheme.bad.yml", r#"unrecognized ValidationScheme: "invalid_scheme""#),
    ("modulus_missing.bad.yml", "relabel configuration for hashmod requires non-zero modulus"),
    (
        "oci_authentication_method.bad.yml",
        r#"oci_sd: unknown auth method "invalid", expected "api_key" or "instance_principal""#,
    ),
    ("openstack_availability.bad.yml", "unknown availability invalid, must be one of admin, internal or public"),
    ("otlp_allow_utf8.bad.yml", "unsupported OTLP translation strategy \"Invalid\""),
    (
        "otlp_allow_utf8.incompatible.yml",
        "OTLP translation strategy \"NoUTF8EscapingWithSuffixes\" is not allowed when UTF8 is disabled",
    ),
    (
        "otlp_no_translation.incompatible.yml",
        "OTLP translation strategy \"NoTranslation\" is not allowed when UTF8 is disabled",
    ),
    (
        "otlp_promote_all_resource_attributes.bad.yml",
        "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously",
    ),
    (
        "otlp_sanitize_ignore_resource_attributes.bad.yml",
        "invalid 'ignore_resource_attributes': empty ignored OTel resource attribute",
    ),
    ("outscale_no_region.bad.yml", "outscale SD configuration requires a region"),
    ("outscale_two_secrets.bad.yml", "at most one of secret_key & secret_key_file must be configured"),
    ("ovhcloud_bad_service.bad.yml", "unknown service: fakeservice"),
    ("puppetdb_bad_url.bad.yml", "host is missing in URL"),
    ("puppetdb_no_scheme.bad.yml", "URL scheme must be 'http' or 'https'"),
    ("puppetdb_no_url.bad.yml", "URL is missing"),
    ("regex.bad.yml", "error parsing regexp: missing closing )"),
    ("remote_read_dup.bad.yml", r#"found multiple remote read configs with job name "queue1""#),
    ("remote_read_url_missing.bad.yml", "url for remote_read is empty"),
    (
        "remote_write_authorization_header.bad.yml",
        "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter",
    ),
    ("remote_write_header.bad.yml", "x-prometheus-remote-write-version is a reserved header. It must not be changed"),
    ("remote_write_queue_capacity_zero.bad.yml", "remote write queue capacity must be positive"),
    (
        "remote_write_queue_max_samples_per_send_zero.bad.yml",
        "remote write queue max_samples_per_send must be positive",
    ),
    ("remote_write_queue_max_shards_zero.bad.yml", "remote write queue max_shards must be positive"),
    ("remote_write_queue_min_shards_zero.bad.yml", "remote write queue min_shards must be positive"),
    ("remote_write_url_missing.bad.yml", "url for remote_write is empty"),
    ("rules.bad.yml", "invalid rule file path"),
    ("scaleway_no_secret.bad.yml", "one of secret_key & secret_key_file must be configured"),
    ("scaleway_two_secrets.bad.yml", "at most one of secret_key & secret_key_file must be configured"),
    ("scrape_body_size_limit.bad.yml", "units: unknown unit  in 100"),
    ("scrape_config_files_fallback_scrape_protocol2.bad.yml", "cannot unmarshal !!seq into string"),
    ("scrape_config_files_glob.bad.yml", r#"invalid scrape config file path "scrape_configs/*/*""#),
    (
        "scrape_config_files_scrape_protocols.bad.yml",
        r#"scrape_protocols: unknown scrape protocol prometheusproto, supported: [OpenMetricsText0.0.1 OpenMetricsText1.0.0 PrometheusProto PrometheusText0.0.4 PrometheusText1.0.0] for scrape config with job name "node""#,
    ),
    ("scrape_config_utf8_conflicting.bad.yml", "utf8 metric names requested but validation scheme is not set to UTF8"),
    ("scrape_interval.bad.yml", "scrape timeout greater than scrape interval"),
    ("section_key_dup.bad.yml", "field scrape_configs already set"),
    ("stackit_endpoint.bad.yml", "invalid endpoint"),
    ("static_config.bad.yml", "field targets not found"),
    ("target_label_hashmod_missing.bad.yml", "relabel configuration for hashmod action requires 'target_label' value"),
    ("tracing_invalid_authorization_header.bad.yml", "authorization header configuration is not yet supported"),
    (
        "tracing_invalid_header.bad.yml",
        "x-prometheus-remote-write-version is a reserved header. It must not be changed",
    ),
    ("tracing_missing_endpoint.bad.yml", "tracing endpoint must be set"),
    (
        "tsdb_chunk_encoding_floats.bad.yml",
        r#"'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be omitted entirely, got "xor3""#,
    ),
    (
        "tsdb_chunk_encoding_floats_wrong_case_xor2.bad.yml",
        r#"'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be omitted entirely, got "XOR2""#,
    ),
    ("tsdb_retention_percentage.bad.yml", "'storage.tsdb.retention.percentage' must be in the range [0, 100]"),
    ("tsdb_retention_size.bad.yml", "'storage.tsdb.retention.size' must be greater than or equal to 0"),
    ("tsdb_retention_time.bad.yml", r#"not a valid duration string: "-1h""#),
    ("unknown_attr.bad.yml", "field consult_sd_configs not found, did you mean consul_sd_configs?"),
    ("uppercase.bad.yml", "relabel configuration for uppercase action requires 'target_label' value"),
    ("uppercase3.bad.yml", "'replacement' can not be set for uppercase action"),
    ("url_in_targetgroup.bad.yml", r#""http://bad" is not a valid hostname"#),
    ("uyuni_no_server.bad.yml", "Uyuni SD configuration requires server host"),
];

/// Files that are wrong only together with others; see [`scrape_files`].
const SPANS_FILES: &[&str] = &[
    "scrape_config_files_duplicate.bad.yml",
    "scrape_config_files_double_import.bad.yml",
    "scrape_config_files_global_duplicate.bad.yml",
];

fn configurations(conformance: &Path) {
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for (name, text) in files(&conformance.join("config")) {
        let reason = REFUSED.iter().find(|(file, _)| *file == name).map(|(_, reason)| *reason);
        match (Config::parse(&text), reason) {
            (Ok(_), None) if !name.contains(".bad.") || SPANS_FILES.contains(&name.as_str()) => accepted += 1,
            (Ok(_), reason) => wrong.push(format!("{name}: accepted, but {reason:?}")),
            (Err(problems), Some(reason)) if problems.iter().any(|problem| problem.message.contains(reason)) => {
                refused += 1;
            }
            (Err(problems), _) => wrong.push(format!("{name}: {problems:#?}")),
        }
    }
    println!("configurations: {accepted} accepted, {refused} refused for the right reason, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(refused, REFUSED.len(), "a file of the table is not there");
    assert!(accepted >= 40, "fewer than there were");
}

/// What spans files: the jobs of `scrape_config_files` take from the main file's `global`, and names are unique over all.
fn scrape_files(conformance: &Path) {
    let folder = conformance.join("config");
    for (name, duplicate) in [
        ("scrape_config_files.good.yml", None),
        ("scrape_config_files2.good.yml", None),
        ("scrape_config_files_combined.good.yml", None),
        ("scrape_config_files_duplicate.bad.yml", Some("prometheus")),
        ("scrape_config_files_double_import.bad.yml", Some("prometheus")),
    ] {
        let mut main = Config::parse(&fs::read_to_string(folder.join(name)).unwrap()).unwrap();
        main.join_directory(&folder);
        let mut files = Vec::new();
        for path in &main.scrape_config_files {
            let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            files.push((path.as_str(), ScrapeConfigFile::parse(&text, &main.global).unwrap()));
        }
        let files: Vec<_> = files.iter().map(|(path, file)| (*path, file)).collect();
        assert_eq!(find_duplicate_job(&main, &files).map(|(job, _, _)| job), duplicate, "{name}");
    }
}

/// Rule files that Prometheus refuses, and why.
const REFUSED_RULES: &[(&str, &str)] = &[
    (
        "bad_expr.bad.yaml",
        "could not parse expression: 1:6: parse error: expected type range vector in call to function \"rate\"",
    ),
    ("duplicate_grp.bad.yaml", "groupname: \"yolo\" is repeated in the same file"),
    ("invalid_label_name.bad.yaml", "group \"yolo\", rule 1, \"hola\": invalid label name: __name__"),
    ("invalid_rules.yaml", "field unexpected_field not found"),
    ("legacy_validation_annotation.bad.yaml", "invalid annotation name: ins-tance"),
    ("noexpr.bad.yaml", "group \"yolo\", rule 1, \"ylo\": field 'expr' must be set in rule"),
    ("record_and_alert.bad.yaml", "only one of 'record' and 'alert' must be set"),
    ("record_and_keep_firing_for.bad.yaml", "invalid field 'keep_firing_for' in recording rule"),
];

fn rule_files(conformance: &Path) {
    let folder = conformance.join("rules");
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for (name, text) in ["rulefmt", "fixtures", "promtool"].iter().flat_map(|sub| files(&folder.join(sub))) {
        // Unit tests of rules are another format.
        if !text.contains("groups:") || text.contains("rule_files:") {
            continue;
        }
        let names = if name.starts_with("legacy") { NameScheme::Legacy } else { NameScheme::Utf8 };
        let options = RuleOptions { names, syntax: ParseOptions::all() };
        let reason = REFUSED_RULES.iter().find(|(file, _)| *file == name).map(|(_, reason)| *reason);
        match (RuleFile::parse_with(&text, &options), reason) {
            (Ok(_), None) => {
                accepted += 1;
                let formatted = RuleFile::format(&text).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
                assert_eq!(RuleFile::format(&formatted).as_ref(), Ok(&formatted), "{name}: formatting twice");
            }
            (Err(problems), Some(reason)) if problems.iter().any(|problem| problem.to_string().contains(reason)) => {
                refused += 1;
            }
            (outcome, _) => wrong.push(format!("{name}: {outcome:#?}")),
        }
    }
    println!("rule files: {accepted} accepted, {refused} refused for the right reason");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted >= 19 && refused >= REFUSED_RULES.len(), "fewer than there were");
}

/// Files of unit tests say what they want rightly, also those whose tests fail.
fn unit_test_files(conformance: &Path) {
    let mut n = 0;
    for (name, text) in files(&conformance.join("rules/promtool")) {
        if text.lines().any(|line| line == "tests:") {
            let file = RuleTestFile::parse(&text).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
            assert!(!file.tests.is_empty(), "{name}");
            n += 1;
        }
    }
    println!("unit test files: {n} accepted");
    assert!(n >= 7, "fewer than there were");
}

/// Files that we judge by newer rules than promtool 3.5, with what is newer: a line each.
const NEWER: &str = include_str!("newer_than_promtool.txt");

/// Texts that are odd but short, for which promtool is asked too.
const ODD: &[&str] = &[
    "",
    "# only a comment\n",
    "global:\n",
    "global: {}\nscrape_configs:\n",
    "global: {scrape_interval: 0s}\n",
    "global: {scrape_interval: 1d2h}\n",
    "global: {scrape_interval: 5}\n",
    "global: {external_labels: {a: yes, b: 0x1F, c: ~}}\n",
    "global: {external_labels: {__name__: x}}\n",
    "global: {external_labels: {'ü': x}}\n",
    "global: {external_labels: {a: {b: c}}}\n",
    "scrape_configs: [{job_name: a, sample_limit: 1_000}]\n",
    "scrape_configs: [{job_name: a, sample_limit: 0o17}]\n",
    "scrape_configs: [{job_name: a, sample_limit: 1e3}]\n",
    "scrape_configs: [{job_name: a, sample_limit: -1}]\n",
    "scrape_configs: [{job_name: a, sample_limit: 1.5}]\n",
    "scrape_configs: [{job_name: a, sample_limit: '5'}]\n",
    "scrape_configs: [{job_name: a, honor_labels: yes}]\n",
    "scrape_configs: [{job_name: a, honor_labels: 'yes'}]\n",
    "scrape_configs: [{job_name: a, honor_labels: y}]\n",
    "scrape_configs: [{job_name: a, honor_labels: maybe}]\n",
    "scrape_configs: [{job_name: 5}]\n",
    "scrape_configs: [{job_name: [a]}]\n",
    "scrape_configs: [{job_name: a, metrics_path: }]\n",
    "scrape_configs: [{job_name: a, body_size_limit: 1.5GiB}]\n",
    "scrape_configs: [{job_name: a, body_size_limit: 10}]\n",
    "scrape_configs: [{job_name: a, proxy_url: ':x'}]\n",
    "scrape_configs: [{job_name: a, proxy_url: 'http://a:b/'}]\n",
    "scrape_configs: [{job_name: a, no_proxy: a}]\n",
    "scrape_configs: [{job_name: a, params: {a: b}}]\n",
    "scrape_configs: [{job_name: a, params: {a: [b, 1, ~]}}]\n",
    "scrape_configs: [{job_name: a, scrape_protocols: []}]\n",
    "scrape_configs: [{job_name: a, scrape_protocols: [PrometheusProto]}]\n",
    "scrape_configs: [{job_name: a, http_headers: {Host: {values: [a]}}}]\n",
    "scrape_configs: [{job_name: a, basic_auth: {}}]\n",
    "scrape_configs: [{job_name: a, basic_auth: , authorization: {}}]\n",
    "scrape_configs: [{job_name: a, authorization: {type: BASIC}}]\n",
    "scrape_configs: [{job_name: a, oauth2: {client_id: a, token_url: b, client_secret: c, client_secret_file: d}}]\n",
    "scrape_configs: [{job_name: a, oauth2: {client_id: a, token_url: b}, basic_auth: {username: u}}]\n",
    "scrape_configs: [{job_name: a, tls_config: {min_version: TLS11}}]\n",
    "scrape_configs: [{job_name: a, tls_config: {min_version: TLS14}}]\n",
    "scrape_configs: [{job_name: a, tls_config: {ca: a, ca_file: b}}]\n",
    "scrape_configs: [{job_name: a, static_configs: [{}]}]\n",
    "scrape_configs: [{job_name: a, static_configs: [{targets: 'a:1'}]}]\n",
    "scrape_configs: [{job_name: a, static_configs: [{targets: [1]}]}]\n",
    "scrape_configs: [{job_name: a, dns_sd_configs: [{names: [a], type: a, port: 1}]}]\n",
    "scrape_configs: [{job_name: a, dns_sd_configs: [{names: [a], type: A}]}]\n",
    "scrape_configs: [{job_name: a, dns_sd_configs: [{names: [a], type: PTR}]}]\n",
    "scrape_configs: [{job_name: a, dns_sd_configs: [{}]}]\n",
    "scrape_configs: [{job_name: a, dns_sd_configs: [~]}]\n",
    "scrape_configs: [{job_name: a, file_sd_configs: [{files: ['a/*/b.json']}]}]\n",
    "scrape_configs: [{job_name: a, file_sd_configs: [{files: ['a*.txt']}]}]\n",
    "scrape_configs: [{job_name: a, http_sd_configs: [{url: 'HTTPS://a'}]}]\n",
    "scrape_configs: [{job_name: a, consul_sd_configs: [{server: ''}]}]\n",
    "scrape_configs: [{job_name: a, consul_sd_configs: [{username: u, basic_auth: {username: v}}]}]\n",
    "scrape_configs: [{job_name: a, kubernetes_sd_configs: [{role: pod, follow_redirects: false}]}]\n",
    "scrape_configs: [{job_name: a, kubernetes_sd_configs: [{role: ~}]}]\n",
    "scrape_configs: [{job_name: a, triton_sd_configs: [{account: a, dns_suffix: b, endpoint: c, refresh_interval: 0s}]}]\n",
    "scrape_configs: [{job_name: a, nerve_sd_configs: [{servers: [a], paths: [b]}]}]\n",
    "scrape_configs: [{job_name: a, relabel_configs: [{regex: '(?<n>a)', target_label: x}]}]\n",
    "scrape_configs: [{job_name: a, relabel_configs: [{regex: 'a**', target_label: x}]}]\n",
    "scrape_configs: [{job_name: a, relabel_configs: [{action: Replace, target_label: x}]}]\n",
    "scrape_configs: [{job_name: a, relabel_configs: [{target_label: 'a-b'}]}]\n",
    "scrape_configs: [{job_name: a, relabel_configs: [{source_labels: ['']}]}]\n",
    "scrape_configs:\n- &a {job_name: a}\n- {<<: *a, job_name: b}\n",
    "scrape_configs:\n- &a {job_name: a}\n- *a\n",
    "a: &a [*a]\n",
    "global: &g {scrape_interval: 5s}\nalerting: *g\n",
    "alerting: {alertmanagers: [{api_version: v1}]}\n",
    "alerting: {alertmanagers: [{sigv4: {access_key: a}}]}\n",
    "alerting: {alertmanagers: [{sigv4: {}, basic_auth: {username: a}}]}\n",
    "remote_write: [{url: http://a, azuread: {oauth: {client_id: x, client_secret: y, tenant_id: z}}}]\n",
    "remote_write: [{url: http://a, azuread: {}}]\n",
    "remote_write: [{url: http://a, sigv4: {}, google_iam: {}}]\n",
    "remote_write: [{url: http://a, name: x}, {url: http://b, name: x}]\n",
    "remote_write: [{url: ''}]\n",
    "remote_write: [{url: http://a, protobuf_message: x}]\n",
    "remote_write: [{url: http://a, headers: {Host: a}}]\n",
    "remote_read: [{url: http://a, required_matchers: {a: b}}]\n",
    "remote_read: [{url: http://a, filter_external_labels: 5}]\n",
    "otlp: {promote_resource_attributes: [a, a]}\n",
    "otlp: {translation_strategy: NoTranslation}\n",
    "runtime: {gogc: off}\n",
    "runtime: {gogc: 50}\n",
    "storage: {exemplars: {max_exemplars: -1}}\n",
    "storage: {tsdb: {out_of_order_time_window: 1y}}\n",
    "scrape_configs: [{job_name: a, static_configs: [{targets: ['http://a']}], relabel_configs: [{target_label: x}]}]\n",
    "storage: {tsdb: {out_of_order_time_window: 1x}}\n",
    "tracing: {}\n",
    "tracing: {endpoint: a, client_type: udp}\n",
    "tracing: {endpoint: a, compression: zstd}\n",
    "rule_files: ['a*/b.yml']\n",
    "rule_files: [5]\n",
    "global: {scrape_interval: 5s, scrape_interval: 5s}\n",
    "global: {unknown: 1}\n",
    "global: {scrape_interval: !!str 5s}\n",
    "global: {scrape_interval: \"5s\\n\"}\n",
    "- a\n",
    "just text\n",
    "{",
];

/// Texts that we judge otherwise on purpose, or by newer rules, with the reason.
const ODD_AND_OTHERWISE: &[(&str, &str)] = &[
    ("\tglobal: {}\n", "a tab that indents the first line is read, and not only refused"),
    ("scrape_configs: [{job_name: a, scheme: ftp}]\n", "a scheme that can never be scraped is refused at once"),
    ("scrape_configs: [{job_name: a, scheme: HTTP}]\n", "a scheme that can never be scraped is refused at once"),
    (
        "scrape_configs: [{job_name: a, relabel_configs: [{action: hashmod, target_label: x, modulus: 18446744073709551616}]}]\n",
        "a number that does not fit is refused, not rounded",
    ),
    ("remote_write: [{url: http://a, google_iam: {}}]\n", "google_iam came after 3.5"),
    ("--- \nglobal: {}\n--- \nglobal: {}\n", "a second document is refused, not ignored"),
];

/// `promtool check config --syntax-only` and we agree on every file that 3.5 knows all about.
fn same_verdict_as_promtool(conformance: &Path) {
    let folder = tempfile::tempdir().expect("there is room for files");
    let mut texts = files(&conformance.join("config"));
    texts.extend(ODD.iter().enumerate().map(|(at, text)| (format!("odd-{at}.yml"), (*text).to_owned())));
    let otherwise = ODD_AND_OTHERWISE.iter().enumerate();
    texts.extend(otherwise.map(|(at, (text, _))| (format!("otherwise-{at}.yml"), (*text).to_owned())));
    for (name, text) in &texts {
        fs::write(folder.path().join(name), text).expect("it can be written");
    }
    let promtool = std::env::var_os(PROMTOOL).expect("else the test is skipped");
    let mut command = std::process::Command::new(promtool);
    command.current_dir(folder.path()).args(["check", "config", "--syntax-only"]).args(texts.keys());
    let output = String::from_utf8(command.output().expect("promtool runs").stdout).expect("promtool writes text");
    let accepted: Vec<&str> =
        output.lines().filter_map(|line| line.strip_prefix(" SUCCESS: ")?.split(' ').next()).collect();
    let (mut same, mut newer, mut wrong) = (0, 0, Vec::new());
    for (name, text) in &texts {
        let (theirs, ours) = (accepted.contains(&name.as_str()), Config::parse(text));
        let later = NEWER.lines().filter_map(|line| line.strip_prefix("config/")?.split_once(": "));
        match later.chain(ODD_AND_OTHERWISE.iter().copied()).find(|(of, _)| of == name || of == text) {
            Some((_, feature)) if ours.is_ok() == theirs => {
                wrong.push(format!("{name}: no longer otherwise: {feature}"))
            }
            Some(_) => newer += 1,
            None if ours.is_ok() == theirs => same += 1,
            None => wrong.push(format!("{name}: promtool says {theirs}, we {:?}\n{text}", ours.map(|_| ()))),
        }
    }
    println!("verdicts: {same} as promtool's, {newer} otherwise for a known reason, {} wrong", wrong.len());
    assert!(wrong.is_empty() && !accepted.is_empty(), "{}", wrong.join("\n"));
}
