//! The store on a real disk: what was committed is there after any end.

use std::collections::BTreeMap;
use std::fs;

use relatum_relations::bag::Databag;
use tempfile::TempDir;

use super::*;

fn clock() -> Clock {
    Arc::new(|| 1_700_000_000_000)
}

fn open(dir: &TempDir) -> Store {
    Store::open(dir.path(), clock()).expect("opens")
}

fn bag(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn endpoint(application: &str, name: &str) -> Endpoint {
    Endpoint { application: application.to_owned(), name: name.to_owned() }
}

/// One of everything.
fn fill(store: &mut Store) -> (u64, u64) {
    let filled = store.mutate::<_, StoreError>("relate", |change| {
        change.set_model(&Model { name: "host".into(), uuid: "u".into() })?;
        change.put_application("prometheus", Origin::Builtin, "relatum", "{}")?;
        change.put_application("zinc", Origin::Databag, "zinc-k8s", "{}")?;
        change.put_unit("zinc", 0)?;
        let (provider, requirer) = (endpoint("zinc", "metrics-endpoint"), endpoint("prometheus", "metrics-endpoint"));
        let id = change.put_relation("prometheus_scrape", &provider, &requirer)?;
        change.put_bag(id, Role::Provider, "zinc", &bag(&[("scrape_jobs", "[]")]))?;
        change.put_bag(id, Role::Provider, "zinc/0", &bag(&[]))?;
        change.set_config("prometheus", "log_level", "debug")?;
        Ok(id)
    });
    filled.expect("fills")
}

#[test]
fn reopened_it_is_the_same() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    fill(&mut store);
    let world = store.world().unwrap();
    assert_eq!(world.relations.nth(0).unwrap().bags.len(), 2);
    assert_eq!(world.config["log_level"], "debug");
    drop(store);
    assert_eq!(open(&dir).world().unwrap(), world);
}

/// As after `kill -9`: nothing is closed, the files are as they were after the last commit.
#[test]
fn killed_it_is_the_same() {
    let (dir, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut store = open(&dir);
    fill(&mut store);
    let world = store.world().unwrap();
    for file in ["state.db", "state.db-wal"] {
        fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
    }
    assert_eq!(open(&copy).world().unwrap(), world);
}

#[test]
fn one_mutation_is_one_revision_and_none_without_a_change() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    let (first, id) = fill(&mut store);
    assert_eq!((first, fill(&mut store)), (1, (1, id)), "the second time nothing changes");

    let failed = store.mutate::<(), StoreError>("fails half-way", |change| {
        change.set_config("prometheus", "log_level", "info")?;
        Err(StoreError::Damaged { what: "test".into(), reason: "on purpose".into() })
    });
    assert!(failed.is_err());
    assert_eq!(store.world().unwrap().config["log_level"], "debug");

    let (second, ()) = store
        .mutate::<_, StoreError>("remove", |change| {
            change.remove_relation(id)?;
            change.remove_application("zinc")
        })
        .unwrap();
    let world = store.world().unwrap();
    assert_eq!((world.relations.len(), world.applications.len(), world.revision), (0, 1, second));

    // What a revision replaced is written down: that is what going back needs.
    let before: String = store
        .connection
        .query_row(
            "SELECT before FROM change WHERE object = 'databag' AND key LIKE '%zinc' AND revision = ?1",
            [second],
            |row| row.get(0),
        )
        .unwrap();
    assert!(before.contains("scrape_jobs"), "{before}");
    let history = store.history(1).unwrap();
    assert_eq!((history[0].description.as_str(), history[0].changes.len()), ("remove", 5));
}

