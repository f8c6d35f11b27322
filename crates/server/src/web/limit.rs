//! How many requests are served: a bucket of tokens that fills by one each interval, for all clients together and for each of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use relatum_config::web::RateLimit;

/// How many clients have a bucket of their own. Those that come on top share one.
pub(super) const CLIENTS_MAX: usize = 10_000;

/// How often they are looked through, which takes as long as there are many.
const SWEPT_FOR: Duration = Duration::from_secs(1);

/// The bucket of all clients together; it starts full.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    limit: RateLimit,
    bucket: Mutex<Bucket>,
}

impl RateLimiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        RateLimiter { limit, bucket: Mutex::new(Bucket::full(limit, Instant::now())) }
    }

    /// Takes a token; if there is none, tells when there will be one.
    pub(crate) fn take(&self, now: Instant) -> Result<(), Duration> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(self.limit, now)
    }
}

/// A bucket for each client.
#[derive(Debug)]
pub(crate) struct ClientLimiter {
    limit: RateLimit,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    by_client: HashMap<IpAddr, Bucket>,
    swept_at: Option<Instant>,
    others: Bucket,
}

impl ClientLimiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        let others = Bucket::full(limit, Instant::now());
        ClientLimiter { limit, buckets: Mutex::new(Buckets { by_client: HashMap::new(), swept_at: None, others }) }
    }

    /// Takes a token of the client at `address`; if there is none, tells when there will be one.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let client = client(address);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |buckets: &Buckets| !buckets.by_client.contains_key(&client);
        let is_swept = |at: Instant| now.saturating_duration_since(at) < SWEPT_FOR;
        if buckets.by_client.len() >= CLIENTS_MAX && is_new(&buckets) && !buckets.swept_at.is_some_and(is_swept) {
            buckets.swept_at = Some(now);
            // A bucket that is full again says no more than none.
            buckets.by_client.retain(|_, bucket| !bucket.is_full(self.limit, now));
        }
        if buckets.by_client.len() >= CLIENTS_MAX && is_new(&buckets) {
            return buckets.others.take(self.limit, now);
        }
        buckets.by_client.entry(client).or_insert_with(|| Bucket::full(self.limit, now)).take(self.limit, now)
    }

    /// How many clients have a bucket of their own.
    pub(crate) fn n_clients(&self) -> usize {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).by_client.len()
    }
}

/// Whom an address stands for: in IPv6 one client has a network of 2^64 addresses.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    fn full(limit: RateLimit, now: Instant) -> Self {
        Bucket { tokens: Bucket::size(limit), filled_at: now }
    }

    fn size(limit: RateLimit) -> f64 {
        limit.burst.max(0) as f64
    }

    fn is_full(&self, limit: RateLimit, now: Instant) -> bool {
        self.tokens + self.gained(limit, now) >= Bucket::size(limit)
    }

    fn gained(&self, limit: RateLimit, now: Instant) -> f64 {
        now.saturating_duration_since(self.filled_at).as_secs_f64() / limit.interval.as_secs_f64()
    }

    fn take(&mut self, limit: RateLimit, now: Instant) -> Result<(), Duration> {
        self.tokens = (self.tokens + self.gained(limit, now)).min(Bucket::size(limit));
        self.filled_at = now.max(self.filled_at);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait = limit.interval.as_secs_f64() * (1.0 - self.tokens);
        Err(Duration::try_from_secs_f64(wait).unwrap_or(limit.interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_each_interval() {
        let limiter = RateLimiter::new(RateLimit { burst: 2, interval: Duration::from_secs(10) });
        let start = Instant::now();
        // After how many seconds a request comes, and how many later it should have come.
        for (after_secs, expected) in
            [(0, None), (0, None), (0, Some(10)), (9, Some(1)), (20, None), (21, None), (22, Some(8)), (90, None)]
        {
            let told = limiter.take(start + Duration::from_secs(after_secs)).err();
            assert_eq!(told.map(|wait| wait.as_secs_f64().round() as u64), expected, "after {after_secs} s");
        }
        // Without a burst nothing ever passes, as in Prometheus.
        for burst in [0, i64::MIN] {
            let closed = RateLimiter::new(RateLimit { burst, interval: Duration::from_secs(u64::MAX) });
            assert!(closed.take(start + Duration::from_secs(60)).is_err());
        }
    }

    #[test]
    fn each_client_has_its_own() {
        let limiter = ClientLimiter::new(RateLimit { burst: 2, interval: Duration::from_millis(500) });
        let start = Instant::now();
        for (address, after_secs, expected) in [
            ("10.0.0.1", 0, true),
            ("10.0.0.1", 0, true),
            ("10.0.0.1", 0, false),
            // The same, as a listener for both versions of IP sees it.
            ("::ffff:10.0.0.1", 0, false),
            ("10.0.0.2", 0, true),
            ("fd00::1", 0, true),
            ("fd00::2", 0, true),
            ("fd00::3", 0, false),
            ("fd00:0:0:1::3", 0, true),
            ("10.0.0.1", 1, true),
        ] {
            let taken = limiter.take(address.parse().unwrap(), start + Duration::from_secs(after_secs));
            assert_eq!(taken.is_ok(), expected, "{address} after {after_secs} s");
        }
        // However many come at once, only so many are remembered; the rest shares two requests a second.
        let later = start + Duration::from_secs(60);
        let n_taken = (0..50_000u32).filter(|n| limiter.take(IpAddr::from(n.to_be_bytes()), later).is_ok()).count();
        assert_eq!((limiter.n_clients(), n_taken), (CLIENTS_MAX, CLIENTS_MAX + 2));
        assert!(limiter.take([9, 9, 9, 9].into(), later + Duration::from_secs(60)).is_ok());
        assert_eq!(limiter.n_clients(), 1);
    }
}
