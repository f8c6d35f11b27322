//! Other servers as neighbours: metrics of OpenTelemetry become what a Prometheus makes of them, queries read from other stores, and
//! samples go on in both protocols.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_model::{Labels, Sample};
use relatum_tests::peers::Peer;
use relatum_tests::server::Server;
use relatum_tests::{PATIENCE, http, remote_write, wait_for};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    let with = |name, test: fn() -> anyhow::Result<()>| crate::with(name, &[Peer::Prometheus3], false, test);
    vec![
        with("metrics_of_opentelemetry_become_what_prometheus_makes_of_them", opentelemetry),
        with("queries_read_from_another_prometheus", remote_read),
        with("prometheus_takes_our_second_remote_write", second_protocol),
        with("a_prometheus_writes_to_us", || from_prometheus("prometheus.WriteRequest")),
        with("a_prometheus_writes_to_us_in_the_second_protocol", || from_prometheus("io.prometheus.write.v2.Request")),
    ]
}

/// A request, and the series that it becomes under several configurations.
const OTLP: &str = include_str!("neighbours/otlp.json");
const OTLP_SERIES: &str = include_str!("neighbours/otlp_series.txt");

fn ours(dir: &Path, config: &str, more: &[&str]) -> anyhow::Result<Server> {
    Server::ours(&dir.join("ours"), config, more)
}

fn theirs(dir: &Path, config: &str, more: &[&str]) -> anyhow::Result<Server> {
    Server::start(Peer::Prometheus3.command()?, &dir.join("theirs"), config, more)
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock is past 1970").as_millis() as i64
}

