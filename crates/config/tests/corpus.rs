//! Prometheus' own configuration and rule files: the good are accepted, the bad refused for the reason Prometheus gives.
//!
//! The folder comes from `RELATUM_CORPORA`; without it there is nothing to compare with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use relatum_config::prometheus::{Config, ScrapeConfigFile, find_duplicate_job};
use relatum_config::rules::{RuleFile, RuleOptions};
use relatum_config::{Kind, Problem};
use relatum_model::relabel::NameScheme;
use relatum_promql::syntax::ParseOptions;

fn corpus(folder: &str) -> Option<PathBuf> {
    let Some(corpora) = std::env::var_os("RELATUM_CORPORA") else {
        eprintln!("skipped: RELATUM_CORPORA is not set");
        return None;
    };
    Some(Path::new(&corpora).join("conformance").join(folder))
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

fn is_unsupported(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.kind == Kind::Unsupported)
}

/// What Prometheus says about the files it refuses and whose sections we read; where our words differ, ours are here.
const REFUSED: &[(&str, &str)] = &[
    ("bearertoken.bad.yml", "at most one of bearer_token & bearer_token_file must be configured"),
    (
        "bearertoken_basicauth.bad.yml",
        "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
    ),
    ("config_with_deprecated_am_api_config.yml", "expected Alertmanager api version to be one of [v2] but got v1"),
    ("dropequal.bad.yml", "relabel configuration for dropequal action requires 'target_label' value"),
    ("dropequal1.bad.yml", "dropequal action requires only 'source_labels' and `target_label`, and no other fields"),
    ("empty_alert_relabel_config.bad.yml", "empty or null alert relabeling rule"),
    ("empty_metric_relabel_config.bad.yml", "empty or null metric relabeling rule"),
    ("empty_rw_relabel_config.bad.yml", "empty or null relabeling rule in remote write config"),
    ("empty_scrape_config.bad.yml", "empty or null scrape config section"),
    ("empty_static_config.bad.yml", "empty or null section in static_configs"),
    ("empty_target_relabel_config.bad.yml", "empty or null target relabeling rule"),
    ("jobname.bad.yml", "job_name is empty"),
    ("jobname_dup.bad.yml", r#"found multiple scrape configs with job name "prometheus""#),
    ("keepequal.bad.yml", "relabel configuration for keepequal action requires 'target_label' value"),
    ("keepequal1.bad.yml", "keepequal action requires only 'source_labels' and `target_label`, and no other fields"),
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
    ("lowercase.bad.yml", "relabel configuration for lowercase action requires 'target_label' value"),
    ("lowercase3.bad.yml", "'replacement' can not be set for lowercase action"),
    ("metric_name_validation_scheme.bad.yml", r#"unrecognized ValidationScheme: "invalid_scheme""#),
    ("modulus_missing.bad.yml", "relabel configuration for hashmod requires non-zero modulus"),
    ("regex.bad.yml", "error parsing regexp: missing closing )"),
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
];

#[test]
fn configurations() {
    let Some(folder) = corpus("config") else { return };
    let (mut accepted, mut refused, mut by_name, mut wrong) = (0, 0, 0, Vec::new());
    for (name, text) in files(&folder) {
        let reason = REFUSED.iter().find(|(file, _)| *file == name).map(|(_, reason)| *reason);
        match (Config::parse(&text), reason) {
            (Ok(_), None) => accepted += 1,
            (Ok(_), Some(reason)) => wrong.push(format!("{name}: accepted, but {reason}")),
            (Err(problems), Some(reason)) if problems.iter().any(|problem| problem.message.contains(reason)) => {
                refused += 1;
            }
            // Inside a section that we do not read, the fault may be anything.
            (Err(problems), None) if is_unsupported(&problems) => {
                let faults = problems.iter().filter(|problem| problem.kind == Kind::Invalid);
                if name.contains(".bad.") || faults.count() == 0 {
                    by_name += 1;
                } else {
                    wrong.push(format!("{name}: {problems:#?}"));
                }
            }
            (Err(problems), _) => wrong.push(format!("{name}: {problems:#?}")),
        }
    }
    println!("configurations: {accepted} accepted, {refused} refused for the right reason, {by_name} refused by name");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted >= 23 && refused >= REFUSED.len() && by_name <= 70, "fewer than there were");
}

/// What spans files: the jobs of `scrape_config_files` take from the main file's `global`, and names are unique over all.
#[test]
fn scrape_files() {
    let Some(folder) = corpus("config") else { return };
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

#[test]
fn rule_files() {
    let Some(folder) = corpus("rules") else { return };
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
            (Ok(_), None) => accepted += 1,
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
