//! `relatum serve` by its flags: it starts from the command line of a Prometheus 3, and does what they say.

use std::fs;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Instant;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use regex::Regex;
use relatum_tests::peers::Peer;
use relatum_tests::process::{Running, free_port};
use relatum_tests::program::binary;
use relatum_tests::server::Server;
use relatum_tests::{PATIENCE, http, raw_http, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        crate::with("serve_takes_every_flag_of_prometheus", &[Peer::Prometheus3], false, every_flag),
        crate::plain("serve_reloads_files_that_change", auto_reload),
        crate::plain("serve_limits_and_logs_requests", front_door),
        crate::plain("serve_warns_of_slow_queries", slow_queries),
        crate::plain("serve_warns_of_queries_that_a_crash_ended", unfinished_queries),
        crate::plain("serve_survives_a_hangup_before_it_is_ready", early_hangup),
    ]
}

/// Values for flags whose help shows none that can be used, or one of another machine.
const VALUES: [(&str, &str); 11] = [
    ("web.external-url", "http://outside.example/"),
    ("web.route-prefix", "/"),
    ("web.user-assets", "DIR"),
    ("web.local-assets", "DIR"),
    ("storage.tsdb.retention.time", "1d"),
    ("storage.tsdb.retention.size", "1GB"),
    ("storage.agent.wal-compression-type", "snappy"),
    ("storage.agent.retention.min-time", "1h"),
    ("storage.agent.retention.max-time", "2h"),
    ("storage.remote.flush-deadline", "1m"),
    ("enable-feature", "exemplar-storage"),
];

/// Those that [`Server`] gives, and those that end the program at once.
const LEFT_OUT: [&str; 5] = ["config.file", "storage.tsdb.path", "web.listen-address", "help", "version"];

static FLAG: LazyLock<Regex> = LazyLock::new(|| {
    let text = r#"(?m)^ {2,8}(?:-\w, )?--(\[no-\])?([a-z0-9.-]+)(?:=("[^"]*"|\S*))?"#;
    Regex::new(text).expect("the expression is valid")
});

fn every_flag() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let peer = Peer::Prometheus3.find().context("no Prometheus 3")?;
    let help = Command::new(peer).arg("--help").output()?;
    let help = String::from_utf8([help.stdout, help.stderr].concat())?;
    let (mut given, mut n) = (Vec::new(), 0);
    for found in FLAG.captures_iter(&help) {
        let name = &found[2];
        n += 1;
        if LEFT_OUT.contains(&name) {
            continue;
        }
        let shown = found.get(3).map(|value| value.as_str().trim_matches('"').trim_end_matches("..."));
        match (VALUES.iter().find(|(known, _)| *known == name), shown) {
            _ if found.get(1).is_some() => given.extend([format!("--{name}"), format!("--no-{name}")]),
            (Some((_, value)), _) => {
                given.push(format!("--{name}={}", value.replace("DIR", &dir.path().display().to_string())))
            }
            (None, Some(value)) => given.push(format!("--{name}={value}")),
            (None, None) => anyhow::bail!("no value is known for --{name}"),
        }
    }
    ensure!(n >= 50, "the help of Prometheus shows only {n} flags:\n{help}");
    // Users and certificates of another machine's file are none of ours.
    given.retain(|flag| !flag.starts_with("--web.config.file="));
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let server = Server::ours(dir.path(), "", &given)?;
    // What has no effect is named, and what has is not.
    let said = server.running.output();
    for (name, is_idle) in
        [("web.page-title", true), ("storage.agent.path", true), ("query.timeout", false), ("exemplar-storage", false)]
    {
        let is_named = said.lines().any(|line| line.contains("WARN") && line.contains(name));
        ensure!(is_named == is_idle, "{name} is {}named:\n{said}", if is_named { "" } else { "not " });
    }
    let flags = http::get(&format!("{}/api/v1/status/flags", server.url))?.body;
    ensure!(flags.contains(r#""storage.tsdb.retention.time":"1d""#), "{flags}");
    Ok(())
}

fn auto_reload() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let rules = dir.path().join("rules.yml");
    let group = |name: &str| format!("groups: [{{name: {name}, rules: [{{record: r, expr: '1'}}]}}]\n");
    fs::write(&rules, group("before"))?;
    let flags = ["--enable-feature=auto-reload-config", "--config.auto-reload-interval=1s"];
    let server = Server::ours(dir.path(), "rule_files: ['*.yml']\n".replace("*", "rules*").as_str(), &flags)?;
    let url = format!("{}/api/v1/rules", server.url);
    let shows = |name: &str| {
        let shown = || http::get(&url).ok()?.body.contains(&format!("\"name\":\"{name}\"")).then_some(());
        wait_for(&format!("group {name}"), PATIENCE, shown).with_context(|| server.running.output())
    };
    shows("before")?;
    // Changed until it is seen: the first look may come after the first change.
    let mut n = 0;
    wait_for("the first reload", PATIENCE, || {
        n += 1;
        fs::write(&rules, group(&format!("after{n}"))).ok()?;
        http::get(&url).ok()?.body.contains("\"name\":\"after").then_some(())
    })?;
    // A new file, one that is no good, and then a good one again.
    fs::write(dir.path().join("rules2.yml"), group("new"))?;
    shows("new")?;
    fs::write(&rules, "groups: [")?;
    wait_for("the refusal", PATIENCE, || server.running.output().contains("was not reloaded").then_some(()))?;
    shows("new")?;
    fs::write(&rules, group("again"))?;
    shows("again")
}

