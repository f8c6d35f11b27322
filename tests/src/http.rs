//! A small blocking HTTP client for tests.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a test machine can start threads"))
}

fn client() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        reqwest::Client::builder().timeout(Duration::from_secs(20)).build().expect("the client needs no set-up")
    })
}

fn send(request: reqwest::RequestBuilder) -> anyhow::Result<Answer> {
    runtime().block_on(async {
        let response = request.send().await?;
        Ok(Answer { status: response.status().as_u16(), body: response.text().await? })
    })
}

/// GET.
pub fn get(url: &str) -> anyhow::Result<Answer> {
    send(client().get(url)).with_context(|| format!("GET {url}"))
}

/// POST of a body.
pub fn post(url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> anyhow::Result<Answer> {
    let request = headers.iter().fold(client().post(url), |request, (name, value)| request.header(*name, *value));
    send(request.body(body)).with_context(|| format!("POST {url}"))
}

/// The `data` of a successful answer of Prometheus' API; `parameters` are URL-encoded here.
pub fn api(base: &str, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Value> {
    let url = format!("{base}/api/v1/{path}");
    let answer = send(client().get(&url).query(parameters)).with_context(|| format!("GET {url}"))?;
    let body: Value = serde_json::from_str(&answer.body).with_context(|| format!("{url}: {}", answer.body))?;
    ensure!(body["status"] == "success", "{url} {parameters:?}: {} {}", answer.status, answer.body);
    Ok(body["data"].clone())
}

/// The result of an instant query: label sets with values.
pub fn query(base: &str, expr: &str) -> anyhow::Result<Vec<Value>> {
    let data = api(base, "query", &[("query", expr)])?;
    Ok(data["result"].as_array().cloned().unwrap_or_default())
}
