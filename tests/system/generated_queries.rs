//! Thousands of made-up queries over made-up data, here and on a real Prometheus: values are equal, and errors come together.
//!
//! Queries and data follow from a seed, so a failure can be looked at again. Positions in time are whole milliseconds that lie on
//! samples now and then, so that the edges of windows and of the lookback are tried as well.

use std::process::Command;

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use relatum_model::{Labels, Sample, stale_nan};
use relatum_tests::peers::Peer;
use relatum_tests::program::binary;
use relatum_tests::{http, remote_write};

use crate::external_queries::{end_ms, equal, noise, server};

const QUERIES: u64 = 5_000;
// A Prometheus takes no sample that is older than the newest by an hour.
const SPAN_MS: i64 = 3_300_000;

pub(crate) fn trials() -> Vec<Trial> {
    vec![crate::with("generated_queries_equal_prometheus", &[Peer::Prometheus3], false, generated)]
}

fn generated() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("prometheus.yml"), "global: {evaluation_interval: 1m}\n")?;
    let features = "--enable-feature=promql-experimental-functions";
    let (ours, our_url) =
        server(Command::new(binary()).arg("serve").arg(features), &dir.path().join("ours"), dir.path())?;
    let (_theirs, their_url) =
        server(Peer::Prometheus3.command()?.arg(features), &dir.path().join("theirs"), dir.path())?;
    let end_ms = end_ms();
    let data = data(end_ms);
    for url in [&our_url, &their_url] {
        for series in data.chunks(20) {
            remote_write::send(url, series)?;
        }
    }
    let (mut n_values, mut n_errors, mut unnoticed_there) = (0, 0, 0);
    for seed in 0..QUERIES {
        let mut make = Maker { seed, drawn: 0 };
        let query = make.vector(3);
        let at_ms = end_ms - make.below(SPAN_MS as u64 * 9 / 10) as i64;
        let seconds = |t_ms: i64| format!("{}.{:03}", t_ms / 1000, t_ms % 1000);
        let (at, start) = (seconds(at_ms), seconds(at_ms - 60_000 * make.below(15) as i64));
        let step = ["7", "15", "61.5", "300"][make.below(4) as usize];
        let (path, parameters) = if make.below(2) == 0 {
            ("query", vec![("query", query.as_str()), ("time", at.as_str())])
        } else {
            ("query_range", vec![("query", query.as_str()), ("start", &start), ("end", &at), ("step", step)])
        };
        let what = || format!("query {seed}: {path} {parameters:?}");
        let (here, there) = (http::api(&our_url, path, &parameters), http::api(&their_url, path, &parameters));
        match (here, there) {
            (Ok(here), Ok(there)) => n_values += equal(&here, &there).with_context(what)?,
            (Err(here), Err(there)) => {
                let (here, there) = (cause(&here), cause(&there));
                ensure!(here == there, "{}\nours   {here:?}\ntheirs {there:?}", what());
                n_errors += 1;
            }
            // 3.5 does not notice two matches for one if a comparison then drops them.
            (Err(here), Ok(_)) if here.to_string().contains("multiple matches for labels") => unnoticed_there += 1,
            (Err(here), Ok(_)) => {
                anyhow::bail!("{}: fails here only: {here:#}\n{}", what(), ours.output())
            }
            (Ok(_), Err(there)) => anyhow::bail!("{}: fails there only: {there:#}", what()),
        }
    }
    println!("{QUERIES} queries: {n_values} values equal, {n_errors} errors equal, {unnoticed_there} unnoticed there");
    ensure!(unnoticed_there < 50, "{unnoticed_there} queries were not compared");
    ensure!(n_values > 20_000 && n_errors < QUERIES as usize / 5, "{n_values} values, {n_errors} errors are no test");
    Ok(())
}

/// The error of an answer, without the series it names: of several conflicts 3.5 tells any.
fn cause(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let text = text.split_once("\"error\":\"").map_or(text.as_str(), |(_, text)| text);
    text.split(['{', '[']).next().unwrap_or_default().to_owned()
}

