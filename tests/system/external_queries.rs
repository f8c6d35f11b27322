//! The same data and the same queries, here and on a real Prometheus: the answers are equal.
//!
//! Samples lie off the edges of every window, because Prometheus before 3.0 counts a sample on the left edge and we do not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use libtest_mimic::Trial;
use relatum_model::{Labels, MatchOp, Sample};
use relatum_promql::syntax::{Expr, ParseOptions, parse};
use relatum_tests::peers::Peer;
use relatum_tests::process::{Running, free_port};
use relatum_tests::program::binary;
use relatum_tests::{http, remote_write};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::with("yardstick_queries_equal_prometheus", &[Peer::Prometheus], true, yardstick),
        crate::with("fixture_expressions_equal_prometheus", &[Peer::Prometheus], true, fixtures),
        crate::with("trees_and_formats_equal_prometheus", &[Peer::Prometheus3], true, trees),
    ]
}

const TOLERANCE: f64 = 1e-9;
const STEP_MS: i64 = 15_000;
const SPAN_MS: i64 = 3 * 3_600_000;

/// Two servers with the same data, and the moment after its last sample.
struct Pair {
    ours: Running,
    _theirs: Running,
    our_url: String,
    their_url: String,
    end_ms: i64,
    _dir: tempfile::TempDir,
}

impl Pair {
    fn start(series: &[(Labels, Vec<Sample>)], end_ms: i64) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("prometheus.yml"), "global: {evaluation_interval: 1m}\n")?;
        let (ours, our_url) = server(Command::new(binary()).arg("serve"), &dir.path().join("ours"), dir.path())?;
        let (theirs, their_url) = server(&mut Peer::Prometheus.command()?, &dir.path().join("theirs"), dir.path())?;
        for url in [&our_url, &their_url] {
            for part in series.chunks(500) {
                remote_write::send(url, part)?;
            }
        }
        Ok(Pair { ours, _theirs: theirs, our_url, their_url, end_ms, _dir: dir })
    }

    /// Asks both; fails unless they agree. Returns how many values were compared.
    fn compare(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<usize> {
        let ours = http::api(&self.our_url, path, parameters).with_context(|| self.ours.output())?;
        let theirs = http::api(&self.their_url, path, parameters)?;
        equal(&ours, &theirs).with_context(|| format!("{path} {parameters:?}"))
    }
}

pub(crate) fn server(command: &mut Command, data: &Path, dir: &Path) -> anyhow::Result<(Running, String)> {
    let address = format!("127.0.0.1:{}", free_port()?);
    command
        .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg(format!("--web.listen-address={address}"))
        .args(["--web.enable-remote-write-receiver", "--log.level=error"]);
    let mut running = Running::start("server", command)?;
    let url = format!("http://{address}");
    running.wait_ready(&format!("{url}/-/ready"))?;
    Ok((running, url))
}

pub(crate) fn equal(ours: &Value, theirs: &Value) -> anyhow::Result<usize> {
    if let (Some(ours), Some(theirs)) = (ours.as_array(), theirs.as_array()) {
        // Names, values or label sets: both sorted.
        ensure!(ours == theirs, "ours: {ours:?}\ntheirs: {theirs:?}");
        return Ok(ours.len());
    }
    ensure!(ours["resultType"] == theirs["resultType"], "{} is not {}", ours["resultType"], theirs["resultType"]);
    if ours["resultType"] == "scalar" {
        return points(&ours["result"], &theirs["result"]).map(|()| 1);
    }
    let (ours, theirs) = (by_metric(&ours["result"])?, by_metric(&theirs["result"])?);
    let difference: Vec<&String> = ours
        .keys()
        .chain(theirs.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|key| !ours.contains_key(*key) || !theirs.contains_key(*key))
        .take(5)
        .collect();
    ensure!(
        difference.is_empty(),
        "{} series here, {} there; only on one side: {difference:?}",
        ours.len(),
        theirs.len()
    );
    let mut n_values = 0;
    for (metric, our_series) in &ours {
        let their_series = &theirs[metric];
        let values = |series: &Value| match series["values"].as_array() {
            Some(values) => values.clone(),
            None => vec![series["value"].clone()],
        };
        let (our_values, their_values) = (values(our_series), values(their_series));
        ensure!(our_values.len() == their_values.len(), "{metric}: {our_values:?} is not {their_values:?}");
        for (ours, theirs) in our_values.iter().zip(&their_values) {
            points(ours, theirs).with_context(|| metric.clone())?;
        }
        n_values += our_values.len();
    }
    Ok(n_values)
}

