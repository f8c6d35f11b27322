//! What is said when a question is about nothing: what was meant, perhaps, and what can be asked for.

use std::collections::BTreeSet;

use relatum_config::spelling::similar;

use super::question::Question;
use super::rules::{name_of, rules_of};
use super::{Scene, targets};
use crate::control::Failure;

const UNDERSTOOD: &str = "`relatum targets` and `relatum rules` list what runs; a target's address or URL, a unit, an \
                          application, ENDPOINT:ID, a rule, GROUP/RULE, job/NAME, LABEL=VALUE and FILE:LINE are understood";

impl Scene<'_> {
    /// Why there is no answer to `question`.
    pub(super) fn nothing(&self, question: &Question) -> Failure {
        let text = match question {
            Question::Line { file, line } => {
                let message = format!("nothing at line {line} of {file} or above came from a relation");
                return Failure::failed(message).hint("options and templates say what stands there");
            }
            Question::Label(name, value) => {
                let message = format!("nothing has the label {name}={value:?}");
                return Failure::failed(message).hint("labels are compared as they are after relabelling");
            }
            Question::Job(name) => format!("job/{name}"),
            Question::Name(text) => text.clone(),
        };
        let names = self.names();
        let near = similar(&text, names.iter().map(String::as_str));
        Failure::failed(format!("nothing is called {text:?}, neither what runs nor what was left out"))
            .hint(near.map_or_else(|| UNDERSTOOD.to_owned(), |near| format!("did you mean {near}?")))
    }

    /// The names that can be asked for.
    fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for ((endpoint, id), (_, relation)) in &self.trace.relations {
            names.insert(format!("{endpoint}:{id}"));
            names.insert(relation.remote.application.clone());
            names.extend(relation.remote.units.keys().map(ToString::to_string));
        }
        for job in self.trace.jobs.values().flatten() {
            names.insert(format!("job/{}", job.name()));
            names.extend(targets::addresses(job).map(str::to_owned));
        }
        for group in self.trace.desired.rules.values().flat_map(|content| content.groups()) {
            names.extend(group["name"].as_str().map(str::to_owned));
            names.extend(rules_of(&group).iter().map(|rule| name_of(rule).to_owned()));
        }
        names
    }
}
