//! What happens to a request before anything looks at its path: the limit, the headers of every answer, and the user.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tower::ServiceExt;

use super::Web;
use crate::http::plain;

/// Has `router` answer if the rules of `web` let the request through.
pub(crate) async fn pass(web: Arc<Web>, router: Router, request: Request<Body>) -> Response {
    let rules = web.rules();
    let mut response = if rules.limiter.as_ref().is_some_and(|limiter| !limiter.allows(Instant::now())) {
        let mut refused = plain(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n");
        // The bucket gets its next token within a second, or else whoever set the limit wants few requests.
        refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        refused
    } else if !rules.config.users.is_empty() && !may_enter(&web, &rules.config.users, request.headers()).await {
        let mut refused = plain(StatusCode::UNAUTHORIZED, "Unauthorized\n");
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        refused
    } else {
        router.oneshot(request).await.unwrap_or_else(|never| match never {})
    };
    for (name, value) in &rules.headers {
        // What a handler itself says of an answer is more exact.
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

async fn may_enter(
    web: &Web,
    users: &std::collections::BTreeMap<String, relatum_config::Secret>,
    headers: &HeaderMap,
) -> bool {
    match credentials(headers) {
        Some((user, password)) => web.users.is_right(users, &user, &password).await,
        None => false,
    }
}

/// User and password of basic authentication.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
