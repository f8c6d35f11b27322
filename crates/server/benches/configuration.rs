//! How long a large configuration takes to be read and checked: whole, and with one file of it changed.
//!
//! Each row is the mean of several rounds, in time of the processor.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use relatum_server::files::Loader;

#[path = "../../model/benches/cpu_time/mod.rs"]
mod cpu_time;

const N_FILES: usize = 300;
const N_TARGETS_OF_A_FILE: usize = 100;
const N_ROUNDS: u32 = 10;

fn main() {
    let mut files: BTreeMap<PathBuf, Arc<str>> = (0..N_FILES)
        .map(|number| (PathBuf::from(format!("/p/scrape/{number:03}.yml")), scrape_file(number).into()))
        .collect();
    files.insert(
        "/p/prometheus.yml".into(),
        "global: {scrape_interval: 1m}\nscrape_config_files: [scrape/*.yml]\n".into(),
    );
    let bytes: usize = files.values().map(|text| text.len()).sum();
    let what = format!("{} targets ({} MB) read and checked", N_FILES * N_TARGETS_OF_A_FILE, bytes / 1_000_000);

    let mut loader = Loader::default();
    let whole = cpu_time::mean(N_ROUNDS, || {
        loader = Loader::default();
        load(&loader, &files);
    });
    row(&what, whole, "< 4000 ms");

    let mut round = 0;
    let one = cpu_time::mean(N_ROUNDS, || {
        let changed = files.get_mut(Path::new("/p/scrape/150.yml")).expect("it is one of the files");
        *changed = changed.replace(&format!("port: \"{round}\""), &format!("port: \"{}\"", round + 1)).into();
        round += 1;
        load(&loader, &files);
    });
    row("the same with one file changed", one, "< 20 ms");
}

fn load(loader: &Loader, files: &BTreeMap<PathBuf, Arc<str>>) {
    let loaded = loader.load(files, Path::new("/p/prometheus.yml")).expect("the files are good");
    assert_eq!(black_box(loaded).scrape_jobs().count(), N_FILES);
}

fn row(what: &str, spent: Duration, target: &str) {
    println!("{what:<58}{:>14}{target:>14}", format!("{:.1} ms", spent.as_secs_f64() * 1000.0));
}

/// A file as it is rendered for one relation: every unit a target with the labels that say where it comes from.
fn scrape_file(number: usize) -> String {
    let application = format!("application-{number}");
    let mut text = format!(
        "scrape_configs:\n- job_name: production_3f1c2a4b_{application}_prometheus_scrape\n  metrics_path: /metrics\n  \
         static_configs:\n"
    );
    for unit in 0..N_TARGETS_OF_A_FILE {
        write!(
            text,
            "  - targets:\n    - 10.{}.{}.{unit}:9100\n    labels:\n      site_model: production\n      site_model_uuid: \
             3f1c2a4b-8a6d-4d0e-9d6b-0f7a5c1e2b3d\n      application_name: {application}\n      unit_of_it: {application}/{unit}\n      \
             kind_of_it: postgresql-k8s\n      availability_zone: \"zone-{}\"\n      machine: \"{unit}\"\n      \
             port: \"0\"\n      datacenter: north-of-the-river\n      hostname: node-{number}-{unit}.production.example.com\n      \
             owner: database-reliability-team\n",
            number / 250,
            number % 250,
            unit % 3,
        )
        .expect("writing to memory does not fail");
    }
    text + "  relabel_configs:\n  - source_labels:\n    - site_model\n    - unit_of_it\n    separator: _\n    target_label: instance\n    regex: (.*)\n"
}
