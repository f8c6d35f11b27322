//! What a relation may say, and what we understand from it.
//!
//! Databags come in, values go out: scrape jobs, rule groups, Alertmanager addresses, our own side of the databag, and a
//! [`Problem`] for every part that could not be understood. Nothing here touches a file, a socket or a clock, and no text of
//! a peer makes it panic or stop: what is bad is left out and named, and all that is good stays.

pub mod alert_rules;
pub mod alertmanager_dispatch;
pub mod bag;
pub mod catalogue;
pub mod certificate_transfer;
pub mod charm_options;
pub mod endpoints;
pub mod grafana_dashboard;
pub mod grafana_datasource;
pub mod grafana_datasource_exchange;
mod hint;
pub mod ingress_per_unit;
mod injection;
pub mod json;
pub mod lint;
pub mod loki_push_api;
pub mod name;
pub mod place;
pub mod problem;
pub mod prometheus_api;
pub mod prometheus_remote_write;
pub mod prometheus_scrape;
pub mod published_url;
mod text;
pub mod tls_certificates;
pub mod topology;
pub mod tracing;
pub mod unit_status;

pub use bag::{Databag, Relation, Side};
pub use name::UnitName;
pub use place::Place;
pub use problem::Problem;
pub use topology::Topology;
