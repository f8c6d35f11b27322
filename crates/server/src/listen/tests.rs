//! Slow clients, on a clock that stands still until everybody waits.

use std::time::Duration;

use axum::extract::RawQuery;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep, timeout};

use super::*;

/// A client of a connection; the watcher of its end.
fn connect() -> (DuplexStream, GracefulShutdown) {
    connect_to(&Flags::default())
}

fn connect_to(flags: &Flags) -> (DuplexStream, GracefulShutdown) {
    let (client, server) = duplex(4096);
    let router = Router::new()
        .route("/", get(async || "in"))
        .route(
            "/asked",
            post(async |RawQuery(query): RawQuery, body: String| format!("{} {body}", query.unwrap_or_default())),
        )
        .route("/large", get(async || "x".repeat(1 << 20)))
        .route("/body", post(async |body: String| body));
    let graceful = GracefulShutdown::new();
    let front = Front::new(Arc::default(), flags);
    tokio::spawn(answer(server, ([127, 0, 0, 1], 1).into(), router, front, true, graceful.watcher()));
    (client, graceful)
}

/// Sends each of `parts` after a pause; gives all that came back and after how many seconds the connection ended.
async fn talk(parts: &[(u64, &str)]) -> (String, u64) {
    let begun = Instant::now();
    let (client, _graceful) = connect();
    let (mut reader, mut writer) = tokio::io::split(client);
    let sending = async {
        for (pause_secs, part) in parts {
            sleep(Duration::from_secs(*pause_secs)).await;
            if writer.write_all(part.as_bytes()).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut said = String::new();
    tokio::select! {
        () = sending => {}
        read = reader.read_to_string(&mut said) => drop(read),
        () = sleep(Duration::from_secs(10_000)) => {}
    }
    (said, begun.elapsed().as_secs())
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn slow_clients_are_sent_away() {
    // The answers that came, and after how many seconds the connection ended.
    for (parts, n_answers, ended_secs) in [
        (&[][..], 0, 300),
        (&[(0, "GET / HT")], 0, 30),
        // A byte now and then does not help.
        (&[(0, "G"), (10, "E"), (10, "T"), (9, " "), (10, "/")], 0, 30),
        // Somebody who comes once in a while finds the connection open.
        (&[(0, REQUEST), (60, REQUEST), (290, REQUEST)], 3, 650),
        (&[(0, REQUEST), (60, "GET / HTTP/1.1\r\nHost:")], 1, 90),
        // Half a body is waited for as long as a request may take; that ends the connection, as the rest might follow.
        (&[(0, "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx")], 1, 300),
        (&[(0, "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx"), (100, "y")], 1, 400),
    ] {
        let (said, secs) = talk(parts).await;
        assert_eq!((said.matches("HTTP/1.1 ").count(), secs), (n_answers, ended_secs), "{parts:?}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_has_no_longer_than_a_request() {
    let begun = Instant::now();
    let (mut client, _graceful) = connect_to(&Flags { read_timeout: Duration::from_secs(5), ..Flags::default() });
    client.write_all(b"GET / HT").await.unwrap();
    assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    assert_eq!(begun.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn http2_may_be_idle_between_frames() {
    let (client, _graceful) = connect();
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    for pause_secs in [0, 100, 200] {
        sleep(Duration::from_secs(pause_secs)).await;
        let request = Request::get("http://a/").body(String::new()).unwrap();
        assert_eq!(send.send_request(request).await.unwrap().status(), 200, "after {pause_secs} s");
    }
    sleep(Duration::from_secs(301)).await;
    let request = Request::get("http://a/").body(String::new()).unwrap();
    assert!(send.send_request(request).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_of_the_answer_is_sent_away() {
    let begun = Instant::now();
    let (mut client, graceful) = connect();
    client.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(client.read(&mut [0]).await.unwrap() > 0);
    // The rest stays where it is. The connection is over when nobody watches it any more.
    graceful.shutdown().await;
    assert_eq!(begun.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn targets_may_have_what_their_clients_should_have_encoded() {
    // Behind each other; a body stays as it is, whatever it looks like.
    let ask = |query: &str, body: &str| {
        format!("POST /asked?{query} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let sent = ask("m{i=\"#\"}<5", "GET /\"x") + &ask("é", "<\r\n\r\nGET /<") + &ask("a\u{1}", "");
    let (said, _) = talk(&[(0, &sent)]).await;
    let answers: Vec<&str> = said.split("HTTP/1.1 ").skip(1).collect();
    let ends = ["m%7Bi=%22%23%22%7D%3C5 GET /\"x", "%C3%A9 <\r\n\r\nGET /<"];
    assert!(answers[0].starts_with("200 ") && answers[0].ends_with(ends[0]), "{said}");
    assert!(answers[1].starts_with("200 ") && answers[1].ends_with(ends[1]), "{said}");
    assert!(said.contains("HTTP/1.1 400 "), "{said}");
}

#[tokio::test(start_paused = true)]
async fn heads_have_a_size() {
    let (mut client, _graceful) = connect();
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(HEADER_BYTES_MAX));
    // The server may hang up before all is written.
    let _ = client.write_all(head.as_bytes()).await;
    let mut said = Vec::new();
    timeout(Duration::from_secs(1), client.read_to_end(&mut said)).await.unwrap().unwrap();
    assert!(said.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn who_only_knocked_does_not_hold_up_the_end() {
    let listener = bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let front = Front::new(Arc::default(), &Flags::default());
    let serving = tokio::spawn(serve(listener, Router::new(), front, async { drop(stopped.await) }));
    // Idle, both before and after a request.
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut asked = TcpStream::connect(address).await.unwrap();
    asked.write_all(REQUEST.as_bytes()).await.unwrap();
    assert!(asked.read(&mut [0; 1024]).await.unwrap() > 0);
    stop.send(()).unwrap();
    timeout(Duration::from_secs(5), serving).await.expect("it ends before the requests would be cut off").unwrap();
}

#[tokio::test]
async fn at_the_end_requests_are_finished_and_new_ones_refused() {
    let listener = bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
    let slow = async move |body: Body| {
        begun.send(()).await.unwrap();
        axum::body::to_bytes(body, 10).await.unwrap()
    };
    let router = Router::new().route("/body", post(slow));
    let front = Front::new(Arc::default(), &Flags::default());
    let serving = tokio::spawn(serve(listener, router, front, async { drop(stopped.await) }));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx").await.unwrap();
    has_begun.recv().await.unwrap();
    stop.send(()).unwrap();
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(Duration::from_secs(5), refused).await.expect("nobody is taken any more");
    client.write_all(b"y").await.unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("xy"), "{said}");
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_sends_more_than_is_read_gets_the_answer() {
    // What is written, and whether the connection is of use afterwards.
    for (n_bytes, goes_on) in [(10, true), (200_000, true), (5_000_000, false)] {
        let (client, _graceful) = connect();
        let (mut reader, mut writer) = tokio::io::split(client);
        let writing = tokio::spawn(async move {
            let head = format!("POST /nosuch HTTP/1.1\r\nHost: a\r\nContent-Length: {n_bytes}\r\n\r\n");
            writer.write_all(head.as_bytes()).await.unwrap();
            let written = writer.write_all(&vec![b'x'; n_bytes]).await;
            let again = writer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            written.is_ok() && again.is_ok()
        });
        let mut said = String::new();
        timeout(Duration::from_secs(10), reader.read_to_string(&mut said)).await.unwrap().unwrap();
        let statuses: Vec<&str> = said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        let expected = if goes_on { &["404", "200"][..] } else { &["404"] };
        assert_eq!((&statuses[..], writing.await.unwrap()), (expected, goes_on), "{n_bytes} bytes");
    }
}
