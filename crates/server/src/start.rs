//! The time before the store is open: listening already, while its log is read.
//!
//! Until then `/-/ready` says no and `/api/v1/status/walreplay` how far it is. Everything else waits for the store, as long as a query
//! may take, and is answered then: an answer from the part that was read so far would be a wrong one, and rules, dashboards and
//! senders could not tell.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use relatum_tsdb::{ReplayState, Replaying};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::descriptions;
use crate::engine::OpenError;
use crate::files::{DiskFiles, Loader};
use crate::flags::Flags;
use crate::http::plain;
use crate::listen::Front;
use crate::web::Web;
use crate::{Engine, ReloadError};

/// An engine whose store is not open yet.
pub struct Start {
    pub(crate) flags: Flags,
    pub(crate) loader: Loader,
    pub(crate) web: Arc<Web>,
    pub(crate) replaying: Arc<Replaying>,
    opened: watch::Sender<Option<Router>>,
}

impl Start {
    /// The beginning of an engine with these flags. Nothing is touched.
    pub fn new(flags: Flags) -> Self {
        Start {
            flags,
            loader: Loader::default(),
            web: Arc::default(),
            replaying: Arc::default(),
            opened: watch::Sender::default(),
        }
    }

    /// The same once the files on disk that the flags name were read and found good: nothing is made on disk for a configuration
    /// that cannot run. The rules for who may come in are in effect from now on.
    pub fn checked(flags: Flags) -> Result<Self, ReloadError> {
        let start = Start::new(flags);
        let refused = |problems| ReloadError { problems };
        start.loader.load(&DiskFiles, &start.flags.config_file).map_err(refused)?;
        let web = start.web.prepare(&DiskFiles, start.flags.web_config.as_deref()).map_err(refused)?;
        start.web.commit(web.watched());
        Ok(start)
    }

    /// Who may come in, and how; every listener is to ask it.
    pub fn web(&self) -> &Arc<Web> {
        &self.web
    }

    /// The addresses to listen on.
    pub fn listen(&self) -> &[String] {
        &self.flags.listen
    }

    /// What all connections go through.
    pub fn front(&self) -> Front {
        Front::new(Arc::clone(&self.web), &self.flags)
    }

    /// The HTTP surface, which is the engine's as soon as that is open.
    pub fn router(&self) -> Router {
        let opened = self.opened.subscribe();
        let replaying = Arc::clone(&self.replaying);
        let (prefix, patience) = (self.flags.prefix().to_owned(), self.flags.timeout);
        Router::new().fallback(move |request: Request| {
            let of_engine = opened.borrow().clone();
            let waiting = (opened.clone(), Arc::clone(&replaying), prefix.clone());
            async move {
                if let Some(router) = of_engine {
                    return answer(router, request).await;
                }
                let (opened, replaying, prefix) = waiting;
                match request.uri().path().strip_prefix(&prefix) {
                    Some("/-/healthy") => "Prometheus Server is Healthy.\n".into_response(),
                    Some("/-/ready") => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable").into_response(),
                    Some("/api/v1/status/walreplay") => json_answer(
                        StatusCode::OK,
                        &json!({ "status": "success", "data": progress(replaying.state()) }),
                    ),
                    _ => wait(opened, &replaying, patience, request).await,
                }
            }
        })
    }

    /// Opens the store; from now on the engine answers. Must be called inside a tokio runtime, and may take as long as the log is
    /// long.
    pub fn open(self) -> Result<Arc<Engine>, OpenError> {
        let opened = self.opened.clone();
        let engine = Engine::open_started(self)?;
        descriptions::keep(&engine);
        opened.send_replace(Some(engine.router()));
        Ok(engine)
    }
}

/// What `/api/v1/status/walreplay` says.
pub(crate) fn progress(ReplayState { first, last, current }: ReplayState) -> Value {
    json!({ "min": first, "max": last, "current": current })
}

/// Answers when the store is open.
async fn wait(
    mut opened: watch::Receiver<Option<Router>>,
    replaying: &Replaying,
    patience: Duration,
    request: Request,
) -> Response {
    let router = async { opened.wait_for(Option::is_some).await.ok().and_then(|router| router.clone()) };
    // None if it takes too long, or if it failed and the process is about to end.
    match tokio::time::timeout(patience, router).await.ok().flatten() {
        Some(router) => answer(router, request).await,
        None if request.uri().path().contains("/api/v1/") => {
            let ReplayState { last, current, .. } = replaying.state();
            let error = format!("the log is still being read: segment {current} of {last}");
            let body = json!({ "status": "error", "errorType": "unavailable", "error": error });
            json_answer(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
        None => plain(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
    }
}

fn json_answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn answer(router: Router, request: Request) -> Response {
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

#[cfg(test)]
mod tests;
