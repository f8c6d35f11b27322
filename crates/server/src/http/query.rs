//! Queries: `/query`, `/query_range`, `/format_query`, `/parse_query`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::connect_info::ConnectInfo;
use axum::extract::{FromRequestParts, MatchedPath, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, HeaderName, PRAGMA};
use axum::http::request::Parts;
use relatum_model::storage::Scope;
use relatum_promql::syntax::{Expr, ValueType};
use relatum_promql::{Answer, Probe, QueryError, QueryOptions, RangeQuery, Value};

use super::envelope::{ApiError, ApiResult, ErrorKind, Success};
use super::json::ResultWriter;
use super::params::{Params, parse_duration_ms};
use super::query_stats::{self, Turn};
use super::reading::{reading, reading_quickly};
use super::stream::PIECE_BYTES;
use crate::Engine;
use crate::everywhere::Everywhere;
use crate::queries::Patience;
use crate::query_log::{Asked, By, warn_if_slow};
use crate::quick::NotQuick;

/// A range query gives at most this many points a series, as Prometheus has it.
const POINTS_MAX: i128 = 11_000;

/// `/api/v1/query`
pub(crate) async fn instant(State(engine): State<Arc<Engine>>, asker: Asker, params: Params) -> ApiResult {
    let at_ms = params.time_ms_or("time", crate::clock::now_ms())?;
    run(engine, asker, params, (at_ms, at_ms, 0), move |engine, everywhere, params, options| {
        let answer = engine.promql().instant(everywhere, &Scope::all(), params.first("query"), at_ms, options);
        Ok(answer?)
    })
    .await
}

/// `/api/v1/query_range`
pub(crate) async fn range(State(engine): State<Arc<Engine>>, asker: Asker, params: Params) -> ApiResult {
    let (start_ms, end_ms) = (params.time_ms("start")?, params.time_ms("end")?);
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let too_small = || {
        let text = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        ApiError::parameter("step", text)
    };
    let step_ns = match params.duration_ns("step")? {
        None => return Err(ApiError::parameter("step", "cannot parse \"\" to a valid duration")),
        Some(step_ns) if step_ns <= 0 => return Err(too_small()),
        Some(step_ns) => step_ns,
    };
    let range_ns = i128::from(end_ms.saturating_sub(start_ms)) * 1_000_000;
    if range_ns / i128::from(step_ns) > POINTS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    // Moments are milliseconds apart, or the same.
    let step_ms = Some(step_ns / 1_000_000).filter(|step_ms| *step_ms > 0).ok_or_else(too_small)?;
    // What steps look at is told of all of them, so none may come from elsewhere.
    let is_anew = asker.wants_anew || is_on(params.first("nocache")) || wants_steps(&engine, &params);
    run(engine, asker, params, (start_ms, end_ms, step_ms), move |engine, everywhere, params, options| {
        let query = params.first("query");
        let (promql, scope) = (engine.promql(), Scope::all());
        let answer = if is_anew || !params.first("explain").is_empty() {
            promql.range(everywhere, &scope, query, start_ms, end_ms, step_ms, options)
        } else {
            let asked = RangeQuery { query, start_ms, end_ms, step_ms };
            engine.results().range(&promql, everywhere, &scope, asked, options)
        };
        match answer {
            // The engine evaluates nothing of these; here it is the client who asked for what there cannot be.
            Err(QueryError::Execution(text)) if !has_range(&promql, query) => {
                Err(NoAnswer::Asked(ApiError::parameter("query", text)))
            }
            answer => Ok(answer?),
        }
    })
    .await
}

/// Whether the values of `query` at many moments can be one answer.
fn has_range(promql: &relatum_promql::Engine, query: &str) -> bool {
    promql.parse(query).is_ok_and(|expr| matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector))
}

/// `/api/v1/format_query`
pub(crate) async fn format(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    parsed(engine, params, |expr| Success::of(&expr.pretty())).await
}

/// `/api/v1/parse_query`
pub(crate) async fn parse(State(engine): State<Arc<Engine>>, params: Params) -> ApiResult {
    parsed(engine, params, |expr| Success::of(&expr.to_json())).await
}

/// Reads a query and shows it. A long one takes a while, so that happens in its turn, as if it ran.
async fn parsed(
    engine: Arc<Engine>,
    params: Params,
    show: impl FnOnce(&Expr) -> Success + Send + 'static,
) -> ApiResult {
    let asked = Arc::clone(&engine);
    let parsed = reading(&asked, move |_| {
        let _active = engine.active_queries().begin(params.first("query"));
        let expr = engine.promql().parse(params.first("query")).map_err(|error| ApiError::parameter("query", error))?;
        Ok(show(&expr))
    });
    parsed.await?
}

