//! `prometheus_api`: where others reach our HTTP API.

use crate::bag::Databag;
use crate::ingress_per_unit::Urls;
use crate::text::normalised_url;

/// The name of the interface.
pub const INTERFACE: &str = "prometheus_api";

/// Our application's databag. Both URLs are in the normal form that the peers' library gives them; one that is none is left out.
pub fn provider_app_bag(urls: &Urls) -> Databag {
    let direct = normalised_url(&urls.internal).map(|url| ("direct_url".to_owned(), url));
    let ingress = urls.external.as_deref().and_then(normalised_url).map(|url| ("ingress_url".to_owned(), url));
    direct.into_iter().chain(ingress).collect()
}
