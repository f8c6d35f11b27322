//! Whether a job is fit to be scraped, and a rule to be evaluated.

use relatum_config::prometheus::{GlobalConfig, ScrapeConfigFile};
use relatum_config::rules::RuleFile;
use relatum_model::yaml;
use serde_json::{Map, Value, json};

use crate::json::is_empty;

/// Keys whose value is a path. A peer's path names a file on our disk, whose content would go to a target of the peer's choice.
const PATH_KEYS: &[&str] = &[
    "bearer_token_file",
    "ca_file",
    "cert_file",
    "client_secret_file",
    "credentials_file",
    "files",
    "key_file",
    "password_file",
    "username_file",
];

/// Keys below which names are the peer's own.
const FREE_KEYS: &[&str] = &["labels", "params", "static_configs"];

/// What keeps `job` from being scraped beside jobs that take what they leave open from `global`; empty if nothing does.
pub(super) fn job(job: &Map<String, Value>, global: &GlobalConfig) -> Vec<String> {
    let mut reasons = Vec::new();
    for (key, value) in job.iter().filter(|(key, _)| !FREE_KEYS.contains(&key.as_str())) {
        // Here the three paths are not paths: the databag holds the content.
        let inline = key == "tls_config";
        find_paths(key, value, inline, &mut reasons);
    }
    let is_set = |key: &str| {
        let value = job.get("tls_config").and_then(|tls| tls.get(key));
        value.is_some_and(|value| !is_empty(value))
    };
    if is_set("cert_file") != is_set("key_file") {
        reasons.push("tls_config needs both cert_file and key_file, or neither".to_owned());
    }
    if reasons.is_empty() { format_faults(job, global) } else { reasons }
}

/// What the reader of scrape files says about `job`, read from the text that would be rendered.
fn format_faults(job: &Map<String, Value>, global: &GlobalConfig) -> Vec<String> {
    let text = match yaml::to_string(&json!({"scrape_configs": [job]})) {
        Ok(text) => text,
        Err(error) => return vec![error.message],
    };
    let Err(problems) = ScrapeConfigFile::parse_for(&text, global, &[]) else { return Vec::new() };
    let describe = |problem: relatum_config::Problem| {
        let key = problem.key.strip_prefix("scrape_configs[0]").unwrap_or(&problem.key);
        match key.trim_start_matches('.') {
            "" => problem.message,
            key => format!("{} (in {key})", problem.message),
        }
    };
    problems.into_iter().map(describe).collect()
}

/// Something in a list of rule groups that keeps it from being a rule file.
pub(super) struct Fault {
    /// The position of the group at fault; `None` when it cannot be told.
    pub(super) group: Option<usize>,
    /// The position of the rule in its group; `None` when the fault is not in a rule.
    pub(super) rule: Option<usize>,
    /// What is wrong.
    pub(super) message: String,
}

/// What keeps `groups` from being one rule file; empty if nothing does. Judged by the text that would be rendered.
pub(super) fn rule_groups(groups: &[Value]) -> Vec<Fault> {
    let text = match yaml::to_string(&json!({"groups": groups})) {
        Ok(text) => text,
        Err(error) => return vec![Fault { group: None, rule: None, message: error.message }],
    };
    let problems = RuleFile::parse(&text).err().unwrap_or_default();
    let fault = |problem: relatum_config::Problem| {
        let (group, rest) = position(&problem.key, "groups[").unzip();
        let rule = rest.and_then(|rest| position(rest, ".rules[")).map(|(rule, _)| rule);
        Fault { group: group.filter(|at| *at < groups.len()), rule, message: problem.message }
    };
    problems.into_iter().map(fault).collect()
}

/// The number that follows `start` at the beginning of `path`, and what comes after its bracket.
fn position<'a>(path: &'a str, start: &str) -> Option<(usize, &'a str)> {
    let (number, rest) = path.strip_prefix(start)?.split_once(']')?;
    Some((number.parse().ok()?, rest))
}

fn find_paths(key: &str, value: &Value, inline: bool, reasons: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries.iter().filter(|(key, _)| !FREE_KEYS.contains(&key.as_str())) {
                let is_content = inline && matches!(key.as_str(), "ca_file" | "cert_file" | "key_file");
                if !is_content {
                    find_paths(key, value, false, reasons);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| find_paths(key, item, false, reasons)),
        Value::String(path) if !path.is_empty() && PATH_KEYS.contains(&key) => {
            reasons.push(format!("{key} names a file on our disk, which a relation may not"));
        }
        _ => {}
    }
}