fn by_metric(result: &Value) -> anyhow::Result<BTreeMap<String, Value>> {
    let series = result.as_array().context("the result is no list")?;
    Ok(series
        .iter()
        .map(|series| {
            let pairs: BTreeMap<&String, &Value> = series["metric"].as_object().into_iter().flatten().collect();
            (format!("{pairs:?}"), series.clone())
        })
        .collect())
}

fn points(ours: &Value, theirs: &Value) -> anyhow::Result<()> {
    let value = |point: &Value| -> anyhow::Result<f64> {
        match point[1].as_str() {
            Some("+Inf") => Ok(f64::INFINITY),
            Some("-Inf") => Ok(f64::NEG_INFINITY),
            Some(text) => Ok(text.parse()?),
            None => bail!("{point} has no value"),
        }
    };
    let (a, b) = (value(ours)?, value(theirs)?);
    let close = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs());
    ensure!(ours[0] == theirs[0] && close, "ours {ours}, theirs {theirs}");
    Ok(())
}

/// The whole minute before now, a little later than a multiple of every step, so that no window has an edge on a sample.
pub(crate) fn end_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is past 1970");
    since.as_millis() as i64 / 60_000 * 60_000 - 60_000 + 3_333
}

/// Samples every 15 seconds with values that `value` makes from their number.
fn samples(end_ms: i64, seed: u64, value: impl Fn(u64) -> f64) -> Vec<Sample> {
    let first_ms = end_ms - SPAN_MS;
    // Each series has a phase of its own, as targets have.
    let phase_ms = 1_111 + (seed * 7919 % 11_000) as i64;
    (0..(SPAN_MS / STEP_MS) as u64 - 1)
        .map(|n| Sample { t_ms: (first_ms / STEP_MS * STEP_MS) + n as i64 * STEP_MS + phase_ms, value: value(n) })
        .collect()
}

/// Small repeatable noise between 0 and 1.
pub(crate) fn noise(seed: u64, n: u64) -> f64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n.wrapping_mul(0xd1b5_4a32_d192_ed03);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x >> 11) as f64 / (1u64 << 53) as f64
}

/// A counter with a reset now and then, or a gauge, by its name.
fn values(name: &str, end_ms: i64, seed: u64) -> Vec<Sample> {
    if name == "up" {
        return samples(end_ms, seed, move |n| f64::from(u8::from(noise(seed, n / 40) >= 0.2)));
    }
    if ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end)) {
        let rate = 1.0 + 10.0 * noise(seed, 1);
        return samples(end_ms, seed, move |n| {
            let since_reset = n % (200 + seed % 150);
            (rate * since_reset as f64 * 15.0 + noise(seed, n) * 5.0).floor()
        });
    }
    samples(end_ms, seed, move |n| (noise(seed, n) * 1000.0).round() / 10.0)
}

struct Data {
    series: Vec<(Labels, Vec<Sample>)>,
    end_ms: i64,
}

impl Data {
    fn add(&mut self, name: &str, labels: &[(&str, &str)]) {
        let seed = self.series.len() as u64 + 1;
        let labels = Labels::from_pairs(labels.iter().copied().chain([("__name__", name)]));
        self.series.push((labels, values(name, self.end_ms, seed)));
    }
}

