//! A program with OpenTelemetry's own SDK sends us its metrics.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_tests::peers::Peer;
use relatum_tests::server::Server;
use relatum_tests::{PATIENCE, http, python, wait_for};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![crate::with("an_opentelemetry_sdk_sends_to_us", &[Peer::Python], false, sdk)]
}

const PACKAGES: [&str; 2] = ["opentelemetry-sdk==1.37.0", "opentelemetry-exporter-otlp-proto-http==1.37.0"];

/// One instrument of each kind, and a span around a measurement, so that it gets an exemplar.
const SEND: &str = r#"
import sys
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.metrics import Observation

exporter = OTLPMetricExporter(endpoint=sys.argv[1], compression=Compression.Gzip)
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
resource = Resource({"service.name": "shop", "service.namespace": "eu", "service.instance.id": "i-1", "host.name": "h"})
provider = MeterProvider(
    metric_readers=[reader], resource=resource, exemplar_filter=AlwaysOnExemplarFilter(),
    views=[View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())])
meter = provider.get_meter("lib", "1.2")
with TracerProvider().get_tracer("t").start_as_current_span("request") as span:
    meter.create_counter("http.requests", unit="1", description="Requests.").add(7, {"http.route": "/a"})
    meter.create_up_down_counter("in.flight").add(-2)
    histogram = meter.create_histogram("took", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
    for value in [0.05, 0.5, 5]:
        histogram.record(value, {"method": "GET"})
    exponential = meter.create_histogram("exponential", unit="By")
    for value in [1, 2, 4, 1000]:
        exponential.record(value)
    meter.create_observable_gauge("temperature", [lambda _: [Observation(21.5, {"room": "1"})]], unit="Cel")
    print(format(span.get_span_context().trace_id, "032x"))
assert provider.force_flush()
provider.shutdown()
"#;

/// A query and the only value that it gives.
const VALUES: [(&str, &str); 10] = [
    (r#"http_requests_total{http_route="/a",job="eu/shop",instance="i-1"}"#, "7"),
    (r#"in_flight{job="eu/shop"}"#, "-2"),
    (r#"took_seconds_count{method="GET"}"#, "3"),
    (r#"took_seconds_sum{method="GET"}"#, "5.55"),
    (r#"took_seconds_bucket{method="GET",le="0.1"}"#, "1"),
    (r#"took_seconds_bucket{method="GET",le="1"}"#, "2"),
    (r#"took_seconds_bucket{method="GET",le="+Inf"}"#, "3"),
    ("histogram_count(exponential_bytes)", "4"),
    ("histogram_sum(exponential_bytes)", "1007"),
    (r#"temperature_celsius{room="1"} * on(job, instance) group_left(host_name) target_info{host_name="h"}"#, "21.5"),
];

fn sdk() -> anyhow::Result<()> {
    let interpreter = python::with_packages(Path::new(env!("CARGO_TARGET_TMPDIR")), &PACKAGES)?;
    let dir = tempfile::tempdir()?;
    let flags = ["--web.enable-otlp-receiver", "--enable-feature=exemplar-storage"];
    let server = Server::ours(dir.path(), "", &flags)?;
    let output =
        Command::new(interpreter).args(["-c", SEND, &format!("{}/api/v1/otlp/v1/metrics", server.url)]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && !said.contains("Failed"), "{said}");
    let trace_id = String::from_utf8(output.stdout)?.trim().to_owned();
    for (query, expected) in VALUES {
        let found =
            wait_for(query, PATIENCE, || http::query(&server.url, query).ok().filter(|found| !found.is_empty()))
                .with_context(|| server.running.output())?;
        ensure!(found.len() == 1 && found[0]["value"][1] == expected, "{query} gives {found:?} and not {expected}");
    }
    let url = format!("{}/api/v1/query_exemplars?start=0&end=99999999999&query=", server.url);
    for (query, values) in [
        ("took_seconds_bucket", &["0.05", "0.5", "5"][..]),
        ("http_requests_total", &["7"]),
        ("exponential_bytes", &["1000"]),
    ] {
        let answer: Value = serde_json::from_str(&http::get(&format!("{url}{query}"))?.body)?;
        let series = answer["data"].as_array().context("no data")?;
        let all: Vec<&Value> = series.iter().filter_map(|one| one["exemplars"].as_array()).flatten().collect();
        for value in values {
            let found = all.iter().find(|exemplar| exemplar["value"] == *value);
            let found = found.with_context(|| format!("{query} has no exemplar {value}: {answer}"))?;
            ensure!(found["labels"]["trace_id"] == trace_id.as_str(), "{query}: {found}");
        }
    }
    Ok(())
}
