//! Spans: what was done from when to when, and as a part of what.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;
use uuid::Uuid;

/// How many spans wait for a slow receiver.
const WAITING_MAX: usize = 1024;

/// Identifies a trace.
pub(crate) type TraceId = [u8; 16];
/// Identifies a span in its trace.
pub(crate) type SpanId = [u8; 8];

/// What a span is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A step inside this program.
    Internal = 1,
    /// An answer to somebody's request.
    Server = 2,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) trace: TraceId,
    pub(crate) id: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Nanoseconds since 1970.
    pub(crate) start_ns: u64,
    /// Nanoseconds since 1970.
    pub(crate) end_ns: u64,
    pub(crate) attributes: Vec<(&'static str, String)>,
    pub(crate) has_failed: bool,
}

/// A new trace.
pub(crate) fn trace_id() -> TraceId {
    Uuid::new_v4().into_bytes()
}

/// A new span.
pub(crate) fn span_id() -> SpanId {
    let [.., a, b, c, d, e, f, g, h] = Uuid::new_v4().into_bytes();
    // Never all zero, which would mean none.
    [a | 0x80, b, c, d, e, f, g, h]
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A pass that ended at `end_ns` after these steps: the whole as the root, and a span for each step.
pub(crate) fn of_pass(
    steps: &[(&'static str, Duration)],
    end_ns: u64,
    attributes: Vec<(&'static str, String)>,
    has_failed: bool,
) -> Vec<Span> {
    let nanoseconds = |took: &Duration| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let whole: u64 = steps.iter().map(|(_, took)| nanoseconds(took)).sum();
    let trace = trace_id();
    let mut start_ns = end_ns.saturating_sub(whole);
    let root = Span {
        trace,
        id: span_id(),
        parent: None,
        name: "pass".to_owned(),
        role: Role::Internal,
        start_ns,
        end_ns,
        attributes,
        has_failed,
    };
    let parent = Some(root.id);
    let mut spans = vec![root];
    for (name, took) in steps {
        let end_ns = start_ns + nanoseconds(took);
        spans.push(Span {
            trace,
            id: span_id(),
            parent,
            name: (*name).to_owned(),
            role: Role::Internal,
            start_ns,
            end_ns,
            attributes: Vec::new(),
            has_failed: false,
        });
        start_ns = end_ns;
    }
    spans
}

/// Takes spans from whoever makes them to whoever sends them, and keeps nobody waiting.
#[derive(Debug, Clone)]
pub(crate) struct SpanFeed(broadcast::Sender<Span>);

impl Default for SpanFeed {
    fn default() -> Self {
        SpanFeed(broadcast::channel(WAITING_MAX).0)
    }
}

impl SpanFeed {
    /// Whether anybody wants spans; else none need be made.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(crate) fn tell(&self, spans: impl IntoIterator<Item = Span>) {
        for span in spans {
            // An error says that nobody listens.
            let _ = self.0.send(span);
        }
    }

    /// Every span from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Span> {
        self.0.subscribe()
    }
}
