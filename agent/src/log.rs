//! The newest log lines, kept in memory for `relatum debug-log`.
//!
//! The ring is a `tracing` layer; whoever sets up logging puts it beside the layer that prints. Lines are kept at INFO and
//! above unless the option `log_level` says otherwise: [`LogRing::set_level`] is that switch, and [`LogRing::allows`] lets the
//! printing layer follow it.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::control::{LogLevel, LogLine};
use crate::metrics::Fill;

/// How many lines are kept.
const LINES_MAX: usize = 4096;

/// A longer line is cut: one message must not push out all others.
const LINE_BYTES_MAX: usize = 8192;

/// How far a reader that follows may fall behind before it misses lines.
const BEHIND_MAX: usize = 1024;

/// The newest log lines. Clones share them.
#[derive(Clone)]
pub struct LogRing(Arc<Shared>);

struct Shared {
    lines: Mutex<VecDeque<LogLine>>,
    new: broadcast::Sender<LogLine>,
    // 1 ERROR … 5 TRACE.
    level: AtomicU8,
}

impl Default for LogRing {
    fn default() -> Self {
        let (new, _) = broadcast::channel(BEHIND_MAX);
        LogRing(Arc::new(Shared { lines: Mutex::default(), new, level: AtomicU8::new(rank(Level::INFO)) }))
    }
}

impl fmt::Debug for LogRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogRing")
    }
}

impl LogRing {
    /// The layer that fills the ring.
    pub fn layer<S: Subscriber>(&self) -> impl Layer<S> + use<S> {
        RingLayer(self.clone())
    }

    /// Keeps lines of `level` and worse from now on.
    pub fn set_level(&self, level: Level) {
        self.0.level.store(rank(level), Ordering::Relaxed);
    }

    /// Whether a line with this metadata is to be shown at the present level.
    ///
    /// Other crates' chatter counts only from WARN on: an operator who asks for `debug` means ours.
    pub fn allows(&self, metadata: &Metadata<'_>) -> bool {
        let limit = self.0.level.load(Ordering::Relaxed);
        // A certificate that nobody trusts is an error of its target, which shows it; here it would come with every scrape.
        if metadata.target().starts_with("rustls_platform_verifier") {
            return false;
        }
        let ours = metadata.target().starts_with("relatum");
        rank(*metadata.level()) <= if ours { limit } else { limit.min(rank(Level::WARN)) }
    }

    /// How many lines are kept now, and how many may be.
    pub(crate) fn fill(&self) -> Fill {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        Fill { length: lines.len(), max: LINES_MAX }
    }

    /// The newest `count` lines that are as bad as `level`, oldest first, and a receiver of every later line. Nothing falls in
    /// between.
    pub fn follow(&self, count: usize, level: LogLevel) -> (Vec<LogLine>, broadcast::Receiver<LogLine>) {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.0.new.subscribe();
        let mut newest: Vec<LogLine> =
            lines.iter().rev().filter(|line| level.includes(line)).take(count).cloned().collect();
        newest.reverse();
        (newest, receiver)
    }

    fn push(&self, line: LogLine) {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line.clone());
        // An error says that nobody follows.
        let _ = self.0.new.send(line);
    }
}

fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

struct RingLayer(LogRing);

impl<S: Subscriber> Layer<S> for RingLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if !self.0.allows(metadata) {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let mut message = text.message + &text.fields;
        if message.len() > LINE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(LINE_BYTES_MAX));
            message.push('…');
        }
        self.0.push(LogLine {
            at_ms: crate::now_ms(),
            level: metadata.level().to_string(),
            target: metadata.target().to_owned(),
            message,
        });
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a String cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing::{debug, info, subscriber};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn lines_are_kept_and_followed() {
        let ring = LogRing::default();
        let logger = tracing_subscriber::registry().with(ring.layer());
        subscriber::with_default(logger, || {
            debug!("below the level");
            info!(files = 3, path = %"a b", "plan applied");
            let (before, mut after) = ring.follow(10, LogLevel::Trace);
            assert_eq!(before.len(), 1);
            assert_eq!(
                (before[0].level.as_str(), before[0].message.as_str()),
                ("INFO", "plan applied files=3 path=a b")
            );
            ring.set_level(Level::DEBUG);
            debug!("now above");
            assert_eq!(after.try_recv().map(|line| line.message), Ok("now above".to_owned()));
        });
    }

    #[test]
    fn lines_of_a_level() {
        let ring = LogRing::default();
        for (at_ms, level) in ["ERROR", "INFO", "WARN", "INFO", "ERROR", "strange"].into_iter().enumerate() {
            let at_ms = at_ms as i64;
            ring.push(LogLine { at_ms, level: level.to_owned(), target: String::new(), message: String::new() });
        }
        let newest = |count: usize, level: LogLevel| -> Vec<i64> {
            ring.follow(count, level).0.iter().map(|line| line.at_ms).collect()
        };
        assert_eq!(newest(2, LogLevel::Warn), [2, 4]);
        assert_eq!(newest(9, LogLevel::Error), [0, 4]);
        assert_eq!(newest(9, LogLevel::Info), [0, 1, 2, 3, 4]);
        assert_eq!(newest(9, LogLevel::Trace), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn ring_is_bounded() {
        let ring = LogRing::default();
        for at_ms in 0..LINES_MAX as i64 + 5 {
            ring.push(LogLine { at_ms, level: String::new(), target: String::new(), message: String::new() });
        }
        let (lines, _) = ring.follow(usize::MAX, LogLevel::Trace);
        assert_eq!((lines.len(), lines[0].at_ms), (LINES_MAX, 5));
    }
}
