//! Reading the store for a request: in its turn among queries, on a thread for what blocks, and no longer than somebody waits.

use relatum_model::storage::Cancel;

use crate::Engine;

/// What `read` gives; `None` if it ended unexpectedly. When the client goes away this future is dropped, and `read` is asked to stop.
pub(super) async fn reading<R: Send + 'static>(
    engine: &Engine,
    read: impl FnOnce(&Cancel) -> R + Send + 'static,
) -> Option<R> {
    let permit = engine.query_slots().await;
    let cancel = Cancel::new();
    let _guard = CancelOnDrop(cancel.clone());
    let work = move || {
        let _permit = permit;
        read(&cancel)
    };
    tokio::task::spawn_blocking(work).await.ok()
}

/// Asks the work behind a request to stop when the request is gone.
pub(super) struct CancelOnDrop(pub(super) Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
