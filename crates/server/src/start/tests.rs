//! What is answered before the engine runs a configuration.

use std::path::Path;

use axum::body::{Body, to_bytes};

use super::*;

fn start(dir: &Path, timeout: Duration) -> Start {
    let config_file = dir.join("prometheus.yml");
    std::fs::write(&config_file, "storage: {tsdb: {out_of_order_time_window: 7m}}\n").unwrap();
    Start::new(Flags { data_dir: dir.join("data"), config_file, timeout, connections_max: 4, ..Flags::default() })
}

async fn ask(router: &Router, path: &str) -> Response {
    let request = Request::get(path).header(header::HOST, "x").body(Body::empty()).unwrap();
    answer(router.clone(), request).await
}

async fn get(router: &Router, path: &str) -> (u16, String) {
    let response = ask(router, path).await;
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
            r#"503 {"status":"error","errorType":"unavailable","error":"the server is still starting: segment 0 of 0 of its log is read"}"#,
        ),
        ("/metrics", "503 Service Unavailable"),
    ] {
        assert_eq!(text(get(&router, path).await), expected, "{path}");
    }
    // One that began to wait before the store was open is answered once the engine is what the configuration says, and not before.
    let start = start(dir.path(), Duration::from_secs(600));
    let (router, early, configured) = (start.router(), start.router(), tokio::spawn(start.configured()));
    let config = tokio::spawn(async move { get(&early, "/api/v1/status/config").await });
    tokio::task::yield_now().await;
    let engine = start.open().unwrap();
    tokio::task::yield_now().await;
    assert!(!config.is_finished() && !configured.is_finished());
    assert_eq!(text(get(&router, "/-/ready").await), "503 Service Unavailable");
    engine.reload().unwrap();
    let (status, body) = config.await.unwrap();
    assert_eq!((status, body.contains("out_of_order_time_window: 7m")), (200, true), "{body}");
    assert_eq!((get(&router, "/-/ready").await.0, configured.await.unwrap()), (200, true));
    // A reload is none of it.
    engine.reload().unwrap();
    assert_eq!(get(&router, "/api/v1/status/flags").await.0, 200);
    engine.close().await;
    // Nothing holds the engine but who uses it.
    drop(router);
    assert_eq!(Arc::strong_count(&engine), 1);
}

#[tokio::test]
async fn those_who_wait_leave_room_for_those_who_ask_how_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let start = start(dir.path(), Duration::from_secs(600));
    // Two listeners share the turns: half of four.
    let routers = [start.router(), start.router()];
    let waiting: Vec<_> = routers
        .iter()
        .cloned()
        .map(|router| tokio::spawn(async move { get(&router, "/api/v1/query?query=1").await.0 }))
        .collect();
    tokio::task::yield_now().await;
    for router in &routers {
        for path in ["/api/v1/query?query=1", "/metrics"] {
            let refused = ask(router, path).await;
            let again = refused.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!((refused.status().as_u16(), again.as_deref()), (503, Some("5")), "{path}");
        }
        assert_eq!(get(router, "/-/healthy").await.0, 200);
        assert_eq!(get(router, "/api/v1/status/walreplay").await.0, 200);
    }
    // A stop ends the waiting.
    start.web().draining().cancel();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), 503);
    }
    // So does a start that fails.
    let configured = start.configured();
    drop(start);
    assert!(!configured.await);
}

/// Whoever supervises the process must not take it for dead because it has much to do.
#[test]
fn with_all_threads_at_work_it_is_healthy() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let start = start(dir.path(), Duration::from_secs(600));
        let router = start.router();
        let engine = start.open().unwrap();
        engine.reload().unwrap();
        let (at_work, has_begun) = std::sync::mpsc::channel();
        let locks: Vec<_> = (0..2).map(|_| Arc::new(std::sync::Mutex::new(()))).collect();
        let held: Vec<_> = locks.iter().map(|lock| lock.lock().unwrap()).collect();
        let work: Vec<_> = locks
            .iter()
            .map(|lock| {
                let (lock, at_work) = (Arc::clone(lock), at_work.clone());
                tokio::task::spawn_blocking(move || {
                    at_work.send(()).unwrap();
                    drop(lock.lock());
                })
            })
            .collect();
        has_begun.recv().unwrap();
        has_begun.recv().unwrap();
        let asking = router.clone();
        let waiting = tokio::spawn(async move { get(&asking, "/api/v1/query?query=1").await.0 });
        tokio::task::yield_now().await;
        for path in ["/-/healthy", "/-/ready", "/api/v1/status/walreplay", "/api/v1/status/buildinfo"] {
            assert_eq!(get(&router, path).await.0, 200, "{path}");
        }
        assert!(!waiting.is_finished(), "there was a thread left");
        drop(held);
        for done in work {
            done.await.unwrap();
        }
        assert_eq!(waiting.await.unwrap(), 200);
        engine.close().await;
    });
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