/// Why there is no answer.
enum NoAnswer {
    /// What was asked is no query that could run.
    Asked(ApiError),
    /// The query has no result.
    Query(QueryError),
}

impl From<QueryError> for NoAnswer {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Parse(_) | QueryError::Duration(_) => NoAnswer::Asked(ApiError::parameter("query", error)),
            error => NoAnswer::Query(error),
        }
    }
}

async fn run(
    engine: Arc<Engine>,
    asker: Asker,
    params: Params,
    (start_ms, end_ms, step_ms): (i64, i64, i64),
    evaluate: impl Fn(&Engine, &Everywhere, &Params, &QueryOptions) -> Result<Answer, NoAnswer> + Send + 'static,
) -> ApiResult {
    // Prometheus names this parameter in words of its own.
    let lookback_ms = match params.first("lookback_delta") {
        "" => None,
        text => Some(
            parse_duration_ms(text)
                .map_err(|cause| ApiError::bad_data(format!("error parsing lookback delta duration: {cause}")))?,
        ),
    };
    let patience = Patience::new(engine.live().flags.timeout, timeout(&params)?);
    let limit = params.limit()?;
    let span_ms = end_ms.saturating_sub(start_ms);
    let question = engine.quick().question((&asker.path, asker.wants_anew, params.lasting(), span_ms));
    let asked = Arc::clone(&engine);
    reading_quickly(&asked, patience, question, move |begun| {
        let probe = probe(&engine, &params);
        let options = QueryOptions {
            limit,
            lookback: lookback_ms.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs())),
            timeout: begun.left,
            cancel: begun.cancel.clone(),
            probe: Some(probe.clone()),
        };
        // What was quick the last time and gets a moment only takes no process down.
        let _active = if begun.is_try { None } else { engine.active_queries().begin(params.first("query")) };
        let everywhere = begun.everywhere(&engine);
        let from = Instant::now();
        let answer = match evaluate(&engine, &everywhere, &params, &options) {
            // Nothing ran that could be logged.
            Err(NoAnswer::Asked(error)) => return Ok(Err(error)),
            Err(NoAnswer::Query(QueryError::Cancelled)) if begun.is_try => return Err(NotQuick),
            Err(NoAnswer::Query(error)) => Err(error),
            Ok(answer) => Ok(answer),
        };
        let took = from.elapsed();
        let measured = probe.stats();
        engine.query_metrics().count(begun.waited, &measured, step_ms > 0);
        let turn = Turn { waited: begun.waited, took };
        let stats = || query_stats::stats(&measured, turn);
        let Asker { client, method, path, .. } = &asker;
        let by = By::Client { client, method, path };
        let asked = Asked { query: params.first("query"), start_ms, end_ms, step_ms, by };
        let error = answer.as_ref().err().map(ToString::to_string);
        engine.query_log().write(&asked, error.as_deref(), stats, crate::clock::now_ms());
        warn_if_slow(&asked, error.as_deref(), turn, engine.live().flags.slow_query);
        let plan = (!measured.nodes.is_empty()).then(|| query_stats::plan(&measured));
        let stats = (!params.first("stats").is_empty()).then(stats);
        let more = [("stats", stats), ("plan", plan)];
        let answer = answer.map(|answer| success(everywhere.noted(answer), limit, more));
        Ok(answer.map_err(refusal))
    })
    .await?
}

/// What is to be measured.
fn probe(engine: &Engine, params: &Params) -> Probe {
    let probe = if params.first("explain").is_empty() { Probe::new() } else { Probe::explaining() };
    if wants_steps(engine, params) { probe.with_steps() } else { probe }
}

/// Whether to tell what each step looked at: who asks for all statistics gets that, too, if the server is told to.
fn wants_steps(engine: &Engine, params: &Params) -> bool {
    params.first("stats") == "all" && engine.live().flags.has_feature("promql-per-step-stats")
}

/// How long the query may take, if the client says so.
fn timeout(params: &Params) -> Result<Option<Duration>, ApiError> {
    match params.duration_ns("timeout")? {
        // Over before it began, for which Prometheus blames the query.
        Some(ns) if ns <= 0 => Err(ApiError::parameter("query", "context deadline exceeded")),
        ns => Ok(ns.map(|ns| Duration::from_nanos(ns.unsigned_abs()))),
    }
}

