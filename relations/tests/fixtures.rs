//! Compares what we make of relations with what the real charms and their libraries made of the same databags.
//!
//! The cases are one JSON file each, in `fixtures/relations` of the folder that `RELATUM_CORPORA` names; without it there is
//! nothing to compare. Where we differ on purpose, `divergences.md` says why, and `tests/divergences/CASE.json` holds the
//! parts that are different, as they have to be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use relatum_config::Secret;
use relatum_config::prometheus::GlobalConfig;
use relatum_relations::prometheus_scrape::{self, Finished, Scraped, finish, provide};
use relatum_relations::{Databag, Relation, Side, Topology, UnitName, alertmanager_dispatch, grafana_datasource, json};
use serde_json::{Map, Value, json};

/// The interfaces whose results are compared; a case of others alone counts as not yet done.
const INTERFACES: &[&str] =
    &[prometheus_scrape::INTERFACE, alertmanager_dispatch::INTERFACE, grafana_datasource::INTERFACE];

/// What became of one case, part by part.
type Parts = BTreeMap<String, Value>;

struct Case {
    name: String,
    fixture: Value,
    relations: Vec<Relation>,
}

impl Case {
    fn read(path: &Path) -> Case {
        let fixture = read_json(path);
        let events = list(&fixture["expected"]["events"]);
        let broken: BTreeSet<u64> =
            events.iter().filter(|event| event[0] == "broken").filter_map(|event| event[1].as_u64()).collect();
        let relations = list(&fixture["relations"]).iter().map(|relation| read_relation(relation, &fixture["local"]));
        let relations = relations.filter(|relation| !broken.contains(&relation.id)).collect();
        Case { name: text(&fixture["name"]).to_owned(), relations, fixture }
    }

    fn expected(&self) -> &Value {
        &self.fixture["expected"]
    }

    fn of<'a>(&'a self, endpoint: &'a str) -> impl Iterator<Item = &'a Relation> {
        self.relations.iter().filter(move |relation| relation.endpoint == endpoint)
    }

    /// Whether we can say anything about the case: it has an interface we speak, and databags that stay as the file has them.
    fn is_done(&self) -> bool {
        let is_done = |relation: &Value| INTERFACES.contains(&text(&relation["interface"]));
        let is_edited = list(&self.expected()["events"]).iter().any(|event| event[0] == "remote_app_data_set");
        list(&self.fixture["relations"]).iter().any(is_done) && !is_edited
    }

    fn topology(&self) -> Topology {
        let local = &self.fixture["local"];
        Topology::new(text(&local["model"]), text(&local["model_uuid"]), text(&local["app"])).expect("a topology")
    }

    fn unit(&self) -> UnitName {
        unit(text(&self.fixture["local"]["unit"]))
    }

    fn scraped(&self) -> Vec<Scraped> {
        let global = GlobalConfig::default();
        self.of("metrics-endpoint").map(|relation| prometheus_scrape::read(relation, &global)).collect()
    }

    fn published_by_charm(&self, relation: &Relation) -> Value {
        let mut bags = self.expected()["local_databags"][format!("{}:{}", relation.endpoint, relation.id)].clone();
        if let Some(app) = bags.get_mut("app").and_then(Value::as_object_mut) {
            // The rules that a Prometheus ships are its own affair.
            app.remove(prometheus_scrape::ALERT_RULES);
        }
        bags
    }
}

fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read_relation(relation: &Value, local: &Value) -> Relation {
    let mut ours = Side::new(text(&relation["local_app"]));
    ours.app_bag = bag(&relation["local_app_data"]);
    ours.units.insert(unit(text(&local["unit"])), bag(&relation["local_unit_data"]));
    let mut theirs = Side::new(text(&relation["remote_app"]));
    theirs.app_bag = bag(&relation["remote_app_data"]);
    theirs.units = entries(&relation["remote_units_data"]).map(|(name, data)| (unit(name), bag(data))).collect();
    Relation {
        id: relation["id"].as_u64().expect("a relation's id"),
        endpoint: text(&relation["endpoint"]).to_owned(),
        interface: text(&relation["interface"]).to_owned(),
        local: ours,
        remote: theirs,
    }
}

