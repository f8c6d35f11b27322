//! What a reload means for the targets of one job: which go on, which change, which come and go.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use relatum_model::Labels;

use super::target::Target;

/// What becomes of a target that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The running one at this place is the same.
    Keep(usize),
    /// The running one at this place writes the same series; it goes on as this one. So a change of the interval or the path
    /// leaves no gap, and no series ends that goes on.
    Change(usize),
    /// It is new.
    Start,
}

/// One step for each of `wanted`. Running targets that no step names are to be stopped.
pub(crate) fn plan(running: &[&Target], wanted: &[Arc<Target>]) -> Vec<Step> {
    let mut by_hash: HashMap<u64, usize, FixedState> =
        running.iter().enumerate().map(|(at, target)| (target.hash, at)).collect();
    let mut steps: Vec<Step> =
        wanted.iter().map(|target| by_hash.remove(&target.hash).map_or(Step::Start, Step::Keep)).collect();
    let mut by_labels: HashMap<&Labels, usize, FixedState> =
        by_hash.into_values().map(|at| (&running[at].labels, at)).collect();
    for (step, target) in steps.iter_mut().zip(wanted) {
        if *step == Step::Start
            && let Some(at) = by_labels.remove(&target.labels)
        {
            *step = Step::Change(at);
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn target(instance: &str, hash: u64) -> Target {
        Target {
            at: (0, 0),
            labels: Labels::from_pairs([("instance", instance)]),
            url: format!("http://{instance}/metrics").into(),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
            hash,
        }
    }

    #[track_caller]
    fn check(running: &[(&str, u64)], wanted: &[(&str, u64)], expected: &[Step]) {
        let targets = |list: &[(&str, u64)]| list.iter().map(|(name, hash)| target(name, *hash)).collect::<Vec<_>>();
        let (running, wanted) = (targets(running), targets(wanted).into_iter().map(Arc::new).collect::<Vec<_>>());
        assert_eq!(plan(&running.iter().collect::<Vec<_>>(), &wanted), expected);
    }

    #[test]
    fn plans() {
        check(&[], &[("a", 1)], &[Step::Start]);
        check(&[("a", 1), ("b", 2)], &[("b", 2), ("c", 3)], &[Step::Keep(1), Step::Start]);
        check(&[("a", 1)], &[("a", 2)], &[Step::Change(0)]);
        // Two with the same labels: the exact one stays, the other is new.
        check(&[("a", 1)], &[("a", 2), ("a", 1)], &[Step::Start, Step::Keep(0)]);
        check(&[("a", 1), ("b", 2)], &[], &[]);
    }
}
