//! From what should be to the texts of files.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::desire::{Desired, RelationKey, scrape_path};
use crate::control::Problem;
use crate::templates::{Template, Templates};
use crate::workload::Files;

/// The main file.
pub const MAIN_PATH: &str = "prometheus.yml";

/// What are flags in Prometheus.
pub const ARGUMENTS_PATH: &str = "prometheus.args";

/// The file for Grafana.
pub const DATASOURCE_PATH: &str = "grafana-datasource.yml";

/// Rendered texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Path below `rendered/` to text.
    pub files: Files,
    /// Files that should be there but could not be rendered: the last good ones stay.
    pub failed: BTreeSet<String>,
    /// Why they could not. One problem for each template, as all files of one template fail alike.
    pub problems: Vec<Problem>,
}

/// Renders everything.
pub fn render(desired: &Desired, templates: &Templates) -> Rendered {
    let mut out = Rendered { files: desired.materials.clone(), ..Rendered::default() };
    out.add(MAIN_PATH.to_owned(), templates.render(Template::Main, &main(desired)));
    out.add(ARGUMENTS_PATH.to_owned(), templates.render(Template::Arguments, &arguments(desired)));
    let datasources = json!({"datasources": desired.datasources});
    out.add(DATASOURCE_PATH.to_owned(), templates.render(Template::Datasource, &datasources));
    for (key, jobs) in &desired.scrapes {
        let context = json!({"relation": relation(desired, key), "scrape_configs": jobs});
        out.add(scrape_path(key), templates.render(Template::Scrape, &context));
    }
    for (file_name, (key, groups)) in &desired.rules {
        let context = json!({"relation": relation(desired, key), "groups": groups});
        out.add(format!("rules/{file_name}"), templates.render(Template::Rules, &context));
    }
    out.problems.dedup();
    out
}

impl Rendered {
    fn add(&mut self, path: String, text: Result<String, Problem>) {
        match text {
            Ok(text) => {
                self.files.insert(path, text);
            }
            Err(problem) => {
                self.failed.insert(path);
                self.problems.push(problem);
            }
        }
    }
}

fn relation(desired: &Desired, key: &RelationKey) -> Value {
    let (provider, requirer) = desired.ends.get(key).cloned().unwrap_or_default();
    json!({"id": key.1, "endpoint": key.0, "provider": provider, "requirer": requirer})
}

fn main(desired: &Desired) -> Value {
    let settings = &desired.settings;
    json!({
        "global": {
            "scrape_interval": settings.scrape_interval,
            "scrape_timeout": settings.scrape_timeout,
            "evaluation_interval": settings.evaluation_interval,
            "external_labels": settings.external_labels,
        },
        "alertmanagers": desired.alertmanagers,
        "scrape_configs": desired.own_jobs,
        "storage": {
            "out_of_order_time_window": desired.out_of_order_window,
            "exemplars_max": settings.exemplars_max,
        },
    })
}

fn arguments(desired: &Desired) -> Value {
    let (settings, place) = (&desired.settings, &desired.place);
    json!({
        "config_file": place.rendered.join(MAIN_PATH),
        "storage_path": place.samples,
        "listen": place.listen,
        "external_url": place.url,
        "log_level": settings.log_level,
        "wal_compression": settings.wal_compression,
        "exemplars": settings.exemplars_max > 0,
        "retention_time": settings.retention_time,
        "retention_size": settings.retention_share.map(|share| share.of(place.file_system_bytes)),
    })
}
