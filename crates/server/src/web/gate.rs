//! What happens to a request before anything looks at its path: its id, the limits, the headers of every answer, and the user. And
//! behind all of it: its line in the access log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Body as _;
use relatum_config::web::RateLimit;
use tower::ServiceExt;
use tracing::{debug, info};

use super::limit::ClientLimiter;
use super::{Rules, Web};
use crate::flags::Flags;
use crate::http::plain;

/// The header by which a request can be found again in logs: the client's, or else ours.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer one is no name that anybody would look for.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What the flags say of requests that come in; it counts from the start on.
#[derive(Debug, Default)]
pub(crate) struct Door {
    pub(super) clients: Option<ClientLimiter>,
    pub(super) has_access_log: bool,
}

impl Door {
    pub(crate) fn new(flags: &Flags) -> Self {
        let per_second = flags.client_requests_per_second;
        // As many at once as in a second.
        let limit = RateLimit { burst: per_second.into(), interval: Duration::from_secs(1) / per_second.max(1) };
        let clients = (per_second > 0).then(|| ClientLimiter::new(limit));
        Door { clients, has_access_log: flags.access_log }
    }

    /// How many clients are told apart now; `None` where nobody counts them.
    pub(crate) fn n_clients(&self) -> Option<usize> {
        self.clients.as_ref().map(ClientLimiter::n_clients)
    }
}

/// Has `router` answer `peer` if the rules of `web` let the request through.
pub(crate) async fn pass(web: Arc<Web>, peer: SocketAddr, router: Router, request: Request<Body>) -> Response {
    let begun = Instant::now();
    let door = web.door();
    let given = request.headers().get(&REQUEST_ID).filter(|id| id.len() <= REQUEST_ID_BYTES_MAX).cloned();
    let id = given.or_else(|| HeaderValue::try_from(fresh_id()).ok());
    // Without what follows the path: that may be long, and nobody wants secrets in a log.
    let line = door.has_access_log || tracing::enabled!(tracing::Level::DEBUG);
    let line = line.then(|| (request.method().clone(), request.uri().path().to_owned(), request.version()));

    let (user, mut response) = answered(&web, &door, peer, router, request).await;
    if let Some(id) = &id {
        response.headers_mut().insert(REQUEST_ID, id.clone());
    }
    if let Some((method, path, version)) = line {
        let (status, seconds) = (response.status().as_u16(), begun.elapsed().as_secs_f64());
        let (bytes, id) = (response.body().size_hint().exact(), id.as_ref().and_then(|id| id.to_str().ok()));
        // A macro's level is fixed where it stands.
        if door.has_access_log {
            info!(%peer, user, %method, path, ?version, status, bytes, seconds, id, "request");
        } else {
            debug!(%peer, user, %method, path, ?version, status, bytes, seconds, id, "request");
        }
    }
    response
}

/// The answer, and who asked.
async fn answered(
    web: &Arc<Web>,
    door: &Door,
    peer: SocketAddr,
    router: Router,
    request: Request<Body>,
) -> (Option<String>, Response) {
    let rules = web.rules();
    let mut user = None;
    let mut response = if let Err(wait) = limits(&rules, door, peer) {
        web.counts.too_many.fetch_add(1, Ordering::Relaxed);
        later(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n", wait)
    } else if rules.config.users.is_empty() {
        router.oneshot(request).await.unwrap_or_else(|never| match never {})
    } else {
        match may_enter(web, &rules.config.users, request.headers()).await {
            Some(name) => {
                user = Some(name);
                router.oneshot(request).await.unwrap_or_else(|never| match never {})
            }
            None => {
                let mut refused = plain(StatusCode::UNAUTHORIZED, "Unauthorized\n");
                refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
                refused
            }
        }
    };
    for (name, value) in &rules.headers {
        // What a handler itself says of an answer is more exact.
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    (user, response)
}

/// Takes a token of everybody's, and one of the client's.
fn limits(rules: &Rules, door: &Door, peer: SocketAddr) -> Result<(), Duration> {
    let now = Instant::now();
    // First what the client is guilty of alone.
    door.clients.as_ref().map_or(Ok(()), |clients| clients.take(peer.ip(), now))?;
    rules.limiter.as_ref().map_or(Ok(()), |limiter| limiter.take(now))
}

/// A refusal that says when to come again.
pub(crate) fn later(status: StatusCode, text: &'static str, wait: Duration) -> Response {
    let mut refused = plain(status, text);
    // Whole seconds, and not before the time.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    refused
}

/// The user's name, if the password is right.
async fn may_enter(
    web: &Web,
    users: &std::collections::BTreeMap<String, relatum_config::Secret>,
    headers: &HeaderMap,
) -> Option<String> {
    let (user, password) = credentials(headers)?;
    web.users.is_right(users, &user, &password).await.then_some(user)
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

/// Different for every request of this process, and most likely for those of others.
fn fresh_id() -> String {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    let n = REQUESTS.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{n:x}", crate::clock::now_ms())
}
