//! The OpenAPI document is true: every operation's example is executed on a running server, and every answer held against its schema.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use libtest_mimic::Trial;
use relatum_tests::peers::Peer;
use relatum_tests::process::Running;
use relatum_tests::server::Server;
use relatum_tests::{PATIENCE, http, python, raw_http, wait_for};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    let fuzz = crate::with("schemathesis_finds_no_failure_of_the_server", &[Peer::Python], false, fuzz);
    // It takes minutes, and brings packages from the net.
    let is_long = std::env::var_os("RELATUM_LONG").is_some();
    vec![crate::plain("examples_of_the_openapi_document_are_true", examples), fuzz.with_ignored_flag(!is_long)]
}

/// A server that scrapes itself, with everything switched on.
fn server(dir: &Path) -> anyhow::Result<(Running, String)> {
    let rules = "groups: [{name: g, rules: [{alert: Always, expr: 'vector(1)'}]}]\n";
    std::fs::write(dir.join("rules.yml"), rules)?;
    let config = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\n\
                  scrape_configs: [{job_name: self, static_configs: [{targets: ['SELF']}]}]\n";
    let flags = [
        "--web.enable-admin-api",
        "--web.enable-lifecycle",
        "--web.enable-otlp-receiver",
        "--enable-feature=search-api",
        "--log.level=error",
    ];
    let Server { running, authority, .. } = Server::ours(dir, config, &flags)?;
    wait_for("a scrape", PATIENCE, || {
        let found = http::query(&format!("http://{authority}"), "up == 1 and on() ALERTS").ok()?;
        (!found.is_empty()).then_some(())
    })?;
    Ok((running, authority))
}

fn examples() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut running, authority) = server(dir.path())?;
    let text = http::get(&format!("http://{authority}/api/v1/openapi.yaml"))?.body;
    let document: Value = relatum_model::yaml::from_str(&text).map_err(|error| anyhow::anyhow!("{error}"))?;
    ensure!(document["openapi"] == "3.1.0", "{}", document["openapi"]);
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let (mut n, mut last) = (0, Vec::new());
    for (path, item) in document["paths"].as_object().context("no paths")? {
        let base = if item.get("servers").is_some() { "" } else { "/api/v1" };
        for method in ["get", "post", "put"] {
            let Some(operation) = item.get(method) else { continue };
            let example = Example::of(base, path, method, operation, now_s);
            if operation.get("x-final").is_some() {
                last.push(example);
            } else if operation.get("x-endless").is_none() {
                example.check(&document, &authority)?;
                n += 1;
            }
        }
    }
    // What never ends is looked at as far as its head.
    let live = raw_http::head(&authority, "/api/v1/notifications/live")?;
    ensure!(live.status == 200 && live.header("content-type") == Some("text/event-stream"), "{live:?}");
    for example in last.iter().take(1) {
        example.check(&document, &authority)?;
    }
    running.wait_end()?;
    println!("{} operations executed as their examples say", n + 2);
    Ok(())
}

/// A request as the document shows it.
struct Example<'d> {
    name: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    responses: &'d Value,
}

impl<'d> Example<'d> {
    fn of(base: &str, path: &str, method: &str, operation: &'d Value, now_s: u64) -> Self {
        let filled =
            |text: &str| text.replace("{now}", &now_s.to_string()).replace("{now-60}", &(now_s - 60).to_string());
        let content = &operation["requestBody"]["content"];
        let form = &content["application/x-www-form-urlencoded"];
        let given = if form.is_null() { &operation["x-example"] } else { &form["example"] };
        let (mut pairs, mut target) = (Vec::new(), format!("{base}{path}"));
        for (name, value) in given.as_object().into_iter().flatten() {
            let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            for value in values {
                let value = filled(value.as_str().unwrap_or_default());
                if target.contains(&format!("{{{name}}}")) {
                    target = target.replace(&format!("{{{name}}}"), &value);
                } else {
                    pairs.push(format!("{}={}", encoded(name), encoded(&value)));
                }
            }
        }
        let query = pairs.join("&");
        let (mut headers, mut body) = (Vec::new(), Vec::new());
        let mut typed = |kind: &str| headers.push(("Content-Type".to_owned(), kind.to_owned()));
        if !form.is_null() {
            typed("application/x-www-form-urlencoded");
            body = query.into_bytes();
        } else if !query.is_empty() {
            target = format!("{target}?{query}");
        }
        if operation.get("x-example-base64").is_some_and(|bytes| bytes == "AA==") {
            // Nothing, compressed.
            typed("application/x-protobuf");
            body = vec![0];
        } else if let Some(json) = content["application/json"].get("example") {
            typed("application/json");
            body = json.to_string().into_bytes();
        }
        let name = format!("{} {base}{path}", method.to_uppercase());
        Example { name, method: method.to_uppercase(), target, headers, body, responses: &operation["responses"] }
    }

