//! The same requests to us and to a real Prometheus 3.x with the same data: status, headers that matter, and answers are equal.
//!
//! The requests are in `http_surface/requests.txt`. Where we differ on purpose, `http_surface/differences.txt` says so with the
//! reason; an entry there that makes no difference any more fails the test.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_model::{Labels, Sample};
use relatum_tests::peers::Peer;
use relatum_tests::process::{Running, free_port};
use relatum_tests::program::binary;
use relatum_tests::raw_http::{self, RawAnswer};
use relatum_tests::{PATIENCE, http, remote_write, wait_for};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::with("requests_are_answered_as_prometheus_does", &[Peer::Prometheus3], false, surface),
        crate::with("a_prometheus_reads_and_federates_from_us", &[Peer::Prometheus3], false, clients),
    ]
}

const REQUESTS: &str = include_str!("http_surface/requests.txt");
const DIFFERENCES: &str = include_str!("http_surface/differences.txt");

const CONFIG: &str = "
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s, external_labels: {site: a}}
rule_files: [rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:9']}]}]}
scrape_configs:
- job_name: dead
  static_configs: [{targets: ['127.0.0.1:1'], labels: {zone: z}}]
- job_name: secret
  basic_auth: {username: u, password: p}
  static_configs: [{targets: ['127.0.0.1:2', 'drop.me:80']}]
  relabel_configs: [{source_labels: [__address__], regex: 'drop.*', action: drop}]
";

const RULES: &str = "
groups:
- name: records
  rules:
  - {record: 'job:m:sum', expr: 'sum by (job) (m)', labels: {team: a}}
- name: alerts
  limit: 5
  labels: {grp: g}
  rules:
  - {alert: Always, expr: 'vector(1) > 0', labels: {severity: page}, annotations: {summary: 'v {{ $value }}'}}
  - {alert: Waits, expr: 'vector(2)', for: 1h, keep_firing_for: 5m}
  - {alert: Never, expr: 'vector(0) > 1'}
";

/// One of the two servers.
struct Server {
    running: Running,
    authority: String,
    data: String,
}

impl Server {
    fn start(mut command: Command, dir: &Path, name: &str) -> anyhow::Result<Self> {
        let authority = format!("127.0.0.1:{}", free_port()?);
        let data = dir.join(name).display().to_string();
        command
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={data}"))
            .arg(format!("--web.listen-address={authority}"))
            .arg("--web.external-url=http://outside.example:1234/")
            .arg("--web.route-prefix=/")
            .args(["--web.enable-remote-write-receiver", "--web.enable-lifecycle", "--web.enable-admin-api"])
            .arg("--log.level=error");
        let mut running = Running::start(name, &mut command)?;
        running.wait_ready(&format!("http://{authority}/-/ready"))?;
        Ok(Server { running, authority, data })
    }

    /// Waits until both targets were scraped in vain and every rule has a state.
    fn wait_settled(&self) -> anyhow::Result<()> {
        let settled = || {
            let answer =
                http::get(&format!("http://{}/api/v1/query?query=count(up)%2Bcount(ALERTS)", self.authority)).ok()?;
            answer.body.contains("\"4\"").then_some(())
        };
        wait_for("scrapes and rules", PATIENCE, settled).with_context(|| self.running.output())
    }

    fn ask(&self, request: &Request) -> anyhow::Result<Seen> {
        let answer = raw_http::ask(&self.authority, &request.method, &request.target, &request.headers, &request.body)?;
        let text = answer.body.replace(&self.authority, "SERVER").replace(&self.data, "DATA");
        Ok(Seen::of(&answer, &text, request))
    }
}

/// One request of the list.
struct Request {
    /// As it stands in the list.
    line: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn parse_all(text: &str, end_s: i64) -> Vec<Request> {
        let mut requests: Vec<Request> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some((name, value)) = line.strip_prefix("| ").and_then(|header| header.split_once(": ")) {
                let request = requests.last_mut().expect("a header follows a request");
                request.headers.push((name.to_owned(), value.to_owned()));
                let _ = write!(request.line, " | {name}: {value}");
                continue;
            }
            requests.push(Request::parse(line, end_s));
        }
        requests
    }

    fn parse(line: &str, end_s: i64) -> Request {
        let filled = filled(line, end_s);
        let mut parts = filled.split("  ");
        let (method, target) = parts.next().and_then(|head| head.split_once(' ')).expect("a request has a path");
        let pairs = parts.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let form =
            pairs.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect::<Vec<_>>().join("&");
        // A request line has neither spaces nor letters beyond ASCII; everything else is sent as written.
        let mut target = raw(target);
        let (mut headers, mut body) = (Vec::new(), Vec::new());
        if method == "POST" && !form.is_empty() {
            headers.push(("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
            body = form.into_bytes();
        } else if !form.is_empty() {
            target += if target.contains('?') { "&" } else { "?" };
            target += &form;
        }
        Request { line: line.to_owned(), method: method.to_owned(), target, headers, body }
    }
}

/// `line` with moments for `{T}`, `{T+n}` and `{T-n}`.
fn filled(line: &str, end_s: i64) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{T") {
        out += before;
        let (offset, after) = after.split_once('}').expect("a moment ends with a brace");
        let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().expect("an offset is a number") };
        out += &(end_s + offset).to_string();
        rest = after;
    }
    out + rest
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn raw(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_graphic() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// What is compared of an answer.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    headers: Vec<(&'static str, Option<String>)>,
    body: Value,
}

const HEADERS: [&str; 8] = [
    "content-type",
    "allow",
    "location",
    "x-content-type-options",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
];

/// Keys whose values are of the moment or of the machine.
const VOLATILE: [&str; 20] = [
    "evaluationTime",
    "lastEvaluation",
    "lastScrape",
    "lastScrapeDuration",
    "activeAt",
    "startTime",
    "serverTime",
    "lastConfigTime",
    "goroutineCount",
    "GOMAXPROCS",
    "GOMEMLIMIT",
    "GOGC",
    "GODEBUG",
    "revision",
    "branch",
    "buildUser",
    "buildDate",
    "goVersion",
    "version",
    "groupNextToken",
];

impl Seen {
    fn of(answer: &RawAnswer, text: &str, request: &Request) -> Seen {
        let mut body = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        steady(&mut body);
        // The order of an instant vector and of /series is the store's own, unless the query sorts.
        if !request.line.contains("sort") && !request.line.contains("topk") {
            for list in ["/data/result", "/data"] {
                if let Some(items) = body.pointer_mut(list).and_then(Value::as_array_mut) {
                    items.sort_by_cached_key(Value::to_string);
                }
            }
        }
        // We answer HEAD wherever GET is, and say so.
        let header = |name| answer.header(name).map(|value| value.replace("HEAD, ", ""));
        let headers = HEADERS.map(|name| (name, header(name))).to_vec();
        Seen { status: answer.status, headers, body }
    }

    fn differences(&self, theirs: &Seen) -> String {
        let mut out = String::new();
        if self.status != theirs.status {
            let _ = writeln!(out, "    status {} here, {} there", self.status, theirs.status);
        }
        for ((name, ours), (_, theirs)) in self.headers.iter().zip(&theirs.headers) {
            if ours != theirs {
                let _ = writeln!(out, "    {name} {ours:?} here, {theirs:?} there");
            }
        }
        if self.body != theirs.body {
            let cut = |value: &Value| value.to_string().chars().take(700).collect::<String>();
            let _ = writeln!(out, "    here  {}\n    there {}", cut(&self.body), cut(&theirs.body));
        }
        out
    }
}

/// Replaces what is of the moment, and makes equal what JSON writes in several ways.
fn steady(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                if VOLATILE.contains(&key.as_str()) { *value = Value::from("*") } else { steady(value) }
            }
            object.sort_keys();
        }
        Value::Array(items) => items.iter_mut().for_each(steady),
        Value::Number(number) => {
            // A moment in JSON may be 1 or 1.0.
            if let Some(float) = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e15) {
                *value = Value::from(float as i64);
            }
        }
        _ => {}
    }
}

