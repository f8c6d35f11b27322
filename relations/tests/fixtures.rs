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
use relatum_relations::ingress_per_unit::{self, Urls};
use relatum_relations::prometheus_remote_write::{self, Received, health};
use relatum_relations::prometheus_scrape::{self, Finished, Scraped, finish, provide};
use relatum_relations::unit_status::{Workload, unit_status};
use relatum_relations::{
    Databag, Relation, Side, Topology, UnitName, alertmanager_dispatch, catalogue, certificate_transfer, charm_options,
    grafana_dashboard, grafana_datasource, grafana_datasource_exchange, json, prometheus_api, tls_certificates,
    tracing,
};
use serde_json::{Map, Value, json};

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
        let mut relations: Vec<Relation> = relations.filter(|relation| !broken.contains(&relation.id)).collect();
        // What the peer writes between the hooks. One pass over how things are in the end has to give what all of them gave.
        let edits = events.iter().filter(|event| event[0] == "remote_app_data_set");
        for (edit, data) in edits.zip(list(&fixture["remote_app_data_steps"])) {
            let edited = relations.iter_mut().find(|relation| edit[1] == relation.id).expect("a relation to edit");
            edited.remote.app_bag = bag(data);
        }
        Case { name: text(&fixture["name"]).to_owned(), relations, fixture }
    }

    fn expected(&self) -> &Value {
        &self.fixture["expected"]
    }

    fn of<'a>(&'a self, endpoint: &'a str) -> impl Iterator<Item = &'a Relation> {
        self.relations.iter().filter(move |relation| relation.endpoint == endpoint)
    }

    /// What stands in for the workload: nothing in the file tells but the text.
    fn workload(&self) -> Workload {
        match self.name.as_str() {
            "config-010-cannot-connect" => Workload::Unreachable,
            "config-012-promtool-fails" => Workload::Refuses,
            _ => Workload::Runs,
        }
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

    fn received(&self) -> Vec<Received> {
        self.of("receive-remote-write").map(prometheus_remote_write::read).collect()
    }

    /// Where the unit is reached, as we see it: the internal URL is the host's affair, the external one the ingress'.
    fn urls(&self) -> Urls {
        let ingress = self.of("ingress").next();
        Urls {
            internal: text(&self.expected()["internal_url"]).to_owned(),
            external: ingress.and_then(|relation| ingress_per_unit::url(relation, &self.unit()).0),
        }
    }

    fn unit_topology(&self) -> Topology {
        let topology = self.topology().with_unit(&self.unit().to_string()).expect("a unit's topology");
        topology.with_charm(text(&self.fixture["local"]["charm_name"])).expect("a charm's topology")
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
    let received = case.received();
    let mut rules: Vec<_> = scraped.iter().filter_map(|scraped| scraped.rules.clone()).collect();
    let taken: Vec<String> = rules.iter().map(|file| file.file_name.clone()).collect();
    rules.extend(prometheus_remote_write::rule_files(&received, taken.iter().map(String::as_str)));
    let rules: Value =
        rules.iter().map(|file| (format!("/etc/prometheus/rules/{}", file.file_name), file.content())).collect();

    let nothing = Map::new();
    let options = case.fixture["charm_config"].as_object().unwrap_or(&nothing);
    // Every case has a disk of this size.
    assert_eq!(case.fixture["local"]["pvc_capacity"], "10Gi");
    let effect = charm_options::effect(options, Some(10 << 30));
    let has_certificate = case
        .of("certificates")
        .any(|relation| tls_certificates::signed(relation, &request_of_charm(case, relation)).0.is_some());
    let (alertmanagers, mut problems) = alertmanager_dispatch::alertmanagers(case.of("alertmanager"));
    problems.extend(scraped.iter().flat_map(|scraped| scraped.problems.clone()));
    problems.extend(received.iter().flat_map(|received| received.problems.clone()));
    let (authorities, refused) = certificate_transfer::certificates(case.of("receive-ca-cert"));
    problems.extend(refused);
    let authorities: Value = authorities.into_iter().map(|authority| Value::from(authority.pem)).collect();
    let (collector, refused) = case
        .of("workload-tracing")
        .map(|relation| tracing::endpoint(relation, tracing::OTLP_GRPC))
        .next()
        .unwrap_or_default();
    problems.extend(refused);
    let has_unfit_rules = problems.iter().any(|problem| problem.key.as_deref() == Some(prometheus_scrape::ALERT_RULES));
    let status = unit_status(&effect, has_unfit_rules, case.workload());
    let attributes = collector.as_ref().map(|_| tracing::resource_attributes(&case.unit_topology()));
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
        ("external URL", case.urls().external.into()),
        ("command", charm_options::command(&effect, case.urls().most_external(), has_certificate).into()),
        ("status", json!({"name": status.current, "message": status.message})),
        ("evaluation interval", effect.evaluation_interval.into()),
        ("authorities", authorities),
        ("tracing", collector.map_or(Value::Null, |endpoint| tracing::configuration(&endpoint, None))),
        ("resource attributes", attributes.into()),
    ];
    let mut parts: Parts = whole.map(|(name, part)| (name.to_owned(), part)).into();
    for relation in case.of("receive-remote-write") {
        let name = format!("health rules of relation {}", relation.id);
        parts.insert(name, health_of_sender(case, relation).0);
    }
    for received in &received {
        let event = prometheus_remote_write::event(received);
        parts.insert(format!("event of relation {}", received.relation.1), event_shape(event.as_deref()));
    }
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
    let (urls, nothing) = (case.urls(), Databag::new);
    let mut grafanas = case.of("grafana-source").filter_map(|relation| grafana_datasource::answer(relation).0);
    let grafanas: Vec<_> = grafanas.by_ref().collect();
    let mut published = Vec::new();
    for relation in &case.relations {
        let (app, unit) = match relation.endpoint.as_str() {
            "grafana-source" => (
                grafana_datasource::provider_app_bag(&case.topology(), "1m"),
                grafana_datasource::provider_unit_bag(&urls.internal),
            ),
            "self-metrics-endpoint" => {
                let (unit, job) = provide::at_url(&case.unit(), urls.most_external(), None).expect("our own URL");
                let mut app = provide::app_bag(&case.unit_topology(), &[job], &json!({}));
                app.remove(prometheus_scrape::ALERT_RULES);
                (app, unit)
            }
            // The key `event` of the application is a part of its own.
            "receive-remote-write" => (nothing(), prometheus_remote_write::provider_unit_bag(&urls)),
            "ingress" => {
                let local = &case.fixture["local"];
                let scheme = urls.internal.split(':').next().unwrap_or_default();
                let model = text(&local["model"]);
                (
                    nothing(),
                    ingress_per_unit::requirer_unit_bag(model, &case.unit(), scheme, text(&local["fqdn"]), 9090),
                )
            }
            "catalogue" => (catalogue::requirer_app_bag(&urls), nothing()),
            "prometheus-api" => (prometheus_api::provider_app_bag(&urls), nothing()),
            "send-datasource" => (grafana_datasource_exchange::provider_app_bag(&grafanas), nothing()),
            "receive-ca-cert" => (certificate_transfer::requirer_app_bag(), nothing()),
            "workload-tracing" => (tracing::requirer_app_bag(&[tracing::OTLP_GRPC]), nothing()),
            "certificates" => (nothing(), tls_certificates::requirer_unit_bag(&request_of_charm(case, relation))),
            "grafana-dashboard" => (dashboards_again(case, relation), nothing()),
            _ => continue,
        };
        published.push((relation.id, comparable(json!({"app": app, "unit": unit}))));
    }
    published
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

/// The text of the charm's request: keys are random, so ours would be another.
fn request_of_charm(case: &Case, relation: &Relation) -> String {
    let bags = case.published_by_charm(relation);
    let requests: Value = serde_json::from_str(text(&bags["unit"]["certificate_signing_requests"])).expect("JSON");
    text(&requests[0]["certificate_signing_request"]).to_owned()
}

/// The charm's dashboards, unpacked and published again: ours are others.
fn dashboards_again(case: &Case, relation: &Relation) -> Databag {
    let published = templates(text(&case.published_by_charm(relation)["app"]["dashboards"]));
    let dashboards: Vec<_> = entries(&published)
        .map(|(id, template)| grafana_dashboard::Dashboard {
            file_name: format!("{}.json", id.strip_prefix("file:").expect("an id made of a file's name")),
            content: text(&template["content"]).to_owned(),
        })
        .collect();
    grafana_dashboard::provider_app_bag(&case.unit_topology(), &dashboards)
}

/// The dashboards under `dashboards`, each unpacked.
fn templates(published: &str) -> Value {
    let mut published: Value = serde_json::from_str(published).expect("JSON");
    for template in published["templates"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        let content = grafana_dashboard::decode(text(&template["content"]), usize::MAX).expect("a dashboard");
        template["content"] = content.into();
    }
    published["templates"].take()
}

/// The bags with what two packers pack differently unpacked, and without a uuid that the charm draws.
fn comparable(mut bags: Value) -> Value {
    if let Some(dashboards) = bags["app"].get_mut("dashboards") {
        *dashboards = templates(text(dashboards));
    }
    bags
}

/// What the charm made of the case, in the same parts.
fn charms(case: &Case) -> Parts {
    let expected = case.expected();
    let config = &expected["prometheus_config"];
    let jobs = list(&config["scrape_configs"]).iter().filter(|job| job["job_name"] != "prometheus");
    let jobs: Value = jobs.map(|job| (text(&job["job_name"]).to_owned(), job.clone())).collect();
    let files = entries(&expected["other_files"]).filter(|(path, _)| path.starts_with("/etc/prometheus/juju_"));
    let files: Value = files.map(|(path, content)| (path.clone(), content.clone())).collect();
    let parse = |yaml: &Value| relatum_model::yaml::from_str::<Value>(text(yaml)).expect("the charm writes YAML");
    let rules: Value = entries(&expected["rule_files"]).map(|(path, yaml)| (path.clone(), parse(yaml))).collect();
    let mut urls = list(&expected["alertmanagers"]).to_vec();
    urls.sort_by(|a, b| text(a).cmp(text(b)));
    let texts = list(&expected["scrape_jobs"]).iter();
    let authorities = entries(&expected["other_files"]).filter(|(path, _)| path.contains("/juju_receive-ca-cert/"));
    let mut authorities: Vec<Value> = authorities.map(|(_, pem)| pem.clone()).collect();
    authorities.sort_by(|a, b| text(a).cmp(text(b)));
    let texts: Value = texts.map(|job| (text(&job["job_name"]).to_owned(), Value::from(json::dumps(job)))).collect();
    let whole = [
        ("jobs", jobs),
        ("jobs as text", texts),
        ("files", files),
        ("rules", rules),
        ("alertmanagers", Value::from(urls)),
        ("alerting", sorted_alerting(&config["alerting"]["alertmanagers"])),
        ("external URL", expected["external_url"].clone()),
        ("authorities", authorities.into()),
        ("tracing", config["tracing"].clone()),
        ("resource attributes", expected["environment"]["OTEL_RESOURCE_ATTRIBUTES"].clone()),
    ];
    let mut parts: Parts = whole.map(|(name, part)| (name.to_owned(), part)).into();
    // Of some cases the file does not say, of others a failing hook left nothing.
    if expected["unit_status"].is_object() {
        parts.insert("status".to_owned(), expected["unit_status"].clone());
    }
    let interval = &config["global"]["evaluation_interval"];
    for (name, part) in [("command", &expected["command"]), ("evaluation interval", interval)] {
        if part.is_string() {
            parts.insert(name.to_owned(), part.clone());
        }
    }
    for relation in case.of("receive-remote-write") {
        let name = format!("health rules of relation {}", relation.id);
        parts.insert(name, health_of_sender(case, relation).1);
    }
    for relation in &case.relations {
        let mut bags = case.published_by_charm(relation);
        if matches!(relation.endpoint.as_str(), "metrics-endpoint" | "receive-remote-write") {
            let event = bags["app"].as_object_mut().and_then(|app| app.remove("event"));
            parts.insert(format!("event of relation {}", relation.id), event_shape(event.as_ref().map(text)));
        }
        parts.insert(format!("bags of relation {}", relation.id), comparable(bags));
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
        None => (ours(case), charms(case)),
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
    let (mut equal, mut better, mut different) = (0, 0, Vec::new());
    for case in &cases {
        let divergence = divergence(case);
        let differences = differences(case, divergence.as_ref());
        match (differences.is_empty(), divergence) {
            (true, None) => equal += 1,
            (true, Some(_)) => better += 1,
            (false, _) => different.push(format!("{}: {}", case.name, differences.join("\n"))),
        }
    }
    println!("{equal} equal, {better} better by design, {} different", different.len());
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}
