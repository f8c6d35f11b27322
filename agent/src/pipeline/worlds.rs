//! Worlds for tests: databags of our own writing for every endpoint, the relations of the fixtures where `RELATUM_CORPORA` names
//! them, and what passes over a world of them give.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use relatum_relations::bag::Databag;
use relatum_relations::endpoints::{self, APPLICATION};
use serde_json::{Value, json};

use super::desire::{Memory, desire};
use super::observe::{FileOptions, Observed, Place};
use super::publish::Bags;
use super::render::Renderer;
use crate::control::Problem;
use crate::declared::local::LocalFiles;
use crate::dialect::{Dialect, Layout};
use crate::packed::PackedBag;
use crate::store::{Bag, Endpoint, Model, Role, StoredRelation, World};
use crate::workload::Files;

/// The unit that passes are run as.
const OUR_UNIT: &str = "prometheus/0";

/// What the other side may write, key by key; `APP` stands for its name.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) endpoint: &'static str,
    pub(super) app: &'static [Key],
    pub(super) unit: &'static [Key],
}

/// A key of a databag, values that can be used, and values of which nothing can.
pub(super) type Key = (&'static str, &'static [&'static str], &'static [&'static str]);

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

/// A certificate that can be trusted, as a list.
const AUTHORITY: &str = "[\"-----BEGIN CERTIFICATE-----\\n\
    MIIBbzCCARWgAwIBAgIUcfAgF3k/iJmU5Hv4JeohAQBYwDwwCgYIKoZIzj0EAwIw\\n\
    DDEKMAgGA1UEAwwBYTAgFw0yNjExMjExNDU0NTJaGA8yMTI2MTAyODE0NTQ1Mlow\\n\
    DDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABL6xJgHj8hf9\\n\
    HnZikFCQ+GclfEhsGv3oAHs8p+PNwPH3UbFONuZOTAD6Rk7S6XR1fUdQdZp3DZuz\\n\
    ojVAwfWzdgmjUzBRMB0GA1UdDgQWBBTUSFAQHsUgyh+O3tqnDe5IxHoRGzAfBgNV\\n\
    HSMEGDAWgBTUSFAQHsUgyh+O3tqnDe5IxHoRGzAPBgNVHRMBAf8EBTADAQH/MAoG\\n\
    CCqGSM49BAMCA0gAMEUCIQCLNdcUsTUBLR7/EnyP55h+0UBLiBOaUGwdJ+mSfOR9\\n\
    SQIgV6iJffsFDjG0Uc6/uEz6R0u79zLsBvH6K1gT+yOMmgk=\\n\
    -----END CERTIFICATE-----\\n\"]";

pub(super) const PIECES: &[Piece] = &[
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
    Piece { endpoint: "certificates", app: &[("certificates", &["[]"], NO_JSON)], unit: &[] },
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
    Piece { endpoint: "receive-ca-cert", app: &[("certificates", &[AUTHORITY], &["[", "7", "[7, \"\"]"])], unit: &[] },
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

/// A relation without its id: our endpoint, the other side's databags.
#[derive(Debug, Clone)]
pub(super) struct Related {
    pub(super) endpoint: String,
    pub(super) application: String,
    pub(super) app: Databag,
    pub(super) units: BTreeMap<u32, Databag>,
}

/// The relations of the fixtures, of endpoints that we have.
pub(super) static FIXTURES: LazyLock<Vec<Related>> = LazyLock::new(|| {
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
    pub(super) fn of(stored: &StoredRelation) -> Related {
        let ours = if stored.provider.application == APPLICATION { Role::Provider } else { Role::Requirer };
        let mut related = Related {
            endpoint: stored.end(ours).name.clone(),
            application: stored.end(ours.other()).application.clone(),
            app: Databag::new(),
            units: BTreeMap::new(),
        };
        for ((_, owner), bag) in stored.bags.iter().filter(|((role, _), _)| *role == ours.other()) {
            match owner.rsplit_once('/').and_then(|(_, number)| number.parse().ok()) {
                Some(number) => drop(related.units.insert(number, bag.content.read())),
                None => related.app = bag.content.read(),
            }
        }
        related
    }

    /// Every bag as its owner and content.
    pub(super) fn bags(&self) -> Vec<(String, Databag)> {
        let units = self.units.iter().map(|(number, bag)| (format!("{}/{number}", self.application), bag.clone()));
        std::iter::once((self.application.clone(), self.app.clone())).chain(units).collect()
    }
}

/// A store of relations, in which a bag that changes gets a new version.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) relations: BTreeMap<u64, Arc<StoredRelation>>,
}

impl State {
    pub(super) fn of(related: &[Related]) -> State {
        let mut state = State::default();
        for (id, related) in (1..).zip(related) {
            state.add(id, related);
        }
        state
    }

    pub(super) fn create(&mut self, id: u64, related: &Related) {
        let known = endpoints::named(&related.endpoint).expect("an endpoint of ours");
        let end = |application: &str| Endpoint { application: application.to_owned(), name: related.endpoint.clone() };
        let (ours, theirs) = (end(APPLICATION), end(&related.application));
        let is_provider = known.role == endpoints::Role::Provides;
        let (provider, requirer) = if is_provider { (ours, theirs) } else { (theirs, ours) };
        let interface = known.interface.to_owned();
        let stored = StoredRelation { id, interface, provider, requirer, bags: BTreeMap::new() };
        self.relations.insert(id, Arc::new(stored));
    }

    pub(super) fn add(&mut self, id: u64, related: &Related) {
        self.create(id, related);
        for (owner, bag) in related.bags() {
            self.put(id, &owner, &bag);
        }
    }

    pub(super) fn put(&mut self, id: u64, owner: &str, content: &Databag) {
        let stored = &self.relations[&id];
        let is_ours = owner == APPLICATION || owner == OUR_UNIT;
        let role =
            if (stored.provider.application == APPLICATION) == is_ours { Role::Provider } else { Role::Requirer };
        let key = (role, owner.to_owned());
        let version = stored.bags.get(&key).map_or(0, |known| known.version);
        if stored.bags.get(&key).is_none_or(|known| known.content != PackedBag::new(content)) {
            let mut stored = (**stored).clone();
            stored.bags.insert(key, Bag { version: version + 1, content: PackedBag::new(content) });
            self.relations.insert(id, Arc::new(stored));
        }
    }

    pub(super) fn take_unit(&mut self, id: u64, owner: &str) {
        let mut stored = (*self.relations[&id]).clone();
        stored.bags.retain(|(_, known), _| known != owner);
        self.relations.insert(id, Arc::new(stored));
    }

    pub(super) fn observed(&self) -> Observed {
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
            current: Files::new(),
            identity: Ok(None),
            now_ms: 0,
            place: Place {
                unit: OUR_UNIT.parse().unwrap(),
                identity: PathBuf::new(),
                rendered: PathBuf::from("/r"),
                samples: PathBuf::from("/s"),
                listen: "127.0.0.1:9090".into(),
                self_target: "127.0.0.1:9090".into(),
                agent_target: None,
                url: "http://127.0.0.1:9090".into(),
                file_system_bytes: 10 << 30,
                tries_certificates: false,
            },
        }
    }
}

/// What passes remember.
#[derive(Default)]
pub(super) struct Passes {
    memory: Memory,
    split: Renderer,
    pub(super) inlined: Renderer,
}

/// What a pass gives.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    pub(super) files: Files,
    /// With all jobs in the main file.
    pub(super) inlined: Files,
    pub(super) bags: Bags,
    pub(super) problems: BTreeSet<Problem>,
}

impl Passes {
    pub(super) fn pass(&mut self, state: &State) -> Outcome {
        let desired = desire(&state.observed(), &mut self.memory);
        let none = BTreeMap::new();
        let split = self.split.render(&desired, &none, Dialect { layout: Layout::Split, version: None });
        let inlined = self.inlined.render(&desired, &none, Dialect { layout: Layout::Inlined, version: None });
        let problems = desired.problems.iter().chain(&split.problems).cloned().collect();
        Outcome { files: split.files, inlined: inlined.files, bags: desired.bags, problems }
    }

    /// Passes until nothing is left to publish.
    pub(super) fn settle(&mut self, state: &mut State) -> Outcome {
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

pub(super) fn settled(related: &[Related]) -> Outcome {
    Passes::default().settle(&mut State::of(related))
}

/// `related` as it is, but with nothing left that could be used, under the names it had.
pub(super) fn spoilt(related: &Related) -> Related {
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
