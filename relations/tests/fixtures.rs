//! Compares what we make of relations with what the real charms and their libraries made of the same databags: the cases whose local
//! side is another charm than Prometheus, and of the others what a pass of the agent, which compares them, does not show.
//!
//! The cases are one JSON file each, in `fixtures/relations` of the folder that `RELATUM_CORPORA` names; without it there is
//! nothing to compare. Where we differ on purpose, `divergences.md` says why, and `tests/divergences/CASE.json` holds the
//! parts that are different, as they have to be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use relatum_relations::ingress_per_unit::{self, Urls};
use relatum_relations::prometheus_remote_write::{self, health};
use relatum_relations::{
    Databag, Relation, Side, Topology, UnitName, catalogue, grafana_dashboard, grafana_datasource, tracing,
};
use serde_json::{Value, json};

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
        let relations = list(&fixture["relations"]).iter().map(|relation| read_relation(relation, &fixture["local"]));
        Case { name: text(&fixture["name"]).to_owned(), relations: relations.collect(), fixture }
    }

    fn expected(&self) -> &Value {
        &self.fixture["expected"]
    }

    fn of<'a>(&'a self, endpoint: &'a str) -> impl Iterator<Item = &'a Relation> {
        self.relations.iter().filter(move |relation| relation.endpoint == endpoint)
    }

    fn unit(&self) -> UnitName {
        unit(text(&self.fixture["local"]["unit"]))
    }

    fn unit_topology(&self) -> Topology {
        let local = &self.fixture["local"];
        let topology = Topology::new(text(&local["model"]), text(&local["model_uuid"]), text(&local["app"]));
        let topology = topology.and_then(|topology| topology.with_unit(&self.unit().to_string()));
        topology
            .expect("a unit's topology")
            .with_charm(text(&self.fixture["local"]["charm_name"]))
            .expect("a charm's topology")
    }

    fn published_by_charm(&self, relation: &Relation) -> Value {
        self.expected()["local_databags"][format!("{}:{}", relation.endpoint, relation.id)].clone()
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

/// The local side is the charm: the rules of those who send to it, as we would send them, and what its server is told of itself.
fn as_the_charm(case: &Case) -> (Parts, Parts) {
    let (mut ours, mut expected) = (Parts::new(), Parts::new());
    for relation in case.of("receive-remote-write") {
        let name = format!("health rules of relation {}", relation.id);
        let (of_us, of_charm) = health_of_sender(case, relation);
        ours.insert(name.clone(), of_us);
        expected.insert(name, of_charm);
    }
    let is_traced = |relation| tracing::endpoint(relation, tracing::OTLP_GRPC).0.is_some();
    if case.of("workload-tracing").any(is_traced) {
        let name = "resource attributes".to_owned();
        ours.insert(name.clone(), tracing::resource_attributes(&case.unit_topology()).into());
        expected.insert(name, case.expected()["environment"]["OTEL_RESOURCE_ATTRIBUTES"].clone());
    }
    (ours, expected)
}

/// The health rules that the sender of `relation` would hand on if it were us; null if it hands on none, or had no tool to bind
/// them with.
fn health_of_sender(case: &Case, relation: &Relation) -> (Value, Value) {
    let published: Value = relation
        .remote
        .app_bag
        .get("alert_rules")
        .map_or(Value::Null, |text| serde_json::from_str(text).expect("JSON"));
    let group = &published["groups"][0];
    let is_health = text(&group["name"]).ends_with("_AggregatorHostHealth_rules");
    if !is_health || case.fixture["provider_cos_tool"] == false || case.fixture["cos_tool"] == false {
        return (Value::Null, Value::Null);
    }
    let labels = &group["rules"][0]["labels"];
    let part = |name: &str| text(&labels[name]);
    let topology = Topology::new(part("juju_model"), part("juju_model_uuid"), part("juju_application"));
    let topology = topology.and_then(|topology| topology.with_charm(part("juju_charm"))).expect("a topology");
    let units: Vec<UnitName> = relation.remote.units.keys().cloned().collect();
    (health::group(&topology, &units, false), group.clone())
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

/// The local side sends series; what we make of it, and what the library made of it.
fn as_sender(case: &Case) -> (Parts, Parts) {
    let (endpoints, problems) = prometheus_remote_write::endpoints(&case.relations);
    let urls: Value = endpoints.iter().map(|endpoint| json!({"url": endpoint.url})).collect();
    let problems: Value = problems.iter().map(|problem| Value::from(problem.to_string())).collect();
    let ours = [
        ("endpoints", urls),
        ("health rules", health::group(&case.unit_topology(), &[case.unit()], false)),
        ("problems", problems),
    ];
    let mut urls = list(&case.expected()["endpoints"]).to_vec();
    urls.sort_by(|a, b| text(&a["url"]).cmp(text(&b["url"])));
    let bags = &case.expected()["local_databags"][format!("send-remote-write:{}", case.relations[0].id)];
    let rules: Value = serde_json::from_str(text(&bags["app"]["alert_rules"])).expect("JSON");
    let expected = [("endpoints", urls.into()), ("health rules", rules["groups"][0].clone()), ("problems", json!([]))];
    let owned = |(name, part): (&str, Value)| (name.to_owned(), part);
    (ours.map(owned).into(), expected.map(owned).into())
}

/// The local side is Grafana, before it makes a dashboard its own; what we read, and what the library read.
fn as_reader_of_dashboards(case: &Case) -> (Parts, Parts) {
    let mut ours = Parts::new();
    for relation in &case.relations {
        let (found, problems) = grafana_dashboard::dashboards(relation);
        assert!(problems.is_empty(), "{problems:?}");
        for dashboard in found {
            let [title, version] = ["title", "version"].map(|key| dashboard.content.get(key).cloned());
            ours.insert(dashboard.id, json!([dashboard.charm, dashboard.uid, title, version]));
        }
    }
    let part = |dashboard: &Value| {
        let content = &dashboard["content"];
        let part = json!([dashboard["charm"], dashboard["dashboard_uid"], content["title"], content["version"]]);
        (text(&dashboard["id"]).to_owned(), part)
    };
    let expected: Parts = list(&case.expected()["dashboards"]).iter().map(part).collect();
    assert_eq!(ours.len(), expected.len(), "dashboards of {}", case.name);
    (ours, expected)
}

/// The local side is the catalogue, and we are an application on it.
fn as_tile(case: &Case) -> (Parts, Parts) {
    let published = &case.relations[0].remote.app_bag;
    let urls = Urls { internal: String::new(), external: published.get("url").cloned() };
    let of_bag = |bag: &Databag| Parts::from([("bag".to_owned(), json!(bag))]);
    (of_bag(&catalogue::requirer_app_bag(&urls)), of_bag(published))
}

/// The local side is the proxy: what we ask of it, and where it says that we are reached.
fn as_user_of_ingress(case: &Case) -> (Parts, Parts) {
    let (mut ours, mut expected) = (Parts::new(), Parts::new());
    for relation in &case.relations {
        let mut seen_by_us = relation.clone();
        seen_by_us.remote.app_bag = bag(&case.published_by_charm(relation)["app"]);
        let published: BTreeMap<String, BTreeMap<String, String>> =
            relatum_model::yaml::from_str(&seen_by_us.remote.app_bag["ingress"]).expect("the charm writes YAML");
        for (unit, asked) in &relation.remote.units {
            // One of the units has not said everything yet, and gets nothing.
            if let (Some(host), Some(model)) = (asked.get("host"), asked.get("model")) {
                let asks = ingress_per_unit::requirer_unit_bag(model, unit, "http", host, 9090);
                ours.insert(format!("bag of {unit}"), json!(asks));
                expected.insert(format!("bag of {unit}"), json!(asked));
            }
            let url = published.get(&unit.to_string()).and_then(|entry| entry.get("url"));
            ours.insert(format!("url of {unit}"), json!(ingress_per_unit::url(&seen_by_us, unit).0));
            expected.insert(format!("url of {unit}"), json!(url));
        }
    }
    (ours, expected)
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
    case.fixture.get("side")?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = folder.join(format!("tests/divergences/{}.json", case.name));
    let explained = std::fs::read_to_string(folder.join("divergences.md")).expect("divergences.md");
    let named = explained.contains(&format!("`{}`", case.name));
    assert_eq!(path.exists(), named, "{} is in divergences.md or has a file, but not both", case.name);
    named.then(|| entries(&read_json(&path)).map(|(name, part)| (name.clone(), part.clone())).collect())
}

fn differences(case: &Case, divergence: Option<&Parts>) -> Vec<String> {
    let is_all = |interface| case.relations.iter().all(|relation| relation.interface == interface);
    let (ours, mut expected) = match case.fixture.get("side") {
        None => as_the_charm(case),
        Some(_) if is_all(grafana_datasource::INTERFACE) => return compare_as_grafana(case),
        Some(_) if is_all(prometheus_remote_write::INTERFACE) => as_sender(case),
        Some(_) if is_all(grafana_dashboard::INTERFACE) => as_reader_of_dashboards(case),
        Some(_) if is_all(catalogue::INTERFACE) => as_tile(case),
        Some(_) if is_all(ingress_per_unit::INTERFACE) => as_user_of_ingress(case),
        Some(_) => return vec!["nobody compares this side".to_owned()],
    };
    if let Some(divergence) = divergence {
        for (name, part) in divergence {
            if expected.insert(name.clone(), part.clone()).as_ref() == Some(part) {
                return vec![format!("{name} does not diverge")];
            }
        }
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
    let (mut equal, mut better, mut different) = (0, 0, Vec::new());
    for case in &cases {
        let divergence = divergence(case);
        let differences = differences(case, divergence.as_ref());
        match (differences.is_empty(), divergence) {
            (true, None) => equal += usize::from(case.fixture.get("side").is_some()),
            (true, Some(_)) => better += 1,
            (false, _) => different.push(format!("{}: {}", case.name, differences.join("\n"))),
        }
    }
    println!("{equal} equal, {better} better by design, {} different", different.len());
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}
