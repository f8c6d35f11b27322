//! What we tell the provider about what it sent.

use serde_json::{Map, Value};

use super::{ALERT_RULES, Scraped};
use crate::json::dumps_object;
use crate::problem::Problem;

/// A peer gets at most this much of each text back; it shows it in a status line.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// The value of the key `event` in our application's databag; `None` means that the key has to go.
///
/// `errors` is about rules and `scrape_job_errors` about all else. Rules without any problem are acknowledged by `{}`.
pub fn event(scraped: &Scraped) -> Option<String> {
    event_of(&scraped.problems, scraped.has_rules)
}

/// The same for any interface that carries rules in this way.
pub(crate) fn event_of(problems: &[Problem], has_rules: bool) -> Option<String> {
    let (rules, jobs): (Vec<&Problem>, Vec<&Problem>) =
        problems.iter().partition(|problem| problem.key.as_deref() == Some(ALERT_RULES));
    let mut object = Map::new();
    for (key, problems) in [("errors", rules), ("scrape_job_errors", jobs)] {
        if !problems.is_empty() {
            object.insert(key.to_owned(), Value::String(text(&problems)));
        }
    }
    (has_rules || !object.is_empty()).then(|| dumps_object(&object))
}

/// One problem a line, without the relation: our endpoint and id mean nothing to the peer.
fn text(problems: &[&Problem]) -> String {
    let mut text = String::new();
    for (at, problem) in problems.iter().enumerate() {
        let line = Problem { relation: None, ..(*problem).clone() }.to_string();
        if text.len() + line.len() > TEXT_BYTES_MAX {
            text.push_str(&format!("\n{} more", problems.len() - at));
            break;
        }
        text.push_str(if at == 0 { "" } else { "\n" });
        text.push_str(&line);
    }
    text
}
