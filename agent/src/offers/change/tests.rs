//! Offers in a state store: made, related to, ended from either side.

use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::store::{Model, Store};

const CONSUMER: &str = "44909066-2a75-4b0b-8367-63a3c83539e7";

fn store() -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(&dir.path().join("data"), Arc::new(|| 7)).unwrap();
    store
        .mutate::<_, StoreError>("start", |change| {
            let uuid = "12de4fae-06cc-4ceb-9089-567be09fec78".to_owned();
            change.set_model(&Model { name: "region".to_owned(), uuid })?;
            change.put_application("prometheus", Origin::Builtin, CHARM, "{}")?;
            change.put_unit("prometheus", 0)
        })
        .unwrap();
    (dir, store)
}

fn question(model: &str, revision: &str, units: &[&str]) -> Question {
    let units = units.iter().map(|unit| ((*unit).to_owned(), Default::default())).collect();
    Question {
        relatum: 1,
        tier: "t".to_owned(),
        model: model.to_owned(),
        interface: "prometheus_remote_write".to_owned(),
        endpoint: "send-remote-write".to_owned(),
        revision: revision.to_owned(),
        bags: Some(Bags { application: Default::default(), units }),
        seen: String::new(),
        wait_ms: 0,
        lag_ms: None,
    }
}

fn offered(store: &mut Store) -> Offer {
    store.mutate::<_, RelateError>("offer", |change| offer("prometheus:receive-remote-write", 7, change)).unwrap().1.0
}

fn taken(store: &mut Store, offer: &Offer, question: &Question) -> Result<(u64, String), ExchangeError> {
    store
        .mutate::<_, ExchangeError>("take", |change| take(question, &offer.id, CONSUMER, change))
        .map(|(_, taken)| taken)
}

fn reason(outcome: Result<(u64, String), ExchangeError>) -> Option<Reason> {
    match outcome {
        Err(ExchangeError::Refused(refusal)) => Some(refusal.error),
        _ => None,
    }
}

#[test]
fn a_relation_follows_the_questions() {
    let (_dir, mut store) = store();
    let offer = offered(&mut store);
    let (id, held) = taken(&mut store, &offer, &question("site", "1-a", &["prometheus/0", "prometheus/1"])).unwrap();
    assert_eq!(held, "1-a");
    let world = store.world().unwrap();
    assert_eq!(world.applications["site"].units, [0, 1]);
    assert_eq!(world.relations.nth(0).unwrap().requirer.to_string(), "site:send-remote-write");

    // Saying it again changes nothing; a unit that is not named any more leaves.
    let before = store.revision().unwrap();
    taken(&mut store, &offer, &question("site", "1-a", &["prometheus/0", "prometheus/1"])).unwrap();
    assert_eq!(store.revision().unwrap(), before);
    assert_eq!(taken(&mut store, &offer, &question("site", "2-b", &["prometheus/1"])).unwrap(), (id, "2-b".to_owned()));
    assert_eq!(store.world().unwrap().applications["site"].units, [1]);

    // Removed here: the other side is told until it says that it knows.
    store.mutate::<_, RelateError>("remove", |change| relate::remove(&relate::Which::Id(id), change)).unwrap();
    assert_eq!(reason(taken(&mut store, &offer, &question("site", "2-b", &[]))), Some(Reason::Gone));
    store.mutate::<_, ExchangeError>("left", |change| left(&offer.id, CONSUMER, change)).unwrap();
    let world = store.world().unwrap();
    assert!(world.offers.connections.is_empty() && world.applications.len() == 1, "{world:?}");
}

#[test]
fn an_offer_ends_with_its_relations() {
    let (_dir, mut store) = store();
    let offer = offered(&mut store);
    taken(&mut store, &offer, &question("site", "1-a", &["prometheus/0"])).unwrap();
    let remove = |store: &mut Store, which: &str| {
        store.mutate::<_, RelateError>("remove", |change| remove_offer(which, change)).map(|(_, removed)| removed)
    };
    let (_, ended) = remove(&mut store, &format!("http://h:1/offers/{}/", offer.id)).unwrap();
    assert_eq!(ended.len(), 1);
    assert!(remove(&mut store, &offer.id).is_err(), "it is gone already");
    assert!(store.world().unwrap().relations.is_empty());
    assert_eq!(reason(taken(&mut store, &offer, &question("site", "1-a", &[]))), Some(Reason::Gone));
    store.mutate::<_, ExchangeError>("left", |change| left(&offer.id, CONSUMER, change)).unwrap();
    assert_eq!(store.world().unwrap().offers, Offers::default());

    // One that nobody used leaves no trace.
    let unused = offered(&mut store);
    remove(&mut store, &unused.id).unwrap();
    assert_eq!(store.world().unwrap().offers, Offers::default());
}

#[test]
fn what_cannot_be_offered_or_related() {
    let (_dir, mut store) = store();
    let offer = offered(&mut store);
    let wrong = Question { interface: "prometheus_scrape".to_owned(), ..question("site", "1-a", &[]) };
    assert_eq!(reason(taken(&mut store, &offer, &wrong)), Some(Reason::WrongInterface));
    for endpoint in ["send-remote-write", "prometheus:nothing", ""] {
        let made = store.mutate::<_, RelateError>("offer", |change| super::offer(endpoint, 7, change));
        assert!(made.is_err(), "{endpoint}");
    }
}

#[track_caller]
fn check_name(model: &str, expected: &str) {
    let (_dir, mut store) = store();
    let offer = offered(&mut store);
    let (id, _) = taken(&mut store, &offer, &question(model, "1-a", &["prometheus/0"])).unwrap();
    let world = store.world().unwrap();
    let relation = world.relations.iter().find(|relation| relation.id == id).unwrap();
    assert_eq!(relation.requirer.application, expected, "{model}");
}

#[test]
fn names_of_the_other_side() {
    check_name("site", "site");
    check_name("site-a1", "site-a1");
    // Not names of applications, or taken.
    check_name("10-0-0-1", "remote-449090662a754b0b836763a3c83539e7");
    check_name("prometheus", "remote-449090662a754b0b836763a3c83539e7");
    check_name("", "remote-449090662a754b0b836763a3c83539e7");
}