/// Who asks, and where.
pub(crate) struct Asker {
    client: String,
    method: String,
    path: String,
    // Whether nothing that was computed before is to be part of the answer.
    wants_anew: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let path =
            parts.extensions.get::<MatchedPath>().map_or_else(|| parts.uri.path(), MatchedPath::as_str).to_owned();
        let client = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
        Ok(Asker { client, method: parts.method.to_string(), path, wants_anew: wants_anew(&parts.headers) })
    }
}

/// Whether a client that sends these headers takes no answer that was kept, as RFC 9111 has it: the directives are not case-sensitive,
/// and `Pragma` counts where there is no `Cache-Control`. An answer of no age is a new one; a browser that loads a page again wants that.
fn wants_anew(headers: &HeaderMap) -> bool {
    let says = |name: HeaderName, directives: &[&str]| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let mut words = values.flat_map(|value| value.split(','));
        words.any(|word| directives.iter().any(|directive| word.trim().eq_ignore_ascii_case(directive)))
    };
    says(CACHE_CONTROL, &["no-cache", "no-store", "max-age=0"])
        || !headers.contains_key(CACHE_CONTROL) && says(PRAGMA, &["no-cache"])
}

/// What a switch such as `nocache` says, as VictoriaMetrics, whose parameter it is, reads it: on unless it says that it is off.
fn is_on(text: &str) -> bool {
    !["", "0", "f", "false", "no"].iter().any(|off| text.eq_ignore_ascii_case(off))
}

fn success(mut answer: Answer, limit: usize, more: [(&str, Option<serde_json::Value>); 2]) -> Success {
    let truncated = match &mut answer.value {
        Value::Vector(samples) if limit > 0 && samples.len() > limit => {
            samples.truncate(limit);
            true
        }
        Value::Matrix(series) if limit > 0 && series.len() > limit => {
            series.truncate(limit);
            true
        }
        _ => false,
    };
    if truncated {
        answer.warnings.push("results truncated due to limit".to_owned());
    }
    let mut end = Vec::new();
    for (name, value) in more.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        end.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
    }
    end.push(b'}');
    let mut writer = ResultWriter::new(answer.value);
    let written = Success::in_pieces(move |out| {
        let is_all = writer.fill(out, PIECE_BYTES);
        if is_all {
            out.append(&mut end);
        }
        is_all
    });
    written.with_notes(answer.warnings, answer.infos)
}

