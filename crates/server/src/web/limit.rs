//! How many requests are served: a bucket of tokens that fills by one each interval.

use std::sync::Mutex;
use std::time::Instant;

use relatum_config::web::RateLimit;

/// The bucket; it starts full.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    limit: RateLimit,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl RateLimiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        RateLimiter { limit, bucket: Mutex::new(Bucket { tokens: limit.burst as f64, filled_at: Instant::now() }) }
    }

    /// Takes a token; `false` if there is none.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().expect("nothing panics while it counts");
        let gained = now.saturating_duration_since(bucket.filled_at).as_secs_f64() / self.limit.interval.as_secs_f64();
        bucket.tokens = (bucket.tokens + gained).min(self.limit.burst as f64);
        bucket.filled_at = now.max(bucket.filled_at);
        let has_one = bucket.tokens >= 1.0;
        if has_one {
            bucket.tokens -= 1.0;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_and_then_one_each_interval() {
        let limiter = RateLimiter::new(RateLimit { burst: 2, interval: Duration::from_secs(10) });
        let start = Instant::now();
        for (after_secs, expected) in
            [(0, true), (0, true), (0, false), (9, false), (20, true), (21, true), (22, false), (90, true)]
        {
            assert_eq!(limiter.allows(start + Duration::from_secs(after_secs)), expected, "after {after_secs} s");
        }
        // Without a burst nothing ever passes, as in Prometheus.
        let closed = RateLimiter::new(RateLimit { burst: 0, interval: Duration::from_secs(1) });
        assert!(!closed.allows(start + Duration::from_secs(60)));
    }
}
