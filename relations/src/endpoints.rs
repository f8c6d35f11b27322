//! The endpoints of the built-in application `prometheus`.

use std::fmt;

/// The name of the built-in application.
pub const APPLICATION: &str = "prometheus";

/// Which side of an interface an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Uses what the other side provides.
    Requires,
    /// Provides what the other side uses.
    Provides,
    /// Both sides are units of one application.
    Peer,
}

impl Role {
    /// The role an endpoint on the other side must have.
    pub fn counterpart(self) -> Role {
        match self {
            Role::Requires => Role::Provides,
            Role::Provides => Role::Requires,
            Role::Peer => Role::Peer,
        }
    }
}

/// Juju's words: `requirer`, `provider`, `peer`.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Requires => "requirer",
            Role::Provides => "provider",
            Role::Peer => "peer",
        })
    }
}

/// A named place where relations can be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The name, as in the `prometheus-k8s` charm where that has it.
    pub name: &'static str,
    /// Which side of the interface it is.
    pub role: Role,
    /// The interface it speaks.
    pub interface: &'static str,
    /// How many relations it takes; `None` is any number.
    pub limit: Option<u32>,
}

const fn endpoint(name: &'static str, role: Role, interface: &'static str, limit: Option<u32>) -> Endpoint {
    Endpoint { name, role, interface, limit }
}

/// All endpoints of [`APPLICATION`].
pub const ENDPOINTS: &[Endpoint] = &[
    endpoint("metrics-endpoint", Role::Requires, "prometheus_scrape", None),
    endpoint("receive-remote-write", Role::Provides, "prometheus_remote_write", None),
    endpoint("send-remote-write", Role::Requires, "prometheus_remote_write", None),
    endpoint("alertmanager", Role::Requires, "alertmanager_dispatch", None),
    endpoint("ingress", Role::Requires, "ingress_per_unit", Some(1)),
    endpoint("catalogue", Role::Requires, "catalogue", Some(1)),
    endpoint("grafana-source", Role::Provides, "grafana_datasource", None),
    endpoint("grafana-dashboard", Role::Provides, "grafana_dashboard", None),
    endpoint("self-metrics-endpoint", Role::Provides, "prometheus_scrape", None),
    endpoint("prometheus-api", Role::Provides, "prometheus_api", None),
    endpoint("certificates", Role::Requires, "tls-certificates", Some(1)),
    endpoint("send-datasource", Role::Provides, "grafana_datasource_exchange", None),
    endpoint("receive-ca-cert", Role::Requires, "certificate_transfer", None),
    endpoint("charm-tracing", Role::Requires, "tracing", Some(1)),
    endpoint("workload-tracing", Role::Requires, "tracing", Some(1)),
    endpoint("logging", Role::Requires, "loki_push_api", None),
    endpoint("prometheus-peers", Role::Peer, "prometheus_peers", None),
];

/// The endpoint called `name`, if [`APPLICATION`] has it.
pub fn named(name: &str) -> Option<&'static Endpoint> {
    ENDPOINTS.iter().find(|endpoint| endpoint.name == name)
}
