//! Two agents of one application, as decision 0008 says, on the databags of one model: the way juju has them, where each unit sees what all
//! of its application have said.

use std::collections::BTreeMap;

use relatum_relations::bag::Databag;
use serde_json::json;

use super::*;

/// A unit with its own files, and the databags of the model.
struct Unit {
    dir: TempDir,
    pipeline: Pipeline,
    sources: Sources,
    workload: Recorder,
}

impl Unit {
    fn new(number: u32, leads: bool) -> Unit {
        let dir = TempDir::new().unwrap();
        let address = format!("127.0.0.{}:9090", number + 1);
        let place = Place {
            unit: format!("prometheus/{number}").parse().unwrap(),
            identity: dir.path().join("identity.json"),
            rendered: dir.path().join("rendered"),
            samples: dir.path().join("tsdb"),
            listen: address.clone(),
            self_target: address.clone(),
            agent_target: None,
            url: format!("http://{address}"),
            file_system_bytes: 10 << 30,
            tries_certificates: true,
        };
        let sources = Sources { templates: dir.path().join("templates"), ..Sources::default() };
        let mut unit =
            Unit { pipeline: Pipeline::new(place, sources.clone()), sources, workload: Recorder::default(), dir };
        unit.lead(leads);
        unit
    }

    fn lead(&mut self, leads: bool) {
        crate::lock(&self.sources.file_options).follows = !leads;
    }

    fn run(&mut self, store: &Mutex<Store>) -> Report {
        self.pipeline.run(store, &self.workload, true).unwrap()
    }

    /// What it renders of relations: all but what is about itself, such as where it listens.
    fn of_relations(&self) -> BTreeMap<String, String> {
        let files = RenderedDirectory::new(self.dir.path().join("rendered")).read().unwrap();
        let is_of_relation = |path: &str| path.starts_with("scrape/") || path.starts_with("rules/");
        let files = files.iter().filter(|(path, _)| is_of_relation(path));
        files.map(|(path, text)| (path.to_string(), text.read())).collect()
    }
}

/// What `owner` of our side says, by relation.
fn said(store: &Mutex<Store>, owner: &str) -> BTreeMap<u64, Databag> {
    let world = crate::lock(store).world().unwrap();
    let bag = |relation: &Arc<crate::store::StoredRelation>| {
        let role = if relation.provider.application == "prometheus" { Role::Provider } else { Role::Requirer };
        let bag = relation.bags.get(&(role, owner.to_owned()));
        (relation.id, bag.map(|bag| bag.content.read()).unwrap_or_default())
    };
    world.relations.iter().map(bag).collect()
}

/// A model with the two units, related to a peer on each of some endpoints; one of them has a rule that is none.
fn model() -> (TempDir, Mutex<Store>) {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path(), Arc::new(|| 0)).unwrap();
    let model = Model { name: "site".into(), uuid: "12de4fae-06cc-4ceb-9089-567be09fec78".into() };
    let metadata = json!({"model": "m", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec79", "application": "zinc"});
    let rules = json!({"groups": [{"name": "g", "rules": [
        {"alert": "Good", "expr": "up == 0"}, {"alert": "Bad", "expr": "up =="},
    ]}]});
    let zinc =
        json!({"scrape_jobs": "[{}]", "scrape_metadata": metadata.to_string(), "alert_rules": rules.to_string()});
    let peers = [
        ("metrics-endpoint", zinc, json!({"prometheus_scrape_unit_address": "10.0.0.1"})),
        ("self-metrics-endpoint", json!({}), json!({})),
        ("grafana-source", json!({}), json!({})),
        ("catalogue", json!({}), json!({})),
        ("certificates", json!({}), json!({})),
    ];
    store
        .mutate::<_, RelateError>("begin", |change| {
            change.set_model(&model)?;
            change.put_application("prometheus", Origin::Builtin, "relatum", "{}")?;
            change.put_unit("prometheus", 0)?;
            change.put_unit("prometheus", 1)?;
            for (endpoint, application, unit) in peers {
                let name = format!("peer-{endpoint}");
                let bags = json!({"application": name, "app": application, "units": {format!("{name}/0"): unit}});
                let databag = Some(Document { name: "file".into(), text: bags.to_string() });
                let request = Relate { arguments: vec![endpoint.to_owned()], databag, ..Relate::default() };
                relate::relate(&request, change)?;
            }
            Ok(())
        })
        .unwrap();
    (dir, Mutex::new(store))
}

#[test]
fn the_leader_speaks_and_a_follower_does_all_else() {
    let (_dir, store) = model();
    let (mut zero, mut one) = (Unit::new(0, true), Unit::new(1, false));

    // The follower is first: it says nothing for the application, however empty that is, and lacks nothing.
    let report = one.run(&store);
    assert!(said(&store, "prometheus").values().all(Databag::is_empty));
    assert_eq!((report.applied, report.problems.len()), (true, 1), "{:?}", report.problems);
    let reported = zero.run(&store).problems;
    assert_eq!(reported, report.problems);
    let application = said(&store, "prometheus");
    assert!(application.values().any(|bag| bag.contains_key("scrape_metadata")), "{application:?}");
    assert!(application.values().any(|bag| bag.get("event").is_some_and(|event| event.contains("Bad"))));
    assert!(!zero.of_relations().is_empty());
    assert_eq!(zero.of_relations(), one.of_relations());

    // Each unit says where it is itself, and asks for a certificate of its own.
    let (of_zero, of_one) = (said(&store, "prometheus/0"), said(&store, "prometheus/1"));
    let url = |bags: &BTreeMap<u64, Databag>| bags.values().find_map(|bag| bag.get("grafana_source_host").cloned());
    assert_eq!(url(&of_zero).as_deref(), Some("http://127.0.0.1:9090"));
    assert_eq!(url(&of_one).as_deref(), Some("http://127.0.0.2:9090"));
    let request =
        |bags: &BTreeMap<u64, Databag>| bags.values().find_map(|bag| bag.get("certificate_signing_requests").cloned());
    assert!(request(&of_zero).is_some() && request(&of_zero) != request(&of_one));

    // Neither moves the other: nothing is left to do for either.
    let revision = crate::lock(&store).world().unwrap().revision;
    assert_eq!((one.run(&store).changed, zero.run(&store).changed), (vec![], vec![]));
    assert_eq!(crate::lock(&store).world().unwrap().revision, revision);

    // Leadership goes over. What the application says of its leader changes, nothing else, and only once.
    zero.lead(false);
    zero.run(&store);
    assert_eq!(said(&store, "prometheus"), application);
    one.lead(true);
    assert!(!one.run(&store).follows);
    let after = said(&store, "prometheus");
    let differing: Vec<&str> = after
        .iter()
        .flat_map(|(id, bag)| bag.iter().filter(|(key, value)| application[id].get(*key) != Some(*value)))
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(differing, ["scrape_metadata", "api_endpoints", "url"]);
    assert_eq!((said(&store, "prometheus/0"), said(&store, "prometheus/1")), (of_zero, of_one));
    let revision = crate::lock(&store).world().unwrap().revision;
    zero.run(&store);
    one.run(&store);
    assert_eq!(crate::lock(&store).world().unwrap().revision, revision);

    // A unit that does not know yet that it leads no more is the one case in which two speak; the last word stands.
    zero.lead(true);
    zero.run(&store);
    assert_eq!(said(&store, "prometheus"), application);
}
