//! The time before the engine runs a configuration: listening already, while the store's log is read.
//!
//! Until then `/-/ready` says no and `/api/v1/status/walreplay` how far it is. Everything else waits for the first commit, as long as a
//! query may take, and is answered then. An answer from the part of the log that was read so far would be a wrong one, and so would
//! what an engine without its configuration does: refuse late samples, send none of them on. Rules, dashboards and senders could not
//! tell.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relatum_tsdb::{ReplayState, Replaying};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use crate::descriptions;
use crate::engine::OpenError;
use crate::files::{DiskFiles, Loader};
use crate::flags::Flags;
use crate::http::plain;
use crate::listen::Front;
use crate::web::Web;
use crate::{Engine, ReloadError};

/// When whoever was not answered may come again: a log of average length is read by then.
const COME_AGAIN_SECONDS: u16 = 5;

/// An engine whose store is not open yet.
pub struct Start {
    pub(crate) flags: Flags,
    pub(crate) loader: Loader,
    pub(crate) web: Arc<Web>,
    pub(crate) replaying: Arc<Replaying>,
    configured: watch::Sender<Option<Router>>,
    /// Turns to wait. Who waits holds a connection, and some are to be left for those who ask how the start goes.
    waiting: Arc<Semaphore>,
}

impl Start {
    /// The beginning of an engine with these flags. Nothing is touched.
    pub fn new(flags: Flags) -> Self {
        Start {
            waiting: Arc::new(Semaphore::new((flags.connections_max / 2).clamp(1, Semaphore::MAX_PERMITS))),
            flags,
            loader: Loader::default(),
            web: Arc::default(),
            replaying: Arc::default(),
            configured: watch::Sender::default(),
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

    /// The HTTP surface, which is the engine's as soon as that runs a configuration.
    pub fn router(&self) -> Router {
        let early = Arc::new(Early {
            configured: self.configured.subscribe(),
            waiting: Arc::clone(&self.waiting),
            replaying: Arc::clone(&self.replaying),
            web: Arc::clone(&self.web),
            prefix: self.flags.prefix().to_owned(),
            patience: self.flags.timeout,
        });
        Router::new().fallback(move |request: Request| {
            let early = Arc::clone(&early);
            async move { early.answer(request).await }
        })
    }

    /// Done when the engine runs a configuration, or never will; says which.
    pub fn configured(&self) -> impl Future<Output = bool> + Send + use<> {
        let mut configured = self.configured.subscribe();
        async move { configured.wait_for(Option::is_some).await.is_ok() }
    }

    /// Opens the store; from its first commit on the engine answers. Must be called inside a tokio runtime, and may take as long as
    /// the log is long.
    pub fn open(self) -> Result<Arc<Engine>, OpenError> {
        let configured = self.configured.clone();
        let engine = Engine::open_started(self)?;
        descriptions::keep(&engine);
        // Weak, as the engine holds this until it is done.
        let weak = Arc::downgrade(&engine);
        engine.when_configured(move || {
            if let Some(engine) = weak.upgrade() {
                configured.send_replace(Some(engine.router()));
            }
        });
        Ok(engine)
    }
}

/// What answers before the engine does.
struct Early {
    configured: watch::Receiver<Option<Router>>,
    waiting: Arc<Semaphore>,
    replaying: Arc<Replaying>,
    web: Arc<Web>,
    prefix: String,
    patience: Duration,
}

impl Early {
    async fn answer(&self, request: Request) -> Response {
        let of_engine = self.configured.borrow().clone();
        if let Some(router) = of_engine {
            return answer(router, request).await;
        }
        match request.uri().path().strip_prefix(&self.prefix) {
            Some("/-/healthy") => "Prometheus Server is Healthy.\n".into_response(),
            Some("/-/ready") => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable").into_response(),
            Some("/api/v1/status/walreplay") => {
                let data = progress(self.replaying.state());
                json_answer(StatusCode::OK, &json!({ "status": "success", "data": data }))
            }
            _ => match self.wait().await {
                Some(router) => answer(router, request).await,
                None => self.refuse(&request),
            },
        }
    }

    /// Waits for the engine. `None` if too many wait already, if it takes too long, or if the process is about to end.
    async fn wait(&self) -> Option<Router> {
        let _turn = self.waiting.try_acquire().ok()?;
        let mut configured = self.configured.clone();
        let router = async { configured.wait_for(Option::is_some).await.ok().and_then(|router| router.clone()) };
        tokio::select! {
            router = tokio::time::timeout(self.patience, router) => router.ok().flatten(),
            () = self.web.draining().cancelled() => None,
        }
    }

    fn refuse(&self, request: &Request) -> Response {
        let mut refused = if request.uri().path().contains("/api/v1/") {
            let ReplayState { last, current, .. } = self.replaying.state();
            let error = format!("the server is still starting: segment {current} of {last} of its log is read");
            let body = json!({ "status": "error", "errorType": "unavailable", "error": error });
            json_answer(StatusCode::SERVICE_UNAVAILABLE, &body)
        } else {
            plain(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
        };
        refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(COME_AGAIN_SECONDS));
        refused
    }
}

/// What `/api/v1/status/walreplay` says.
pub(crate) fn progress(ReplayState { first, last, current }: ReplayState) -> Value {
    json!({ "min": first, "max": last, "current": current })
}

fn json_answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn answer(router: Router, request: Request) -> Response {
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

#[cfg(test)]
mod tests;