/// A small world in which every yardstick query finds something.
fn world(end_ms: i64) -> Data {
    let mut data = Data { series: Vec::new(), end_ms };
    for (number, job) in [(1, "node"), (2, "node"), (3, "node-long")] {
        let instance = format!("10.20.0.{number}:9100");
        let base = [("instance", instance.as_str()), ("job", job), ("juju_application", "node"), ("juju_model", "m")];
        let with = |more: &[(&'static str, &'static str)]| [&base[..], more].concat();
        data.add("node_load1", &base);
        for cpu in ["0", "1"] {
            for mode in ["idle", "user", "system"] {
                data.add("node_cpu_seconds_total", &with(&[("cpu", cpu), ("mode", mode)]));
            }
        }
        for device in ["lo", "eth0"] {
            data.add("node_network_receive_bytes_total", &with(&[("device", device)]));
        }
        for (mountpoint, fstype) in [("/var/lib", "ext4"), ("/srv", "xfs"), ("/boot", "vfat")] {
            let labels = with(&[("mountpoint", mountpoint), ("fstype", fstype)]);
            data.add("node_filesystem_avail_bytes", &labels);
            data.add("node_filesystem_size_bytes", &labels);
        }
        for state in ["active", "failed"] {
            data.add("node_systemd_unit_state", &with(&[("state", state)]));
        }
        for handler in ["/a", "/b"] {
            for code in ["200", "500"] {
                let labels = with(&[("handler", handler), ("code", code), ("juju_unit", "node/0")]);
                data.add("http_request_duration_seconds_count", &labels);
                for le in ["0.1", "0.5", "1", "+Inf"] {
                    let labels = [&labels[..], &[("le", le)]].concat();
                    data.add("http_request_duration_seconds_bucket", &labels);
                }
            }
        }
        data.add("app_queue_level", &base);
    }
    for pod in ["workload-3-abca", "workload-7-xyz", "workload-7-aaa"] {
        for (application, phase) in [("loki", "Running"), ("loki", "Pending")] {
            data.add("kube_pod_status_phase", &[("pod", pod), ("uid", pod), ("phase", phase), ("instance", "k")]);
            if phase == "Running" {
                data.add("kube_pod_info", &[("pod", pod), ("uid", pod), ("juju_application", application)]);
                let label = [("pod", pod), ("uid", pod), ("label_app_kubernetes_io_name", "app")];
                data.add("kube_pod_labels", &label);
            }
        }
    }
    data
}

fn yardstick() -> anyhow::Result<()> {
    let end_ms = end_ms();
    let data = world(end_ms);
    let pair = Pair::start(&data.series, end_ms)?;
    let file = crate::corpora().context("the corpora are there")?.join("tools").join("queries.txt");
    let text = std::fs::read_to_string(&file)?;
    let (mut n_queries, mut n_values) = (0, 0);
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let fields: Vec<&str> = line.splitn(6, '|').map(str::trim).collect();
        let [name, _, kind, range, step, expr] = fields[..] else { bail!("cannot read {line:?}") };
        let end_s = end_ms as f64 / 1000.0;
        let (start, end) = ((end_s - range.parse::<f64>()?).to_string(), end_s.to_string());
        let compared = match kind {
            "instant" => pair.compare("query", &[("query", expr), ("time", &end)]),
            "range" => {
                let parameters = [("query", expr), ("start", start.as_str()), ("end", &end), ("step", step)];
                pair.compare("query_range", &parameters)
            }
            "series" => pair.compare("series", &[("match[]", expr), ("start", &start), ("end", &end)]),
            "label_values" => {
                let (label, selector) = expr.split_once(' ').unwrap_or((expr, ""));
                let mut parameters = vec![("start", start.as_str()), ("end", &end)];
                if !selector.is_empty() {
                    parameters.push(("match[]", selector));
                }
                pair.compare(&format!("label/{label}/values"), &parameters)
            }
            other => bail!("{name}: unknown kind {other}"),
        };
        n_values += compared.with_context(|| name.to_owned())?;
        n_queries += 1;
    }
    ensure!(n_queries >= 30 && n_values > 1000, "only {n_queries} queries with {n_values} values were compared");
    println!("{n_queries} queries, {n_values} values equal");
    Ok(())
}

/// The tree and the readable form of many queries, against a Prometheus that knows both.
fn trees() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("prometheus.yml"), "")?;
    let (_ours, our_url) = server(Command::new(binary()).arg("serve"), &dir.path().join("ours"), dir.path())?;
    let (_theirs, their_url) = server(&mut Peer::Prometheus3.command()?, &dir.path().join("theirs"), dir.path())?;
    let file = crate::corpora().context("the corpora are there")?.join("tools").join("queries.txt");
    let text = std::fs::read_to_string(&file)?;
    let mut queries: BTreeSet<String> = fixture_expressions()?;
    queries.extend(text.lines().filter_map(|line| Some(line.splitn(6, '|').nth(5)?.trim().to_owned())));
    queries.extend(
        ["-foo @ start() offset -5m", "foo[5m:30s] @ 1.5 offset 1m", "a == bool on (x) group_left (y) b", "'a'", "1e3"]
            .map(str::to_owned),
    );
    let mut n_equal = 0;
    for query in &queries {
        let parameters = [("query", query.as_str())];
        // What 3.5 cannot read, it cannot be asked about.
        let Ok(theirs) = http::api(&their_url, "parse_query", &parameters) else { continue };
        let mut ours = http::api(&our_url, "parse_query", &parameters)?;
        newer_keys(&mut ours);
        ensure!(ours == theirs, "{query}:\nours   {ours}\ntheirs {theirs}");
        let format = |url: &str| http::api(url, "format_query", &parameters);
        ensure!(
            format(&our_url)? == format(&their_url)?,
            "{query}: {} is not {}",
            format(&our_url)?,
            format(&their_url)?
        );
        n_equal += 1;
    }
    println!("{n_equal} of {} queries have equal trees and formats", queries.len());
    ensure!(n_equal > 60, "only {n_equal} queries were compared");
    Ok(())
}

