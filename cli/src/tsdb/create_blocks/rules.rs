//! `relatum tsdb create-blocks-from rules`: what rules would have recorded, had they been there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use relatum_config::prometheus::GlobalConfig;
use relatum_config::rules::{RuleFile, RuleGroup, RuleKind};
use relatum_model::{Labels, time};
use relatum_promql::{Engine, EngineOptions};
use relatum_rules::{Group, GroupSource, Tick};
use relatum_tsdb::{Options, Store};

use super::super::chain;
use crate::failure::CommandFailure;
use crate::output::{counted, put};

/// After so many samples what was recorded leaves memory.
const CUT_SAMPLES: u64 = 5_000_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The files with the rules; those that alert are left out
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// When the rules are evaluated first, in milliseconds since 1970
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    min_time: i64,
    /// When they are evaluated last; as far as the samples go if it is not given
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    max_time: Option<i64>,
    /// How often a group is evaluated that does not say so itself
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = time::parse_duration)]
    eval_interval: Duration,
    /// The store's directory, from which rules read and into which they record. No process may have it open
    #[arg(long, default_value = "data", value_name = "DIR")]
    dir: PathBuf,
}

/// Evaluates the rules at every moment of the range, so that each sees what those before it recorded.
pub(super) fn run(args: &Args) -> Result<(), CommandFailure> {
    let failed = |error: &dyn std::error::Error| CommandFailure::failed(chain(error));
    let defaults = GlobalConfig { evaluation_interval: args.eval_interval, ..GlobalConfig::default() };
    let mut groups = Vec::new();
    for path in &args.files {
        groups.extend(recording_groups(path, &defaults)?);
    }
    if groups.is_empty() {
        return Err(CommandFailure::failed("none of the files has a rule that records"));
    }
    if !args.dir.join("wal").is_dir() {
        return Err(CommandFailure::failed(format!("there is no store in {}", args.dir.display())));
    }
    let store = Store::open(&args.dir, Options::for_history()).map_err(|error| failed(&error))?;
    let max_ms = args.max_time.or(store.stats().max_time_ms).unwrap_or(i64::MIN);
    if args.min_time > max_ms {
        return Err(CommandFailure::usage(format!(
            "--min-time {} is after {max_ms}, where samples end",
            args.min_time
        )));
    }
    let engine = Engine::new(EngineOptions { subquery_step: args.eval_interval, ..EngineOptions::default() });
    let (mut recorded, mut failures, mut since_cut) = (0, 0, 0);
    for group in &mut groups {
        let step_ms = i64::try_from(group.source().interval().as_millis()).unwrap_or(i64::MAX).max(1);
        // At multiples of the interval, as with every other run over the same time.
        let mut at_ms = args.min_time.div_euclid(step_ms).saturating_mul(step_ms);
        if at_ms < args.min_time {
            at_ms = at_ms.saturating_add(step_ms);
        }
        while at_ms <= max_ms {
            let tick = Tick {
                now_ms: at_ms,
                engine: &engine,
                select: &store,
                append: &store,
                external_labels: &Labels::empty(),
                external_url: "",
                watch: None,
            };
            let evaluation = group.evaluate(&tick);
            recorded += evaluation.samples;
            since_cut += evaluation.samples;
            failures += evaluation.failures;
            if since_cut >= CUT_SAMPLES {
                store.cut().map_err(|error| failed(&error))?;
                since_cut = 0;
            }
            match at_ms.checked_add(step_ms) {
                Some(next_ms) => at_ms = next_ms,
                None => break,
            }
        }
    }
    store.cut().and_then(|()| store.compact()).and_then(|()| store.close()).map_err(|error| failed(&error))?;
    put(&format!(
        "{} recorded by {}\n",
        counted(recorded, "sample", "samples"),
        counted(groups.iter().map(|group| group.source().definition().rules.len() as u64).sum(), "rule", "rules")
    ))?;
    if failures > 0 {
        return Err(CommandFailure::failed(format!("{} failed", counted(failures, "evaluation", "evaluations"))));
    }
    Ok(())
}

/// The groups of a file with their rules that record.
fn recording_groups(path: &Path, defaults: &GlobalConfig) -> Result<Vec<Group>, CommandFailure> {
    let name = path.display().to_string();
    let text =
        fs::read_to_string(path).map_err(|error| CommandFailure::failed(format!("cannot read {name}: {error}")))?;
    let file = RuleFile::parse(&text).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|problem| format!("{name}:{problem}")).collect();
        CommandFailure::failed(lines.join("\n"))
    })?;
    let recording = |group: Arc<RuleGroup>| {
        let mut group = RuleGroup::clone(&group);
        group.rules.retain(|rule| matches!(rule.kind, RuleKind::Record { .. }));
        group
    };
    let groups = file.groups.into_iter().map(recording).filter(|group| !group.rules.is_empty());
    Ok(groups.map(|group| Group::new(GroupSource::new(name.as_str().into(), Arc::new(group), defaults))).collect())
}

#[cfg(test)]
mod tests {
    use relatum_model::storage::{Append, Cancel, Hints, Scope, Select, SeriesRef, TimeRange};

    use super::*;

    const MINUTE_MS: i64 = 60_000;

    #[test]
    fn rules_record_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, file) = (folder.path().join("data"), folder.path().join("rules.yml"));
        fs::write(
            &file,
            "groups:\n- name: g\n  rules:\n  - record: a:sum\n    expr: sum(a)\n  - record: a:twice\n    expr: a:sum * 2\n  - alert: Never\n    expr: a < 0\n",
        )
        .unwrap();
        let store = Store::open(&dir, Options::for_history()).unwrap();
        for n in 0..120 {
            let mut appender = store.appender();
            for job in ["x", "y"] {
                let labels = Labels::from_pairs([("__name__", "a"), ("job", job)]);
                appender.append(SeriesRef::NONE, &labels, n * MINUTE_MS, n as f64).unwrap();
            }
            appender.commit().unwrap();
        }
        store.cut().unwrap();
        drop(store);
        let args = Args {
            files: vec![file],
            min_time: 10 * MINUTE_MS - 5,
            max_time: Some(100 * MINUTE_MS),
            eval_interval: Duration::from_secs(60),
            dir: dir.clone(),
        };
        // Again: everything is there already.
        for _ in 0..2 {
            run(&args).unwrap_or_else(|failure| panic!("{failure:?}"));
            let store = Store::open(&dir, Options::for_history()).unwrap();
            let reader = Select::open(&store, &Scope::all(), TimeRange::ALL).unwrap();
            let all = reader.series(&[], &Hints::default(), &Cancel::new()).unwrap();
            let found: Vec<_> = all
                .map(|series| series.unwrap())
                .filter(|series| series.labels.metric_name() != Some("a"))
                .map(|series| (series.labels.to_string(), series.samples))
                .collect();
            assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a:sum", "a:twice"]);
            for (at, factor) in [(0, 2.0), (1, 4.0)] {
                let samples: Vec<_> = found[at].1.iter().collect();
                assert_eq!(samples.len(), 91);
                assert!(samples.iter().all(|sample| sample.value == factor * (sample.t_ms / MINUTE_MS) as f64));
            }
        }
    }
}
