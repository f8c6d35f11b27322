//! `relatum lint`

use std::collections::{BTreeMap, BTreeSet};

use relatum_agent::control::{LintFinding, LintReport, LintedRule};
use serde::Serialize;

use crate::Global;
use crate::api::Api;
use crate::failure::CommandFailure;
use crate::output::{bad, faint, good, printable, strong, warning};

/// So many selectors are asked for; more rules than that nobody reads about at once.
const SELECTORS_MAX: usize = 2000;

/// So many relations are named when the one asked for is not there.
const NAMED_MAX: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Looks at the rules that came over relations and run. A part that can never give anything is named with the part before \
and after the topology's matchers were put in. Whether a metric is there is asked of the server, and only said of \
applications that it has series of.")]
pub(crate) struct Args {
    /// Only this relation, as ENDPOINT:ID, or rules of this name
    #[arg(value_name = "RELATION | RULE")]
    what: Option<String>,
    /// Do not ask the server which metrics there are
    #[arg(long)]
    no_metrics: bool,
}

/// The rules that have findings.
#[derive(Debug, Serialize)]
struct Shown {
    /// How many rules were looked at.
    looked_at: usize,
    rules: Vec<LintedRule>,
}

/// Warns of rules that are right and yet can never fire.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let mut report: LintReport = global.client().lint().await?;
    let recorded: BTreeSet<String> = report.rules.iter().filter_map(|rule| rule.records.clone()).collect();
    if let Some(what) = &args.what {
        let is_it = |rule: &LintedRule| {
            rule.relation == *what || rule.name == *what || rule.name.rsplit('/').next() == Some(what.as_str())
        };
        report.rules.retain(is_it);
        if report.rules.is_empty() {
            return Err(nothing(global, what).await);
        }
    }
    if !args.no_metrics {
        Metrics::new(Api::of_agent(global).await?).look(&mut report, &recorded).await?;
    }
    let looked_at = report.rules.len();
    report.rules.retain(|rule| !rule.findings.is_empty());
    global.format.print(&Shown { looked_at, rules: report.rules }, tabular)
}

/// Why there is nothing to look at under the name of `what`.
async fn nothing(global: &Global, what: &str) -> CommandFailure {
    let is_key = what.rsplit_once(':').is_some_and(|(_, id)| id.parse::<u64>().is_ok());
    let relations = match global.client().status().await {
        Ok(status) if is_key => status.relations,
        Ok(_) => return CommandFailure::failed(format!("no rule of a relation is called {what:?}")),
        Err(failure) => return failure.into(),
    };
    let keys: Vec<&str> = relations.iter().map(|relation| relation.key.as_str()).collect();
    match keys.as_slice() {
        keys if keys.contains(&what) => CommandFailure::failed(format!("{what} brought no rules that run")),
        [] => CommandFailure::failed(format!("relation {what} not found: there are none")),
        keys => {
            CommandFailure::failed(format!("relation {what} not found")).hint(format!("there are {}", listed(keys)))
        }
    }
}

/// The first of many, and how many more there are.
fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMED_MAX)].join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What the server has, asked once for each selector.
struct Metrics {
    api: Api,
    found: BTreeMap<String, bool>,
}

impl Metrics {
    fn new(api: Api) -> Self {
        Metrics { api, found: BTreeMap::new() }
    }

    async fn has(&mut self, selector: &str) -> Result<bool, CommandFailure> {
        if let Some(known) = self.found.get(selector) {
            return Ok(*known);
        }
        let answer = self.api.ask("series", &[("match[]", selector), ("limit", "1")]).await?;
        let has = answer.data.as_array().is_some_and(|series| !series.is_empty());
        self.found.insert(selector.to_owned(), has);
        Ok(has)
    }

    /// Adds what is not there to the findings.
    async fn look(&mut self, report: &mut LintReport, recorded: &BTreeSet<String>) -> Result<(), CommandFailure> {
        for rule in &mut report.rules {
            for selector in rule.selectors.clone() {
                let Some(metric) = &selector.metric else { continue };
                if recorded.contains(metric) || self.found.len() > SELECTORS_MAX || self.has(&selector.after).await? {
                    continue;
                }
                // Of an application that is not scraped yet nothing can be said.
                let Some(application) = &rule.application else { continue };
                if !self.has(application).await? {
                    continue;
                }
                let is_elsewhere = self.has(&selector.before).await?;
                let is_there = is_elsewhere || self.has(metric).await?;
                let message = match (is_elsewhere, is_there) {
                    (true, _) => format!("{metric} is there, but not of this application"),
                    (false, true) => format!("{metric} is there, but not with these labels"),
                    (false, false) => format!("nothing exposes {metric}"),
                };
                let (before, after) = (selector.before, selector.after);
                rule.findings.push(LintFinding { message, before, after, injected: is_elsewhere, whole: false });
            }
            rule.findings.dedup();
        }
        Ok(())
    }
}

fn tabular(shown: &Shown) -> String {
    let rules = |count: usize| if count == 1 { "1 rule".to_owned() } else { format!("{count} rules") };
    if shown.rules.is_empty() {
        return format!("nothing to say about {}\n", rules(shown.looked_at));
    }
    let mut text = String::new();
    for rule in &shown.rules {
        let place = &rule.place;
        let position = match (place.line, place.column) {
            (Some(line), Some(column)) => format!("  line {line}, column {column}"),
            _ => String::new(),
        };
        let path = printable(&format!("{} {}.{}", place.owner, place.key, place.path));
        text.push_str(&format!(
            "{}  {}  {}{}\n",
            strong(&printable(&rule.name)),
            rule.relation,
            path,
            faint(&position)
        ));
        for finding in &rule.findings {
            let consequence = match (finding.whole, rule.records.is_some()) {
                (false, _) => "",
                (true, false) => "; the alert never fires",
                (true, true) => "; nothing is ever recorded",
            };
            let message = printable(&format!("{}{consequence}", finding.message));
            text.push_str(&format!("  {} {message}\n", warning("warning:")));
            if finding.before == finding.after {
                text.push_str(&format!("    {}\n", printable(&finding.after)));
            } else {
                text.push_str(&format!("    {}\n", bad(&format!("- {}", printable(&finding.before)))));
                text.push_str(&format!("    {}\n", good(&format!("+ {}", printable(&finding.after)))));
            }
        }
        text.push('\n');
    }
    text + &format!("{} of {} could be better\n", shown.rules.len(), rules(shown.looked_at))
}
