//! Commands as typed, and what they do or say.

use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::control::{Document, FailureClass};
use crate::store::{Model, Origin, Store};

struct Bench {
    store: Store,
    _dir: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let dir = TempDir::new().unwrap();
        let mut store = Store::open(dir.path(), Arc::new(|| 0)).unwrap();
        let model = Model { name: "site".into(), uuid: "12de4fae-06cc-4ceb-9089-567be09fec78".into() };
        store
            .mutate::<_, StoreError>("begin", |change| {
                change.set_model(&model)?;
                change.put_application("prometheus", Origin::Builtin, "relatum", "{}")?;
                change.put_unit("prometheus", 0)
            })
            .unwrap();
        Bench { store, _dir: dir }
    }

    fn relate(&mut self, request: &Relate) -> Result<(u64, Outcome), Failure> {
        let related = self.store.mutate(&crate::history::command::relate(request), |change| relate(request, change));
        related.map_err(|error| match error {
            RelateError::Refused(failure) => failure,
            RelateError::Store(error) => panic!("{error}"),
        })
    }

    fn remove(&mut self, words: &[&str]) -> Result<u64, Failure> {
        let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
        let which = Which::parse(&words)?;
        let removed = self.store.mutate("remove", |change| remove(&which, change));
        removed.map(|(_, relation)| relation.id).map_err(|error| match error {
            RelateError::Refused(failure) => failure,
            RelateError::Store(error) => panic!("{error}"),
        })
    }

    #[track_caller]
    fn ok(&mut self, request: Relate) -> Outcome {
        self.relate(&request).unwrap_or_else(|failure| panic!("{failure} in {request:?}")).1
    }

    #[track_caller]
    fn refused(&mut self, request: Relate, class: FailureClass, part: &str) {
        let before = self.store.world().unwrap();
        let failure = self.relate(&request).expect_err("is refused");
        let text = format!("{failure} ({})", failure.hint.as_deref().unwrap_or_default());
        assert_eq!(failure.class, class, "{text}");
        assert!(text.contains(part), "{text}");
        assert_eq!(self.store.world().unwrap(), before, "a refused command changes nothing");
    }
}

fn words(words: &str) -> Relate {
    Relate { arguments: words.split_whitespace().map(str::to_owned).collect(), ..Relate::default() }
}

fn named(text: &str, name: &str) -> Relate {
    Relate { name: Some(name.to_owned()), ..words(text) }
}

fn document(text: &str) -> Option<Document> {
    Some(Document { name: "file".to_owned(), text: text.to_owned() })
}

use FailureClass::{Failed, Usage};

#[test]
fn grammar() {
    let mut bench = Bench::new();
    bench.refused(words(""), Usage, "needs an endpoint");
    bench.refused(words("metrics-endpoint"), Usage, "at least one address");
    bench.refused(words("metrics-endpoint host"), Usage, "it has no port");
    bench.refused(words("alertmanager a:1 b"), Usage, "it has no port");
    bench.refused(words("grafana-source a:1"), Usage, "--databag");
    bench.refused(words("metrics a:9100"), Usage, "it has metrics-endpoint, receive-remote-write");
    bench.refused(words("metrics"), Usage, "has no endpoint \"metrics\"");
    bench.refused(words("a b c"), Usage, "takes two applications");
    bench.refused(words("Host x"), Usage, "neither an address nor APP[:ENDPOINT]");
    bench.refused(words("zinc prometheus"), Failed, "application \"zinc\" not found");
    bench.refused(
        Relate { scheme: Some("https".into()), ..words("prometheus zinc") },
        Usage,
        "--scheme cannot be used",
    );
    bench.refused(Relate { databag: document("{}"), ..words("nonsense") }, Usage, "has no endpoint");
    bench.refused(Relate { databag: document("{}"), ..words("metrics-endpoint a:1") }, Usage, "stands alone");
    bench.refused(words("prometheus-peers x:1"), Usage, "cannot be related by address");
    bench.ok(words("prometheus:metrics-endpoint a:9100"));
}

