//! How fast the formats are read that processes expose their metrics in: one core, one body after another.
//!
//! Each row is the mean of several rounds, in time of the processor.

use std::hint::black_box;

use relatum_model::Labels;
use relatum_model::exposition::protobuf::{Entries, FamilyWriter, HistogramParts, Item, WrittenTimes};
use relatum_model::exposition::{Entry, Format, Layout, MetricKind, ParseError, Placed, parse};

mod cpu_time;

const N_FAMILIES: usize = 800;
const N_SERIES: usize = 100;
const N_ROUNDS: u32 = 20;

fn main() {
    let n_samples = N_FAMILIES * N_SERIES;
    let bodies = [text(0), text(1)];
    let open_metrics = format!("{}# EOF\n", bodies[0]);
    let bytes = bodies[0].len();
    println!("text, {n_samples} samples of {} bytes", bytes / n_samples);
    row("  cold", ">= 500 MB/s", bytes, n_samples, || count(bodies[0].as_bytes(), Format::Text));
    row("  as openmetrics", "", open_metrics.len(), n_samples, || count(open_metrics.as_bytes(), Format::OpenMetrics));
    row("  as openmetrics, strict", "", open_metrics.len(), n_samples, || {
        count(open_metrics.as_bytes(), Format::OpenMetricsStrict)
    });

    let mut layout = Layout::new();
    known(&mut layout, &bodies[0]);
    row("  layout unchanged", ">= 1500 MB/s", bytes, n_samples, || known(&mut layout, &bodies[0]));
    let mut round = 0;
    row("  layout unchanged, every second value new", ">= 1500 MB/s", bytes, n_samples, || {
        round += 1;
        known(&mut layout, &bodies[round % 2])
    });

    let body = protobuf();
    println!("protobuf, {n_samples} samples of {} bytes", body.len() / n_samples);
    row("  cold", "", body.len(), n_samples, || {
        let mut entries = Entries::new(&body, HistogramParts { native: true, classic_of_native: false });
        let mut n = 0;
        while let Some(item) = entries.next_entry().expect("the body is good") {
            if let Item::Entry(Entry::Sample(sample)) = item {
                black_box(sample);
                n += 1;
            }
        }
        n
    });
}

fn row(name: &str, target: &str, bytes: usize, n_samples: usize, mut read: impl FnMut() -> usize) {
    let spent = cpu_time::mean(N_ROUNDS, || assert_eq!(black_box(read()), n_samples, "{name}"));
    let speed = format!("{:.0} MB/s", bytes as f64 / spent.as_secs_f64() / 1e6);
    println!("{name:<58}{speed:>14}{target:>14}");
}

fn count(body: &[u8], format: Format) -> usize {
    let mut n = 0;
    for entry in parse(body, format).expect("the body is UTF-8") {
        if let Entry::Sample(sample) = entry.expect("the body is good") {
            black_box(sample);
            n += 1;
        }
    }
    n
}

fn known(layout: &mut Layout, body: &str) -> usize {
    let mut n = 0;
    let read: Result<(), ParseError> = layout.read(body.as_bytes(), Format::Text, |placed| {
        if let Placed::Known { .. } | Placed::New { entry: Entry::Sample(_), .. } = black_box(placed) {
            n += 1;
        }
        Ok(())
    });
    read.expect("the body is good");
    n
}

/// Lines as an exporter of machine metrics writes them, about 120 bytes each. Every second value depends on `round`.
fn text(round: usize) -> String {
    let mut out = String::new();
    for family in 0..N_FAMILIES {
        let name = format!("node_network_family_{family}_seconds_total");
        out += &format!("# HELP {name} Seconds the devices spent in each mode.\n# TYPE {name} gauge\n");
        for series in 0..N_SERIES {
            out += &format!(
                "{name}{{cpu=\"{}\",device=\"/dev/mapper/vg0-{}\",mode=\"iowait\",state=\"established\"}} {}\n",
                series % 16,
                series / 16,
                value(family, series, round)
            );
        }
    }
    out
}

fn value(family: usize, series: usize, round: usize) -> f64 {
    let base = (family * 7919 + series * 104_729) as f64;
    if series.is_multiple_of(2) { base / 100.0 } else { base + (round * 100) as f64 / 8.0 }
}

fn protobuf() -> Vec<u8> {
    let mut body = Vec::new();
    for family in 0..N_FAMILIES {
        let name = format!("node_network_family_{family}_seconds_total");
        let mut writer = FamilyWriter::new(&name, "Seconds the devices spent in each mode.", "", MetricKind::Gauge);
        for series in 0..N_SERIES {
            let labels = Labels::from_pairs([
                ("cpu", (series % 16).to_string()),
                ("device", format!("/dev/mapper/vg0-{}", series / 16)),
                ("mode", "iowait".to_owned()),
                ("state", "established".to_owned()),
            ]);
            writer.number(&labels, value(family, series, 0), WrittenTimes::default(), None);
        }
        writer.finish(&mut body);
    }
    body
}