fn bag(value: &Value) -> Databag {
    entries(value).map(|(key, value)| (key.clone(), text(value).to_owned())).collect()
}

fn unit(name: &str) -> UnitName {
    name.parse().expect("a unit's name")
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

/// Whether there is an `event`, and which of its texts. The texts themselves are cos-tool's there and ours here.
fn event_shape(event: Option<&str>) -> Value {
    let event: Option<Value> = event.map(|text| serde_json::from_str(text).expect("an event is JSON"));
    let has = |key: &str| event.as_ref().is_some_and(|event| event.get(key).is_some());
    json!({"published": event.is_some(), "errors": has("errors"), "scrape_job_errors": has("scrape_job_errors")})
}

/// What we make of the case. `problems` has no counterpart with the charm: it counts only where we diverge.
fn ours(case: &Case) -> Parts {
    let scraped = case.scraped();
    let Finished { jobs, files } = finish(&scraped, "/etc/prometheus", &["prometheus"]);
    let texts: Value = jobs.iter().map(|job| (job.name().to_owned(), library_text(&job.config, &files))).collect();
    let jobs: Value = jobs.iter().map(|job| (job.name().to_owned(), Value::Object(job.config.clone()))).collect();
    let files: Value = files.iter().map(|(path, content)| (path.clone(), Value::from(content.expose()))).collect();
    let rules = scraped.iter().filter_map(|scraped| scraped.rules.as_ref());
    let rules: Value =
        rules.map(|file| (format!("/etc/prometheus/rules/{}", file.file_name), file.content())).collect();

    let (alertmanagers, mut problems) = alertmanager_dispatch::alertmanagers(case.of("alertmanager"));
    problems.extend(scraped.iter().flat_map(|scraped| scraped.problems.clone()));
    let problems: Value = problems.iter().map(|problem| Value::from(problem.to_string())).collect();
    let urls: Value = alertmanagers.iter().map(|found| Value::from(found.url.as_str())).collect();
    let alerting = Value::from(alertmanager_dispatch::configuration(&alertmanagers));
    let whole = [
        ("jobs", jobs),
        ("jobs as text", texts),
        ("files", files),
        ("rules", rules),
        ("alertmanagers", urls),
        ("alerting", alerting),
        ("problems", problems),
    ];
    let mut parts: Parts = whole.map(|(name, part)| (name.to_owned(), part)).into();
    for scraped in &scraped {
        let event = prometheus_scrape::event(scraped);
        parts.insert(format!("event of relation {}", scraped.relation.1), event_shape(event.as_deref()));
    }
    for (id, bags) in published_by_us(case) {
        parts.insert(format!("bags of relation {id}"), bags);
    }
    parts
}

/// The job as the library gives it, before the charm does its part: here the order of keys counts, because names are made of it.
fn library_text(job: &Map<String, Value>, files: &BTreeMap<String, Secret>) -> Value {
    let mut job = job.clone();
    job.shift_remove("honor_labels");
    for value in job.get_mut("tls_config").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        if let Some(content) = value.as_str().and_then(|path| files.get(path)) {
            *value = Value::from(content.expose());
        }
    }
    json::dumps_object(&job).into()
}

fn published_by_us(case: &Case) -> Vec<(u64, Value)> {
    let internal = text(&case.expected()["internal_url"]);
    let external = case.expected()["external_url"].as_str().unwrap_or(internal);
    let mut published = Vec::new();
    for relation in case.of("grafana-source") {
        let app = grafana_datasource::provider_app_bag(&case.topology(), "1m");
        let unit = grafana_datasource::provider_unit_bag(internal);
        published.push((relation.id, json!({"app": app, "unit": unit})));
    }
    for relation in case.of("self-metrics-endpoint") {
        let topology = case.topology().with_unit(&case.unit().to_string()).expect("a unit's topology");
        let topology = topology.with_charm(text(&case.fixture["local"]["charm_name"])).expect("a charm's topology");
        let (unit, job) = provide::at_url(&case.unit(), external, None).expect("our own URL");
        let mut app = provide::app_bag(&topology, &[job], &json!({}));
        app.remove(prometheus_scrape::ALERT_RULES);
        published.push((relation.id, json!({"app": app, "unit": unit})));
    }
    published
}