/// Every world that ever was can be looked at again, and looking changes nothing.
#[test]
fn the_past_is_as_it_was() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    let mut worlds = vec![store.world().unwrap()];
    let mut id = 0;
    for step in 0..8 {
        let mutated = match step {
            0 | 5 => {
                id = fill(&mut store).1;
                Ok(())
            }
            1 => store
                .mutate::<_, StoreError>("write", |change| {
                    change.put_bag(id, Role::Provider, "zinc/0", &bag(&[("a b", "ü\n")]))?;
                    change.put_unit("zinc", 1)?;
                    change.put_bag(id, Role::Provider, "zinc/1", &bag(&[]))
                })
                .map(drop),
            2 => store
                .mutate::<_, StoreError>("reset", |change| change.reset_config("prometheus", "log_level"))
                .map(drop),
            3 => store
                .mutate::<_, StoreError>("leave", |change| {
                    change.remove_bag(id, Role::Provider, "zinc/1")?;
                    change.remove_unit("zinc", 1)
                })
                .map(drop),
            4 => store
                .mutate::<_, StoreError>("remove", |change| {
                    change.remove_relation(id)?;
                    change.remove_application("zinc")
                })
                .map(drop),
            6 => store
                .mutate::<_, StoreError>("twice", |change| {
                    change.set_config("prometheus", "cpu", "1")?;
                    change.set_config("prometheus", "cpu", "2")
                })
                .map(drop),
            _ => store.mutate::<_, StoreError>("undo", |change| change.reset_config("prometheus", "cpu")).map(drop),
        };
        mutated.unwrap();
        worlds.push(store.world().unwrap());
    }
    assert_eq!(store.reach().unwrap(), 0..=8);
    for (revision, world) in worlds.iter().enumerate() {
        assert_eq!(store.world_at(revision as u64).unwrap().as_ref(), Some(world), "at {revision}");
    }
    assert_eq!(store.world_at(9).unwrap(), None);
    assert_eq!(store.world().unwrap(), worlds[8]);
    assert_eq!(store.revision().unwrap(), 8);

    let twice = store.revision_in_full(7).unwrap().expect("is kept");
    let values = |row: &RowChange| (row.before.is_some(), row.after.as_ref().map(|after| after["value"].clone()));
    assert_eq!(twice.changes.iter().map(values).collect::<Vec<_>>(), [(false, Some("2".into()))]);
    assert_eq!(twice.author, "agent");
}

#[test]
fn a_relation_id_is_never_used_again() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    let (_, first) = fill(&mut store);
    store.mutate::<_, StoreError>("remove", |change| change.remove_relation(first)).unwrap();
    assert_ne!(fill(&mut store).1, first);
}

#[test]
fn history_is_bounded() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    fill(&mut store);
    for number in 0..REVISIONS_MAX + 5 {
        let value = number.to_string();
        store.mutate::<_, StoreError>("set", |change| change.set_config("prometheus", "cpu", &value)).unwrap();
    }
    let count: u64 = store.connection.query_row("SELECT count(*) FROM revision", [], |row| row.get(0)).unwrap();
    assert_eq!(count, REVISIONS_MAX);
    // Changes go with their revision, or the history would grow without bound in the other table.
    let orphans = "SELECT count(*) FROM change WHERE revision NOT IN (SELECT id FROM revision)";
    assert_eq!(store.connection.query_row::<u64, _, _>(orphans, [], |row| row.get(0)).unwrap(), 0);
}

#[test]
fn the_bytes_of_the_history_are_bounded() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    fill(&mut store);
    // What a revision takes is what stood there before it.
    let value = |number: u8| char::from(b'a' + number).to_string().repeat(10 << 20);
    for number in 0..9 {
        let value = value(number);
        store.mutate::<_, StoreError>("set", |change| change.set_config("prometheus", "cpu", &value)).unwrap();
    }
    let kept: Vec<u64> = {
        let mut statement = store.connection.prepare("SELECT bytes FROM revision ORDER BY id").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(kept.len(), 6, "{kept:?}");
    assert!(kept.iter().all(|bytes| (10 << 20..11 << 20).contains(bytes)), "{kept:?}");
}

