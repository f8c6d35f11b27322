//! What comes in over HTTP, by path: how often, how it ended, how long it took, and how much of it there may be at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use relatum_model::Labels;
use relatum_model::exposition::{MetricFamily, MetricKind};

use crate::Engine;
use crate::web::later;

/// Prometheus' bounds, in seconds.
const BOUNDS: [f64; 9] = [0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0];

/// Requests of one path.
#[derive(Debug, Default, Clone)]
struct Seen {
    n_running: usize,
    by_code: BTreeMap<u16, u64>,
    // Not cumulated; the last is what took longer than all bounds.
    buckets: [u64; BOUNDS.len() + 1],
    seconds: f64,
    /// The newest durations, of which quantiles are told.
    newest: Vec<f64>,
    next: usize,
}

/// A client that found too many requests of a kind running may try again then.
const COME_AGAIN_AFTER: Duration = Duration::from_secs(1);

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
        self.seen(path, |seen| {
            *seen.by_code.entry(code).or_default() += 1;
            seen.buckets[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
            seen.seconds += seconds;
            if seen.newest.len() < NEWEST_MAX {
                seen.newest.push(seconds);
            } else {
                seen.newest[seen.next] = seconds;
            }
            seen.next = (seen.next + 1) % NEWEST_MAX;
        });
    }

    /// Looks at what was seen of `path`, which may be nothing.
    fn seen<T>(&self, path: &str, look: impl FnOnce(&mut Seen) -> T) -> T {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        match paths.get_mut(path) {
            Some(seen) => look(seen),
            None => look(paths.entry(path.to_owned()).or_default()),
        }
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
        let mut running =
            MetricFamily::new(MetricKind::Gauge, "relatum_http_requests_running", "Requests that are being answered.");
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
            running.push(labels.clone(), seen.n_running as f64);
            durations.push_histogram(&labels, &buckets, seen.seconds, seen.by_code.values().sum());
        }
        vec![requests, durations, running]
    }
}

/// Counts one request, unless too many of its path are running.
pub(crate) async fn counted(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    // As Prometheus writes what changes in a path.
    let matched = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let path = matched.replace("{name}", ":name");
    let response = match Turn::of(engine.traffic(), &path, engine.live().flags.endpoint_requests_max) {
        Some(_turn) => next.run(request).await,
        None => {
            later(StatusCode::SERVICE_UNAVAILABLE, "too many requests of this kind are running\n", COME_AGAIN_AFTER)
        }
    };
    engine.traffic().count(&path, response.status().as_u16(), begun.elapsed());
    response
}

/// A request that is being answered, until this is dropped: also when its client goes away.
struct Turn<'e> {
    traffic: &'e Traffic,
    path: &'e str,
}

impl<'e> Turn<'e> {
    /// `None` if `max` of the path are running. Zero is no limit.
    fn of(traffic: &'e Traffic, path: &'e str, max: usize) -> Option<Turn<'e>> {
        traffic.seen(path, |seen| {
            let has_room = max == 0 || seen.n_running < max;
            seen.n_running += usize::from(has_room);
            has_room.then(|| Turn { traffic, path })
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.traffic.seen(self.path, |seen| seen.n_running -= 1);
    }
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

    #[test]
    fn only_so_many_at_once() {
        let traffic = Traffic::default();
        let running = |path: &str| traffic.seen(path, |seen| seen.n_running);
        let first = Turn::of(&traffic, "/x", 2);
        let second = Turn::of(&traffic, "/x", 2);
        assert!(first.is_some() && second.is_some() && Turn::of(&traffic, "/x", 2).is_none());
        // Another path has its own, and zero is no limit.
        assert!(Turn::of(&traffic, "/y", 2).is_some() && Turn::of(&traffic, "/x", 0).is_some());
        assert_eq!((running("/x"), running("/y")), (2, 0));
        drop(first);
        assert!(Turn::of(&traffic, "/x", 2).is_some());
        drop(second);
        assert_eq!(running("/x"), 0);
    }
}
