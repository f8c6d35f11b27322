//! What the real charm makes of its options: flags, and the status it shows. The cases are those of `fixtures/relations` below
//! `RELATUM_CORPORA`.

use std::collections::BTreeMap;
use std::path::Path;

use libtest_mimic::{Arguments, Trial};
use relatum_agent::charm_config::{layer, settings};
use relatum_relations::charm_options::retention_size;
use serde_json::Value;

fn main() {
    let arguments = Arguments::from_args();
    let name = "as_the_charm";
    let trial = match std::env::var_os("RELATUM_CORPORA") {
        Some(corpora) => Trial::test(name, move || {
            as_the_charm(&Path::new(&corpora).join("fixtures/relations"));
            Ok(())
        }),
        None => Trial::test(name, || Ok(())).with_kind("needs RELATUM_CORPORA").with_ignored_flag(true),
    };
    libtest_mimic::run(&arguments, vec![trial]).exit();
}

fn as_the_charm(folder: &Path) {
    let mut n_cases = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let path = entry.expect("it can be listed").path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("config-")) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a case can be read");
        let case: Value = serde_json::from_str(&text).expect("a case is JSON");
        if case["expected"]["command"].is_string() {
            check(&case, &path);
            n_cases += 1;
        }
    }
    assert!(n_cases > 4, "the corpus has its cases");
}

fn check(case: &Value, path: &Path) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let options = case["charm_config"].as_object().expect("a case has options");
    let user = options.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let (settings, problems) = settings(&layer(&BTreeMap::new(), &user, &BTreeMap::new()));
    let ours: Vec<Option<String>> = vec![
        Some(format!("--log.level={}", settings.log_level)),
        settings.wal_compression.then(|| "--storage.tsdb.wal-compression".to_owned()),
        (settings.exemplars_max > 0).then(|| "--enable-feature=exemplar-storage".to_owned()),
        settings.retention_time.map(|time| format!("--storage.tsdb.retention.time={time}")),
        settings
            .retention_share
            .and_then(|share| retention_size(&share, 10 << 30))
            .map(|size| format!("--storage.tsdb.retention.size={size}")),
    ];
    let command = case["expected"]["command"].as_str().unwrap_or_default();
    let theirs: Vec<&str> = command.split(' ').skip_while(|flag| !flag.starts_with("--log.level")).collect();
    assert_eq!(ours.iter().flatten().collect::<Vec<_>>(), theirs, "{}", path.display());
    let status = &case["expected"]["unit_status"];
    if status["name"] == "blocked" && !options.is_empty() {
        assert_eq!(problems[0].message, status["message"], "{}", path.display());
    } else {
        assert_eq!(problems, [], "{}", path.display());
    }
}
