//! Addresses that a client must not connect to, whatever name leads there.
//!
//! A name is looked up when it is connected to, and what it leads to can change between two times: so the answer itself is checked,
//! and the connection goes to an address that was. What is written as an address is never looked up, and checked by itself.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use relatum_config::Network;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

/// A connection that must not be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{address} is in the denied network {network}")]
pub(crate) struct DeniedAddress {
    address: IpAddr,
    network: Network,
}

/// The networks that a client must not connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DeniedNetworks(Arc<[Network]>);

impl DeniedNetworks {
    pub(super) fn new(networks: &[Network]) -> Self {
        DeniedNetworks(networks.into())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn check(&self, address: IpAddr) -> Result<(), DeniedAddress> {
        match self.0.iter().find(|network| network.contains(address)) {
            Some(&network) => Err(DeniedAddress { address, network }),
            None => Ok(()),
        }
    }

    /// Whether `url` names an address that is denied; a name is checked once it is looked up.
    pub(super) fn check_url(&self, url: &Url) -> Result<(), DeniedAddress> {
        let host = url.host_str().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) => self.check(address),
            Err(_) => Ok(()),
        }
    }

    /// Follows up to `redirects_max` redirects, and none that leads to an address that is denied.
    pub(super) fn redirects(self, redirects_max: usize) -> reqwest::redirect::Policy {
        reqwest::redirect::Policy::custom(move |attempt| match self.check_url(attempt.url()) {
            Err(denied) => attempt.error(denied),
            Ok(()) => reqwest::redirect::Policy::limited(redirects_max).redirect(attempt),
        })
    }
}

/// Looks names up as the system does, and leaves out the addresses that are denied. That none is left is the first one's fault.
impl Resolve for DeniedNetworks {
    fn resolve(&self, name: Name) -> Resolving {
        let denied = self.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (mut allowed, mut first_denied) = (Vec::new(), None);
            for address in found {
                match denied.check(address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(denied) => drop(first_denied.get_or_insert(denied)),
                }
            }
            match first_denied {
                Some(denied) if allowed.is_empty() => Err(denied.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}
