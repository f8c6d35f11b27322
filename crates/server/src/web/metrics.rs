//! How full the front door is, and until when its certificate is good.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use relatum_model::exposition::MetricFamily;

use super::Web;
use super::limit::CLIENTS_MAX;

/// What listeners count.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections that are open.
    pub(crate) connections: AtomicUsize,
    /// As many may be.
    pub(crate) connections_max: AtomicUsize,
    /// Connections that never got through their handshake.
    pub(crate) handshakes_failed: AtomicU64,
    /// Requests beyond a limit of how many may come.
    pub(crate) too_many: AtomicU64,
}

impl Web {
    /// As families for `/metrics`.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        let Counts { connections, connections_max, handshakes_failed, too_many } = &self.counts;
        let gauge =
            |name, help, value: &AtomicUsize| MetricFamily::gauge(name, help, value.load(Ordering::Relaxed) as f64);
        let mut families = vec![
            gauge("relatum_http_connections", "Connections that are open.", connections),
            gauge("relatum_http_connections_max", "How many connections may be open at once.", connections_max),
            MetricFamily::counter(
                "relatum_tls_handshakes_failed_total",
                "Connections that never got through their TLS handshake.",
                handshakes_failed.load(Ordering::Relaxed) as f64,
            ),
            MetricFamily::counter(
                "relatum_http_requests_over_rate_total",
                "Requests that were answered with 429, as there were more of them than a limit allows.",
                too_many.load(Ordering::Relaxed) as f64,
            ),
        ];
        if let Some(n_clients) = self.door().n_clients() {
            let help = "Clients whose requests are counted one by one.";
            families.push(MetricFamily::gauge("relatum_http_clients", help, n_clients as f64));
            let help = "How many clients are counted one by one; those beyond share one limit.";
            families.push(MetricFamily::gauge("relatum_http_clients_max", help, CLIENTS_MAX as f64));
        }
        let rules = self.current.load();
        if let Some(not_after_ms) = rules.not_after_ms {
            let help = "Until when the certificate that is shown is valid.";
            let name = "relatum_tls_certificate_expiry_timestamp_seconds";
            families.push(MetricFamily::gauge(name, help, not_after_ms as f64 / 1000.0));
        }
        if rules.source.is_some() {
            let is_good = self.looking.lock().expect("nothing panics while it reads").is_none();
            let help = "Whether the web configuration in effect is the one on disk.";
            let name = "relatum_web_config_last_reload_successful";
            families.push(MetricFamily::gauge(name, help, f64::from(u8::from(is_good))));
        }
        families
    }
}
