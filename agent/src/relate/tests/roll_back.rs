//! Going back: what operators wrote is as it was, and what is not theirs stays.

use super::*;
use crate::store::{Declaration, World};

impl Bench {
    fn roll_back(&mut self, revision: u64) -> Result<Vec<String>, Failure> {
        let done = self.store.mutate("rollback", |change| roll_back(revision, change));
        done.map(|(_, left)| left).map_err(|error| match error {
            RelateError::Refused(failure) => failure,
            RelateError::Store(error) => panic!("{error}"),
        })
    }

    fn now(&self) -> World {
        // Versions of bags and numbers of units to come are allowed to differ.
        let mut world = self.store.world().unwrap();
        world.revision = 0;
        for relation in self.store.world().unwrap().relations.iter() {
            world.relations.get_mut(relation.id).unwrap().bags.values_mut().for_each(|bag| bag.version = 0);
        }
        Arc::make_mut(&mut world.applications).values_mut().for_each(|application| application.next_unit = 0);
        world
    }
}

type Step<'a> = Box<dyn Fn(&mut Bench) + 'a>;

/// Whatever was done in between, going back leads to the world that was, and once more to the world before going back.
#[test]
fn back_and_forth() {
    let mut bench = Bench::new();
    let mut worlds = vec![(bench.store.revision().unwrap(), bench.now())];
    let databag = |text: &str| Relate {
        arguments: vec!["metrics-endpoint".into()],
        databag: Some(Document { name: "f".into(), text: text.into() }),
        ..Relate::default()
    };
    let addresses = |words: &[&str]| Relate {
        arguments: words.iter().map(|word| word.to_string()).collect(),
        name: Some("hand".into()),
        ..Relate::default()
    };
    let steps: Vec<Step<'_>> = vec![
        Box::new(|bench| {
            drop(bench.ok(databag("{application: zinc, app: {scrape_jobs: '[]'}, units: {zinc/0: {a: b}}}")))
        }),
        Box::new(|bench| drop(bench.ok(addresses(&["metrics-endpoint", "10.0.0.1:1", "10.0.0.2:1"])))),
        Box::new(|bench| drop(bench.ok(databag("{application: zinc, app: {}, units: {zinc/1: {a: c}}}")))),
        Box::new(|bench| assert!(bench.remove(&["hand", "prometheus"]).is_ok())),
        Box::new(|bench| drop(bench.ok(addresses(&["metrics-endpoint", "10.0.0.3:1"])))),
        Box::new(|bench| {
            let set = |change: &Change<'_>| change.set_config("prometheus", "log_level", "debug");
            bench.store.mutate::<_, StoreError>("config", set).unwrap();
        }),
        Box::new(|bench| assert!(bench.remove(&["zinc", "prometheus"]).is_ok())),
    ];
    for step in steps {
        step(&mut bench);
        worlds.push((bench.store.revision().unwrap(), bench.now()));
    }
    for (from, (from_revision, from_world)) in worlds.clone().iter().enumerate() {
        for (to_revision, to_world) in &worlds {
            assert_eq!(bench.roll_back(*from_revision).unwrap(), Vec::<String>::new());
            assert_eq!(bench.now(), *from_world, "step {from}");
            assert_eq!(bench.roll_back(*to_revision).unwrap(), Vec::<String>::new());
            assert_eq!(bench.now(), *to_world, "from step {from} to revision {to_revision}");
        }
    }
    let revision = bench.store.revision().unwrap();
    assert!(bench.roll_back(revision).unwrap().is_empty());
    assert_eq!(bench.store.revision().unwrap(), revision, "nothing to do is no revision");
    // One is not there yet; before the first there was no model.
    for unknown in [revision + 1, 0] {
        let failure = bench.roll_back(unknown).expect_err("there is no such world");
        assert!(failure.message.contains(&format!("the history reaches from 1 to {revision}")), "{failure}");
    }
}

#[test]
fn files_keep_what_they_declare() {
    let mut bench = Bench::new();
    let before = bench.store.revision().unwrap();
    let request = Relate {
        arguments: vec!["metrics-endpoint".into(), "10.0.0.1:1".into()],
        name: Some("hand".into()),
        ..Relate::default()
    };
    let relation = bench.ok(request).relation;
    let declaration = Declaration {
        file: "f.yaml".into(),
        endpoint: "metrics-endpoint".into(),
        application: "hand".into(),
        request: "{}".into(),
    };
    bench.store.mutate::<_, StoreError>("declare", |change| change.put_declaration(relation, &declaration)).unwrap();
    let world = bench.now();
    let left = bench.roll_back(before).unwrap();
    assert_eq!(left, ["relation 1 stays: a file of relations.d says whether it is there"]);
    assert_eq!(bench.now(), world);
}