/// Counters, gauges and buckets with gaps, restarts, ends and odd values.
fn data(end_ms: i64) -> Vec<(Labels, Vec<Sample>)> {
    let mut data = Vec::new();
    let mut add = |name: &str, labels: &[(&str, &str)], value: &dyn Fn(u64, u64) -> f64| {
        let seed = data.len() as u64 + 1;
        let labels = Labels::from_pairs(labels.iter().copied().chain([("__name__", name)]));
        let mut samples = Vec::new();
        let mut t_ms = end_ms - SPAN_MS + (seed * 997 % 15_000) as i64;
        for n in 0u64.. {
            if t_ms >= end_ms {
                break;
            }
            let draw = noise(seed + 1000, n);
            // A missed scrape, a target that went away, a late one.
            if draw < 0.03 {
                t_ms += 90_000;
            } else if draw < 0.04 {
                samples.push(Sample { t_ms, value: stale_nan() });
                t_ms += 400_000;
                continue;
            }
            samples.push(Sample { t_ms, value: value(seed, n) });
            t_ms += 15_000 + i64::from(draw > 0.9) * 321;
        }
        data.push((labels, samples));
    };
    for job in ["a", "b"] {
        for instance in ["0", "1", "2"] {
            let base = [("job", job), ("instance", instance)];
            add("requests_total", &base, &|seed, n| ((n % (60 + seed)) as f64 * (1.0 + noise(seed, 0) * 9.0)).floor());
            add("load", &base, &|seed, n| (noise(seed, n) * 200.0 - 100.0).round() / 8.0);
            add("odd", &base, &|seed, n| match (noise(seed, n) * 20.0) as u64 {
                0 => f64::NAN,
                1 => f64::INFINITY,
                2 => f64::NEG_INFINITY,
                3 => 1e300,
                other => other as f64 - 10.0,
            });
            for (le, part) in [("0.1", 0.2), ("1", 0.6), ("10", 0.9), ("+Inf", 1.0)] {
                let labels = [("job", job), ("instance", instance), ("le", le)];
                add("size_bucket", &labels, &|_, n| (n as f64 * 3.0 * part).floor());
            }
        }
        add("site", &[("job", job), ("zone", "z")], &|_, _| 1.0);
    }
    // Prometheus finds series in the order in which they came; who of equals is taken depends on it.
    data.sort_by(|(a, _), (b, _)| a.cmp(b));
    data
}

/// Makes queries from a seed.
struct Maker {
    seed: u64,
    drawn: u64,
}