/// An intended difference: requests by pattern, and why.
struct Difference {
    pattern: &'static str,
    hits: usize,
}

fn intended() -> anyhow::Result<Vec<Difference>> {
    let lines = DIFFERENCES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (pattern, reason) = line.split_once(" :: ").with_context(|| format!("no reason in {line:?}"))?;
            ensure!(!reason.trim().is_empty(), "no reason in {line:?}");
            Ok(Difference { pattern: pattern.trim(), hits: 0 })
        })
        .collect()
}

/// Whether `line` is `pattern`, where `*` stands for anything.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (at, part) in parts.iter().enumerate() {
        if at + 1 == parts.len() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(found) => rest = &rest[found + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

fn series(end_ms: i64) -> Vec<(Labels, Vec<Sample>)> {
    let one = |labels: &[(&str, &str)], value: &dyn Fn(f64) -> f64| {
        let samples = (0..41).map(|n| Sample { t_ms: end_ms - (40 - n) * 15_000, value: value(n as f64) }).collect();
        (Labels::from_pairs(labels.iter().copied()), samples)
    };
    vec![
        one(&[("__name__", "m"), ("job", "a"), ("instance", "i1")], &|n| n * 1.5),
        one(&[("__name__", "m"), ("job", "a"), ("instance", "i2")], &|n| 100.0 - n),
        one(&[("__name__", "m"), ("job", "b"), ("instance", "i1")], &|n| 0.1 * n),
        one(&[("__name__", "c_total"), ("job", "a")], &|n| n * 10.0),
        one(&[("__name__", "c_total"), ("job", "b")], &|n| (n % 20.0) * 7.0),
        one(&[("__name__", "utf8.näme"), ("läbel", "ä"), ("a.b", "dot")], &|_| 1.0),
        one(&[("__name__", "gone"), ("a", "1")], &|_| 1.0),
        one(&[("__name__", "gone"), ("a", "2")], &|_| 2.0),
    ]
}

fn surface() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("prometheus.yml"), CONFIG)?;
    std::fs::write(dir.path().join("rules.yml"), RULES)?;
    let mut command = Command::new(binary());
    command.arg("serve");
    let ours = Server::start(command, dir.path(), "ours")?;
    let theirs = Server::start(Peer::Prometheus3.command()?, dir.path(), "theirs")?;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let end_s = since.as_secs() as i64 - 30;
    for server in [&ours, &theirs] {
        remote_write::send(&format!("http://{}", server.authority), &series(end_s * 1000))?;
    }
    ours.wait_settled()?;
    theirs.wait_settled()?;

    let requests = Request::parse_all(REQUESTS, end_s);
    let mut intended = intended()?;
    let (mut equal, mut by_design, mut wrong) = (0, 0, String::new());
    for request in &requests {
        let (ours, theirs) = (ours.ask(request)?, theirs.ask(request)?);
        let differences = ours.differences(&theirs);
        if differences.is_empty() {
            equal += 1;
        } else if let Some(known) = intended.iter_mut().find(|known| fits(known.pattern, &request.line)) {
            known.hits += 1;
            by_design += 1;
        } else {
            let _ = writeln!(wrong, "{}\n{differences}", request.line);
        }
    }
    println!("{} requests: {equal} answered alike, {by_design} differently by design", requests.len());
    ensure!(wrong.is_empty(), "not listed in differences.txt:\n{wrong}");
    let idle: Vec<&str> = intended.iter().filter(|known| known.hits == 0).map(|known| known.pattern).collect();
    ensure!(idle.is_empty(), "differences.txt lists what makes no difference: {idle:?}");
    Ok(())
}

