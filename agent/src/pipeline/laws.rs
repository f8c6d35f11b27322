//! What holds of the pure steps whatever the world is: the way to a world does not show, nothing is left to do after a pass, what goes
//! leaves no trace, what is bad harms only itself, and the order of what has none does not matter.

use std::collections::BTreeMap;

use proptest::prelude::*;
use relatum_relations::bag::Databag;

use super::plan::plan;
use super::worlds::{FIXTURES, Key, PIECES, Passes, Piece, Related, State, settled, spoilt};

/// Endpoints whose relations have no ids in what is rendered.
const SETS: &[&str] = &["alertmanager", "receive-ca-cert", "grafana-source", "logging"];

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

/// Names of the jobs of one relation, as others have them, too; one is that of our own job.
const NAMES: &[&[&str]] = &[&["a"], &["b"], &["a", "b"], &["a", "a"], &["c"], &["prometheus"]];

/// A relation with jobs of these names, one with a certificate.
fn named(names: &[&str], application: u64) -> Related {
    let job = |name: &&str| {
        let targets = [format!("10.0.0.{application}:1")];
        serde_json::json!({
            "job_name": name,
            "static_configs": [{"targets": targets}],
            "tls_config": {"ca_file": format!("-----BEGIN CERTIFICATE-----\n{application}\n-----END CERTIFICATE-----")},
        })
    };
    let jobs: Vec<serde_json::Value> = names.iter().map(job).collect();
    Related {
        endpoint: "metrics-endpoint".to_owned(),
        application: format!("app{application}x"),
        app: Databag::from([("scrape_jobs".to_owned(), serde_json::Value::from(jobs).to_string())]),
        units: std::iter::once((0, Databag::new())).collect(),
    }
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
    fn who_shares_a_name_with_whom_is_what_is_there_now(
        steps in prop::collection::vec((1u64..5, prop::option::weighted(0.8, 0..NAMES.len())), 1..12),
    ) {
        let (mut state, mut passes) = (State::default(), Passes::default());
        // The relation of each application that is there; no id comes twice.
        let (mut ids, mut next) = (BTreeMap::new(), 1..);
        for (application, names) in steps {
            match (ids.get(&application).copied(), names) {
                (None, None) => {}
                (Some(id), None) => {
                    ids.remove(&application);
                    state.relations.remove(&id);
                }
                (Some(id), Some(names)) => {
                    let related = named(NAMES[names], application);
                    state.put(id, &related.application, &related.app);
                }
                (None, Some(names)) => {
                    let id = next.next().expect("numbers do not end");
                    ids.insert(application, id);
                    state.add(id, &named(NAMES[names], application));
                }
            }
            prop_assert_eq!(passes.pass(&state), Passes::default().pass(&state));
        }
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
    after.bags = after.bags.into_iter().filter(|((of, ..), _)| *of != id).collect();
    let key = format!("{}:{id}", bad.endpoint);
    after.problems.retain(|problem| problem.relation.as_deref() != Some(&*key));
    prop_assert_eq!(after, before);
    Ok(())
}
