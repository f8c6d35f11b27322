//! What holds of the pure steps whatever the world is: the way to a world does not show, nothing is left to do after a pass, what goes
//! leaves no trace, what is bad harms only itself, and the order of what has none does not matter.
//!
//! Worlds are made of pieces: databags of our own writing for every endpoint, and the relations of the fixtures where
//! `RELATUM_CORPORA` names them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use relatum_relations::bag::Databag;
use relatum_relations::endpoints::{self, APPLICATION};
use serde_json::{Value, json};

use super::desire::{BagKey, Memory, desire};
use super::observe::{FileOptions, Observed, Place};
use super::plan::plan;
use super::render::Renderer;
use crate::control::Problem;
use crate::declared::local::LocalFiles;
use crate::dialect::{Dialect, Layout};
use crate::relate::OUR_UNIT;
use crate::store::{Bag, Endpoint, Model, Role, StoredRelation, World};
use crate::workload::Files;

/// What the other side may write, key by key; `APP` stands for its name.
#[derive(Debug, Clone)]
struct Piece {
    endpoint: &'static str,
    app: &'static [Key],
    unit: &'static [Key],
}

/// A key of a databag, values that can be used, and values of which nothing can.
type Key = (&'static str, &'static [&'static str], &'static [&'static str]);

const NO_JSON: &[&str] =
    &["{", "[", "7", "\"x\"", "[7]", "{\"a\": 1", "- a: [", "nonsense", "[[[[", "{{7*7}}", "\u{1}", "../x"];
const NO_URL: &[&str] = &["http://", "a b", "ftp://h", "http://u:p@h", "\u{0}", "http://h:99999"];
const NO_RULES: &[&str] = &[
    r#"{"groups": 7}"#,
    r#"{"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up{"}]}]}"#,
    r#"{"groups": [{"name": "", "rules": []}, {"rules": [{"record": "a b", "expr": "up"}]}]}"#,
    "[",
    "7",
    "nonsense",
];
const NO_JOBS: &[&str] = &[
    r#"[{"static_configs": 7}, 7, null]"#,
    r#"[{"scrape_timeout": "2h"}]"#,
    r#"[{"basic_auth": {"username": "u", "password_file": "/etc/shadow"}}]"#,
    r#"[{"static_configs": [{"targets": ["*:80"]}], "sample_limit": "many"}]"#,
    "{}}",
    "nonsense",
];
const JOBS: &[&str] = &[
    r#"[{"static_configs": [{"targets": ["*:80"]}]}]"#,
    r#"[{"job_name": "APP-a"}, {"job_name": "APP-a"}, {"job_name": "APP-a", "metrics_path": "/x"}]"#,
    r#"[{"job_name": "APP", "static_configs": [{"targets": ["10.0.0.1:1", "h:2", "*:3"], "labels": {"a": "b"}}]}]"#,
    r#"[{"job_name": "APP-slow", "scrape_timeout": "2h"}, {"job_name": "APP-good"}]"#,
    // The same name whoever has it.
    r#"[{"job_name": "same", "static_configs": [{"targets": ["h:1"]}]}]"#,
    r#"[{"job_name": "prometheus"}]"#,
];
const METADATA: &[&str] = &[
    r#"{"model": "m", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "application": "APP"}"#,
    r#"{"model": "m", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "application": "same", "charm_name": "c"}"#,
    "",
];
const RULES: &[&str] = &[
    r#"{"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up{%%juju_topology%%} == 0", "labels":
        {"juju_model": "m", "juju_model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "juju_application": "APP"}}]}]}"#,
    r#"{"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up == 0"}, {"record": "r", "expr": "up"}]}, {"name": "g"}]}"#,
    r#"{"groups": [{"name": "APP-group/x", "rules": [{"record": "a:b", "expr": "sum(up)"}, {"alert": "A", "expr": "up{"}]}]}"#,
];

const PIECES: &[Piece] = &[
    Piece {
        endpoint: "metrics-endpoint",
        app: &[
            ("scrape_jobs", JOBS, NO_JOBS),
            ("scrape_metadata", METADATA, NO_JSON),
            ("alert_rules", RULES, NO_RULES),
        ],
        unit: &[("prometheus_scrape_unit_address", &["10.0.0.1", "fe80::1", "host:9100"], &["a b", "a/b", "\u{0}"])],
    },
    Piece { endpoint: "receive-remote-write", app: &[("alert_rules", RULES, NO_RULES)], unit: &[] },
    Piece {
        endpoint: "send-remote-write",
        app: &[],
        unit: &[("remote_write", &[r#"{"url": "http://h/w"}"#, r#"{"url": "http://APP/w"}"#], NO_JSON)],
    },
    Piece {
        endpoint: "alertmanager",
        app: &[],
        unit: &[("url", &["http://h:9093", "http://APP:9093/p", "h:9093", "https://APP"], NO_URL)],
    },
    Piece {
        endpoint: "ingress",
        app: &[("ingress", &["prometheus/0:\n  url: http://h/p\n", "{}"], NO_JSON)],
        unit: &[],
    },
    Piece { endpoint: "catalogue", app: &[], unit: &[] },
    Piece {
        endpoint: "grafana-source",
        app: &[
            ("grafana_uid", &["u1", "APP"], &[""]),
            ("datasource_uids", &[r#"{"prometheus/0": "juju_x_0"}"#, "{}"], NO_JSON),
        ],
        unit: &[],
    },
    Piece { endpoint: "grafana-dashboard", app: &[("event", &["{}"], NO_JSON)], unit: &[] },
    Piece { endpoint: "self-metrics-endpoint", app: &[("event", &["{}", r#"{"errors": "e"}"#], NO_JSON)], unit: &[] },
    Piece { endpoint: "prometheus-api", app: &[], unit: &[] },
    Piece {
        endpoint: "send-datasource",
        app: &[("datasources", &[r#"[{"type": "loki", "uid": "u", "grafana_uid": "g"}]"#], NO_JSON)],
        unit: &[],
    },
    Piece {
        endpoint: "receive-ca-cert",
        app: &[("certificates", &[r#"["B", "A"]"#, r#"["APP"]"#], &["[", "7"])],
        unit: &[],
    },
    Piece {
        endpoint: "workload-tracing",
        app: &[(
            "receivers",
            &[r#"[{"protocol": {"name": "otlp_grpc", "type": "grpc"}, "url": "APP:4317"}]"#],
            NO_JSON,
        )],
        unit: &[],
    },
    Piece {
        endpoint: "logging",
        app: &[],
        unit: &[("endpoint", &[r#"{"url": "http://APP:3100/loki/api/v1/push"}"#], NO_JSON)],
    },
];

/// Endpoints whose relations have no ids in what is rendered.
const SETS: &[&str] = &["alertmanager", "receive-ca-cert", "grafana-source", "logging"];

/// A relation without its id: our endpoint, the other side's databags.
#[derive(Debug, Clone)]
struct Related {
    endpoint: String,
    application: String,
    app: Databag,
    units: BTreeMap<u32, Databag>,
}

/// The relations of the fixtures, of endpoints that we have.
static FIXTURES: LazyLock<Vec<Related>> = LazyLock::new(|| {
    let Some(corpora) = std::env::var_os("RELATUM_CORPORA") else { return Vec::new() };
    let folder = PathBuf::from(corpora).join("fixtures/relations");
    let files = std::fs::read_dir(&folder).expect("the corpus is there");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a folder's entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).expect("a case can be read");
        if !text.contains("\"side\"") {
            found.extend(crate::replay::saved_relations(&text).iter().map(|stored| Related::of(stored)));
        }
    }
    found
});

impl Related {
    fn of(stored: &StoredRelation) -> Related {
        let ours = if stored.provider.application == APPLICATION { Role::Provider } else { Role::Requirer };
        let mut related = Related {
            endpoint: stored.end(ours).name.clone(),
            application: stored.end(ours.other()).application.clone(),
            app: Databag::new(),
            units: BTreeMap::new(),
        };
        for ((_, owner), bag) in stored.bags.iter().filter(|((role, _), _)| *role == ours.other()) {
            match owner.rsplit_once('/').and_then(|(_, number)| number.parse().ok()) {
                Some(number) => drop(related.units.insert(number, bag.content.clone())),
                None => related.app.clone_from(&bag.content),
            }
        }
        related
    }

    /// Every bag as its owner and content.
    fn bags(&self) -> Vec<(String, Databag)> {
        let units = self.units.iter().map(|(number, bag)| (format!("{}/{number}", self.application), bag.clone()));
        std::iter::once((self.application.clone(), self.app.clone())).chain(units).collect()
    }
}

/// A relation of our own writing on the endpoint of `piece`; one that `is_bad` has no value that could be used.
fn made(piece: Piece, name: u32, is_bad: bool) -> BoxedStrategy<Related> {
    let values = move |keys: &'static [Key], application: &str| {
        let application = application.to_owned();
        let one = move |(key, good, bad): &'static Key| {
            let value = prop::sample::select(if is_bad { *bad } else { *good });
            let application = application.clone();
            prop::option::weighted(0.6, value)
                .prop_map(move |value| Some(((*key).to_owned(), value?.replace("APP", &application))))
        };
        keys.iter().map(one).collect::<Vec<_>>().prop_map(|found| found.into_iter().flatten().collect::<Databag>())
    };
    let application = format!("app{name}x");
    let units = prop::collection::btree_map(0u32..12, values(piece.unit, &application), 0..3);
    let related = move |(app, units)| Related {
        endpoint: piece.endpoint.to_owned(),
        application: application.clone(),
        app,
        units,
    };
    (values(piece.app, &format!("app{name}x")), units).prop_map(related).boxed()
}

fn bad(name: u32) -> impl Strategy<Value = Related> {
    prop::sample::select(PIECES).prop_flat_map(move |piece| made(piece, name, true))
}

/// A relation as it is, and as it was before, on the same endpoint.
fn related(name: u32) -> BoxedStrategy<(Related, Related)> {
    // Jobs and rules are what passes remember, so that they come more often.
    let piece = prop_oneof![prop::sample::select(PIECES), prop::sample::select(&PIECES[..2])];
    let own = piece.prop_flat_map(move |piece| {
        (made(piece.clone(), name, false), prop_oneof![made(piece.clone(), name, false), made(piece, name, true)])
    });
    match FIXTURES.len() {
        0 => own.boxed(),
        _ => {
            let fixture =
                prop::sample::select(FIXTURES.clone()).prop_map(|related| (related.clone(), spoilt(&related)));
            prop_oneof![2 => own, 1 => fixture].boxed()
        }
    }
}

fn world_with_past() -> impl Strategy<Value = Vec<(Related, Related)>> {
    (0usize..6).prop_flat_map(|n| (0..n as u32).map(related).collect::<Vec<_>>())
}

fn world() -> impl Strategy<Value = Vec<Related>> {
    world_with_past().prop_map(|related| related.into_iter().map(|(related, _)| related).collect())
}

/// A store of relations, in which a bag that changes gets a new version.
#[derive(Debug, Clone, Default)]
struct State {
    relations: BTreeMap<u64, Arc<StoredRelation>>,
}

impl State {
    fn of(related: &[Related]) -> State {
        let mut state = State::default();
        for (id, related) in (1..).zip(related) {
            state.add(id, related);
        }
        state
    }

    fn create(&mut self, id: u64, related: &Related) {
        let known = endpoints::named(&related.endpoint).expect("an endpoint of ours");
        let end = |application: &str| Endpoint { application: application.to_owned(), name: related.endpoint.clone() };
        let (ours, theirs) = (end(APPLICATION), end(&related.application));
        let is_provider = known.role == endpoints::Role::Provides;
        let (provider, requirer) = if is_provider { (ours, theirs) } else { (theirs, ours) };
        let interface = known.interface.to_owned();
        let stored = StoredRelation { id, interface, provider, requirer, bags: BTreeMap::new() };
        self.relations.insert(id, Arc::new(stored));
    }

    fn add(&mut self, id: u64, related: &Related) {
        self.create(id, related);
        for (owner, bag) in related.bags() {
            self.put(id, &owner, &bag);
        }
    }

    fn put(&mut self, id: u64, owner: &str, content: &Databag) {
        let stored = &self.relations[&id];
        let is_ours = owner == APPLICATION || owner == OUR_UNIT;
        let role =
            if (stored.provider.application == APPLICATION) == is_ours { Role::Provider } else { Role::Requirer };
        let key = (role, owner.to_owned());
        let version = stored.bags.get(&key).map_or(0, |known| known.version);
        if stored.bags.get(&key).is_none_or(|known| known.content != *content) {
            let mut stored = (**stored).clone();
            stored.bags.insert(key, Bag { version: version + 1, content: content.clone() });
            self.relations.insert(id, Arc::new(stored));
        }
    }

    fn take_unit(&mut self, id: u64, owner: &str) {
        let mut stored = (*self.relations[&id]).clone();
        stored.bags.retain(|(_, known), _| known != owner);
        self.relations.insert(id, Arc::new(stored));
    }

    fn observed(&self) -> Observed {
        Observed {
            world: World {
                model: Model { name: "site".into(), uuid: "3f1a2b4c-5d6e-4f70-8a91-b2c3d4e5f607".into() },
                relations: self.relations.values().cloned().collect(),
                ..World::default()
            },
            file: FileOptions::default(),
            option_defaults: BTreeMap::new(),
            overrides: BTreeMap::new(),
            local: LocalFiles::default(),
            declared: Vec::new(),
            current: Arc::default(),
            identity: Ok(None),
            now_ms: 0,
            place: Place {
                identity: PathBuf::new(),
                rendered: PathBuf::from("/r"),
                samples: PathBuf::from("/s"),
                listen: "127.0.0.1:9090".into(),
                self_target: "127.0.0.1:9090".into(),
                agent_target: None,
                url: "http://127.0.0.1:9090".into(),
                file_system_bytes: 10 << 30,
            },
        }
    }
}

/// What passes remember.
#[derive(Default)]
struct Passes {
    memory: Memory,
    split: Renderer,
    inlined: Renderer,
}

/// What a pass gives.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    files: Files,
    /// With all jobs in the main file.
    inlined: Files,
    bags: BTreeMap<BagKey, Databag>,
    problems: BTreeSet<Problem>,
}

impl Passes {
    fn pass(&mut self, state: &State) -> Outcome {
        let desired = desire(&state.observed(), &mut self.memory);
        let none = BTreeMap::new();
        let split = self.split.render(&desired, &none, Dialect { layout: Layout::Split, version: None });
        let inlined = self.inlined.render(&desired, &none, Dialect { layout: Layout::Inlined, version: None });
        let problems = desired.problems.iter().chain(&split.problems).cloned().collect();
        Outcome { files: split.files, inlined: inlined.files, bags: desired.bags, problems }
    }

    /// Passes until nothing is left to publish.
    fn settle(&mut self, state: &mut State) -> Outcome {
        for _ in 0..super::ROUNDS_MAX {
            let outcome = self.pass(state);
            let before: Vec<Arc<StoredRelation>> = state.relations.values().cloned().collect();
            for ((id, _, owner), bag) in &outcome.bags {
                state.put(*id, owner, bag);
            }
            if state.relations.values().zip(&before).all(|(now, before)| Arc::ptr_eq(now, before)) {
                return outcome;
            }
        }
        panic!("publishing never ends");
    }
}

fn settled(related: &[Related]) -> Outcome {
    Passes::default().settle(&mut State::of(related))
}

/// Chooses, the same way each time for the same seed.
struct Choice(u64);

impl Choice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n
    }
}

/// One thing that happens to a relation.
enum Event<'a> {
    Create(&'a Related),
    Put(String, Databag),
    Depart(String),
    Break,
}

/// How relation `related` came to be, with what was there before it was as it is.
fn history<'a>(related: &'a Related, before: &Related, choice: &mut Choice) -> Vec<Event<'a>> {
    let mut events = vec![Event::Create(related)];
    if choice.below(3) == 0 {
        // It was there once, with other values, and went.
        events.extend(before.bags().into_iter().map(|(_, bag)| Event::Put(related.application.clone(), bag)));
        events.push(Event::Break);
        events.push(Event::Create(related));
    }
    if choice.below(2) == 0 {
        let gone = format!("{}/99", related.application);
        events.push(Event::Put(gone.clone(), before.units.values().next().cloned().unwrap_or_default()));
        events.push(Event::Depart(gone));
    }
    if choice.below(4) != 0 {
        let bags = before.bags().into_iter().map(|(_, bag)| bag).chain(std::iter::repeat(Databag::new()));
        events.extend(related.bags().into_iter().zip(bags).map(|((owner, _), bag)| Event::Put(owner, bag)));
    }
    let mut bags = related.bags();
    let first = choice.below(bags.len());
    bags.rotate_left(first);
    for (owner, bag) in bags {
        if choice.below(4) == 0 {
            events.push(Event::Put(owner.clone(), bag.clone()));
        }
        events.push(Event::Put(owner, bag));
    }
    events
}

/// `related` as it is, but with nothing left that could be used, under the names it had.
fn spoilt(related: &Related) -> Related {
    let mut spoilt = related.clone();
    let spoil = |key: &str, value: &str| -> String {
        let Ok(mut value) = serde_json::from_str::<Value>(value) else { return "[".to_owned() };
        match (key, &mut value) {
            ("scrape_jobs", Value::Array(jobs)) => {
                jobs.iter_mut().filter_map(Value::as_object_mut).for_each(|job| {
                    job.insert("sample_limit".to_owned(), json!("many"));
                });
                value.to_string()
            }
            ("alert_rules", rules) => {
                for group in rules["groups"].as_array_mut().into_iter().flatten() {
                    for rule in group["rules"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                        rule.insert("expr".to_owned(), json!("up ((("));
                    }
                }
                value.to_string()
            }
            _ => value.to_string(),
        }
    };
    for (key, value) in &mut spoilt.app {
        *value = spoil(key, value);
    }
    spoilt
}

proptest! {
    // A case that fails becomes a row of a test, not a file of seeds.
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_way_to_a_world_does_not_show(target in world_with_past(), seed in any::<u64>()) {
        let mut choice = Choice(seed);
        let mut waiting: Vec<(u64, Vec<Event<'_>>)> = Vec::new();
        for (id, (related, before)) in (1..).zip(&target) {
            let mut events = history(related, before, &mut choice);
            events.reverse();
            waiting.push((id, events));
        }
        let (mut state, mut passes) = (State::default(), Passes::default());
        while !waiting.is_empty() {
            let at = choice.below(waiting.len());
            let (id, events) = &mut waiting[at];
            match events.pop() {
                Some(Event::Create(related)) => state.create(*id, related),
                Some(Event::Put(owner, bag)) => state.put(*id, &owner, &bag),
                Some(Event::Depart(owner)) => state.take_unit(*id, &owner),
                Some(Event::Break) => drop(state.relations.remove(id)),
                None => drop(waiting.swap_remove(at)),
            }
            if choice.below(4) != 0 {
                passes.settle(&mut state);
            }
        }
        let target: Vec<Related> = target.iter().map(|(related, _)| related.clone()).collect();
        prop_assert_eq!(passes.settle(&mut state), settled(&target));
    }

    #[test]
    fn after_a_pass_nothing_is_left_to_do(related in world()) {
        let (mut state, mut passes) = (State::of(&related), Passes::default());
        let outcome = passes.settle(&mut state);
        let again = passes.pass(&state);
        prop_assert!(plan(&outcome.files, &again.files, true).is_empty());
        prop_assert_eq!(again, outcome);
    }

    #[test]
    fn what_goes_leaves_no_trace(related in world(), (more, _) in related(7)) {
        let (mut state, mut passes) = (State::of(&related), Passes::default());
        let before = passes.settle(&mut state);
        state.add(1000, &more);
        passes.settle(&mut state);
        state.relations.remove(&1000);
        prop_assert_eq!(passes.settle(&mut state), before);
    }

    #[test]
    fn what_is_bad_harms_only_itself(related in world(), bad in bad(7), id in prop::sample::select(vec![0u64, 1000])) {
        harms_only_itself(&related, &bad, id)?;
    }

    #[test]
    fn what_is_bad_harms_nobody_of_its_name(related in world(), which in any::<prop::sample::Index>()) {
        let others = |one: &&Related| ["metrics-endpoint", "receive-remote-write"].contains(&one.endpoint.as_str());
        let candidates: Vec<&Related> = related.iter().filter(others).collect();
        if !candidates.is_empty() {
            harms_only_itself(&related, &spoilt(candidates[which.index(candidates.len())]), 0)?;
        }
    }

    #[test]
    fn the_order_of_what_has_none_does_not_matter(
        beside in world(),
        sets in prop::collection::vec(0..SETS.len(), 2..6),
        seed in any::<u64>(),
    ) {
        let mut choice = Choice(seed);
        let mut related = beside;
        for (name, at) in sets.into_iter().enumerate() {
            let piece = PIECES.iter().find(|piece| piece.endpoint == SETS[at]).expect("there is such a piece");
            let mut bag = |keys: &[Key]| -> Databag {
                let value = |(key, good, _): &Key, choice: &mut Choice| {
                    ((*key).to_owned(), good[choice.below(good.len())].replace("APP", &format!("app{}x", name + 20)))
                };
                keys.iter().map(|key| value(key, &mut choice)).collect()
            };
            let (app, units) = (bag(piece.app), (0..3).map(|number| (number, bag(piece.unit))).collect());
            let application = format!("app{}x", name + 20);
            related.push(Related { endpoint: piece.endpoint.to_owned(), application, app, units });
        }
        let mut turned = related.clone();
        let places: Vec<usize> = (0..turned.len()).filter(|&at| SETS.contains(&&*turned[at].endpoint)).collect();
        for at in (1..places.len()).rev() {
            turned.swap(places[at], places[choice.below(at + 1)]);
        }
        for one in turned.iter_mut().filter(|one| one.endpoint == "alertmanager") {
            let mut bags: Vec<Databag> = one.units.values().cloned().collect();
            bags.reverse();
            one.units = one.units.keys().copied().zip(bags).collect();
        }
        let (straight, turned) = (settled(&related), settled(&turned));
        prop_assert_eq!(straight.files, turned.files);
        prop_assert_eq!(straight.inlined, turned.inlined);
    }
}

/// Adds `bad` to the world, before or behind all others.
fn harms_only_itself(related: &[Related], bad: &Related, id: u64) -> Result<(), TestCaseError> {
    let mut state = State::of(related);
    let before = Passes::default().settle(&mut state);
    state.add(id, bad);
    let mut after = Passes::default().settle(&mut state);
    after.bags.retain(|(of, ..), _| *of != id);
    let key = format!("{}:{id}", bad.endpoint);
    after.problems.retain(|problem| problem.relation.as_deref() != Some(&*key));
    prop_assert_eq!(after, before);
    Ok(())
}
