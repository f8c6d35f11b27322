//! What is answered before the store is open.

use std::path::Path;

use axum::body::{Body, to_bytes};

use super::*;

fn start(dir: &Path, timeout: Duration) -> Start {
    Start::new(Flags { data_dir: dir.join("data"), timeout, ..Flags::default() })
}

async fn get(router: &Router, path: &str) -> (u16, String) {
    let request = Request::get(path).header(header::HOST, "x").body(Body::empty()).unwrap();
    let response = answer(router.clone(), request).await;
    let status = response.status().as_u16();
    (status, String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn while_the_log_is_read_some_is_answered_and_the_rest_waits() {
    let dir = tempfile::tempdir().unwrap();
    let impatient = start(dir.path(), Duration::from_millis(50));
    let router = impatient.router();
    let text = |(status, body): (u16, String)| format!("{status} {}", body.trim_end());
    for (path, expected) in [
        ("/-/healthy", "200 Prometheus Server is Healthy."),
        ("/-/ready", "503 Service Unavailable"),
        ("/api/v1/status/walreplay", r#"200 {"status":"success","data":{"min":0,"max":0,"current":0}}"#),
        // Longer than it may take.
        (
            "/api/v1/query?query=1",
            r#"503 {"status":"error","errorType":"unavailable","error":"the log is still being read: segment 0 of 0"}"#,
        ),
        ("/metrics", "503 Service Unavailable"),
    ] {
        assert_eq!(text(get(&router, path).await), expected, "{path}");
    }
    // One that began to wait before the store was open is answered by it.
    let start = start(dir.path(), Duration::from_secs(600));
    let (router, early) = (start.router(), start.router());
    let query = tokio::spawn(async move { get(&early, "/api/v1/query?query=1%2B1&time=5").await });
    tokio::task::yield_now().await;
    assert!(!query.is_finished());
    let engine = start.open().unwrap();
    let (status, body) = query.await.unwrap();
    assert_eq!((status, body.contains(r#"[5,"2"]"#)), (200, true), "{body}");
    // The router is the engine's now, which has no configuration yet.
    assert_eq!(text(get(&router, "/-/ready").await), "503 Service Unavailable");
    assert_eq!(get(&router, "/api/v1/status/flags").await.0, 200);
    engine.close().await;
}

#[test]
fn nothing_is_made_for_a_configuration_that_cannot_run() {
    let dir = tempfile::tempdir().unwrap();
    let flags = |name: &str| Flags {
        data_dir: dir.path().join("data"),
        config_file: dir.path().join(name),
        ..Flags::default()
    };
    std::fs::write(dir.path().join("bad.yml"), "scrape_configs: 7\n").unwrap();
    std::fs::write(dir.path().join("good.yml"), "scrape_configs: []\n").unwrap();
    for (name, is_good) in [("missing.yml", false), ("bad.yml", false), ("good.yml", true)] {
        let checked = Start::checked(flags(name));
        assert_eq!(checked.as_ref().err().map(ToString::to_string).is_none(), is_good, "{name}");
        assert!(!dir.path().join("data").exists(), "{name}");
    }
}