/// Everything that `url` has of the last hour, series by series.
fn everything(url: &str) -> anyhow::Result<Vec<String>> {
    let data = http::api(url, "query", &[("query", r#"{__name__=~".+"}[1h]"#)])?;
    let mut series: Vec<String> =
        data["result"].as_array().into_iter().flatten().map(|series| sorted(series).to_string()).collect();
    series.sort();
    Ok(series)
}

/// `value` with the keys of all objects sorted.
fn sorted(value: &Value) -> Value {
    let mut value = value.clone();
    value.sort_all_objects();
    value
}

/// The request, with moments from `base_ns` on, its points counting since the start or since the point before.
fn otlp_request(base_ns: u64, deltas: bool) -> Vec<u8> {
    let mut text = OTLP.replace("\"{TEMPORALITY}\"", if deltas { "1" } else { "2" });
    for n in 0..4u64 {
        text = text.replace(&format!("{{T{n}}}"), &(base_ns + n * 10_000_000_000).to_string());
    }
    text.into_bytes()
}

/// Whether the Prometheus that is here takes metrics of OpenTelemetry; those of some distributions do not.
fn prometheus_takes_otlp() -> anyhow::Result<bool> {
    let help = Peer::Prometheus3.command()?.arg("--help-long").output()?;
    Ok(String::from_utf8_lossy(&help.stdout).contains("otlp-receiver"))
}

fn opentelemetry() -> anyhow::Result<()> {
    let escaped =
        "otlp: {translation_strategy: UnderscoreEscapingWithoutSuffixes, promote_resource_attributes: [host.name]}";
    let suffixed =
        "otlp: {translation_strategy: NoUTF8EscapingWithSuffixes, keep_identifying_resource_attributes: true}";
    let plain = "otlp: {translation_strategy: NoTranslation, promote_all_resource_attributes: true, promote_scope_metadata: true}";
    let custom = "otlp: {convert_histograms_to_nhcb: true}";
    let sum = "--enable-feature=otlp-deltatocumulative";
    let base_ns = (now_ms() / 1000 - 60) as u64 * 1_000_000_000;
    let has_peer = prometheus_takes_otlp()?;
    let mut found = String::new();
    for (title, setting, deltas) in [
        ("default", "", false),
        ("escaped, without suffixes, host.name promoted", escaped, false),
        ("UTF-8, with suffixes, identity kept", suffixed, false),
        ("as it is, with all of resource and scope", plain, false),
        ("histograms with bounds of their own as native ones", custom, false),
        ("deltas summed up", "", true),
    ] {
        let dir = tempfile::tempdir()?;
        let flags: Vec<&str> = ["--web.enable-otlp-receiver"].into_iter().chain(deltas.then_some(sum)).collect();
        let ours = ours(dir.path(), setting, &flags)?;
        let send = |server: &Server| {
            let url = format!("{}/api/v1/otlp/v1/metrics", server.url);
            let answer = http::post(&url, &[("content-type", "application/json")], otlp_request(base_ns, deltas))?;
            ensure!(answer.status == 200, "{title}: {} {}\n{}", answer.status, answer.body, server.running.output());
            everything(&server.url)
        };
        let here = send(&ours)?;
        if has_peer {
            let there = send(&theirs(dir.path(), setting, &flags)?)?;
            ensure!(here == there, "{title}:\nhere:\n{}\nthere:\n{}", here.join("\n"), there.join("\n"));
        }
        found += &format!("# {title}\n{}\n\n", here.join("\n"));
    }
    for n in 0..4u64 {
        found = found.replace(&(base_ns / 1_000_000_000 + n * 10).to_string(), &format!("T{n}"));
    }
    ensure!(found.trim_end() == OTLP_SERIES.trim_end(), "not as in neighbours/otlp_series.txt:\n{found}");
    Ok(())
}

fn one(name: &str, t_ms: i64, value: f64) -> (Labels, Vec<Sample>) {
    (Labels::from_pairs([("__name__", name), ("job", "a")]), vec![Sample { t_ms, value }])
}

fn remote_read() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut theirs = theirs(dir.path(), "global: {external_labels: {site: a}}\n", &[])?;
    let config = format!(
        "global: {{external_labels: {{site: a}}, evaluation_interval: 1s}}\n\
         rule_files: [rules.yml]\n\
         remote_read:\n- {{url: '{}/api/v1/read', read_recent: true, remote_timeout: 5s}}\n",
        theirs.url
    );
    let now_ms = now_ms();
    remote_write::send(&theirs.url, &[one("there", now_ms - 5_000, 3.0), one("both", now_ms - 20_000, 1.0)])?;
    fs::create_dir_all(dir.path().join("ours"))?;
    let rules = "groups: [{name: g, rules: [{record: 'recorded', expr: 'there * 2'}]}]\n";
    fs::write(dir.path().join("ours/rules.yml"), rules)?;
    let ours = ours(dir.path(), "", &["--web.enable-lifecycle"])?;
    remote_write::send(&ours.url, &[one("both", now_ms - 10_000, 2.0)])?;
    let ask = |query: &str| http::api(&ours.url, "query", &[("query", query), ("time", &(now_ms / 1000).to_string())]);
    // A query that is quick is answered by the thread that reads its request, which is not to wait for other stores once there are any. On a
    // machine that is never quick this says less.
    for _ in 0..200 {
        let found = ask("there")?;
        ensure!(found["result"] == serde_json::json!([]), "{found}");
        let metrics = http::get(&format!("{}/metrics", ours.url))?.body;
        let answered = metrics.lines().find(|line| line.starts_with("relatum_quick_tries_total{outcome=\"answered\"}"));
        if !answered.context("no such counter")?.ends_with(" 0") {
            break;
        }
    }
    fs::write(dir.path().join("ours/prometheus.yml"), config)?;
    ensure!(http::post(&format!("{}/-/reload", ours.url), &[], Vec::new())?.status == 200, "no reload");
    // A series of theirs, without the label that only says where it is.
    let found = ask("there")?;
    ensure!(
        found["result"][0]["metric"] == serde_json::json!({"__name__": "there", "job": "a"})
            && found["result"][0]["value"][1] == "3",
        "{found}"
    );
    // One that both have is one series.
    let found = ask("both[1m]")?;
    let values: Vec<&str> = found["result"][0]["values"]
        .as_array()
        .context("no values")?
        .iter()
        .filter_map(|pair| pair[1].as_str())
        .collect();
    ensure!(found["result"].as_array().map(Vec::len) == Some(1) && values == ["1", "2"], "{found}");
    // So do those who ask what there is.
    for (call, parameters, expected) in [
        ("series", vec![("match[]", "there")], serde_json::json!([{"__name__": "there", "job": "a"}])),
        ("label/job/values", vec![("match[]", "there")], serde_json::json!(["a"])),
        ("labels", vec![("match[]", "{job=\"a\"}")], serde_json::json!(["__name__", "job"])),
        ("label/__name__/values", vec![("match[]", "{__name__=~'both|there'}")], serde_json::json!(["both", "there"])),
    ] {
        let found = http::api(&ours.url, call, &parameters)?;
        ensure!(found == expected, "{call} {parameters:?} gives {found} and not {expected}");
    }
    // Rules see it, too.
    wait_for("a recorded sample", PATIENCE, || {
        let recorded = http::query(&ours.url, "recorded").ok()?;
        (recorded.first()?["value"][1] == "6").then_some(())
    })?;
    // The other sends chunks, as they are smaller.
    let metrics = http::get(&format!("{}/metrics", ours.url))?.body;
    let is_chunked = |line: &str| {
        line.starts_with("prometheus_remote_read_client_queries_total{")
            && line.contains("response_type=\"chunked\"")
            && !line.ends_with(" 0")
    };
    ensure!(metrics.lines().any(is_chunked), "no answer in chunks");
    // Without the other, what there is here is shown, and why it is not all.
    theirs.running.kill()?;
    let answer = http::get(&format!("{}/api/v1/query?query=both[1m]&time={}", ours.url, now_ms / 1000))?;
    let body: Value = serde_json::from_str(&answer.body)?;
    let warning = body["warnings"][0].as_str().unwrap_or_default();
    ensure!(
        answer.status == 200
            && warning.starts_with("remote_read: Post")
            && body["data"]["result"][0]["values"].as_array().map(Vec::len) == Some(1),
        "{body}"
    );
    Ok(())
}

fn second_protocol() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let theirs = theirs(dir.path(), "", &[])?;
    let config = format!(
        "remote_write:\n- {{url: '{}/api/v1/write', protobuf_message: io.prometheus.write.v2.Request}}\n",
        theirs.url
    );
    let ours = ours(dir.path(), &config, &[])?;
    let now_ms = now_ms();
    remote_write::send(&ours.url, &[one("sent", now_ms - 5_000, 3.0), one("sent_too", now_ms - 5_000, 4.0)])?;
    wait_for("the samples at the other end", PATIENCE, || {
        let found = http::query(&theirs.url, "sent + on(job) sent_too").ok()?;
        (found.first()?["value"][1] == "7").then_some(())
    })
    .with_context(|| format!("{}\n{}", ours.running.output(), theirs.running.output()))
}

/// What a Prometheus scrapes, from us as it happens, and what is written to it comes to us as `message`, and nothing is missing.
fn from_prometheus(message: &str) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let ours = ours(dir.path(), "", &[])?;
    let config = format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs: [{{job_name: us, static_configs: [{{targets: ['{}']}}]}}]\n\
         remote_write:\n- {{url: '{}/api/v1/write', protobuf_message: {message}, metadata_config: {{send_interval: 1s}}}}\n",
        ours.authority, ours.url
    );
    // In the second protocol it tells what metrics are only if its log does.
    let theirs = theirs(dir.path(), &config, &["--enable-feature=metadata-wal-records"])?;
    let context = || format!("{}\n{}", ours.running.output(), theirs.running.output());
    wait_for("a scrape", PATIENCE, || (http::query(&theirs.url, "up{job='us'} == 1").ok()?.len() == 1).then_some(()))
        .with_context(context)?;
    let now_ms = now_ms();
    remote_write::send(&theirs.url, &[one("sent", now_ms - 5_000, 3.0)])?;
    // Staleness markers and all: what a range has there it has here.
    let end_s = format!("{}.{:03}", now_ms / 1000, now_ms % 1000);
    let shown = |url: &str| -> anyhow::Result<Vec<String>> {
        let data = http::api(url, "query", &[("query", "{job=~'us|a'}[1m]"), ("time", &end_s)])?;
        let mut series: Vec<String> =
            data["result"].as_array().into_iter().flatten().map(|series| sorted(series).to_string()).collect();
        series.sort();
        Ok(series)
    };
    let both = || {
        let there = shown(&theirs.url).ok()?;
        let is_whole = there.len() > 100 && there.iter().any(|series| series.contains("sent"));
        (is_whole && shown(&ours.url).ok()? == there).then_some(())
    };
    wait_for("all samples", PATIENCE, both).with_context(context)?;
    wait_for("what a metric is", PATIENCE, || {
        let known = http::api(&ours.url, "metadata", &[("metric", "prometheus_build_info")]).ok()?;
        (known["prometheus_build_info"][0]["type"] == "gauge").then_some(())
    })
    .with_context(context)?;
    let metrics = http::get(&format!("{}/metrics", theirs.url))?.body;
    for kind in ["samples", "histograms", "exemplars", "metadata"] {
        let failed = format!("prometheus_remote_storage_{kind}_failed_total{{");
        let line = metrics.lines().find(|line| line.starts_with(&failed)).with_context(|| failed.clone())?;
        ensure!(line.ends_with(" 0"), "{line}\n{}", context());
    }
    Ok(())
}