/// Takes away what Prometheus' trees have only since 3.9.
fn newer_keys(tree: &mut Value) {
    match tree {
        Value::Object(object) => {
            for key in ["anchored", "smoothed", "fillValues"] {
                object.remove(key);
            }
            object.values_mut().for_each(newer_keys);
        }
        Value::Array(items) => items.iter_mut().for_each(newer_keys),
        _ => {}
    }
}

/// Every expression of every rule file that the fixtures expect.
fn fixture_expressions() -> anyhow::Result<BTreeSet<String>> {
    let folder = crate::corpora().context("the corpora are there")?.join("fixtures").join("relations");
    let mut expressions = BTreeSet::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let case: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        for text in case["expected"]["rule_files"].as_object().into_iter().flatten().filter_map(|(_, t)| t.as_str()) {
            let rules = relatum_model::yaml::from_json_or_yaml(text).map_err(|error| anyhow::anyhow!("{error}"))?;
            for group in rules["groups"].as_array().into_iter().flatten() {
                for rule in group["rules"].as_array().into_iter().flatten() {
                    expressions.extend(rule["expr"].as_str().map(str::to_owned));
                }
            }
        }
    }
    Ok(expressions)
}

fn fixtures() -> anyhow::Result<()> {
    let end_ms = end_ms();
    let expressions = fixture_expressions()?;
    let mut data = Data { series: Vec::new(), end_ms };
    let mut selected = BTreeSet::new();
    for text in &expressions {
        let expr = parse(text, &ParseOptions::default()).map_err(|error| anyhow::anyhow!("{text}: {error}"))?;
        collect(&expr, &mut selected);
    }
    // What each selector asks for, twice, so that there is something to aggregate and to match.
    for labels in &selected {
        for unit in ["u/0", "u/1"] {
            let pairs: Vec<(&str, &str)> = labels.iter().filter(|(name, _)| *name != "__name__").collect();
            let name = labels.metric_name().unwrap_or("anything");
            data.add(name, &[&pairs[..], &[("instance", unit)]].concat());
        }
    }
    let pair = Pair::start(&data.series, end_ms)?;
    let (mut n_values, mut n_errors) = (0, 0);
    // Prometheus 2.42 does not know what came after it; each such expression is named, so that nothing hides here.
    let mut unknown_there = Vec::new();
    for expr in &expressions {
        let time = (pair.end_ms as f64 / 1000.0).to_string();
        match http::api(&pair.their_url, "query", &[("query", expr), ("time", &time)]) {
            Err(error) if error.to_string().contains("parse error") => {
                unknown_there.push(expr);
                continue;
            }
            // What fails there on this data, many-to-many matching for instance, must fail here.
            Err(theirs) => {
                let ours = http::api(&pair.our_url, "query", &[("query", expr), ("time", &time)]);
                ensure!(ours.is_err(), "{expr} works here, and there: {theirs}");
                n_errors += 1;
                continue;
            }
            Ok(_) => {}
        }
        n_values += pair.compare("query", &[("query", expr), ("time", &time)])?;
    }
    println!(
        "{} expressions, {n_values} values equal, {n_errors} fail on both; unknown to the peer: {unknown_there:?}",
        expressions.len()
    );
    ensure!(unknown_there.len() * 10 < expressions.len(), "the peer understood too few: {unknown_there:?}");
    ensure!(n_values > 20 && n_errors < 5, "{n_values} values, {n_errors} errors are no test");
    Ok(())
}

/// The series that would satisfy each selector of `expr`, as far as equality tells.
fn collect(expr: &Expr, selected: &mut BTreeSet<Labels>) {
    let selector = match expr {
        Expr::Selector(selector) => Some(selector),
        Expr::Matrix(matrix) => Some(&matrix.selector),
        _ => None,
    };
    if let Some(selector) = selector {
        let matchers = selector.all_matchers();
        let equal = matchers.iter().filter(|matcher| matcher.op() == MatchOp::Equal);
        selected.insert(Labels::from_pairs(equal.map(|matcher| (matcher.name(), matcher.value()))));
    }
    for child in expr.children() {
        collect(child, selected);
    }
}