#[test]
fn ambiguity_is_told_in_jujus_words() {
    let mut bench = Bench::new();
    bench.refused(
        words("prometheus prometheus"),
        Failed,
        "ambiguous relation: \"prometheus prometheus\" could refer to \
         \"prometheus:metrics-endpoint prometheus:self-metrics-endpoint\"; \
         \"prometheus:send-remote-write prometheus:receive-remote-write\"",
    );
    bench.refused(
        words("prometheus:nothing prometheus"),
        Failed,
        "application \"prometheus\" has no \"nothing\" relation",
    );
    bench.refused(words("prometheus:ingress prometheus:catalogue"), Failed, "no relations found");
    bench.ok(words("prometheus:self-metrics-endpoint prometheus:metrics-endpoint"));
    bench.refused(
        words("prometheus:metrics-endpoint prometheus:self-metrics-endpoint"),
        Failed,
        "relation prometheus:metrics-endpoint prometheus:self-metrics-endpoint already exists",
    );
}

#[test]
fn addresses_make_an_application() {
    let mut bench = Bench::new();
    let outcome = bench.ok(words("metrics-endpoint 10.0.0.5:9100 [fe80::1]:9100 10.0.0.5:9100"));
    assert_eq!(
        (outcome.application.as_str(), outcome.added),
        ("targets", vec!["targets/0".into(), "targets/1".into()])
    );
    let world = bench.store.world().unwrap();
    let bags = &world.relations.nth(0).unwrap().bags;
    let bag = |role, owner: &str| bags[&(role, owner.to_owned())].content.read();
    let app = bag(Role::Provider, "targets");
    assert_eq!(
        app["scrape_metadata"],
        r#"{"model": "site", "model_uuid": "12de4fae-06cc-4ceb-9089-567be09fec78", "application": "targets", "unit": "targets/0", "charm_name": "relatum-static"}"#
    );
    assert_eq!(app["scrape_jobs"], r#"[{"metrics_path": "/metrics", "static_configs": [{"targets": ["*"]}]}]"#);
    assert!(app["alert_rules"].contains("site_12de4fae_targets_HostHealth_rules"));
    assert_eq!(bag(Role::Provider, "targets/1")["prometheus_scrape_unit_address"], "[fe80::1]:9100");
    assert_eq!(world.applications["targets"].charm, "relatum-static");
    assert!(bag(Role::Requirer, "prometheus/0").is_empty(), "our unit joined");

    // The same again is no change and no revision; another address is one unit more.
    let (revision, outcome) = bench.relate(&words("metrics-endpoint 10.0.0.5:9100")).unwrap();
    assert_eq!((revision, outcome.added.len()), (world.revision, 0));
    assert_eq!(bench.ok(words("metrics-endpoint 10.0.0.6:9100")).added, ["targets/2"]);

    // What belongs to the application must agree.
    let interval = Relate { interval: Some("15s".into()), ..words("metrics-endpoint 10.0.0.7:9100") };
    bench.refused(interval.clone(), Failed, "another --interval");
    bench.refused(interval, Failed, "--name");
    bench.refused(words("metrics-endpoint 10.0.0.7:9100/probe"), Failed, "another path");
    bench.refused(words("metrics-endpoint a:1/x b:1/y"), Usage, "differ in scheme or path");
    bench.refused(named("alertmanager a:1", "targets"), Failed, "another endpoint");
    bench.refused(named("metrics-endpoint a:1", "Bad"), Usage, "not a name for an application");
    bench.refused(named("metrics-endpoint a:1", "prometheus"), Usage, "this agent itself");
}

#[test]
fn options_become_the_job() {
    let mut bench = Bench::new();
    let authority = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
    let request = Relate {
        labels: [("env".to_owned(), "yes".to_owned())].into(),
        interval: Some("15s".into()),
        ca: document(&authority),
        basic_auth: document("u:p:q\n"),
        rules: document("groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]").into_iter().collect(),
        ..named("metrics-endpoint https://h.example/probe", "web")
    };
    bench.ok(request.clone());
    let world = bench.store.world().unwrap();
    let app = world.relations.nth(0).unwrap().bags[&(Role::Provider, "web".to_owned())].content.read();
    let job: serde_json::Value = serde_json::from_str(&app["scrape_jobs"]).unwrap();
    assert_eq!(
        job[0],
        serde_json::json!({
            "metrics_path": "/probe",
            "static_configs": [{"targets": ["*"], "labels": {"env": "yes"}}],
            "scheme": "https",
            "scrape_interval": "15s",
            "basic_auth": {"username": "u", "password": "p:q"},
            "tls_config": {"ca_file": authority},
        })
    );
    assert!(app["alert_rules"].contains("site_12de4fae_web_g_rules"));
    assert_eq!(
        world.relations.nth(0).unwrap().bags[&(Role::Provider, "web/0".to_owned())].content.read()["prometheus_scrape_unit_address"],
        "h.example:443"
    );
    let with = |change: fn(&mut Relate)| {
        let mut request = Relate { rules: Vec::new(), ..named("metrics-endpoint a:1", "other") };
        change(&mut request);
        request
    };
    bench.refused(with(|r| r.labels = [("juju_unit".into(), "x".into())].into()), Usage, "set by the agent");
    bench.refused(with(|r| r.labels = [("a-b".into(), "x".into())].into()), Usage, "not a label name");
    bench.refused(with(|r| r.interval = Some("15".into())), Usage, "not a duration");
    bench.refused(with(|r| r.scheme = Some("ftp".into())), Usage, "neither http nor https");
    bench.refused(with(|r| r.basic_auth = document("nocolon")), Failed, "user:password");
    bench.refused(with(|r| r.bearer = document("two\nlines")), Failed, "exactly one line");
    bench.refused(with(|r| r.ca = document("none")), Failed, "no certificate");
    let broken = "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n";
    bench.refused(
        Relate { ca: document(broken), rules: Vec::new(), ..named("metrics-endpoint a:1", "other") },
        Failed,
        "cannot trust",
    );
    bench.refused(with(|r| r.rules = document("a: b").into_iter().collect()), Failed, "neither groups nor a rule");
    bench.refused(with(|r| r.rules = document("a: [").into_iter().collect()), Failed, "line");
}

#[test]
fn alertmanagers_are_units_with_a_url() {
    let mut bench = Bench::new();
    bench.ok(words("alertmanager 127.0.0.1:9093"));
    let world = bench.store.world().unwrap();
    let relation = &world.relations.nth(0).unwrap();
    assert_eq!(relation.provider.to_string(), "alertmanager:alerting");
    assert_eq!(
        relation.bags[&(Role::Provider, "alertmanager/0".to_owned())].content.read()["url"],
        "http://127.0.0.1:9093"
    );
    bench.refused(
        Relate { interval: Some("1m".into()), ..words("alertmanager a:1") },
        Usage,
        "cannot be used with alertmanager",
    );
    assert!(bench.ok(words("alertmanager 127.0.0.1:9093")).added.is_empty());
}

#[test]
fn databags_are_taken_as_they_are() {
    let mut bench = Bench::new();
    let file = |text: &str| Relate { databag: document(text), ..words("metrics-endpoint") };
    let outcome = bench.ok(file(
        "app: {scrape_jobs: '[1', scrape_metadata: {charm_name: zinc-k8s, é: 1}, empty: ''}\nunits: {zinc/0: {a: b}, zinc/10: {}}",
    ));
    assert_eq!((outcome.application.as_str(), outcome.added.len()), ("zinc", 2));
    let world = bench.store.world().unwrap();
    let app = world.relations.nth(0).unwrap().bags[&(Role::Provider, "zinc".to_owned())].content.read();
    // Nothing is judged here; a structure becomes JSON as Python writes it, and an empty value is no key.
    assert_eq!((app["scrape_jobs"].as_str(), app.get("empty")), ("[1", None));
    assert_eq!(app["scrape_metadata"], "{\"charm_name\": \"zinc-k8s\", \"\\u00e9\": 1}");
    assert_eq!(world.applications["zinc"].charm, "zinc-k8s");

    // As juju prints it, and replacing what was there: zinc/10 leaves.
    let shown = "{related-endpoint: metrics-endpoint, application-data: {k: v}, related-units: {zinc/0: {in-scope: true, data: {a: c}}}}";
    bench.ok(file(shown));
    let world = bench.store.world().unwrap();
    assert_eq!(world.applications["zinc"].units, [0]);
    assert_eq!(
        (
            world.relations.len(),
            world.relations.nth(0).unwrap().bags[&(Role::Provider, "zinc/0".to_owned())].content.read()["a"].as_str()
        ),
        (1, "c")
    );

    // The name may stand where others have the bag.
    bench.ok(file("app: mysql\napplication-data: {k: v}\nunits: {mysql/0: {}}"));
    let world = bench.store.world().unwrap();
    assert_eq!(world.relations.nth(1).unwrap().bags[&(Role::Provider, "mysql".to_owned())].content.read()["k"], "v");

    // The endpoints of other applications are known from their relations.
    bench.refused(
        words("zinc prometheus"),
        Failed,
        "relation prometheus:metrics-endpoint zinc:metrics-endpoint already exists",
    );
    for (text, part) in [
        ("{", "cannot use databag file"),
        ("app: {}", "does not say whose"),
        ("units: {zinc: {}}", "not the name of a unit"),
        ("application: other\nunits: {zinc/0: {}}", "does not belong to"),
        ("application: prometheus", "this agent itself"),
        ("nonsense: 1", "nonsense"),
        ("app: {}\napplication-data: {}\napplication: a", "twice"),
        ("units: {zinc/0: [1]}", "cannot use databag file"),
    ] {
        bench.refused(file(text), Failed, part);
    }
    bench.ok(words("metrics-endpoint a:1"));
    bench.refused(file("application: targets"), Failed, "made from addresses");
    bench.refused(named("metrics-endpoint a:1", "zinc"), Failed, "has databags of its own");
}

#[test]
fn removing_takes_what_was_only_known_through_it() {
    let mut bench = Bench::new();
    bench.ok(words("metrics-endpoint a:1"));
    bench.ok(words("alertmanager a:1"));
    bench.ok(Relate { databag: document("units: {zinc/0: {}}"), ..words("metrics-endpoint") });
    for (request, class, part) in [
        (&["9"][..], Failed, "relation 9 not found"),
        (&["targets"], Usage, "does not name a relation"),
        // An address looks like an endpoint and an id, and must not remove what has that number.
        (&["alertmanager:1"], Failed, "relation alertmanager:1 not found"),
        (&["10.0.0.5:1"], Failed, "relation 10.0.0.5:1 not found"),
        (&["prometheus nobody"], Failed, "application \"nobody\" not found"),
        (&["prometheus targets:nothing"], Failed, "has no \"nothing\" relation"),
    ] {
        let failure = bench.remove(request).expect_err("is refused");
        assert_eq!(failure.class, class, "{failure}");
        assert!(failure.message.contains(part), "{failure}");
    }
    assert_eq!(bench.remove(&["targets:metrics-endpoint prometheus:metrics-endpoint"]), Ok(1));
    assert_eq!(bench.remove(&["prometheus", "alertmanager"]), Ok(2));
    assert_eq!(bench.remove(&["metrics-endpoint:3"]), Ok(3));
    let world = bench.store.world().unwrap();
    assert_eq!((world.relations.len(), world.applications.len()), (0, 1));
}

#[test]
fn offers_are_related_by_url_and_secret() {
    let mut bench = Bench::new();
    let url = "http://region:9090/offers/2f8a90c1d3e4";
    let with = |words_: &str, secret: &str| Relate { bearer: document(secret), ..words(words_) };
    let related = bench.ok(with(&format!("send-remote-write {url}/"), "s1\n"));
    assert_eq!((related.application.as_str(), related.is_elsewhere), ("upstream", true));
    // Saying it again renews the secret, and keeps what the other side knows us by.
    let before = bench.store.world().unwrap().offers.upstreams[0].clone();
    assert_eq!((before.url.as_str(), before.secret.expose()), (url, "s1"));
    assert_eq!(bench.ok(with(&format!("send-remote-write {url}"), "s2")).relation, related.relation);
    let after = bench.store.world().unwrap().offers.upstreams[0].clone();
    assert_eq!((after.secret.expose(), &after.consumer), ("s2", &before.consumer));

    for (request, class, part) in [
        (words(&format!("send-remote-write {url}")), Usage, "needs its secret"),
        (with("send-remote-write http://h:1/offers/", "s"), Usage, "not the URL of an offer"),
        (with("send-remote-write http://h:1/offers/a/b", "s"), Usage, "not the URL of an offer"),
        (with(&format!("receive-remote-write {url}"), "s"), Usage, "is provided"),
        (with(&format!("send-remote-write {url}"), "a\nb"), Failed, "exactly one line"),
        (with("send-remote-write https://other:1/offers/1", "s"), Failed, "something else already"),
        (
            Relate { name: Some("x".into()), ..with(&format!("send-remote-write {url}"), "s") },
            Failed,
            "related already",
        ),
        (Relate { interval: Some("1s".into()), ..with(&format!("send-remote-write {url}"), "s") }, Usage, "--interval"),
    ] {
        bench.refused(request, class, part);
    }
}

mod removal;
mod roll_back;
