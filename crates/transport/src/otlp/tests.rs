//! Requests in, series out.

use relatum_config::prometheus::TranslationStrategy;

use super::*;
use crate::memory::MemoryStore;

const OPTIONS: OtlpOptions = OtlpOptions {
    deltas: Deltas::Refuse,
    type_and_unit_labels: false,
    lookback: Duration::from_secs(300),
    start_timestamps: false,
};

fn request(metrics: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[
            {{"key":"service.name","value":{{"stringValue":"shop"}}}},
            {{"key":"service.namespace","value":{{"stringValue":"eu"}}}},
            {{"key":"service.instance.id","value":{{"stringValue":"i1"}}}},
            {{"key":"host.name","value":{{"stringValue":"h"}}}}]}},
          "scopeMetrics":[{{"scope":{{"name":"lib","version":"1"}},"metrics":[{metrics}]}}]}}]}}"#
    )
}

#[track_caller]
fn store(metrics: &str, config: &OtlpConfig, options: OtlpOptions) -> Result<MemoryStore, OtlpReceiveError> {
    let store = MemoryStore::default();
    let receiver = OtlpReceiver::default();
    receiver.receive(&store, (JSON, ""), request(metrics).as_bytes(), config, options)?;
    Ok(store)
}

#[track_caller]
fn check(store: &MemoryStore, rows: &[(&str, &[f64])]) {
    for (series, values) in rows {
        let expected: Vec<Option<f64>> = values.iter().copied().map(Some).collect();
        assert_eq!(store.values(series), expected, "{series}");
    }
}

const GAUGE: &str = r#"{"name":"queue.size","unit":"1","gauge":{"dataPoints":[
    {"asDouble":0.5,"timeUnixNano":"1000000000","attributes":[{"key":"http.route","value":{"stringValue":"/"}}]}]}}"#;

#[test]
fn names_and_labels() {
    let config = OtlpConfig::default();
    check(
        &store(GAUGE, &config, OPTIONS).unwrap(),
        &[
            (r#"queue_size_ratio{http_route="/", instance="i1", job="eu/shop"}"#, &[0.5]),
            (r#"target_info{host_name="h", instance="i1", job="eu/shop"}"#, &[1.0]),
        ],
    );
    let config = OtlpConfig {
        translation_strategy: TranslationStrategy::NoTranslation,
        promote_resource_attributes: vec!["host.name".to_owned()],
        promote_scope_metadata: true,
        keep_identifying_resource_attributes: true,
        ..OtlpConfig::default()
    };
    let options = OtlpOptions { type_and_unit_labels: true, ..OPTIONS };
    let series = r#"{"queue.size", __type__="gauge", "host.name"="h", "http.route"="/", instance="i1", job="eu/shop", otel_scope_name="lib", otel_scope_version="1"}"#;
    let target = r#"target_info{"host.name"="h", instance="i1", job="eu/shop", "service.instance.id"="i1", "service.name"="shop", "service.namespace"="eu"}"#;
    check(&store(GAUGE, &config, options).unwrap(), &[(series, &[0.5]), (target, &[1.0])]);
}

#[test]
fn histograms_and_summaries() {
    let metrics = r#"{"name":"d","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[
          {"timeUnixNano":"1000000000","count":"6","sum":7.5,"bucketCounts":["1","2","3"],"explicitBounds":[0.5,1]}]}},
        {"name":"q","summary":{"dataPoints":[
          {"timeUnixNano":"1000000000","count":"2","sum":3,"quantileValues":[{"quantile":0.99,"value":4}]}]}}"#;
    let labels = r#"instance="i1", job="eu/shop""#;
    check(
        &store(metrics, &OtlpConfig::default(), OPTIONS).unwrap(),
        &[
            (&format!("d_seconds_sum{{{labels}}}"), &[7.5]),
            (&format!("d_seconds_count{{{labels}}}"), &[6.0]),
            (&format!(r#"d_seconds_bucket{{{labels}, le="0.5"}}"#), &[1.0]),
            (&format!(r#"d_seconds_bucket{{{labels}, le="1"}}"#), &[3.0]),
            (&format!(r#"d_seconds_bucket{{{labels}, le="+Inf"}}"#), &[6.0]),
            (&format!("q_sum{{{labels}}}"), &[3.0]),
            (&format!(r#"q{{{labels}, quantile="0.99"}}"#), &[4.0]),
        ],
    );
}

/// One with a trace, one whose attributes are too long to be kept, and one that is nothing but a value.
#[test]
fn exemplars() {
    let long = "x".repeat(120);
    let metrics = format!(
        r#"{{"name":"d","histogram":{{"aggregationTemporality":2,"dataPoints":[{{"timeUnixNano":"3000000000","count":"3",
             "bucketCounts":["1","2"],"explicitBounds":[0.5],"exemplars":[
               {{"asDouble":9,"timeUnixNano":"2000000000","traceId":"AB01","spanId":"02",
                 "filteredAttributes":[{{"key":"user.name","value":{{"stringValue":"u"}}}}]}},
               {{"asDouble":0.5,"timeUnixNano":"1000000000","traceId":"03",
                 "filteredAttributes":[{{"key":"k","value":{{"stringValue":"{long}"}}}}]}},
               {{"asInt":"7","timeUnixNano":"1000000000","traceId":"not hexadecimal"}}]}}]}}}}"#
    );
    let stored = store(&metrics, &OtlpConfig::default(), OPTIONS).unwrap();
    let labels = r#"instance="i1", job="eu/shop""#;
    assert_eq!(
        stored.exemplars(),
        [
            format!(r#"d_bucket{{{labels}, le="0.5"}} {{trace_id="03"}} 0.5@1000"#),
            format!(r#"d_bucket{{{labels}, le="+Inf"}} {{}} 7@1000"#),
            format!(r#"d_bucket{{{labels}, le="+Inf"}} {{span_id="02", trace_id="ab01", user_name="u"}} 9@2000"#),
        ]
    );
}

const DELTAS: &str = r#"{"name":"c","sum":{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[
    {"asInt":"5","startTimeUnixNano":"1000000000","timeUnixNano":"2000000000"},
    {"asInt":"6","startTimeUnixNano":"2000000000","timeUnixNano":"3000000000"}]}}"#;

