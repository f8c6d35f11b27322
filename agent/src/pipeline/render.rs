//! From what should be to the texts of files.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::desire::{Desired, RelationKey, scrape_path};
use crate::control::Problem;
use crate::templates::{Override, Template, Templates};
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

/// The templates in use, and what they made of which values: what is as it was is not rendered again.
pub struct Renderer {
    overrides: BTreeMap<Template, Override>,
    templates: Templates,
    known: BTreeMap<String, (Value, String)>,
}

impl Default for Renderer {
    fn default() -> Self {
        let overrides = BTreeMap::new();
        Renderer { templates: Templates::new(&overrides), overrides, known: BTreeMap::new() }
    }
}

impl Renderer {
    /// Renders everything.
    pub fn render(&mut self, desired: &Desired, overrides: &BTreeMap<Template, Override>) -> Rendered {
        if self.overrides != *overrides {
            *self =
                Renderer { templates: Templates::new(overrides), overrides: overrides.clone(), known: BTreeMap::new() };
        }
        let mut wanted = vec![
            (MAIN_PATH.to_owned(), Template::Main, main(desired)),
            (ARGUMENTS_PATH.to_owned(), Template::Arguments, arguments(desired)),
            (DATASOURCE_PATH.to_owned(), Template::Datasource, json!({"datasources": desired.datasources})),
        ];
        for (key, jobs) in &desired.scrapes {
            let context = json!({"relation": relation(desired, key), "scrape_configs": jobs});
            wanted.push((scrape_path(key), Template::Scrape, context));
        }
        for (file_name, (key, groups)) in &desired.rules {
            let context = json!({"relation": relation(desired, key), "groups": groups});
            wanted.push((format!("rules/{file_name}"), Template::Rules, context));
        }
        let mut rendered = Rendered { files: desired.materials.clone(), ..Rendered::default() };
        let mut before = std::mem::take(&mut self.known);
        for (path, template, context) in wanted {
            let text = match before.remove(&path) {
                Some((known, text)) if known == context => Ok(text),
                _ => self.templates.render(template, &context),
            };
            match text {
                Ok(text) => {
                    self.known.insert(path.clone(), (context, text.clone()));
                    rendered.files.insert(path, text);
                }
                Err(problem) => {
                    rendered.failed.insert(path);
                    rendered.problems.push(*problem);
                }
            }
        }
        for (path, (_, content)) in &desired.local.files {
            match content {
                Ok(text) => drop(rendered.files.insert(path.clone(), text.to_string())),
                Err(_) => drop(rendered.failed.insert(path.clone())),
            }
        }
        rendered.problems.dedup();
        rendered
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
        "remote_write": desired.remote_writes,
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
        "external_url": desired.urls.most_external(),
        "log_level": settings.log_level,
        "wal_compression": settings.wal_compression,
        "exemplars": settings.exemplars_max > 0,
        "retention_time": settings.retention_time,
        "retention_size": settings.retention_share.map(|share| share.of(place.file_system_bytes)),
    })
}
