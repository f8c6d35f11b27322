//! `catalogue`: our tile on the page that lists what there is to visit.

use serde_json::{Map, Value};

use crate::bag::Databag;
use crate::ingress_per_unit::Urls;
use crate::json::dumps_object;

/// The name of the interface.
pub const INTERFACE: &str = "catalogue";

/// What the tile offers besides the URL, and the path of each below the API's root.
const API_ENDPOINTS: [(&str, &str); 7] = [
    ("Instant queries", "query"),
    ("Range queries", "query_range"),
    ("Finding Series", "series"),
    ("Labels", "labels"),
    ("Targets", "targets"),
    ("Rules", "rules"),
    ("Alerts", "alerts"),
];

/// Our application's databag. The catalogue is read by people, so it gets the URL from furthest outside.
///
/// Like the charm, does not trim a slash at the end of the URL before it appends the paths of the API.
pub fn requirer_app_bag(urls: &Urls) -> Databag {
    let url = urls.most_external();
    let endpoint = |(name, path): (&str, &str)| (name.to_owned(), Value::from(format!("{url}/api/v1/{path}")));
    let api_endpoints: Map<String, Value> = API_ENDPOINTS.into_iter().map(endpoint).collect();
    let entries = [
        ("name", "Prometheus"),
        (
            "description",
            "Prometheus collects, stores and serves metrics as time series data, alongside optional key-value pairs called labels.",
        ),
        ("url", url),
        ("icon", "chart-line-variant"),
        ("api_docs", "https://prometheus.io/docs/prometheus/latest/querying/api/"),
        ("api_endpoints", &dumps_object(&api_endpoints)),
    ];
    entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}
