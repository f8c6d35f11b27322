//! Plain pages for people: `/` to ask a question, `/targets` and `/alerts` to see how things are. No scripts, nothing to load.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use relatum_model::storage::Scope;
use relatum_promql::{QueryOptions, Value};
use relatum_rules::AlertState;
use relatum_transport::scrape::Health;

use super::params::Params;
use super::reading::{Begun, reading_within};
use crate::Engine;
use crate::clock::now_ms;
use crate::queries::Patience;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--good:#2a9d4a;--bad:#d6453d;--warn:#c98a12}\
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:0 1rem}\
nav{display:flex;gap:1.25rem;padding:.75rem 0;border-bottom:1px solid var(--line);margin-bottom:1rem}\
nav b{margin-right:auto}a{color:inherit}\
table{border-collapse:collapse;width:100%;font-size:.92em}th,td{text-align:left;padding:.3rem .6rem;\
border-bottom:1px solid var(--line);vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}\
code{font:13px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}form{display:flex;gap:.5rem}\
input{flex:1;font:14px ui-monospace,monospace;padding:.45rem}button{padding:.45rem 1rem}\
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}.note{opacity:.75}";

// The page may load nothing and run nothing; only its own style counts.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// `/`: a query and its answer, and how many targets and alerts there are.
pub(crate) async fn query(State(engine): State<Arc<Engine>>, params: Params) -> Response {
    let expr = params.first("query").to_owned();
    let mut body = format!(
        "<form><input name=query value=\"{}\" placeholder=\"up\" aria-label=\"PromQL expression\" autofocus>\
         <button>Ask</button></form>",
        Escaped(&expr)
    );
    if expr.is_empty() {
        overview(&mut body, &engine);
    } else {
        let asked = Arc::clone(&engine);
        let patience = Patience::new(engine.live().flags.timeout, None);
        let answer = reading_within(&asked, patience, move |Begun { cancel, left, .. }| {
            let _active = engine.active_queries().begin(&expr);
            let options = QueryOptions { timeout: left, cancel, ..QueryOptions::default() };
            engine.promql().instant(engine.store(), &Scope::all(), &expr, now_ms(), &options)
        });
        match answer.await {
            Ok(Ok(answer)) => {
                for note in answer.warnings.iter().chain(&answer.infos) {
                    let _ = write!(body, "<p class=warn>{}</p>", Escaped(note));
                }
                result(&mut body, &answer.value);
            }
            Ok(Err(error)) => {
                let _ = write!(body, "<p class=bad>{}</p>", Escaped(&error.to_string()));
            }
            Err(error) => {
                let _ = write!(body, "<p class=bad>{}</p>", Escaped(&error.to_string()));
            }
        }
    }
    page("Query", &body)
}

/// `/graph`: where links in alerts lead; they name the expression `g0.expr`.
pub(crate) async fn graph(params: Params) -> Response {
    let query: String = form_urlencoded::byte_serialize(params.first("g0.expr").as_bytes()).collect();
    (StatusCode::FOUND, [(header::LOCATION, format!("./?query={query}"))]).into_response()
}

fn overview(body: &mut String, engine: &Engine) {
    let targets = engine.scrape().targets();
    let up = targets.iter().filter(|target| target.health == Health::Up).count();
    let firing = engine.rules().alerts().iter().filter(|alert| alert.state == AlertState::Firing).count();
    let stats = engine.store().stats();
    let _ = write!(
        body,
        "<table style=\"margin-top:1rem\"><tr><td>Targets up<td class=n><a href=targets>{up} of {}</a>\
         <tr><td>Alerts firing<td class=n><a href=alerts>{firing}</a>\
         <tr><td>Series in memory<td class=n>{}</table>",
        targets.len(),
        stats.series
    );
}

fn result(body: &mut String, value: &Value) {
    match value {
        Value::Scalar { value, .. } => {
            let _ = write!(body, "<p><code>{}</code></p>", relatum_model::text::format_value(*value));
        }
        Value::String { text, .. } => {
            let _ = write!(body, "<p><code>{}</code></p>", Escaped(text));
        }
        Value::Vector(samples) => {
            let _ = write!(body, "<p class=note>{} series</p><table>", samples.len());
            for sample in samples {
                let value = match &sample.histogram {
                    Some(histogram) => format!("{} observations", relatum_model::text::format_value(histogram.count)),
                    None => relatum_model::text::format_value(sample.value),
                };
                let labels = sample.labels.to_string();
                let _ = write!(body, "<tr><td><code>{}</code><td class=n>{value}", Escaped(&labels));
            }
            body.push_str("</table>");
        }
        Value::Matrix(series) => {
            let _ = write!(body, "<p class=note>{} series</p><table>", series.len());
            for series in series {
                let labels = series.labels.to_string();
                let n_samples = series.samples.len();
                let _ = write!(body, "<tr><td><code>{}</code><td class=n>{n_samples} samples", Escaped(&labels));
            }
            body.push_str("</table>");
        }
    }
}

/// `/targets`: every target, its health, and why a scrape failed.
pub(crate) async fn targets(State(engine): State<Arc<Engine>>) -> Response {
    let mut targets = engine.scrape().targets();
    targets.sort_by(|a, b| (&a.pool, &a.labels).cmp(&(&b.pool, &b.labels)));
    let mut body = format!(
        "<p class=note>{} targets</p><table><tr><th>Job<th>Endpoint<th>State<th>Labels<th>Last scrape<th>Took<th>Error",
        targets.len()
    );
    for target in &targets {
        let class = match target.health {
            Health::Up => "good",
            Health::Down => "bad",
            Health::Unknown => "note",
        };
        let state = target.health.as_str();
        let last = target.last_scrape_ms.map_or("never".to_owned(), |at| format!("{} ago", ago(now_ms() - at)));
        let took = format!("{:.1} ms", target.last_duration.as_secs_f64() * 1000.0);
        let _ = write!(
            body,
            "<tr><td>{}<td><code>{}</code><td class={class}>{state}<td><code>{}</code><td>{last}<td class=n>{took}<td class=bad>{}",
            Escaped(&target.pool),
            Escaped(&target.url),
            Escaped(&target.labels.to_string()),
            Escaped(target.last_error.as_deref().unwrap_or_default()),
        );
    }
    body.push_str("</table>");
    page("Targets", &body)
}

/// `/alerts`: every alert that is pending or firing.
pub(crate) async fn alerts(State(engine): State<Arc<Engine>>) -> Response {
    let alerts = engine.rules().alerts();
    let mut body = format!("<p class=note>{} alerts</p><table><tr><th>State<th>Labels<th>Since<th>Value", alerts.len());
    for alert in &alerts {
        let class = if alert.state == AlertState::Firing { "bad" } else { "warn" };
        let _ = write!(
            body,
            "<tr><td class={class}>{}<td><code>{}</code><td>{}<td class=n>{}",
            alert.state.as_str(),
            Escaped(&alert.labels.to_string()),
            ago(now_ms() - alert.active_at_ms),
            relatum_model::text::format_value(alert.value),
        );
    }
    body.push_str("</table>");
    page("Alerts", &body)
}

fn ago(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title} · relatum</title><style>{STYLE}</style>\
         <nav><b>relatum</b><a href=./>Query</a><a href=targets>Targets</a><a href=alerts>Alerts</a></nav>{body}"
    );
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)], html)
        .into_response()
}

/// Text that may hold anything, made safe inside HTML and inside quoted attributes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
