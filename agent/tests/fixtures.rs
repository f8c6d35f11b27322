//! Compares what `relatum replay` makes of saved relations with what the real charm made of the same databags.
//!
//! The cases are one JSON file each, in `fixtures/relations` of the folder that `RELATUM_CORPORA` names; without it there is nothing to
//! compare. Where we differ on purpose, `relations/divergences.md` says why and `divergences/CASE.json` has the parts that are
//! different, as they have to be. Cases whose local side is another charm are for the tests of `relatum-relations`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use libtest_mimic::Trial;
use relatum_agent::replay::{self, ModelName};
use relatum_relations::{grafana_dashboard, json};
use serde_json::{Map, Value, json};

/// What became of one case, part by part. What is not there is null.
type Parts = BTreeMap<String, Value>;

const ROOT: &str = "/etc/prometheus";
const MAIN: &str = "/etc/prometheus/prometheus.yml";
const DIVERGENCES: &str = include_str!("../../relations/divergences.md");

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let trial = |name: &str, run: fn(&Path)| match std::env::var_os("RELATUM_CORPORA") {
        Some(corpora) => Trial::test(name, move || {
            run(Path::new(&corpora));
            Ok(())
        }),
        None => Trial::test(name, || Ok(())).with_kind("needs RELATUM_CORPORA").with_ignored_flag(true),
    };
    let trials = vec![
        trial("equal_to_the_charm", equal_to_the_charm),
        trial("every_divergence_has_its_reason", every_divergence_has_its_reason),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn equal_to_the_charm(corpora: &Path) {
    let (mut equal, mut better, mut different) = (0, 0, Vec::new());
    for (name, fixture) in cases(corpora) {
        let divergence = divergence(&name);
        let differences = differences(&fixture, divergence.as_ref());
        match (differences.is_empty(), divergence) {
            (true, None) => equal += 1,
            (true, Some(_)) => better += 1,
            (false, _) => different.push(format!("{name}:\n{}", differences.join("\n"))),
        }
    }
    println!("{equal} equal, {better} better by design, {} different", different.len());
    assert!(different.is_empty(), "{}", different.join("\n\n"));
    assert_eq!(equal + better, 75, "the corpus has its cases");
}

/// The name and content of each case whose local side is the charm.
fn cases(corpora: &Path) -> Vec<(String, Value)> {
    let folder = corpora.join("fixtures/relations");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("a folder's entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let case = |path: &std::path::PathBuf| {
        let fixture = read_json(path);
        (text(&fixture["name"]).to_owned(), fixture)
    };
    paths.iter().map(case).filter(|(_, fixture)| fixture.get("side").is_none()).collect()
}

fn differences(fixture: &Value, divergence: Option<&Parts>) -> Vec<String> {
    let (ours, mut expected) = (ours(fixture), charms(fixture));
    match divergence {
        Some(divergence) => {
            assert!(!divergence.is_empty(), "{} says what is different", fixture["name"]);
            for (name, part) in divergence {
                if expected.insert(name.clone(), part.clone()).unwrap_or_default() == *part {
                    return vec![format!("{name} does not diverge")];
                }
            }
        }
        None if fixture["expected"].get("hook_error").is_some() => {
            return vec!["the charm failed, and nothing says what we do".to_owned()];
        }
        None => {}
    }
    let names: BTreeSet<&String> = ours.keys().chain(expected.keys()).collect();
    let part = |parts: &Parts, name: &str| parts.get(name).cloned().unwrap_or_default();
    let differs = |name: &str| {
        let (ours, expected) = (part(&ours, name), part(&expected, name));
        // Nobody but us counts problems, so that they count only where we say which there are.
        let is_compared = name != "problems" || divergence.is_some_and(|parts| parts.contains_key(name));
        (is_compared && ours != expected).then(|| format!("{name}\n  expected {expected}\n      ours {ours}"))
    };
    names.into_iter().filter(|name| is_known(&fixture["expected"], name)).filter_map(|name| differs(name)).collect()
}

/// Whether the case says what the charm made of the part called `name`. Where the charm failed, all of ours is to be said by us.
fn is_known(expected: &Value, name: &str) -> bool {
    let field = match name {
        _ if expected.get("hook_error").is_some() => return true,
        "status" => "unit_status",
        "command" => "command",
        "problems" => return true,
        "authorities" => "other_files",
        _ if name.starts_with("scrape_jobs ") => "scrape_jobs",
        _ if name.starts_with("prometheus.yml ") => "prometheus_yml",
        _ if name.starts_with("databag ") => "local_databags",
        _ if name.ends_with(".rules") => "rule_files",
        _ => "other_files",
    };
    expected.get(field).is_some()
}

/// Our own expectation where we diverge on purpose.
fn divergence(name: &str) -> Option<Parts> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/divergences/{name}.json"));
    let is_named = DIVERGENCES.contains(&format!("`{name}`"));
    assert_eq!(path.exists(), is_named, "{name} is in divergences.md or has a file, but not both");
    is_named.then(|| entries(&read_json(&path)).map(|(name, part)| (name.clone(), part.clone())).collect())
}

