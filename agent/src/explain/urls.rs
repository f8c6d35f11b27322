//! What is only a URL: where alerts go, and where samples go.

use relatum_relations::{alertmanager_dispatch as dispatch, prometheus_remote_write as remote_write};

use super::Scene;
use super::question::Question;
use crate::control::{ExplainedStep, Explanation};
use crate::pipeline::render::MAIN_PATH;
use crate::templates::Template;

/// The URLs that `question` is about.
pub(super) fn found(question: &Question, scene: &Scene<'_>) -> Vec<Explanation> {
    let mut found = Vec::new();
    let relations = scene.on("alertmanager").map(|(_, (_, relation))| relation);
    for known in dispatch::alertmanagers(relations).0 {
        let url = (known.url.as_str(), known.target.as_str());
        found.extend(of(question, scene, "alertmanager", url, &known.origins, |explanation| {
            explanation.rendered = Some(
                scene.rendered(MAIN_PATH, Template::Main, "alertmanagers", |spans| spans.alertmanager(&known.target)),
            );
        }));
    }
    let relations = scene.on("send-remote-write").map(|(_, (_, relation))| relation);
    for known in remote_write::endpoints(relations).0 {
        let written = &scene.trace.desired.remote_writes;
        let at = written.iter().position(|entry| entry["url"].as_str() == Some(&known.url));
        let url = (known.url.as_str(), known.url.as_str());
        found.extend(of(question, scene, "remote write", url, &known.origins, |explanation| {
            explanation.rendered =
                at.map(|at| scene.rendered(MAIN_PATH, Template::Main, "remote_write", |spans| spans.remote_write(at)));
        }));
    }
    found
}

type Origins = [((String, u64), String)];

/// One explanation for the first who told us of the URL; the others are said to have told the same.
fn of(
    question: &Question,
    scene: &Scene<'_>,
    kind: &str,
    (url, name): (&str, &str),
    origins: &Origins,
    finish: impl Fn(&mut Explanation),
) -> Option<Explanation> {
    let keys: Vec<String> = origins.iter().map(|((endpoint, id), _)| format!("{endpoint}:{id}")).collect();
    let applications: Vec<&str> =
        origins.iter().filter_map(|(_, unit)| unit.split_once('/')).map(|(application, _)| application).collect();
    let mut names = vec![url, name];
    names.extend(keys.iter().map(String::as_str));
    names.extend(origins.iter().map(|(_, unit)| unit.as_str()));
    names.extend(applications);
    let (key, _) = origins.first()?;
    if !question.is_about(&names, &[], |_| None, MAIN_PATH) {
        return None;
    }
    let mut explanation = scene.begin(kind, name.to_owned(), Some(key));
    for (origin, unit) in origins {
        let Some((_, relation)) = scene.trace.relations.get(origin) else { continue };
        let bag = unit.parse().ok().and_then(|unit| relation.remote.units.get(&unit));
        let has = |key: &&&str| bag.is_some_and(|bag| bag.get(**key).is_some_and(|value| !value.is_empty()));
        // From the newest form to the oldest, as they are read.
        let Some(said) = ["remote_write", "url", "public_address"].iter().find(has) else { continue };
        let mut source = scene.source(relation, Some(unit), said, "");
        if origin != key {
            source.key = format!("{said} (relation {}:{})", origin.0, origin.1);
        }
        explanation.sources.push(source);
    }
    if origins.len() > 1 {
        explanation.steps.push(ExplainedStep {
            what: "deduplicated".to_owned(),
            field: "url".to_owned(),
            before: Some(format!("{} times", origins.len())),
            after: Some(url.to_owned()),
            why: "one URL is used once, however many units tell of it".to_owned(),
        });
    }
    finish(&mut explanation);
    Some(explanation)
}