/// What the charm made of the case, in the same parts.
fn charms(case: &Case) -> Parts {
    let expected = case.expected();
    let config = &expected["prometheus_config"];
    let jobs = list(&config["scrape_configs"]).iter().filter(|job| job["job_name"] != "prometheus");
    let jobs: Value = jobs.map(|job| (text(&job["job_name"]).to_owned(), job.clone())).collect();
    let files = entries(&expected["other_files"]).filter(|(path, _)| path.starts_with("/etc/prometheus/juju_"));
    let files: Value = files.map(|(path, content)| (path.clone(), content.clone())).collect();
    // Rule files that came over remote write are for that interface to compare.
    let of_others: BTreeSet<String> = entries(&expected["remote_write_alerts"])
        .map(|(identifier, _)| format!("/etc/prometheus/rules/juju_{identifier}.rules"))
        .collect();
    let parse = |yaml: &Value| relatum_model::yaml::from_str::<Value>(text(yaml)).expect("the charm writes YAML");
    let rules = entries(&expected["rule_files"]).filter(|(path, _)| !of_others.contains(*path));
    let rules: Value = rules.map(|(path, yaml)| (path.clone(), parse(yaml))).collect();
    let mut urls = list(&expected["alertmanagers"]).to_vec();
    urls.sort_by(|a, b| text(a).cmp(text(b)));
    let texts = list(&expected["scrape_jobs"]).iter();
    let texts: Value = texts.map(|job| (text(&job["job_name"]).to_owned(), Value::from(json::dumps(job)))).collect();
    let whole = [
        ("jobs", jobs),
        ("jobs as text", texts),
        ("files", files),
        ("rules", rules),
        ("alertmanagers", Value::from(urls)),
        ("alerting", sorted_alerting(&config["alerting"]["alertmanagers"])),
    ];
    let mut parts: Parts = whole.map(|(name, part)| (name.to_owned(), part)).into();
    for relation in case.of("metrics-endpoint") {
        let bags = case.published_by_charm(relation);
        parts.insert(format!("event of relation {}", relation.id), event_shape(bags["app"]["event"].as_str()));
    }
    for relation in case.of("grafana-source").chain(case.of("self-metrics-endpoint")) {
        parts.insert(format!("bags of relation {}", relation.id), case.published_by_charm(relation));
    }
    parts
}

/// The charm's order is that of Python's sets.
fn sorted_alerting(alertmanagers: &Value) -> Value {
    let mut sorted = list(alertmanagers).to_vec();
    for entry in &mut sorted {
        let targets = entry["static_configs"][0]["targets"].as_array_mut().expect("a list of targets");
        targets.sort_by(|a, b| text(a).cmp(text(b)));
    }
    let key = |entry: &Value| (text(&entry["scheme"]).to_owned(), text(&entry["path_prefix"]).to_owned());
    sorted.sort_by_key(key);
    sorted.into()
}

