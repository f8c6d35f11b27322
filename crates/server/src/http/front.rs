//! The front door: what is the same for every path. Cross-origin headers, paths that are written oddly, and the plain answers to
//! unknown paths and methods, all as clients know them from Prometheus.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
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

/// Refuses what two readers may understand in two ways: no host or several, or a body whose end is said twice.
pub(crate) async fn one_meaning(request: Request, next: Next) -> Response {
    match two_meanings(request.version(), request.uri(), request.headers()) {
        Some(fault) => plain(StatusCode::BAD_REQUEST, fault),
        None => next.run(request).await,
    }
}

/// Why a request may be understood in two ways.
fn two_meanings(version: Version, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    let n = |name: HeaderName| headers.get_all(name).iter().count();
    let (n_hosts, n_encodings) = (n(header::HOST), n(header::TRANSFER_ENCODING));
    if version == Version::HTTP_11 && n_hosts == 0 && uri.authority().is_none() {
        Some("missing required Host header\n")
    } else if n_hosts > 1 {
        Some("too many Host headers\n")
    } else if n_encodings > 1 {
        Some("too many transfer encodings\n")
    } else if n_encodings > 0 && headers.contains_key(header::CONTENT_LENGTH) {
        Some("Transfer-Encoding and Content-Length in one request\n")
    } else {
        None
    }
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
    fn requests_with_one_meaning() {
        use header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
        let (here, elsewhere) = ("/x", "http://a/x");
        for (target, headers, expected) in [
            (here, &[(HOST, "a")][..], None),
            (here, &[(HOST, "a"), (TRANSFER_ENCODING, "chunked")], None),
            (elsewhere, &[], None),
            (here, &[], Some("missing required Host header\n")),
            (here, &[(HOST, "a"), (HOST, "a")], Some("too many Host headers\n")),
            (
                here,
                &[(HOST, "a"), (TRANSFER_ENCODING, "chunked"), (TRANSFER_ENCODING, "chunked")],
                Some("too many transfer encodings\n"),
            ),
            (
                here,
                &[(HOST, "a"), (TRANSFER_ENCODING, "chunked"), (CONTENT_LENGTH, "1")],
                Some("Transfer-Encoding and Content-Length in one request\n"),
            ),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(name, HeaderValue::from_static(value));
            }
            let found = two_meanings(Version::HTTP_11, &Uri::from_static(target), &map);
            assert_eq!(found, expected, "{target} {headers:?}");
        }
    }

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
