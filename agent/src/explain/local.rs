//! What operators wrote into files of `scrape.d` and `rules.d`: it runs as it is, so its own file is where it came from.

use super::Scene;
use super::question::Question;
use super::spans::Spans;
use crate::control::{BagPlace, Explanation, RenderedPlace};

/// The targets and rules of such files that `question` is about.
pub(super) fn found(question: &Question, scene: &Scene<'_>) -> Vec<Explanation> {
    let mut found = Vec::new();
    for (path, (source, _)) in &scene.trace.desired.local.files {
        // What is on disk runs; a file that cannot be read now has its last good version there.
        let Some(text) = scene.observed.current.get(path.as_str()) else { continue };
        let spans = Spans::read(&text.read());
        for (job, target, line) in spans.targets() {
            if question.is_about(&[target, source], &[job], |_| None, path) {
                found.push(explanation(scene, "target", target.to_owned(), (path, source), line));
            }
        }
        for (group, rule, line) in spans.rules() {
            let title = format!("{group}/{rule}");
            if question.is_about(&[rule, &title, group, source], &[], |_| None, path) {
                found.push(explanation(scene, "rule", title, (path, source), line));
            }
        }
    }
    found
}

fn explanation(scene: &Scene<'_>, kind: &str, name: String, (path, source): (&str, &str), line: u64) -> Explanation {
    let mut explanation = scene.begin(kind, name, None);
    let line_there = usize::try_from(line).ok();
    explanation.sources.push(BagPlace { owner: source.to_owned(), line: line_there, ..BagPlace::default() });
    explanation.rendered = Some(RenderedPlace { file: path.to_owned(), line: Some(line), ..RenderedPlace::default() });
    explanation
}
