//! Applications made from addresses: what was said about them, and the databags a charm would write for them.
//!
//! Settings belong to the application, so they are part of the state; addresses are its units.

use std::collections::BTreeMap;

use relatum_relations::alert_rules;
use relatum_relations::bag::Databag;
use relatum_relations::prometheus_scrape::provide;
use relatum_relations::topology::Topology;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::store::Model;

/// The charm name of applications made from addresses.
pub const CHARM: &str = "relatum-static";

/// What was said about an application when it was related by address. Secrets are inside: the state store is 0600.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Our endpoint.
    pub endpoint: String,
    /// `http` or `https`.
    pub scheme: String,
    /// The path; empty for the endpoint's default.
    pub path: String,
    /// How often to scrape; none is the global interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Labels for every series.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// PEM of the CA to trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// User and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<(String, String)>,
    /// Token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<String>,
    /// Rule files: name and text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<(String, String)>,
}

impl Settings {
    /// Names what differs from `other`, as options and parts of an address; secrets only by name.
    pub fn differences(&self, other: &Settings) -> Vec<&'static str> {
        let parts = [
            ("endpoint", self.endpoint != other.endpoint),
            ("scheme", self.scheme != other.scheme),
            ("path", self.path != other.path),
            ("--interval", self.interval != other.interval),
            ("--label", self.labels != other.labels),
            ("--ca-file", self.ca != other.ca),
            ("--basic-auth-file", self.basic_auth != other.basic_auth),
            ("--bearer-file", self.bearer != other.bearer),
            ("--rules", self.rules != other.rules),
        ];
        parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// The application's bag.
    ///
    /// Fails with the name of a rule file that is none; what its rules say is judged by whoever reads the bag.
    pub fn application_bag(&self, model: &Model, application: &str) -> Result<Databag, String> {
        if self.endpoint == "alertmanager" {
            return Ok(Databag::new());
        }
        let topology = Topology::new(&model.name, &model.uuid, application)
            .and_then(|topology| topology.with_charm(CHARM))
            .map_err(|error| error.to_string())?;
        let rules = alert_rules::of_files(&topology, &self.rules)?;
        // The unit in the metadata is the leader's.
        let topology = topology.with_unit(&format!("{application}/0")).map_err(|error| error.to_string())?;
        Ok(provide::app_bag(&topology, &[self.job()], &rules))
    }

    /// The one job of the application. `*` stands for the whole address of each unit.
    fn job(&self) -> Map<String, Value> {
        let mut config = json!({"targets": ["*"]});
        if !self.labels.is_empty() {
            config["labels"] = json!(self.labels);
        }
        let mut job = Map::new();
        let mut set = |key: &str, value: Value| job.insert(key.to_owned(), value);
        set("metrics_path", Value::from(if self.path.is_empty() { "/metrics" } else { &self.path }));
        set("static_configs", json!([config]));
        if self.scheme != "http" {
            set("scheme", Value::from(self.scheme.as_str()));
        }
        if let Some(interval) = &self.interval {
            set("scrape_interval", Value::from(interval.as_str()));
        }
        if let Some((user, password)) = &self.basic_auth {
            set("basic_auth", json!({"username": user, "password": password}));
        }
        if let Some(token) = &self.bearer {
            set("authorization", json!({"credentials": token}));
        }
        if let Some(ca) = &self.ca {
            set("tls_config", json!({"ca_file": ca}));
        }
        job
    }

    /// The one unit bag for `authority`, a `host:port`.
    pub fn unit_bag(&self, unit: &str, authority: &str) -> Databag {
        let pairs = if self.endpoint == "alertmanager" {
            let public = format!("{authority}{}", self.path);
            vec![
                ("url", format!("{}://{public}", self.scheme)),
                // What readers of the older format look at.
                ("public_address", public),
                ("scheme", self.scheme.clone()),
            ]
        } else {
            vec![
                ("prometheus_scrape_unit_address", authority.to_owned()),
                ("prometheus_scrape_unit_name", unit.to_owned()),
            ]
        };
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The `host:port` that a unit bag of ours was made for.
    pub fn authority<'a>(&self, bag: &'a Databag) -> Option<&'a str> {
        if self.endpoint == "alertmanager" {
            bag.get("public_address").and_then(|public| public.strip_suffix(self.path.as_str()))
        } else {
            bag.get("prometheus_scrape_unit_address").map(String::as_str)
        }
    }
}
