//! What targets say of their metrics goes into the store now and then, so that it is known after a restart and of targets that are
//! gone.

use std::sync::Arc;
use std::time::Duration;

use crate::Engine;

/// Descriptions change with the software of a target, so this is for those that are new: what is sent on to others says what it is.
const INTERVAL: Duration = Duration::from_secs(15);

/// Does so as long as the engine is there.
pub(crate) fn keep(engine: &Arc<Engine>) {
    let engine = Arc::downgrade(engine);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(engine) = engine.upgrade() else { return };
            // One that is being scraped is waited for.
            let remembered = tokio::task::spawn_blocking(move || engine.remember_descriptions());
            if remembered.await.is_err() {
                return;
            }
        }
    });
}

impl Engine {
    /// Tells the store what targets said since the last time.
    pub(crate) fn remember_descriptions(&self) {
        let store = self.store();
        self.scrape().take_described(&mut |metric, kind, help, unit| store.describe(metric, kind, help, unit));
    }
}