#[test]
fn bags_seen_are_kept_without_a_revision() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    fill(&mut store);
    let bags =
        |id: u64, owner: &str, version| (id, Arc::new(SeenBags::from([((Role::Provider, owner.to_owned()), version)])));
    store.mark_seen(&Seen::from_iter([bags(1, "zinc", 1), bags(2, "tin", 1), bags(9, "gone", 3)])).unwrap();
    store.mark_seen(&Seen::from_iter([bags(1, "zinc", 2), (9, Arc::default())])).unwrap();
    let world = store.world().unwrap();
    assert_eq!((&world.seen, world.revision), (&Seen::from_iter([bags(1, "zinc", 2), bags(2, "tin", 1)]), 1));
    assert_eq!(world, world::read(&store.connection).unwrap());
}

#[test]
fn what_is_remembered_is_what_is_stored() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    fill(&mut store);
    let end = |application: &str, name: &str| Endpoint { application: application.into(), name: name.into() };
    let bag = |value: &str| Databag::from([("k".to_owned(), value.to_owned())]);
    type Step<'a> = &'a dyn Fn(&Change<'_>) -> Result<(), StoreError>;
    let many = |change: &Change<'_>| {
        for number in 0..20 {
            let name = format!("app{number}");
            change.put_application(&name, Origin::Static, "c", "{}")?;
            change.put_unit(&name, 0)?;
            let id = change.put_relation("x", &end(&name, "e"), &end("prometheus", "metrics-endpoint"))?;
            change.put_bag(id, Role::Provider, &format!("{name}/0"), &bag("1"))?;
        }
        Ok(())
    };
    let declare = |change: &Change<'_>| {
        let declaration = Declaration {
            file: "f".to_owned(),
            endpoint: "e".to_owned(),
            application: "app1".to_owned(),
            request: "{}".into(),
        };
        change.put_declaration(3, &declaration)
    };
    let leave = |change: &Change<'_>| {
        change.remove_relation(5)?;
        change.remove_application("app3")
    };
    let steps: [Step<'_>; 10] = [
        &many,
        &|change| change.put_bag(4, Role::Provider, "app2/0", &bag("2")),
        &declare,
        &|change| change.put_unit("app7", 3),
        &leave,
        &|change| change.remove_unit("app7", 3),
        &|change| change.set_config("prometheus", "log_level", "warn"),
        &|change| change.forget_declaration(3),
        &|change| change.set_model(&Model { name: "other".to_owned(), uuid: "u".to_owned() }),
        &|change| change.remove_bag(4, Role::Provider, "app2/0"),
    ];
    for (number, step) in steps.into_iter().enumerate() {
        // What a mutation itself sees, and everybody after it; a mutation that fails is as if it had never been.
        let inside = store.mutate("step", |change| step(change).and_then(|()| change.world())).unwrap().1;
        assert_eq!(inside, world::read(&store.connection).unwrap(), "step {number}");
        assert_eq!(inside, store.world().unwrap(), "step {number}");
        let failed = store.mutate::<(), _>("fail", |change| {
            change.put_unit("app8", number as u32 + 50)?;
            change.world()?;
            Err(StoreError::Damaged { what: String::new(), reason: String::new() })
        });
        assert!(failed.is_err());
        assert_eq!(inside, store.world().unwrap(), "step {number}");
    }
}

#[test]
fn what_cannot_be_opened_is_named() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let error = Store::open(dir.path(), clock()).err().expect("a second agent is refused");
    let text = format!("cannot use data directory {}: another agent is running in it", dir.path().display());
    assert_eq!(error.to_string(), text);

    store.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    assert!(matches!(Store::open(dir.path(), clock()), Err(OpenError::Newer { found: 99, .. })));

    fs::write(dir.path().join("state.db"), "this is no database, however long one reads in it").unwrap();
    assert!(matches!(Store::open(dir.path(), clock()), Err(OpenError::Open { .. })));
}
