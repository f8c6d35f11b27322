//! The front door: what is the same for every path. Cross-origin headers, paths that are written oddly, and the plain answers to
//! unknown paths and methods, all as clients know them from Prometheus.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::Engine;

const API: &str = "/api/v1/";

/// Answers preflight requests and puts cross-origin headers on the API's answers.
pub(crate) async fn cross_origin(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    let is_api = |path: &str| path.strip_prefix(engine.live().flags.prefix()).is_some_and(|path| path.starts_with(API));
    if !is_api(request.uri().path()) {
        return next.run(request).await;
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    // Whether or not this request had one, the answer depends on it, and a cache must know that.
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        let live = engine.live();
        if origin.to_str().is_ok_and(|origin| live.flags.cors_origin.is_match(origin)) {
            let headers = response.headers_mut();
            let mut set = |name, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
            set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS");
            set(header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin");
            set(header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date");
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
    }
    response
}

/// Refuses what two readers may understand in two ways: no host, or a body whose end is said twice.
pub(crate) async fn one_meaning(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let is_hostless = request.version() == Version::HTTP_11
        && !headers.contains_key(header::HOST)
        && request.uri().authority().is_none();
    if is_hostless {
        return plain(StatusCode::BAD_REQUEST, "missing required Host header\n");
    }
    if headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_LENGTH) {
        return plain(StatusCode::BAD_REQUEST, "Transfer-Encoding and Content-Length in one request\n");
    }
    next.run(request).await
}

/// Sends whoever writes `//`, `/.` or a slash at the end to the path that is meant.
pub(crate) async fn clean_path(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_first_page = path.strip_suffix('/').is_some_and(|path| path == engine.live().flags.prefix());
    match cleaned(path).filter(|_| !is_first_page) {
        None => next.run(request).await,
        Some(clean) => {
            let location = match request.uri().query() {
                Some(query) => format!("{clean}?{query}"),
                None => clean,
            };
            // As Go's router does: a GET may be repeated, anything else must keep its method and body.
            let status = if request.method() == Method::GET {
                StatusCode::MOVED_PERMANENTLY
            } else {
                StatusCode::PERMANENT_REDIRECT
            };
            (status, [(header::LOCATION, location)]).into_response()
        }
    }
}

/// `path` without empty parts, `.`, `..` and a slash at its end; `None` if there is nothing of the kind.
fn cleaned(path: &str) -> Option<String> {
    let body = path.strip_prefix('/').unwrap_or(path);
    let is_odd = |part: &str| matches!(part, "" | "." | "..");
    if body.is_empty() || !body.split('/').any(is_odd) {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in body.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// Gives an answer that says no more than "not allowed" the text and headers that Prometheus' has, and tells who asks for OPTIONS.
pub(crate) async fn method_texts(request: Request, next: Next) -> Response {
    let asks_for_options = request.method() == Method::OPTIONS;
    let response = next.run(request).await;
    if response.status() != StatusCode::METHOD_NOT_ALLOWED || response.headers().contains_key(header::CONTENT_TYPE) {
        return response;
    }
    let allowed = allowed_methods(response.headers());
    let mut refused = if asks_for_options {
        StatusCode::OK.into_response()
    } else {
        plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
    };
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        refused.headers_mut().insert(header::ALLOW, allowed);
    }
    refused
}

/// The router's list, in order, with what the front door itself answers.
fn allowed_methods(headers: &HeaderMap) -> String {
    let listed = headers.get(header::ALLOW).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut methods: Vec<&str> = listed.split(',').map(str::trim).filter(|method| !method.is_empty()).collect();
    methods.push("OPTIONS");
    methods.sort_unstable();
    methods.join(", ")
}

/// No such path.
pub(crate) async fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A text that is no JSON and that no browser may take for anything else.
pub(crate) fn plain(status: StatusCode, text: impl Into<Body>) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, text.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths() {
        for (path, expected) in [
            ("/", None),
            ("/api/v1/query", None),
            ("/api/v1/label/a..b/values", None),
            ("/api/v1//query", Some("/api/v1/query")),
            ("//api/v1/query", Some("/api/v1/query")),
            ("/api/v1/query/", Some("/api/v1/query")),
            ("/api/v1/./x/../query", Some("/api/v1/query")),
            ("/../..", Some("/")),
            ("//evil.example/x", Some("/evil.example/x")),
        ] {
            assert_eq!(cleaned(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn methods_in_order() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ALLOW, HeaderValue::from_static("POST,GET,HEAD"));
        assert_eq!(allowed_methods(&headers), "GET, HEAD, OPTIONS, POST");
    }
}
