//! Requests that no client should send: each gets an answer that says what is wrong, and a good request right after works.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::PATIENCE;
use relatum_tests::server::Server;

pub(crate) fn trials() -> Vec<Trial> {
    vec![crate::plain("requests_that_make_no_sense_harm_nobody", requests)]
}

const HOST: &str = "Host: a\r\nConnection: close\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const GZIP: &str = "Content-Type: application/x-protobuf\r\nContent-Encoding: gzip\r\n";
const SNAPPY: &str = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n";

/// What an answer must say.
enum Says {
    /// JSON with `bad_data` and this text.
    BadData(&'static str),
    /// This text, anywhere in the body; `""` for an answer of the protocol itself, which may have no body.
    Text(&'static str),
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\n{HOST}\r\n").into_bytes()
}

fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\n{HOST}{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn raw(head: &str, rest: &[u8]) -> Vec<u8> {
    [head.as_bytes(), rest].concat()
}

/// A body that goes on and on; the server must not wait for its end.
fn without_end(path: &str, headers: &str) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\n{HOST}{headers}Transfer-Encoding: chunked\r\n\r\n");
    let piece = [&b"10000\r\n"[..], &[b'a'; 0x1_0000], b"\r\n"].concat();
    raw(&head, &piece.repeat(1000))
}

fn gzip_of_zeros() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let written = (0..40).try_for_each(|_| encoder.write_all(&[0; 1_000_000]));
    written.and_then(|()| encoder.finish()).expect("memory takes everything")
}

/// Name, bytes, status, and what the answer says.
type Row = (&'static str, Vec<u8>, u16, Says);

fn rows() -> Vec<Row> {
    use Says::{BadData, Text};
    let range = |parameters: &str| get(&format!("/api/v1/query_range?query=1&{parameters}"));
    let chunked = |path: &str, more: &str, body: &str| {
        raw(&format!("POST {path} HTTP/1.1\r\n{HOST}{FORM}{more}Transfer-Encoding: chunked\r\n\r\n"), body.as_bytes())
    };
    // Four gigabytes less one.
    let bomb = b"\xff\xff\xff\xff\x0f";
    let deep = format!("/api/v1/query?query={}1{}", "(".repeat(20_000), ")".repeat(20_000));
    vec![
        // Parameters.
        ("invalid UTF-8", get("/api/v1/query?query=%ff%fe"), 400, BadData("invalid parameter \"query\"")),
        (
            "invalid UTF-8 in a selector",
            get("/api/v1/series?match[]=%ff"),
            400,
            BadData("invalid parameter \"match[]\""),
        ),
        ("invalid UTF-8 in a name", get("/api/v1/label/%ff/values"), 400, BadData("invalid label name")),
        ("a gigantic step", range("start=0&end=1&step=1e300"), 400, BadData("invalid parameter \"step\"")),
        ("a step of nothing", range("start=0&end=1&step=1e-300"), 400, BadData("invalid parameter \"step\"")),
        ("a gigantic range", range("start=-9e15&end=9e15&step=1"), 400, BadData("exceeded maximum resolution")),
        (
            "a range that ends before it begins",
            range("start=9e15&end=0&step=1"),
            400,
            BadData("invalid parameter \"end\""),
        ),
        ("invalid UTF-8 in a moment", range("start=0&end=%ff&step=1"), 400, BadData("invalid parameter \"end\"")),
        ("invalid UTF-8 in a step", range("start=0&end=1&step=%ff"), 400, BadData("invalid parameter \"step\"")),
        ("no moment", range("start=x&end=0&step=1"), 400, BadData("invalid parameter \"start\"")),
        (
            "a timeout beyond numbers",
            get("/api/v1/query?query=1&timeout=1e300"),
            400,
            BadData("invalid parameter \"timeout\""),
        ),
        (
            "a limit beyond numbers",
            get("/api/v1/labels?limit=99999999999999999999"),
            400,
            BadData("invalid parameter \"limit\""),
        ),
        ("an expression that is nested deeply", get(&deep), 400, BadData("invalid parameter \"query\"")),
        (
            "a window beyond numbers",
            get("/api/v1/query?query=m[99999999999999999999y]"),
            400,
            BadData("invalid parameter \"query\""),
        ),
        // Paths and lines.
        (
            "a URL of 64 KB",
            get(&format!("/api/v1/query?query={}(", "a".repeat(64_000))),
            400,
            BadData("invalid parameter \"query\""),
        ),
        ("a URL of 200 KB", get(&format!("/api/v1/query?query={}", "a".repeat(200_000))), 431, Text("")),
        ("two slashes", get("/api/v1//query?query=1"), 301, Text("")),
        ("a step up", get("/api/v1/../../etc/passwd"), 301, Text("")),
        ("an escaped step up", get("/api/v1/%2e%2e/%2e%2e/etc/passwd"), 404, Text("404 page not found")),
        ("an escaped slash", get("/api/v1%2fquery?query=1"), 404, Text("404 page not found")),
        (
            "a NUL in a header",
            raw(&format!("GET /api/v1/query?query=1 HTTP/1.1\r\n{HOST}X: a\0b\r\n\r\n"), b""),
            400,
            Text(""),
        ),
        (
            "a duration that is none",
            get("/api/v1/query?query=rate(up%5B5m-10m%5D)"),
            400,
            BadData("invalid parameter \"query\": 8:14: duration must be greater than 0"),
        ),
        ("a NUL in a query", get("/api/v1/query?query=%00"), 400, BadData("invalid parameter \"query\"")),
        ("a NUL in a moment", get("/api/v1/query?query=1&time=%00"), 400, BadData("invalid parameter \"time\"")),
        ("a NUL", get("/api/v1/\0query"), 400, Text("")),
        ("an escaped NUL", get("/api/v1/query%00"), 404, Text("404 page not found")),
        (
            "an unknown method",
            raw(&format!("BREW /api/v1/query HTTP/1.1\r\n{HOST}\r\n"), b""),
            405,
            Text("Method Not Allowed"),
        ),
        ("a line of four words", raw(&format!("GET /api/v1/query x HTTP/1.1\r\n{HOST}\r\n"), b""), 400, Text("")),
        ("two hosts", raw(&format!("GET /api/v1/query HTTP/1.1\r\nHost: b\r\n{HOST}\r\n"), b""), 400, Text("Host")),
        (
            "chunks of chunks",
            chunked("/api/v1/query", "Transfer-Encoding: chunked\r\n", "7\r\nquery=1\r\n0\r\n\r\n"),
            400,
            Text("transfer encodings"),
        ),
        ("no host", raw("GET /api/v1/query HTTP/1.1\r\nConnection: close\r\n\r\n", b""), 400, Text("Host")),
        (
            "five hundred headers",
            raw(&format!("GET / HTTP/1.1\r\n{HOST}{}\r\n", "X: y\r\n".repeat(500)), b""),
            431,
            Text(""),
        ),
        ("a folded header", raw(&format!("GET / HTTP/1.1\r\n{HOST}X: a\r\n b\r\n\r\n"), b""), 400, Text("")),
        // Bodies whose end two readers may see in two places.
        (
            "two lengths",
            raw(
                &format!("POST /api/v1/query HTTP/1.1\r\n{HOST}Content-Length: 6\r\nContent-Length: 7\r\n\r\n"),
                b"abcdef",
            ),
            400,
            Text(""),
        ),
        ("a length and chunks", chunked("/api/v1/query", "Content-Length: 6\r\n", "0\r\n\r\nG"), 400, Text("")),
        (
            "a length with a space",
            raw(&format!("POST /api/v1/query HTTP/1.1\r\n{HOST}Content-Length : 5\r\n\r\n"), b"abcde"),
            400,
            Text(""),
        ),
        (
            "an unknown encoding",
            raw(&format!("POST /api/v1/query HTTP/1.1\r\n{HOST}Transfer-Encoding: xchunked\r\n\r\n"), b"0\r\n\r\n"),
            400,
            Text(""),
        ),
        (
            "a length with a sign",
            raw(&format!("POST /api/v1/query HTTP/1.1\r\n{HOST}Content-Length: +5\r\n\r\n"), b"abcde"),
            400,
            Text(""),
        ),
        (
            "a list of lengths",
            raw(&format!("POST /api/v1/query HTTP/1.1\r\n{HOST}Content-Length: 5, 5\r\n\r\n"), b"abcde"),
            400,
            Text(""),
        ),
        (
            "chunks in HTTP/1.0",
            raw(&format!("POST /api/v1/query HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"), b"0\r\n\r\n"),
            400,
            Text(""),
        ),
        (
            "an encoding behind chunks",
            raw(
                &format!("POST /api/v1/query HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked, identity\r\n\r\n"),
                b"0\r\n\r\n",
            ),
            400,
            Text(""),
        ),
        (
            "trailers without end",
            chunked("/api/v1/query", "", &format!("7\r\nquery=1\r\n0\r\n{}", "X: y\r\n".repeat(5000))),
            400,
            BadData("error parsing form values"),
        ),
        ("a chunk of no size", chunked("/api/v1/query", "", "zz\r\n\r\n"), 400, BadData("error parsing form values")),
        (
            "a chunk without end",
            chunked("/api/v1/query", "", "ffffffffffffffff\r\nabc"),
            400,
            BadData("error parsing form values"),
        ),
        (
            "a body cut short",
            raw(&format!("POST /api/v1/query HTTP/1.1\r\n{HOST}{FORM}Content-Length: 100\r\n\r\n"), b"query=1"),
            400,
            BadData("error parsing form values"),
        ),
        (
            "a form of 5 MB",
            post("/api/v1/query", FORM, &b"query=1&".repeat(700_000)),
            400,
            BadData("error parsing form values"),
        ),
        ("samples without end", without_end("/api/v1/write", SNAPPY), 413, Text("exceeds the 33554432 bytes limit")),
        ("questions without end", without_end("/api/v1/read", SNAPPY), 413, Text("exceeds the 33554432 bytes limit")),
        ("a form without end", without_end("/api/v1/query", FORM), 400, BadData("error parsing form values")),
        // Compressed messages.
        (
            "40 MB of zeros, compressed",
            post("/api/v1/otlp/v1/metrics", GZIP, &gzip_of_zeros()),
            413,
            Text("exceeds the 33554432 bytes limit"),
        ),
        (
            "4 GiB of samples",
            post("/api/v1/write", SNAPPY, bomb),
            400,
            Text("decoded size exceeds the 33554432 bytes limit"),
        ),
        ("4 GiB of questions", post("/api/v1/read", SNAPPY, bomb), 400, Text("snappy: corrupt input")),
        ("samples cut short", post("/api/v1/write", SNAPPY, &[10, 36, 10, 200, 1]), 400, Text("snappy: corrupt input")),
        (
            "a message of the wrong types",
            post("/api/v1/write", SNAPPY, &[2, 4, 8, 1]),
            400,
            Text("cannot decode write request"),
        ),
        ("questions of the wrong types", post("/api/v1/read", SNAPPY, &[2, 4, 8, 1]), 400, Text("wire type")),
        (
            "metrics that are none",
            post("/api/v1/otlp/v1/metrics", "Content-Type: application/json\r\n", b"[["),
            400,
            Text("cannot decode metrics"),
        ),
    ]
}

/// Queries that ask for more than anybody should have. Each names the limit that it met.
fn queries() -> Vec<Row> {
    use Says::{BadData, Text};
    let ask = |query: &str| {
        let escaped = query.replace('%', "%25").replace('+', "%2B").replace('&', "%26");
        post("/api/v1/query", FORM, format!("query={escaped}").as_bytes())
    };
    let nested = |inner: &str, n: usize, around: &dyn Fn(String) -> String| {
        (0..n).fold(inner.to_owned(), |inner, _| around(inner))
    };
    let labelled = r#"label_replace(vector(1), "a", "xy", "", "")"#;
    let longer = |inner| format!(r#"label_replace({inner}, "a", "$1$1", "a", "(.*)")"#);
    let joined = |inner| format!(r#"label_join({inner}, "a", "", "a", "a")"#);
    let day = |inner| format!("max_over_time(({inner})[1d:1ms])");
    let too_deep = "nested deeper than 100 levels";
    let too_many = "would load too many samples";
    vec![
        ("a hundred thousand parentheses", ask(&("(".repeat(100_000) + "1")), 400, BadData(too_deep)),
        ("a hundred thousand signs", ask(&("-".repeat(100_000) + "x")), 400, BadData(too_deep)),
        ("twenty thousand calls", ask(&("abs(".repeat(20_000) + "x")), 400, BadData(too_deep)),
        (
            "twenty thousand operators",
            ask(&("1".to_owned() + &" + 1".repeat(20_000))),
            400,
            BadData("more than 500 operators in a chain"),
        ),
        (
            "a gigantic regex",
            ask(&format!(r#"{{a=~"{}"}}"#, "x.*y.*|".repeat(40_000))),
            400,
            BadData("expression too large"),
        ),
        ("a regex of repeats", ask(r#"{a=~"((x{100}){100}){100}"}"#), 400, BadData("invalid repeat count")),
        ("a label that doubles", ask(&nested(labelled, 40, &longer)), 422, Text("longer than 65536 bytes")),
        ("a label that is joined", ask(&nested(labelled, 40, &joined)), 422, Text("longer than 65536 bytes")),
        ("a year of milliseconds", ask("count_over_time(vector(1)[1y:1ms])"), 422, Text(too_many)),
        ("days of days of days", ask(&nested("vector(1)", 3, &day)), 422, Text(too_many)),
        (
            "a year in steps of a millisecond",
            get("/api/v1/query_range?query=1&start=0&end=31536000&step=0.001"),
            400,
            BadData("exceeded maximum resolution"),
        ),
        ("the NaN first", ask("topk(NaN, vector(1))"), 422, Text("Parameter value is NaN")),
        ("the infinitely first", ask("bottomk(Inf, vector(1))"), 422, Text("overflows int64")),
    ]
}

/// Everything the server says to `bytes`, after which nothing more comes from us; it closes the connection, at the latest when its
/// patience ends.
fn ask(authority: &str, bytes: &[u8]) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // A server that has heard enough may close before we have said it all.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(n) = stream.read(&mut piece) {
        if n == 0 {
            break;
        }
        answer.extend_from_slice(&piece[..n]);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = text.split_whitespace().nth(1).context("no resident size")?.parse()?;
    Ok(pages * 4096)
}

fn requests() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let flags = ["--web.enable-otlp-receiver", "--web.read-timeout=2s"];
    let Server { running, authority, .. } = Server::ours(dir.path(), "global: {}\n", &flags)?;
    let before = resident_bytes(running.pid())?;
    let rows: Vec<Row> = rows().into_iter().chain(queries()).collect();
    for (name, bytes, status, says) in &rows {
        let answer = ask(&authority, bytes)?;
        let shown = answer.chars().take(400).collect::<String>();
        ensure!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: not {status}: {shown}");
        match says {
            Says::BadData(text) => {
                let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                let body: serde_json::Value =
                    serde_json::from_str(body).with_context(|| format!("{name}: no JSON: {shown}"))?;
                let error = body["error"].as_str().unwrap_or_default();
                ensure!(body["errorType"] == "bad_data" && error.contains(text), "{name}: {shown}");
            }
            Says::Text(text) => ensure!(answer.contains(text), "{name}: {shown}"),
        }
        let good = ask(&authority, &get("/api/v1/query?query=1&time=1"))?;
        ensure!(good.ends_with(r#""result":[1,"1"]}}"#), "after {name}: {good}");
    }
    let after = resident_bytes(running.pid())?;
    ensure!(after < before + (128 << 20), "{before} bytes before, {after} after");
    let output = running.output();
    ensure!(!output.contains("panicked"), "{output}");
    println!("{} hostile requests refused; {} MiB more than before", rows.len(), after.saturating_sub(before) >> 20);
    Ok(())
}
