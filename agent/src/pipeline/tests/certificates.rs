//! A certificate from request to renewal and removal, with an authority that really signs.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use relatum_relations::bag::Databag;
use serde_json::{Value, json};

use super::*;
use crate::identity;

/// Signs what is in our databag.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The answer to `csr` with a certificate for these years.
    fn sign(&self, csr: &str, key: &str, (since, until): (i32, i32)) -> Value {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(since, 1, 1), date_time_ymd(until, 1, 1));
        let certificate = params.signed_by(&KeyPair::from_pem(key).unwrap(), &self.0).unwrap();
        json!({"certificate": certificate.pem(), "certificate_signing_request": csr, "ca": self.0.pem(), "chain": []})
    }
}

impl Bench {
    fn identity(&self) -> Option<identity::Identity> {
        identity::read(&self.dir.path().join("identity.json")).unwrap()
    }

    /// What we published in relation `id`.
    fn requests(&self, report: &Report, id: u64) -> Vec<Value> {
        let relation = report.world.relation(id).unwrap();
        let bag = relation.bags[&(Role::Requirer, "prometheus/0".to_owned())].content.read();
        assert!(!bag.values().any(|value| value.contains("PRIVATE")));
        serde_json::from_str(&bag["certificate_signing_requests"]).unwrap()
    }

    fn answer(&self, id: u64, answers: &[Value]) {
        let bag = Databag::from([("certificates".to_owned(), Value::from(answers).to_string())]);
        let mut store = crate::lock(&self.store);
        store.mutate::<_, StoreError>("sign", |change| change.put_bag(id, Role::Provider, "ca", &bag)).unwrap();
    }

    fn note(&self, report: &Report, id: u64) -> String {
        report.yields[&("certificates".to_owned(), id)].note.clone()
    }
}

#[test]
fn a_certificate_comes_is_renewed_and_goes() {
    let (mut bench, authority) = (Bench::new(), Authority::new());
    bench.relate("grafana-source", Some("units: {grafana/0: {}}"));
    bench.run();
    let before = bench.disk();
    let id = bench.relate("certificates", Some("application: ca\nunits: {ca/0: {}}"));
    let report = bench.run();
    // Asked, and nothing else changed: the server answers as before.
    let asked = bench.identity().unwrap();
    assert_eq!(bench.requests(&report, id).len(), 1);
    assert_eq!(asked.requests[0].names, ["127.0.0.1"]);
    assert_eq!((bench.disk(), report.problems.as_slice()), (before.clone(), &[][..]));
    assert_eq!(bench.note(&report, id), "waiting for the authority to sign our request");
    assert_eq!(bench.run().world.revision, report.world.revision);

    // An answer to somebody else, and one for a key that is not ours, are none.
    let (csr, key) = (asked.requests[0].csr.trim(), asked.key.expose());
    let strange = authority.sign(csr, &KeyPair::generate().unwrap().serialize_pem(), (2020, 2100));
    bench.answer(id, &[authority.sign("another", key, (2020, 2100)), strange]);
    let report = bench.run();
    assert!(report.problems[0].message.starts_with("the certificate cannot be served: "), "{:?}", report.problems);
    assert_eq!(bench.disk(), before);

    let first = authority.sign(csr, key, (2020, 2100));
    bench.answer(id, std::slice::from_ref(&first));
    let report = bench.run();
    let files = bench.disk();
    assert_eq!(report.problems, []);
    assert_eq!(&*files["tls/server.crt"], format!("{}\n", first["certificate"].as_str().unwrap().trim()));
    assert_eq!(&*files["tls/server.key"], key);
    let mode =
        |path: &str| fs::metadata(bench.dir.path().join("rendered").join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("tls/server.key"), 0o600);
    assert!(files["prometheus.args"].contains("/rendered/web.yml\n") && files["web.yml"].contains("/tls/server.key\n"));
    assert!(files["prometheus.yml"].contains("scheme: https") && files["prometheus.yml"].contains("server_name: "));
    assert!(files["grafana-datasource.yml"].contains("https://127.0.0.1:9090"));
    assert_eq!(report.urls.most_external(), "https://127.0.0.1:9090");
    assert_eq!(bench.note(&report, id), "served over HTTPS until 2100-01-01");
    assert!(report.look_again_at_ms.is_some());
    assert_eq!(bench.run().changed, [""; 0]);

    // One that has lived two thirds of its time is served until the next one is there.
    let old = authority.sign(csr, key, (1990, 2028));
    bench.answer(id, std::slice::from_ref(&old));
    let report = bench.run();
    assert_eq!(bench.note(&report, id), "served over HTTPS until 2028-01-01; the next certificate is asked for");
    let requests = bench.requests(&report, id);
    assert_eq!((requests.len(), requests[0]["certificate_signing_request"].as_str()), (2, Some(csr)));
    let next = requests[1]["certificate_signing_request"].as_str().unwrap();
    bench.answer(id, &[old, authority.sign(next, key, (2025, 2100))]);
    let report = bench.run();
    assert_eq!(bench.note(&report, id), "served over HTTPS until 2100-01-01");
    assert_eq!(bench.requests(&report, id), requests[1..]);

    // One that was taken back is not served, and another one is asked for.
    let mut revoked = authority.sign(next, key, (2025, 2100));
    revoked["revoked"] = true.into();
    bench.answer(id, &[revoked]);
    let report = bench.run();
    assert_ne!(bench.requests(&report, id), requests[1..]);
    assert_eq!(bench.disk(), before);

    bench.remove(id);
    bench.run();
    assert_eq!((bench.identity(), bench.disk()), (None, before));
}