impl Maker {
    fn below(&mut self, n: u64) -> u64 {
        self.drawn += 1;
        // The first numbers of neighbouring seeds are alike.
        (noise(self.seed.wrapping_mul(7_919).wrapping_add(17), self.drawn + 100) * n as f64) as u64
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len() as u64) as usize]
    }

    fn selector(&mut self) -> String {
        let name = self.pick(&["requests_total", "load", "odd", "size_bucket", "site", "load", "requests_total"]);
        let matchers = self.pick(&["", "", "", "{job=\"a\"}", "{instance=~\"0|2\"}", "{job!=\"a\",instance!~\"1.*\"}"]);
        format!("{name}{matchers}")
    }

    fn moved(&mut self, selector: String) -> String {
        let modifier = self.pick(&["", "", "", "", " offset 3m", " offset -45s", " @ end()", " @ start() offset 1m"]);
        format!("{selector}{modifier}")
    }

    fn range(&mut self, depth: u64) -> String {
        if depth > 0 && self.below(4) == 0 {
            let inner = self.vector(depth - 1);
            let window = self.pick(&["5m:30s", "3m:", "10m:1m", "90s:7s"]);
            return self.moved_range(format!("({inner})[{window}]"));
        }
        let window = self.pick(&["1m", "5m", "37s", "15s", "20m"]);
        let selector = self.selector();
        self.moved_range(format!("{selector}[{window}]"))
    }

    fn moved_range(&mut self, range: String) -> String {
        self.moved(range)
    }

    fn number(&mut self) -> String {
        self.pick(&["2", "-1", "0.5", "0", "1e3", "Inf", "NaN", "time()", "scalar(site{job=\"a\"})", "(3 > bool 2)"])
            .to_owned()
    }

    fn vector(&mut self, depth: u64) -> String {
        if depth == 0 {
            let selector = self.selector();
            return self.moved(selector);
        }
        match self.below(12) {
            0 => {
                let selector = self.selector();
                self.moved(selector)
            }
            1..=3 => {
                let function = self.pick(&[
                    "rate",
                    "increase",
                    "delta",
                    "irate",
                    "idelta",
                    "resets",
                    "changes",
                    "deriv",
                    "sum_over_time",
                    "avg_over_time",
                    "min_over_time",
                    "max_over_time",
                    "count_over_time",
                    "stddev_over_time",
                    "stdvar_over_time",
                    "last_over_time",
                    "present_over_time",
                    "absent_over_time",
                    "mad_over_time",
                    "predict_linear",
                    "quantile_over_time",
                    "double_exponential_smoothing",
                    "ts_of_max_over_time",
                ]);
                let range = self.range(depth);
                match function {
                    // 3.5 does not see the NaN among them.
                    "mad_over_time" if range.contains("odd") => format!("sum_over_time({range})"),
                    "predict_linear" => format!("predict_linear({range}, {})", self.pick(&["60", "-600", "3600"])),
                    "quantile_over_time" => {
                        format!("quantile_over_time({}, {range})", self.pick(&["0.9", "0", "1", "0.37", "2", "-1"]))
                    }
                    "double_exponential_smoothing" => format!("double_exponential_smoothing({range}, 0.3, 0.7)"),
                    _ => format!("{function}({range})"),
                }
            }
            4 | 5 => {
                let inner = self.vector(depth - 1);
                let function = self.pick(&[
                    "abs",
                    "ceil",
                    "floor",
                    "round",
                    "sgn",
                    "sqrt",
                    "exp",
                    "ln",
                    "log2",
                    "log10",
                    "sort",
                    "sort_desc",
                    "absent",
                    "timestamp",
                    "day_of_week",
                    "hour",
                    "minute",
                    "month",
                    "days_in_month",
                    "year",
                    "clamp",
                    "clamp_min",
                    "clamp_max",
                    "label_replace",
                    "label_join",
                    "histogram_quantile",
                    "-",
                    "sin",
                    "tanh",
                    "deg",
                    "scalar",
                    "histogram_fraction",
                ]);
                match function {
                    "clamp" => format!("clamp({inner}, -3, {})", self.number()),
                    "clamp_min" | "clamp_max" => format!("{function}({inner}, {})", self.number()),
                    "round" => format!("round({inner}, {})", self.pick(&["1", "0.5", "-3", "0"])),
                    "label_replace" => format!("label_replace({inner}, \"to\", \"$1-x\", \"instance\", \"(.+)\")"),
                    "label_join" => format!("label_join({inner}, \"to\", \"/\", \"job\", \"instance\")"),
                    "histogram_quantile" => {
                        format!("histogram_quantile({}, {inner})", self.pick(&["0.5", "0.99", "0", "1", "1.5"]))
                    }
                    "histogram_fraction" => format!("histogram_fraction(0, {}, {inner})", self.pick(&["1", "5", "0"])),
                    "scalar" => format!("vector(scalar({inner}))"),
                    "-" => format!("-({inner})"),
                    _ => format!("{function}({inner})"),
                }
            }
            6..=8 => {
                let inner = self.vector(depth - 1);
                let op = self.pick(&[
                    "sum",
                    "avg",
                    "min",
                    "max",
                    "count",
                    "group",
                    "stddev",
                    "stdvar",
                    "topk(2, ",
                    "bottomk(1, ",
                    "quantile(0.4, ",
                    "count_values(\"v\", ",
                    "limitk(2, ",
                ]);
                let by =
                    self.pick(&["", "", " by (job)", " by (instance, le)", " without (instance)", " without (le)"]);
                // Who of equals is taken depends on the order of series, and that of results is any order.
                let inner = if op.contains("k(") { self.vector(0) } else { inner };
                match op.split_once('(') {
                    // A label shows the last digit, which no two libraries of functions have in common.
                    Some(("count_values", _)) => format!("count_values{by} (\"v\", round({inner}))"),
                    Some((op, parameter)) => format!("{op}{by} ({parameter}{inner})"),
                    None => format!("{op}{by} ({inner})"),
                }
            }
            9 => {
                let (inner, number) = (self.vector(depth - 1), self.number());
                let op = self.pick(&["+", "-", "*", "/", "%", "^", ">", "<=", "== bool", "!=", "> bool", "atan2"]);
                if self.below(2) == 0 { format!("({inner}) {op} {number}") } else { format!("{number} {op} ({inner})") }
            }
            _ => {
                let (left, right) = (self.vector(depth - 1), self.vector(depth - 1));
                let op = self.pick(&[
                    "+",
                    "-",
                    "*",
                    "/",
                    ">",
                    "<= bool",
                    "and",
                    "or",
                    "unless",
                    "+ on (job, instance)",
                    "/ on (job) group_left ()",
                    "* on (job) group_right ()",
                    "and on (job)",
                    "unless on (instance)",
                    "or on (job)",
                    "- ignoring (le)",
                    "== on (job, instance) group_left (le)",
                    "% ignoring (instance)",
                ]);
                format!("({left}) {op} ({right})")
            }
        }
    }
}
