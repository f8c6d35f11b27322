//! What comes in over HTTP, by path: how often, how it ended and how long it took. One line a request goes to the log at DEBUG.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::connect_info::ConnectInfo;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use relatum_model::Labels;
use relatum_model::exposition::{MetricFamily, MetricKind};
use tracing::debug;

use crate::Engine;

/// The header by which a request can be found again in logs: the client's, or else ours.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer one is no name that anybody would look for.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Prometheus' bounds, in seconds.
const BOUNDS: [f64; 9] = [0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0];

/// Requests of one path.
#[derive(Debug, Default, Clone)]
struct Seen {
    by_code: BTreeMap<u16, u64>,
    // Not cumulated; the last is what took longer than all bounds.
    buckets: [u64; BOUNDS.len() + 1],
    seconds: f64,
    /// The newest durations, of which quantiles are told.
    newest: Vec<f64>,
    next: usize,
}

/// How many durations of each path are kept for quantiles.
const NEWEST_MAX: usize = 512;

/// How long requests of one path took lately.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Latency {
    /// How many requests there were since the start.
    pub(crate) count: u64,
    /// Half of the newest took no longer, in seconds.
    pub(crate) median: f64,
    /// 99 of 100 took no longer.
    pub(crate) p99: f64,
}

/// Counts requests. The paths are those of the router, so there are only so many.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    paths: Mutex<BTreeMap<String, Seen>>,
}

impl Traffic {
    fn count(&self, path: &str, code: u16, took: Duration) {
        let seconds = took.as_secs_f64();
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if !paths.contains_key(path) {
            paths.insert(path.to_owned(), Seen::default());
        }
        let Some(seen) = paths.get_mut(path) else { return };
        *seen.by_code.entry(code).or_default() += 1;
        seen.buckets[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        seen.seconds += seconds;
        if seen.newest.len() < NEWEST_MAX {
            seen.newest.push(seconds);
        } else {
            seen.newest[seen.next] = seconds;
        }
        seen.next = (seen.next + 1) % NEWEST_MAX;
    }

    /// How long requests of `path` took; `None` if there were none.
    pub(crate) fn latency(&self, path: &str) -> Option<Latency> {
        let mut seen = self.paths.lock().unwrap_or_else(PoisonError::into_inner).get(path)?.clone();
        seen.newest.sort_by(f64::total_cmp);
        let at = |share: f64| seen.newest[((seen.newest.len() - 1) as f64 * share) as usize];
        Some(Latency { count: seen.by_code.values().sum(), median: at(0.5), p99: at(0.99) })
    }

    /// As families for `/metrics`, under Prometheus' names.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        let mut requests =
            MetricFamily::new(MetricKind::Counter, "prometheus_http_requests_total", "Counter of HTTP requests.");
        let mut durations = MetricFamily::new(
            MetricKind::Histogram,
            "prometheus_http_request_duration_seconds",
            "Histogram of latencies for HTTP requests.",
        );
        for (path, seen) in &*self.paths.lock().unwrap_or_else(PoisonError::into_inner) {
            for (code, n) in &seen.by_code {
                let labels = Labels::from_pairs([("code", code.to_string()), ("handler", path.clone())]);
                requests.push(labels, *n as f64);
            }
            let (mut up_to, mut buckets) = (0, Vec::with_capacity(BOUNDS.len()));
            for (bound, n) in BOUNDS.iter().zip(seen.buckets) {
                up_to += n;
                buckets.push((*bound, up_to));
            }
            let labels = Labels::from_pairs([("handler", path.as_str())]);
            durations.push_histogram(&labels, &buckets, seen.seconds, seen.by_code.values().sum());
        }
        vec![requests, durations]
    }
}

/// Counts one request, and gives its answer the request's id.
pub(crate) async fn counted(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    // As Prometheus writes what changes in a path.
    let matched = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let path = matched.replace("{name}", ":name");
    let id = request.headers().get(&REQUEST_ID).filter(|id| id.len() <= REQUEST_ID_BYTES_MAX).cloned();
    let id = id.or_else(|| HeaderValue::try_from(fresh_id()).ok());
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
    let method = request.method().clone();
    let mut response = next.run(request).await;
    let (code, took) = (response.status().as_u16(), begun.elapsed());
    engine.traffic().count(&path, code, took);
    debug!(%method, path, code, seconds = took.as_secs_f64(), ?peer, ?id, "request");
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Different for every request of this process, and most likely for those of others.
fn fresh_id() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    let n = REQUESTS.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{n:x}", crate::clock::now_ms())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_their_quantiles() {
        let traffic = Traffic::default();
        assert_eq!(traffic.latency("/x"), None);
        for n in 1..=100 {
            traffic.count("/x", 200, Duration::from_millis(n * 10));
        }
        traffic.count("/x", 400, Duration::from_secs(500));
        let latency = traffic.latency("/x").unwrap();
        assert_eq!((latency.count, latency.median, latency.p99), (101, 0.51, 1.0));
        let families = traffic.metrics();
        let values = |family: &MetricFamily| family.samples.iter().map(|sample| sample.value).collect::<Vec<_>>();
        assert_eq!(values(&families[0]), [100.0, 1.0]);
        assert_eq!(values(&families[1])[..10], [10.0, 20.0, 40.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 101.0]);
    }
}