fn front_door() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Server::ours(dir.path(), "", &["--web.access-log", "--web.max-client-requests-per-second=1000000"])?;
    let ask = |target: &str| {
        raw_http::ask(&server.authority, "GET", target, &[("X-Request-Id".to_owned(), "mine".to_owned())], &[])
    };
    for (target, status) in
        [("/api/v1/query?query=1&password=hidden", 200), ("/nosuch", 404), ("/api/v1/query?query=(", 400)]
    {
        let answer = ask(target)?;
        ensure!(answer.status == status, "{target}: {}", answer.status);
        ensure!(answer.header("x-request-id") == Some("mine"), "{target}");
    }
    // A line is written behind the answer it tells of.
    for part in ["path=\"/nosuch\"", "status=404", "status=400", "id=\"mine\"", "method=GET", "peer=127.0.0.1:"] {
        wait_for(part, PATIENCE, || server.running.output().contains(part).then_some(()))
            .with_context(|| format!("in the log:\n{}", server.running.output()))?;
    }
    let said = server.running.output();
    ensure!(!said.contains("hidden"), "parameters are in the log:\n{said}");
    let metrics = http::get(&format!("{}/metrics", server.url))?.body;
    for line in ["relatum_http_clients 1", "relatum_http_inflow_bytes 0"] {
        ensure!(metrics.lines().any(|shown| shown == line), "no {line} in\n{metrics}");
    }
    Ok(())
}