    fn check(&self, document: &Value, authority: &str) -> anyhow::Result<()> {
        let answer = raw_http::ask(authority, &self.method, &self.target, &self.headers, &self.body)?;
        let status = answer.status.to_string();
        let response = self.responses.get(&status).filter(|_| answer.status < 300);
        let response = response.with_context(|| format!("{}: {status} {}", self.name, answer.body))?;
        if let Some(schema) = response["content"].get("application/json").and_then(|content| content.get("schema")) {
            let body: Value = serde_json::from_str(&answer.body).with_context(|| format!("{}: no JSON", self.name))?;
            if schema["type"] != "string" {
                fits(document, schema, &body).with_context(|| format!("{}: {}", self.name, answer.body))?;
            }
        }
        Ok(())
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// Whether `value` is as `schema` says, as far as the document uses JSON Schema.
fn fits(document: &Value, schema: &Value, value: &Value) -> anyhow::Result<()> {
    if let Some(reference) = schema["$ref"].as_str() {
        let found = document.pointer(reference.trim_start_matches('#')).with_context(|| format!("no {reference}"))?;
        return fits(document, found, value);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fits(document, part, value)?;
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let n = choices.iter().filter(|choice| fits(document, choice, value).is_ok()).count();
        ensure!(n == 1, "{n} of the choices fit {value}");
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is_a = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    };
    ensure!(kinds.is_empty() || kinds.iter().any(is_a), "{value} is none of {kinds:?}");
    if let Some(wanted) = schema.get("const") {
        ensure!(value == wanted, "{value} is not {wanted}");
    }
    if let Some(wanted) = schema["enum"].as_array() {
        ensure!(wanted.contains(value), "{value} is none of {wanted:?}");
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        ensure!(value.get(name).is_some(), "{name} is missing in {value}");
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        if let Some(inner) = schema["properties"].get(name).or_else(|| schema.get("additionalProperties")) {
            fits(document, inner, value).with_context(|| format!("in {name}"))?;
        }
    }
    for (at, value) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(inner) = schema["prefixItems"].get(at).or_else(|| schema.get("items")) {
            fits(document, inner, value)?;
        }
    }
    if let (Some(items), Some(n)) = (value.as_array(), schema["maxItems"].as_u64()) {
        ensure!(items.len() as u64 <= n, "{} items", items.len());
    }
    Ok(())
}

/// A fuzzer that reads the document and asks whatever it allows, and what it does not. It cannot make protobuf, so remote read and write
/// are not its business; what it must not do is end the server, or wait for an answer without end.
fn fuzz() -> anyhow::Result<()> {
    let interpreter = python::with_packages(Path::new(env!("CARGO_TARGET_TMPDIR")), &["schemathesis==4.32.5"])?;
    let dir = tempfile::tempdir()?;
    let (running, authority) = server(dir.path())?;
    let program = interpreter.with_file_name("schemathesis");
    let output = Command::new(program)
        .args(["run", &format!("http://{authority}/api/v1/openapi.yaml"), "--checks", "not_a_server_error"])
        .args([
            "--max-examples",
            "30",
            "--exclude-path-regex",
            "/-/quit|/notifications/live|^/(write|read)$",
            "--suppress-health-check",
            "all",
        ])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    println!("{}", said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default());
    // It still works.
    ensure!(!http::query(&format!("http://{authority}"), "up")?.is_empty(), "{}", running.output());
    Ok(())
}
