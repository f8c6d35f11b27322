//! A span for every query over HTTP, as a part of the caller's trace where it names one.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::{self, Next};
use axum::response::Response;

use super::span::{Role, Span, SpanFeed, SpanId, TraceId, now_ns, span_id, trace_id};

/// What counts as a query, by the end of the path: a prefix may stand before it.
const QUERIES: [&str; 7] = [
    "/api/v1/query",
    "/api/v1/query_range",
    "/api/v1/query_exemplars",
    "/api/v1/series",
    "/api/v1/labels",
    "/api/v1/read",
    "/federate",
];

/// `routes`, whose queries are told to `feed`.
pub(crate) fn observed(feed: SpanFeed, routes: Router) -> Router {
    routes.layer(middleware::from_fn_with_state(feed, observe))
}

async fn observe(State(feed): State<SpanFeed>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let query = QUERIES.into_iter().find(|query| path.ends_with(query));
    let Some(query) = query.filter(|_| feed.is_wanted()) else { return next.run(request).await };
    let (trace, parent) = caller(request.headers()).map_or_else(|| (trace_id(), None), |(t, s)| (t, Some(s)));
    let method = request.method().to_string();
    let start_ns = now_ns();
    let response = next.run(request).await;
    let status = response.status();
    feed.tell([Span {
        trace,
        id: span_id(),
        parent,
        name: format!("{method} {query}"),
        role: Role::Server,
        start_ns,
        end_ns: now_ns(),
        attributes: vec![
            ("http.request.method", method),
            ("http.route", query.to_owned()),
            ("http.response.status_code", status.as_u16().to_string()),
        ],
        has_failed: status.is_server_error(),
    }]);
    response
}

/// Trace and span of the caller, from the header of W3C's Trace Context: `00-{32 digits}-{16 digits}-{2 digits}`.
fn caller(headers: &HeaderMap) -> Option<(TraceId, SpanId)> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let (trace, span): (TraceId, SpanId) = (unhex(trace)?, unhex(span)?);
    let is_valid = version.len() == 2 && version != "ff" && trace != [0; 16] && span != [0; 8];
    is_valid.then_some((trace, span))
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", header.parse().unwrap());
        assert_eq!(caller(&headers).is_some(), expected, "{header}");
    }

    #[test]
    fn callers() {
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false);
        check("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false);
        check("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", false);
        check("00-é-x", false);
        check("", false);
    }
}