fn refusal(error: QueryError) -> ApiError {
    match error {
        QueryError::Cancelled => ApiError::new(ErrorKind::Canceled, error.to_string()),
        QueryError::Timeout => ApiError::new(ErrorKind::Timeout, error.to_string()),
        QueryError::Storage(error) => {
            tracing::error!(error = %crate::chain(&error), "a query could not read the store");
            ApiError::new(ErrorKind::Internal, error.to_string())
        }
        error => ApiError::new(ErrorKind::Execution, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::extract::{FromRequest, Request};
    use relatum_model::Labels;
    use relatum_model::storage::{Append, SeriesRef};
    use tower::ServiceExt;

    use super::*;
    use crate::flags::Flags;

    #[tokio::test]
    async fn queries_are_read_and_run_in_their_turn_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let engine =
            Engine::open(Flags { data_dir: dir.path().to_owned(), concurrency: 1, ..Flags::default() }).unwrap();
        let ask = async |path: &str| {
            let request = Request::get(path).header("host", "x").body(Body::empty()).unwrap();
            let response = engine.router().oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            (status, String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
        };
        let query = "/api/v1/query?query=1&timeout=10ms";
        let range = "/api/v1/query_range?query=1&start=0&end=1&step=1&timeout=10ms";
        let format = "/api/v1/format_query?query=";
        assert_eq!(ask(&format!("{format}sum(a)by(b)")).await.1, r#"{"status":"success","data":"sum by (b) (a)"}"#);
        for (path, fault) in [
            (format, "unknown position: parse error: no expression found in input"),
            ("/api/v1/parse_query?query=a%2B", "1:3: parse error: unexpected end of input"),
            ("/api/v1/query?query=a%2B", "1:3: parse error: unexpected end of input"),
            ("/api/v1/query_range?start=0&end=1&step=1&query=a%2B", "1:3: parse error: unexpected end of input"),
            (
                "/api/v1/query_range?start=0&end=1&step=1&query=a[1m]",
                r#"invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"#,
            ),
        ] {
            let body = format!(
                r#"{{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": {fault}"}}"#
            );
            assert_eq!(ask(path).await, (400, body), "{path}");
        }
        let other = engine.queries().turn(Patience::new(Duration::ZERO, None)).await.unwrap();
        let late = r#"{"status":"error","errorType":"timeout","error":"query timed out in query queue"}"#;
        // It is read when it is its turn.
        let broken = "/api/v1/query_range?query=a%2B&start=0&end=1&step=1&timeout=10ms";
        for path in [query, range, broken] {
            assert_eq!(ask(path).await, (503, late.to_owned()), "{path}");
        }
        drop(other);
        assert_eq!(ask(query.trim_end_matches("&timeout=10ms")).await.0, 200);
        engine.close().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_not_at_hand_is_asked_anew() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(Flags { data_dir: dir.path().to_owned(), ..Flags::default() }).unwrap();
        let ask = async |path: &str| {
            let request = Request::get(path).header("host", "x").body(Body::empty()).unwrap();
            let response = engine.router().oneshot(request).await.unwrap();
            String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
        };
        let tries = || engine.quick().metrics().samples.iter().map(|sample| sample.value).collect::<Vec<_>>();
        let put = |metric: &str, n: &str| {
            let mut batch = engine.store().appender();
            let labels = Labels::from_pairs([("__name__", metric), ("n", n)]);
            batch.append(SeriesRef::NONE, &labels, 1000, 1.0).unwrap();
            batch.commit().unwrap();
        };
        let mut expected = vec![0.0, 0.0];
        // A series that came is not in its place yet, which matters to those who find any in order.
        let (answered, given_up) = (0, 1);
        for (metric, path, with_one, with_two, outcome) in [
            ("a", "/api/v1/query?query=count(a)&time=1", r#"[1,"1"]"#, r#"[1,"2"]"#, given_up),
            (
                "b",
                "/api/v1/series?match[]=b",
                r#"[{"__name__":"b","n":"1"}]"#,
                r#"1"},{"__name__":"b","n":"2"}]"#,
                given_up,
            ),
            ("c", "/api/v1/label/n/values?match[]=c", r#"["1"]"#, r#"["1","2"]"#, given_up),
            ("d", "/api/v1/label/__name__/values", r#"["a","b","c","d"]"#, r#"["a","b","c","d"]"#, answered),
            ("e", "/api/v1/query?query=none&time=1", r#""result":[]"#, r#""result":[]"#, answered),
        ] {
            put(metric, "1");
            // However slow this machine is, in the end it is quick.
            let deadline = Instant::now() + Duration::from_secs(60);
            while tries()[0] == expected[0] {
                let answer = ask(path).await;
                assert!(answer.contains(with_one), "{path}: {answer}");
                assert!(Instant::now() < deadline, "{path} is never quick");
            }
            expected = tries();
            put(metric, "2");
            let answer = ask(path).await;
            assert!(answer.contains(with_two), "{path}: {answer}");
            expected[outcome] += 1.0;
            assert_eq!(tries(), expected, "{path}");
        }
        engine.close().await;
    }

    #[test]
    fn who_wants_an_answer_of_which_nothing_was_kept() {
        for (headers, expected) in [
            (&[][..], false),
            (&[(CACHE_CONTROL, "no-store")], true),
            (&[(CACHE_CONTROL, "max-age=60, No-Cache")], true),
            (&[(CACHE_CONTROL, "max-age=60"), (CACHE_CONTROL, "NO-STORE")], true),
            (&[(CACHE_CONTROL, "max-age=0")], true),
            (&[(CACHE_CONTROL, "max-age=01,no-cached")], false),
            (&[(PRAGMA, "No-cache")], true),
            (&[(PRAGMA, "no-cache"), (CACHE_CONTROL, "max-age=60")], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(name, axum::http::HeaderValue::from_static(value));
            }
            assert_eq!(wants_anew(&map), expected, "{headers:?}");
        }
        for (text, expected) in [("", false), ("0", false), ("False", false), ("1", true), ("true", true), ("x", true)]
        {
            assert_eq!(is_on(text), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn timeouts() {
        let over = Err("invalid parameter \"query\": context deadline exceeded".to_owned());
        for (query, expected) in [
            ("", Ok(None)),
            ("timeout=", Ok(None)),
            ("timeout=1.5", Ok(Some(Duration::from_millis(1500)))),
            ("timeout=1m", Ok(Some(Duration::from_secs(60)))),
            ("timeout=0", over.clone()),
            ("timeout=0s", over.clone()),
            ("timeout=-1", over.clone()),
            // Go makes the smallest number of it.
            ("timeout=NaN", over),
            ("timeout=x", Err("invalid parameter \"timeout\": cannot parse \"x\" to a valid duration".to_owned())),
        ] {
            let request = Request::get(format!("/api/v1/query?{query}")).body(Body::empty()).unwrap();
            let params = Params::from_request(request, &()).await.unwrap();
            assert_eq!(timeout(&params).map_err(|error| error.message), expected, "{query}");
        }
    }
}