/// The case from the other end: the local side is Grafana, and we are the application it takes as data source.
fn compare_as_grafana(case: &Case) -> Vec<String> {
    let mut differences = Vec::new();
    for relation in &case.relations {
        let data: Value = serde_json::from_str(&relation.remote.app_bag["grafana_source_data"]).expect("JSON");
        let part = |key: &str| text(&data[key]);
        let topology = Topology::new(part("model"), part("model_uuid"), part("application")).expect("a topology");
        if part("type") == "prometheus" && provided(&topology) != relation.remote.app_bag {
            differences.push("app bag of the provider".to_owned());
        }
        let names: BTreeSet<String> = list(&case.expected()["sources"])
            .iter()
            .map(|source| grafana_datasource::source_name(&topology, source["unit"].as_str().map(unit).as_ref()))
            .collect();
        let expected = list(&case.expected()["sources"]).iter().map(|source| text(&source["source_name"]).to_owned());
        if names != expected.collect() {
            differences.push("names of the sources".to_owned());
        }
        let mut seen_by_us = relation.clone();
        seen_by_us.remote.app_bag = bag(&case.published_by_charm(relation)["app"]);
        let (answer, problems) = grafana_datasource::answer(&seen_by_us);
        let answer = answer.expect("Grafana has answered");
        let uids: BTreeSet<String> = answer.datasource_uids.into_values().chain(answer.app_datasource_uid).collect();
        if uids != names || !problems.is_empty() || answer.grafana_uid != text(&case.fixture["local"]["grafana_uid"]) {
            differences.push("answer of Grafana".to_owned());
        }
    }
    differences
}

fn provided(topology: &Topology) -> Databag {
    grafana_datasource::provider_app_bag(topology, "1m")
}

fn cases(corpora: &Path) -> Vec<Case> {
    let folder = corpora.join("fixtures/relations");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a folder's entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().map(|path| Case::read(path)).collect()
}

/// Our own expectation where we diverge on purpose: only the parts that are different, and what we say about it.
fn divergence(case: &Case) -> Option<Parts> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = folder.join(format!("tests/divergences/{}.json", case.name));
    let explained = std::fs::read_to_string(folder.join("divergences.md")).expect("divergences.md");
    let named = explained.contains(&format!("`{}`", case.name));
    assert_eq!(path.exists(), named, "{} is in divergences.md or has a file, but not both", case.name);
    named.then(|| entries(&read_json(&path)).map(|(name, part)| (name.clone(), part.clone())).collect())
}

fn differences(case: &Case, divergence: Option<&Parts>) -> Vec<String> {
    if case.fixture.get("side").is_some() {
        return match case.relations.iter().all(|r| r.interface == grafana_datasource::INTERFACE) {
            true => compare_as_grafana(case),
            false => vec!["nobody compares this side".to_owned()],
        };
    }
    let (ours, mut expected) = (ours(case), charms(case));
    if let Some(divergence) = divergence {
        for (name, part) in divergence {
            if expected.insert(name.clone(), part.clone()).as_ref() == Some(part) {
                return vec![format!("{name} does not diverge")];
            }
        }
    } else if case.expected().get("hook_error").is_some() {
        return vec!["the charm failed, and nothing says what we do".to_owned()];
    }
    ours.iter()
        .filter_map(|(name, part)| Some((name, part, expected.get(name)?)))
        .filter(|(_, part, expected)| part != expected)
        .map(|(name, part, expected)| format!("{name}\n  expected {expected}\n      ours {part}"))
        .collect()
}

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let name = "equal_to_the_charms";
    let trial = match std::env::var_os("RELATUM_CORPORA") {
        Some(corpora) => Trial::test(name, move || {
            equal_to_the_charms(Path::new(&corpora));
            Ok(())
        }),
        None => Trial::test(name, || Ok(())).with_kind("needs RELATUM_CORPORA").with_ignored_flag(true),
    };
    libtest_mimic::run(&arguments, vec![trial]).exit();
}

fn equal_to_the_charms(corpora: &Path) {
    let cases = cases(corpora);
    let (mut equal, mut better, mut different, mut not_yet) = (0, 0, Vec::new(), 0);
    for case in &cases {
        if !case.is_done() {
            not_yet += 1;
            continue;
        }
        let divergence = divergence(case);
        let differences = differences(case, divergence.as_ref());
        match (differences.is_empty(), divergence) {
            (true, None) => equal += 1,
            (true, Some(_)) => better += 1,
            (false, _) => different.push(format!("{}: {}", case.name, differences.join("\n"))),
        }
    }
    println!(
        "{equal} equal, {better} better by design, {} different, {not_yet} of interfaces not yet done",
        different.len()
    );
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}