#[test]
fn authorities_that_were_sent_are_trusted_and_others_named() {
    let (mut bench, authority) = (Bench::new(), Authority::new());
    let before = bench.disk();
    let sent = json!({"certificates": json!([authority.0.pem(), "-----BEGIN CERTIFICATE-----\nnone\n"]).to_string()});
    let id = bench.relate(
        "receive-ca-cert",
        Some(&json!({"application": "ca", "application-data": sent, "units": {"ca/0": {}}}).to_string()),
    );
    let report = bench.run();
    assert_eq!(report.yields[&("receive-ca-cert".to_owned(), id)].note, "1 trusted");
    assert_eq!(report.problems.len(), 1);
    assert!(report.problems[0].message.starts_with("cannot trust a certificate: "), "{:?}", report.problems);
    let files = bench.disk();
    assert_eq!(files["tls/authorities.crt"].trim(), authority.0.pem().trim());
    assert!(files["prometheus.args"].contains("--tls.authorities-file="));
    bench.remove(id);
    bench.run();
    assert_eq!(bench.disk(), before);
}

#[test]
fn a_bad_certificate_costs_its_job_and_no_other() {
    let (mut bench, authority) = (Bench::new(), Authority::new());
    let (ca, key) = (authority.0.pem(), KeyPair::generate().unwrap().serialize_pem());
    let torn: String = ca.chars().take(200).collect();
    let garbage = "-----BEGIN CERTIFICATE-----\nMIIBFAKE\n-----END CERTIFICATE-----";
    let job = |name: &str, tls_config: Value| json!({"job_name": name, "static_configs": [{"targets": [format!("{name}:1")]}], "tls_config": tls_config});
    let jobs = json!([
        job("plain", json!({})),
        job("known", json!({"ca_file": ca})),
        job("torn", json!({"ca_file": torn})),
        job("garbage", json!({"ca_file": garbage})),
        job("stranger", json!({"cert_file": ca, "key_file": key})),
        job("nameless", json!({"server_name": "no host"})),
        job("inline", json!({"ca": torn})),
        job("old", json!({"max_version": "TLS11"})),
    ]);
    let app = json!({"scrape_jobs": jobs.to_string()});
    bench.relate(
        "metrics-endpoint",
        Some(&json!({"application": "a", "application-data": app, "units": {"a/0": {}}}).to_string()),
    );
    let report = bench.run();
    let rendered = &bench.disk()["scrape/metrics-endpoint_1.yml"];
    let names = ["plain", "known", "torn", "garbage", "stranger", "nameless", "inline", "old"];
    let left: Vec<&str> = names.into_iter().filter(|name| rendered.contains(&format!("{name}:1"))).collect();
    assert_eq!(left, ["plain", "known"], "{rendered}");
    let paths: Vec<&str> = report.problems.iter().filter_map(|problem| problem.path.as_deref()).collect();
    let expected = [
        "[2].tls_config.ca_file",
        "[3].tls_config.ca_file",
        "[4].tls_config.key_file",
        "[5].tls_config.server_name",
        "[6].tls_config.ca",
        "[7].tls_config.max_version",
    ];
    assert_eq!(paths, expected, "{:?}", report.problems);
}