/// What we make of the case.
fn ours(fixture: &Value) -> Parts {
    let read = replay::read(&fixture.to_string(), &ModelName::default());
    let cases = read.unwrap_or_else(|error| panic!("{}: {error}", fixture["name"]));
    let replayed = replay::replay(&cases[0], Path::new(ROOT));
    let replayed = replayed.unwrap_or_else(|error| panic!("{}: {error}", fixture["name"]));
    let problems: Value = replayed.problems.iter().map(|problem| Value::from(problem.to_string())).collect();
    let replayed = json!(replayed);
    let mut parts = Parts::from([
        ("status".to_owned(), replayed["status"].clone()),
        ("command".to_owned(), replayed["command"].clone()),
        ("problems".to_owned(), problems),
    ]);
    add_jobs(&mut parts, list(&replayed["scrape_jobs"]));
    add_files(&mut parts, entries(&replayed["files"]));
    add_databags(&mut parts, &replayed["databags"]);
    parts
}

/// What the charm made of it.
fn charms(fixture: &Value) -> Parts {
    let expected = &fixture["expected"];
    let mut parts = Parts::new();
    if expected["unit_status"].is_object() {
        let status = json!({"status": expected["unit_status"]["name"], "message": expected["unit_status"]["message"]});
        parts.insert("status".to_owned(), status);
    }
    if let Some(command) = expected["command"].as_str() {
        parts.insert("command".to_owned(), command.split(' ').collect());
    }
    add_jobs(&mut parts, list(&expected["scrape_jobs"]));
    add_files(&mut parts, entries(&expected["rule_files"]).chain(entries(&expected["other_files"])));
    if let Some(main) = expected["prometheus_yml"].as_str() {
        add_files(&mut parts, [(&MAIN.to_owned(), &Value::from(main))]);
    }
    add_databags(&mut parts, &expected["local_databags"]);
    parts
}

/// As text: the order of keys counts, because names are made of it.
fn add_jobs(parts: &mut Parts, jobs: &[Value]) {
    for job in jobs {
        let name = format!("scrape_jobs {}", text(&job["job_name"]));
        assert!(parts.insert(name, json::dumps(job).into()).is_none(), "job names are unique");
    }
}

fn add_files<'a>(parts: &mut Parts, files: impl IntoIterator<Item = (&'a String, &'a Value)>) {
    let mut authorities = Vec::new();
    for (path, content) in files {
        if path.contains("/juju_receive-ca-cert/") {
            // Their numbers follow no order in the charm.
            authorities.push(text(content).trim().to_owned());
        } else if path == MAIN {
            add_main(parts, &parsed(content));
        } else if path.ends_with(".key") {
            // A key is random there, and not known here.
            parts.insert(path.clone(), "a key".into());
        } else if path.ends_with(".rules") || path.ends_with(".yml") {
            parts.insert(path.clone(), parsed(content));
        } else {
            parts.insert(path.clone(), text(content).trim().into());
        }
    }
    if !authorities.is_empty() {
        authorities.sort();
        parts.insert("authorities".to_owned(), authorities.into());
    }
}

fn parsed(yaml: &Value) -> Value {
    relatum_model::yaml::from_str(text(yaml)).unwrap_or_else(|error| panic!("{error}: {yaml}"))
}

/// The main file by its sections, and each job by its name.
fn add_main(parts: &mut Parts, main: &Value) {
    for (name, section) in entries(main) {
        match name.as_str() {
            "scrape_configs" => {
                for job in list(section) {
                    parts.insert(format!("prometheus.yml job {}", text(&job["job_name"])), job.clone());
                }
            }
            "alerting" => {
                parts.insert("prometheus.yml alerting".to_owned(), sorted_alerting(&section["alertmanagers"]));
            }
            _ => drop(parts.insert(format!("prometheus.yml {name}"), section.clone())),
        }
    }
}