fn slow_queries() -> anyhow::Result<()> {
    const SLOW: &str = "count_over_time(vector(1)[1d:1s])";
    let dir = tempfile::tempdir()?;
    let group = format!("groups: [{{name: heavy, interval: 1s, rules: [{{record: r, expr: '{SLOW}'}}]}}]\n");
    fs::write(dir.path().join("rules.yml"), group)?;
    let config = "global: {query_log_file: queries.log}\nrule_files: [rules.yml]\n";
    let server = Server::ours(dir.path(), config, &["--query.slow-after=1ms"])?;
    let answer = http::get(&format!("{}/api/v1/query?query={SLOW}", server.url))?;
    ensure!(answer.status == 200, "{}", answer.body);
    let failing = format!("{SLOW} == on() (vector(1) or label_replace(vector(1), 'a', 'b', '', ''))");
    let answer = http::get(&format!("{}/api/v1/query?query={failing}", server.url))?;
    ensure!(answer.status == 422, "{}", answer.body);
    for parts in [
        ["slow query of a rule", "group=\"heavy\""],
        ["slow query query=", "waited_seconds="],
        ["slow query query=", "error=\"found duplicate series"],
    ] {
        let said =
            || server.running.output().lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(());
        wait_for(parts[0], PATIENCE, said).with_context(|| server.running.output())?;
    }
    // The log of queries and the metrics have those of rules, too.
    let log = fs::read_to_string(dir.path().join("queries.log"))?;
    let lines = log.lines().map(serde_json::from_str).collect::<Result<Vec<serde_json::Value>, _>>()?;
    for part in ["httpRequest", "ruleGroup"] {
        let line = lines.iter().find(|line| line.get(part).is_some()).with_context(|| format!("no {part} in {log}"))?;
        let timings = &line["stats"]["timings"];
        let took = |name: &str| timings[name].as_f64().filter(|seconds| *seconds > 0.0);
        let (preparation, evaluation) = (took("queryPreparationTime"), took("innerEvalTime"));
        ensure!(preparation.is_some() && evaluation.is_some(), "{part}: {timings}");
    }
    let metrics = http::get(&format!("{}/metrics", server.url))?.body;
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok()).with_context(|| format!("no {name} in\n{metrics}"))
    };
    let duration = |part: &str| value(&format!("prometheus_engine_query_duration_seconds{part}"));
    ensure!(duration("_count{slice=\"inner_eval\"}")? >= 2.0 && duration("_sum{slice=\"inner_eval\"}")? > 0.0);
    ensure!(duration("_count{slice=\"queue_time\"}")? == 2.0);
    ensure!(value("prometheus_engine_query_log_enabled")? == 1.0 && value("prometheus_engine_queries")? == 0.0);
    Ok(())
}

fn unfinished_queries() -> anyhow::Result<()> {
    // It takes minutes.
    const LONG: &str = "count_over_time(sum_over_time(vector(1)[10h:1s])[30d:1s])";
    const WARNING: &str = "this query had not finished";
    let dir = tempfile::tempdir()?;
    let mut server = Server::ours(dir.path(), "", &[])?;
    let url = format!("{}/api/v1/query?query={LONG}", server.url);
    let asked = std::thread::spawn(move || http::get(&url));
    let file = dir.path().join("data/queries.active");
    let is_noted = || fs::read_to_string(&file).is_ok_and(|text| text.contains(LONG)).then_some(());
    wait_for("the query in the file", PATIENCE, is_noted)?;
    server.running.kill()?;
    ensure!(asked.join().is_ok_and(|answer| answer.is_err()), "the query was answered");
    let server = Server::ours(dir.path(), "", &[])?;
    let said = server.running.output();
    ensure!(said.lines().any(|line| line.contains(WARNING) && line.contains(LONG)), "{said}");
    ensure!(fs::read_to_string(&file)?.trim().is_empty(), "the file was not emptied");
    ensure!(http::get(&format!("{}/api/v1/query?query=1", server.url))?.status == 200, "no answer");
    drop(server);
    let said = Server::ours(dir.path(), "", &[])?.running.output();
    ensure!(!said.contains(WARNING), "{said}");
    Ok(())
}

fn early_hangup() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("prometheus.yml"), "")?;
    let authority = format!("127.0.0.1:{}", free_port()?);
    let mut command = Command::new(binary());
    command
        .arg("serve")
        .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address={authority}"));
    let mut running = Running::start("server", &mut command)?;
    // Looked for without a pause: the first one is to arrive while the store is being opened.
    let deadline = Instant::now() + PATIENCE;
    while !running.output().contains("listening") {
        ensure!(Instant::now() < deadline, "it does not listen:\n{}", running.output());
        std::thread::yield_now();
    }
    let hangup = || Command::new("kill").args(["-HUP", &running.pid().to_string()]).status();
    let ready = format!("http://{authority}/-/ready");
    wait_for("the server", PATIENCE, || {
        let sent = hangup().is_ok_and(|status| status.success());
        (!sent || http::get(&ready).is_ok_and(|answer| answer.status == 200)).then_some(())
    })?;
    running.wait_ready(&ready)?;
    let reloaded = || (running.output().matches("configuration loaded").count() > 1).then_some(());
    wait_for("the reload that was asked for", PATIENCE, reloaded).with_context(|| running.output())
}
