//! Puts the jobs of all relations side by side and makes them ready to be rendered.

use std::collections::BTreeMap;

use relatum_config::Secret;
use serde_json::Value;

use super::expand::set;
use super::{Job, Scraped, dedupe};
use crate::text::unique_file_stem;

/// The jobs of all relations, and the files they need.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Finished {
    /// The jobs; names are unique. Those of one relation stand together except where one name came up in several relations.
    pub jobs: Vec<Job>,
    /// Path to content of the certificates and keys that the jobs name. These files must be readable by the server alone.
    pub files: BTreeMap<String, Secret>,
}

/// Makes the jobs of all relations one set.
///
/// `scraped` is taken in order of relation id, whatever its own order. `reserved` are the names of jobs that we add ourselves;
/// a peer's job of such a name gets a suffix. `directory` is where the files will be, without a slash at the end.
pub fn finish<'a>(scraped: impl IntoIterator<Item = &'a Scraped>, directory: &str, reserved: &[&str]) -> Finished {
    let mut scraped: Vec<&Scraped> = scraped.into_iter().collect();
    scraped.sort_by_key(|scraped| (scraped.relation.1, scraped.relation.0.as_str()));
    let jobs = scraped.into_iter().flat_map(|scraped| scraped.jobs.iter().cloned()).collect();
    let mut finished = Finished { jobs: dedupe::dedupe(jobs, reserved), files: BTreeMap::new() };
    for job in &mut finished.jobs {
        // Labels of the exporter win: exporters that speak for others, such as a Pushgateway, set `job` and `instance`.
        set(&mut job.config, "honor_labels", Value::Bool(true));
        move_certificates(job, directory, &mut finished.files);
    }
    finished
}

/// Databags hold certificates and keys as text where Prometheus wants a path.
fn move_certificates(job: &mut Job, directory: &str, files: &mut BTreeMap<String, Secret>) {
    let stem = unique_file_stem(job.name());
    let Some(Value::Object(tls_config)) = job.config.get_mut("tls_config") else { return };
    for (key, ending) in [("ca_file", "ca.crt"), ("cert_file", "client.crt"), ("key_file", "client.key")] {
        if let Some(Value::String(content)) = tls_config.get_mut(key)
            && !content.is_empty()
        {
            let path = format!("{directory}/{stem}-{ending}");
            files.insert(path.clone(), Secret::new(std::mem::replace(content, path)));
        }
    }
}
