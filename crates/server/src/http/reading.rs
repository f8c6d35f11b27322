//! Reading the store for a request: in its turn among queries, on a thread for what blocks, and no longer than somebody waits.

use std::time::Duration;

use relatum_model::storage::Cancel;
use thiserror::Error;

use super::envelope::{ApiError, ErrorKind};
use crate::Engine;
use crate::queries::{Patience, WaitedTooLong};

/// Why there is nothing.
#[derive(Debug, Error)]
pub(super) enum Unread {
    /// It was not its turn in time.
    #[error(transparent)]
    Late(#[from] WaitedTooLong),
    /// Our bug, of which the log has more.
    #[error("the reading ended unexpectedly")]
    Ended,
}

impl From<Unread> for ApiError {
    fn from(error: Unread) -> Self {
        let kind = match error {
            Unread::Late(_) => ErrorKind::Timeout,
            Unread::Ended => ErrorKind::Internal,
        };
        ApiError::new(kind, error.to_string())
    }
}

/// What whoever reads should know of its turn.
#[derive(Debug)]
pub(super) struct Begun {
    /// Says when nobody waits for it any more.
    pub(super) cancel: Cancel,
    /// How long it took until it was its turn.
    pub(super) waited: Duration,
    /// What is left for it; `None` for any time.
    pub(super) left: Option<Duration>,
}

/// What `read` gives. When the client goes away this future is dropped, and `read` is asked to stop.
pub(super) async fn reading<R: Send + 'static>(
    engine: &Engine,
    read: impl FnOnce(&Cancel) -> R + Send + 'static,
) -> Result<R, Unread> {
    let patience = Patience::new(engine.live().flags.timeout, None);
    reading_within(engine, patience, move |begun| read(&begun.cancel)).await
}

/// As [`reading`], for whoever has a patience of its own.
pub(super) async fn reading_within<R: Send + 'static>(
    engine: &Engine,
    patience: Patience,
    read: impl FnOnce(Begun) -> R + Send + 'static,
) -> Result<R, Unread> {
    let running = engine.queries().turn(patience).await?;
    let cancel = Cancel::new();
    let _guard = CancelOnDrop(cancel.clone());
    let work = move || {
        let left = patience.left()?;
        Ok(read(Begun { cancel, waited: running.waited, left }))
    };
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Unread::Ended))
}

/// Asks the work behind a request to stop when the request is gone.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