/// The charm's order is that of Python's sets.
fn sorted_alerting(alertmanagers: &Value) -> Value {
    let mut sorted = list(alertmanagers).to_vec();
    for entry in &mut sorted {
        let targets = entry["static_configs"][0]["targets"].as_array_mut().expect("a list of targets");
        targets.sort_by(|a, b| text(a).cmp(text(b)));
    }
    sorted.sort_by_key(|entry| (text(&entry["scheme"]).to_owned(), text(&entry["path_prefix"]).to_owned()));
    sorted.into()
}

fn add_databags(parts: &mut Parts, databags: &Value) {
    for (relation, sides) in entries(databags) {
        for (side, bag) in entries(sides) {
            for (key, value) in entries(bag) {
                let value = match (relation.split(':').next(), key.as_str()) {
                    (_, "event") => event_shape(text(value)),
                    (Some("self-metrics-endpoint"), "alert_rules") => generic_rules(text(value)),
                    (_, "dashboards") => shape_of_dashboards(text(value)),
                    _ => value.clone(),
                };
                parts.insert(format!("databag {relation} {side} {key}"), value);
            }
        }
    }
}

/// Which texts there are. The texts themselves are cos-tool's there and ours here.
fn event_shape(event: &str) -> Value {
    let event: Map<String, Value> = serde_json::from_str(event).expect("an event is an object");
    event.keys().cloned().collect()
}

/// The rules that every application hands on. What it ships beside them is its own affair.
fn generic_rules(published: &str) -> Value {
    let published: Value = serde_json::from_str(published).expect("JSON");
    let is_generic = |group: &&Value| text(&group["name"]).ends_with("_HostHealth_rules");
    list(&published["groups"]).iter().filter(is_generic).cloned().collect()
}

/// What is said of each dashboard, each of which can be unpacked. Which there are is the application's own affair.
fn shape_of_dashboards(published: &str) -> Value {
    let published: Value = serde_json::from_str(published).expect("JSON");
    let shape = |(id, template): (&String, &Value)| {
        let content = grafana_dashboard::decode(text(&template["content"]), usize::MAX).expect("a dashboard");
        serde_json::from_str::<Map<String, Value>>(&content).expect("a dashboard is an object");
        let uid_length = text(&template["dashboard_alt_uid"]).len();
        let kind = id.split(':').next();
        json!([kind, template["charm"], template["juju_topology"], template["inject_dropdowns"], uid_length])
    };
    let mut shapes: Vec<Value> = entries(&published["templates"]).map(shape).collect();
    shapes.dedup();
    shapes.into()
}

/// Every case that `divergences.md` names stands below a bullet of section G of the notes that the corpus comes with, word for word,
/// and every case it names is one of the corpus.
fn every_divergence_has_its_reason(corpora: &Path) {
    let notes = std::fs::read_to_string(corpora.join("relations.md")).expect("the notes are there");
    let section = notes.split("\n## G.").nth(1).expect("the notes have a section G");
    let section: String = section.split_whitespace().collect::<Vec<_>>().join(" ");
    let (mut bullet, mut known) = (None, BTreeSet::new());
    let files = std::fs::read_dir(corpora.join("fixtures/relations")).expect("the corpus is there");
    known.extend(files.map(|file| file.expect("a folder's entry").file_name().to_string_lossy().into_owned()));
    for line in DIVERGENCES.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            bullet = heading.strip_prefix('"').and_then(|heading| heading.strip_suffix('"'));
        }
        for name in line.split('`').skip(1).step_by(2).filter(|name| known.contains(&format!("{name}.json"))) {
            let bullet = bullet.unwrap_or_else(|| panic!("{name} is not below a bullet"));
            let mut rest = section.as_str();
            for part in bullet.split('…').map(str::trim) {
                rest = rest.split_once(part).unwrap_or_else(|| panic!("section G does not say {part:?} ({name})")).1;
            }
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/divergences");
    for file in std::fs::read_dir(folder).expect("the folder is there") {
        let file = file.expect("a folder's entry").file_name().to_string_lossy().into_owned();
        assert!(known.contains(&file), "{file} is no case");
    }
}

fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
