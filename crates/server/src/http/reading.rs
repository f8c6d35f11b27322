//! Reading the store for a request: in its turn among queries, on a thread for what takes time, and no longer than somebody waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use relatum_model::storage::Cancel;
use thiserror::Error;

use super::envelope::{ApiError, ErrorKind};
use crate::Engine;
use crate::everywhere::Everywhere;
use crate::queries::{Patience, Running, WaitedTooLong};
use crate::quick::{MOMENT, NotQuick, Question};

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
    /// Says when nobody waits for it any more; in a try, when the moment is over.
    pub(super) cancel: Cancel,
    /// How long it took until it was its turn.
    pub(super) waited: Duration,
    /// What is left for it; `None` for any time.
    pub(super) left: Option<Duration>,
    /// Whether this is only a try, of which nobody hears if it is cancelled.
    pub(super) is_try: bool,
}

impl Begun {
    /// What to read from: in a try, only what is at hand.
    pub(super) fn everywhere(&self, engine: &Engine) -> Everywhere {
        if self.is_try { engine.at_hand() } else { engine.everywhere() }
    }
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
    on_a_thread(patience, running, read).await
}

/// As [`reading_within`], but if the `question` was quick the last time, `read` is tried on this thread first.
pub(super) async fn reading_quickly<R: Send + 'static>(
    engine: &Arc<Engine>,
    patience: Patience,
    question: Question,
    read: impl Fn(&Begun) -> Result<R, NotQuick> + Send + 'static,
) -> Result<R, Unread> {
    let running = engine.queries().turn(patience).await?;
    if let Some(found) = try_here(engine, patience, &running, question, &read)? {
        return Ok(found);
    }
    let asked = Arc::clone(engine);
    let measured = move |begun: Begun| {
        let from = Instant::now();
        let found = read(&begun);
        asked.quick().took(question, from.elapsed());
        found
    };
    on_a_thread(patience, running, measured).await?.map_err(|NotQuick| Unread::Ended)
}

/// What `read` gives if it is likely to be quick, and is.
fn try_here<R>(
    engine: &Engine,
    patience: Patience,
    running: &Running,
    question: Question,
    read: &impl Fn(&Begun) -> Result<R, NotQuick>,
) -> Result<Option<R>, Unread> {
    // Other stores and the file of a log may let it wait.
    if !engine.others().is_empty() || engine.query_log().is_open() {
        return Ok(None);
    }
    let Some(_here) = engine.quick().here(question) else { return Ok(None) };
    let left = patience.left()?;
    let begun = Begun { cancel: Cancel::after(MOMENT), waited: running.waited, left, is_try: true };
    let from = Instant::now();
    // On a thread of its own a panic would be kept from the connection, too.
    let found = catch_unwind(AssertUnwindSafe(|| read(&begun))).map_err(|_| Unread::Ended)?;
    engine.quick().tried(question, from.elapsed(), found.is_ok());
    Ok(found.ok())
}

async fn on_a_thread<R: Send + 'static>(
    patience: Patience,
    running: Running,
    read: impl FnOnce(Begun) -> R + Send + 'static,
) -> Result<R, Unread> {
    let cancel = Cancel::new();
    let _guard = CancelOnDrop(cancel.clone());
    let work = move || {
        let left = patience.left()?;
        Ok(read(Begun { cancel, waited: running.waited, left, is_try: false }))
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::thread::{self, ThreadId};

    use super::*;
    use crate::flags::Flags;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_quick_is_tried_where_it_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(Flags { data_dir: dir.path().to_owned(), ..Flags::default() }).unwrap();
        let question = engine.quick().question("up");
        // For each time it was read: on which thread, and whether it was a try.
        let reads: Arc<Mutex<Vec<(ThreadId, bool)>>> = Arc::default();
        let ask = async |read: fn(&Begun) -> Result<u32, NotQuick>| {
            let written = Arc::clone(&reads);
            let found = reading_quickly(&engine, Patience::new(Duration::ZERO, None), question, move |begun| {
                written.lock().unwrap().push((thread::current().id(), begun.is_try));
                read(begun)
            });
            let found = found.await;
            let tries: Vec<bool> = reads
                .lock()
                .unwrap()
                .drain(..)
                .inspect(|(id, is_try)| assert_eq!(*id == thread::current().id(), *is_try))
                .map(|(_, is_try)| is_try)
                .collect();
            (found.map_err(|error| error.to_string()), tries)
        };
        let known_as = |time: Duration| engine.quick().took(question, time);
        assert_eq!(ask(|_| Ok(1)).await, (Ok(1), vec![false]));
        known_as(Duration::ZERO);
        assert_eq!(ask(|_| Ok(2)).await, (Ok(2), vec![true]));
        known_as(Duration::ZERO);
        let until_over = |begun: &Begun| {
            if !begun.is_try {
                return Ok(3);
            }
            while !begun.cancel.is_cancelled() {}
            Err(NotQuick)
        };
        assert_eq!(ask(until_over).await, (Ok(3), vec![true, false]));
        known_as(Duration::ZERO);
        let ended = Err("the reading ended unexpectedly".to_owned());
        assert_eq!(ask(|_| panic!("a bug")).await, (ended.clone(), vec![true]));
        known_as(Duration::ZERO);
        assert_eq!(ask(|_| Ok(4)).await, (Ok(4), vec![true]));
        // Nobody is cancelled who was not tried, so this is a bug.
        known_as(Duration::MAX);
        assert_eq!(ask(|_| Err(NotQuick)).await, (ended, vec![false]));
        engine.close().await;
    }
}