#[test]
fn deltas() {
    let series = r#"c_total{instance="i1", job="eu/shop"}"#;
    let with = |deltas| store(DELTAS, &OtlpConfig::default(), OtlpOptions { deltas, ..OPTIONS });
    check(&with(Deltas::Sum).unwrap(), &[(series, &[5.0, 11.0])]);
    check(&with(Deltas::Keep).unwrap(), &[(series, &[5.0, 6.0])]);
    let refused = with(Deltas::Refuse).unwrap_err();
    let text = "invalid temporality and type combination for metric \"c\"";
    assert_eq!((refused.status(), refused.to_string().as_str()), (400, text));
}

#[test]
fn what_is_no_request() {
    let bomb = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![0; 1 << 20];
        for _ in 0..40 {
            encoder.write_all(&zeros).unwrap();
        }
        encoder.finish().unwrap()
    };
    for (headers, body, status, text) in [
        (
            ("text/plain", ""),
            &b""[..],
            400,
            "unsupported content type: text/plain, supported: [application/json, application/x-protobuf]",
        ),
        ((JSON, "br"), b"", 400, "unsupported compression: br. Only \"gzip\" or no compression supported"),
        ((JSON, "gzip"), b"{}", 400, "gzip: invalid data"),
        ((PROTOBUF, "gzip"), &bomb, 413, "request body exceeds the 33554432 bytes limit"),
        ((PROTOBUF, ""), b"\x0a\xff", 400, "cannot decode metrics at byte 2: message ends early"),
        ((JSON, ""), b"{", 400, "cannot decode metrics: EOF while parsing an object at line 1 column 1"),
    ] {
        let store = MemoryStore::default();
        let error =
            OtlpReceiver::default().receive(&store, headers, body, &OtlpConfig::default(), OPTIONS).unwrap_err();
        assert_eq!((error.status(), error.to_string().as_str()), (status, text));
        assert_eq!(store.samples(), 0);
    }
    // A request that cannot be stored whole leaves nothing behind.
    let receiver = OtlpReceiver::default();
    let memory = MemoryStore::default();
    let body = request(&format!(r#"{GAUGE},{{"name":"x"}}"#));
    let error = receiver.receive(&memory, (JSON, ""), body.as_bytes(), &OtlpConfig::default(), OPTIONS).unwrap_err();
    assert_eq!((error.to_string().as_str(), memory.samples()), ("metric \"x\" has no data of a known kind", 0));
}
