//! Units and applications that go.

use super::*;
use crate::relate::remove_application::Gone;
use crate::store::Declaration;

impl Bench {
    fn remove_units(&mut self, names: &[&str]) -> Result<Vec<(String, Vec<u64>)>, Failure> {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let removed = self.store.mutate("remove-unit", |change| remove_units(&names, change));
        let removed = removed.map(|(_, removed)| removed.into_iter().map(|unit| (unit.name, unit.relations)).collect());
        removed.map_err(refusal)
    }

    fn remove_applications(&mut self, names: &[&str]) -> Result<Vec<Gone>, Failure> {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let removed = self.store.mutate("remove-application", |change| remove_applications(&names, change));
        removed.map(|(_, removed)| removed).map_err(refusal)
    }

    fn units(&mut self, application: &str) -> Vec<u32> {
        self.store.world().unwrap().applications[application].units.clone()
    }

    fn declare(&mut self, relation: u64) {
        let declaration = Declaration {
            file: "site.yaml".to_owned(),
            endpoint: "metrics-endpoint".to_owned(),
            application: "targets".to_owned(),
            request: "{}".into(),
        };
        self.store.mutate::<_, StoreError>("declare", |change| change.put_declaration(relation, &declaration)).unwrap();
    }
}

fn refusal(error: RelateError) -> Failure {
    match error {
        RelateError::Refused(failure) => failure,
        RelateError::Store(error) => panic!("{error}"),
    }
}

#[test]
fn units_leave_every_relation_and_their_numbers_stay_theirs() {
    let mut bench = Bench::new();
    bench.ok(words("metrics-endpoint a:1 b:1 c:1"));
    let two = "units: {zinc/0: {}, zinc/1: {}}";
    bench.ok(Relate { databag: document(two), ..words("metrics-endpoint") });
    bench.ok(Relate { databag: document(two), ..words("grafana-source") });
    assert_eq!(
        bench.remove_units(&["targets/2", "zinc/1", "targets/2"]),
        Ok(vec![("targets/2".to_owned(), vec![1]), ("zinc/1".to_owned(), vec![2, 3])])
    );
    let world = bench.store.world().unwrap();
    let gone = |relation: &Arc<StoredRelation>| {
        relation.bags.keys().all(|(_, owner)| owner != "targets/2" && owner != "zinc/1")
    };
    assert!(world.relations.iter().all(gone));
    assert_eq!((world.relations.len(), bench.units("zinc")), (3, vec![0]));
    // The address comes back, the number does not, although it was the highest.
    assert_eq!(bench.ok(words("metrics-endpoint c:1")).added, ["targets/3"]);
    // The last unit takes nothing else with it.
    bench.remove_units(&["targets/0", "targets/1", "targets/3"]).unwrap();
    assert_eq!((bench.units("targets"), bench.store.world().unwrap().relations.len()), (vec![], 3));
    assert_eq!(bench.ok(words("metrics-endpoint a:1")).added, ["targets/4"]);
}

#[test]
fn applications_go_with_all_their_relations() {
    let mut bench = Bench::new();
    bench.ok(words("metrics-endpoint a:1"));
    for endpoint in ["metrics-endpoint", "grafana-source"] {
        bench.ok(Relate { databag: document("units: {zinc/0: {}}"), ..words(endpoint) });
    }
    let gone = bench.remove_applications(&["zinc", "targets", "zinc"]).unwrap();
    let told: Vec<(&str, Vec<String>, Vec<u64>)> = gone
        .iter()
        .map(|gone| (gone.name.as_str(), gone.units.clone(), gone.relations.iter().map(|one| one.id).collect()))
        .collect();
    assert_eq!(
        told,
        [("zinc", vec!["zinc/0".to_owned()], vec![2, 3]), ("targets", vec!["targets/0".to_owned()], vec![1])]
    );
    let world = bench.store.world().unwrap();
    assert_eq!((world.relations.len(), world.applications.len()), (0, 1));
}

#[test]
fn what_is_not_ours_to_remove_stays() {
    let mut bench = Bench::new();
    let declared = bench.ok(words("metrics-endpoint a:1 b:1")).relation;
    bench.declare(declared);
    let secret = Relate { bearer: document("s"), ..words("send-remote-write http://region:9090/offers/2f8a90c1d3e4") };
    bench.ok(secret);
    let before = bench.store.world().unwrap();
    for (name, class, part) in [
        ("targets", Usage, "invalid unit name"),
        ("targets/-1", Usage, "invalid unit name"),
        ("targets/7", Failed, "unit \"targets/7\" not found"),
        ("nobody/0", Failed, "unit \"nobody/0\" not found"),
        ("prometheus/0", Failed, "this agent itself"),
        ("targets/0", Failed, "declared in relations.d/site.yaml"),
    ] {
        let failure = bench.remove_units(&[name]).expect_err(name);
        assert!(failure.class == class && failure.message.contains(part), "{name}: {failure}");
    }
    for (name, part) in [
        ("nobody", "application \"nobody\" not found"),
        ("targets/0", "not found"),
        ("prometheus", "this agent itself"),
        ("targets", "declared in relations.d/site.yaml"),
    ] {
        let failure = bench.remove_applications(&[name]).expect_err(name);
        assert!(failure.class == Failed && failure.message.contains(part), "{name}: {failure}");
    }
    // All or none.
    assert!(bench.remove_applications(&["upstream", "nobody"]).is_err());
    assert_eq!(bench.store.world().unwrap(), before);
    assert!(bench.remove_applications(&["upstream"]).is_ok());
}