/// A real Prometheus reads our samples remotely, and scrapes our federation.
fn clients() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("prometheus.yml"), "global: {external_labels: {site: a}}\n")?;
    let mut command = Command::new(binary());
    command.arg("serve");
    let ours = Server::start(command, dir.path(), "ours")?;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let end_s = since.as_secs() as i64 - 5;
    remote_write::send(&format!("http://{}", ours.authority), &series(end_s * 1000))?;
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         remote_read: [{{url: 'http://{0}/api/v1/read', read_recent: true}}]\n\
         scrape_configs:\n- job_name: federate\n  honor_labels: true\n  metrics_path: /federate\n  \
         params: {{'match[]': ['c_total', '{{\"utf8.n\u{e4}me\"}}']}}\n  static_configs: [{{targets: ['{0}']}}]\n",
        ours.authority
    );
    std::fs::write(dir.path().join("prometheus.yml"), config)?;
    let theirs = Server::start(Peer::Prometheus3.command()?, dir.path(), "theirs")?;
    let base = format!("http://{}", theirs.authority);
    let read = http::api(&base, "query", &[("query", r#"m{site="a",job="b"}"#), ("time", &end_s.to_string())])?;
    let expected = serde_json::json!([
        {"metric": {"__name__": "m", "instance": "i1", "job": "b", "site": "a"}, "value": [end_s, "4"]}
    ]);
    ensure!(read["result"] == expected, "{read}");
    let window =
        http::api(&base, "query", &[("query", "sum(increase(c_total{job=\"a\"}[5m]))"), ("time", &end_s.to_string())])?;
    ensure!(window["result"][0]["value"][1] == "200", "{window}");
    // It asked for chunks, and got them.
    let metrics = http::get(&format!("{base}/metrics"))?.body;
    let is_chunked = |line: &str| {
        line.starts_with("prometheus_remote_read_client_queries_total{")
            && line.contains("code=\"200\"")
            && line.contains("response_type=\"chunked\"")
    };
    ensure!(metrics.lines().any(is_chunked), "no answer in chunks");
    // What comes by federation was stored there, with its own moment and without an instance of the scrape.
    let stored = || {
        let found =
            http::query(&base, "timestamp({\"utf8.n\u{e4}me\", job=\"federate\", site=\"a\", instance=\"\"})").ok()?;
        let healthy = http::query(&base, r#"up{job="federate"} == 1"#).ok()?;
        (found.len() == 1 && healthy.len() == 1).then_some(())
    };
    wait_for("federated series", PATIENCE, stored).with_context(|| {
        let targets = http::get(&format!("{base}/api/v1/targets")).map(|answer| answer.body);
        format!("{targets:?} {}", theirs.running.output())
    })
}
