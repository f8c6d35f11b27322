//! `relatum explain`

use relatum_agent::control::{BagPlace, ExplainedStep, Explanation, Explanations};

use crate::Global;
use crate::failure::CommandFailure;
use crate::history::time;
use crate::output::{bad, faint, good, printable, strong, warning};
use crate::table::Table;

/// So many are shown in full unless all are asked for.
const SHOWN: usize = 3;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  relatum explain 10.1.0.10:4080            a target, by its address
  relatum explain http://10.1.0.10:4080/metrics
                                            the same, by its URL
  relatum explain zinc/0                    all targets of a unit
  relatum explain job/zinc                  the targets of a job, by either name
  relatum explain HighLatency               a rule, by its name or as GROUP/NAME
  relatum explain juju_unit=zinc/0          what has a label
  relatum explain scrape/metrics-endpoint_1.yml:6
                                            a line of a rendered file
  relatum explain metrics-endpoint:1        all that came from a relation")]
pub(crate) struct Args {
    /// A target, unit, application, relation, rule, job/NAME, LABEL=VALUE, FILE:LINE or URL
    what: String,
    /// Show everything that is found in full
    #[arg(long)]
    all: bool,
}

/// Says where something came from, since when, and what changed it on the way.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let found = global.client().explain(&args.what).await?;
    global.format.print(&found, |found| if args.all || found.found.len() <= SHOWN { pages(found) } else { list(found) })
}

fn list(found: &Explanations) -> String {
    let mut table = Table::new(&["Kind", "+Name", "Relation", "~From", "+Rendered", "~Since"]);
    for one in &found.found {
        let (from, since) = one.sources.first().map_or_else(Default::default, |source| {
            let since = source.since.as_ref().map(|since| since.revision.to_string()).unwrap_or_default();
            (place(source), since)
        });
        let rendered = one.rendered.as_ref().filter(|_| one.runs).map(|rendered| match rendered.line {
            Some(line) => format!("{}:{line}", rendered.file),
            None => rendered.file.clone(),
        });
        let rendered = rendered.unwrap_or_else(|| bad("left out"));
        table.row([
            one.kind.clone(),
            one.name.clone(),
            one.relation.clone().unwrap_or_default(),
            from,
            rendered,
            since,
        ]);
    }
    let more = if found.left_out > 0 { format!("and {} more\n", found.left_out) } else { String::new() };
    format!("{}{more}{}\n", table.render(), faint("--all shows each in full"))
}

fn pages(found: &Explanations) -> String {
    let pages: Vec<String> = found.found.iter().map(page).collect();
    let more = if found.left_out > 0 { format!("\nand {} more\n", found.left_out) } else { String::new() };
    pages.join("\n") + &more
}

fn page(one: &Explanation) -> String {
    let state = if one.runs { good("runs") } else { bad("left out") };
    let mut text = format!("{} {}  {state}\n", one.kind, strong(&printable(&one.name)));
    if let Some(problem) = &one.problem {
        text.push_str(&field("why", &bad(&printable(&problem.message))));
        if let Some(hint) = &problem.hint {
            text.push_str(&field("hint", &printable(hint)));
        }
    }
    if let (Some(relation), Some((provider, requirer))) = (&one.relation, &one.ends) {
        text.push_str(&field("relation", &format!("{relation}  {provider} → {requirer}")));
    }
    for (at, source) in one.sources.iter().enumerate() {
        let title = match (at, source.key.is_empty()) {
            (0, false) => "databag",
            (0, true) => "file",
            _ => "",
        };
        text.push_str(&field(title, &format!("{}{}", place(source), position(source))));
        if let Some(value) = &source.value {
            text.push_str(&field("", &good(&printable(value))));
        }
        text.push_str(&since(source, at > 0 && source.since == one.sources[at - 1].since));
    }
    if let Some(rendered) = one.rendered.as_ref().filter(|_| one.runs) {
        let line = |line: Option<String>| line.map(|line| format!(":{line}")).unwrap_or_default();
        let here = format!("{}{}", rendered.file, line(rendered.line.map(|line| line.to_string())));
        let template = format!("{}{}", rendered.template, line(rendered.template_line.map(|line| line.to_string())));
        let by = if template.is_empty() { "as it is".to_owned() } else { format!("by {template}") };
        text.push_str(&field("rendered", &format!("{here}  {}", faint(&by))));
    }
    for (at, step) in one.steps.iter().enumerate() {
        text.push_str(&shown_step(step, if at == 0 { "changed" } else { "" }));
    }
    let mut labels = Table::new(&["=", "", ""]);
    for (name, label) in &one.labels {
        labels.row([name.clone(), label.value.clone(), faint(&label.from)]);
    }
    text + &labels.render_behind(&titled("labels"))
}

/// What stands before the first line of a field.
fn titled(title: &str) -> String {
    format!("  {title:9} ")
}

/// A field of a page; on a terminal what does not fit goes on below its beginning.
fn field(title: &str, value: &str) -> String {
    let mut line = Table::new(&[""]);
    line.row([value.to_owned()]);
    line.render_behind(&titled(title))
}

fn place(source: &BagPlace) -> String {
    let dot = if source.path.is_empty() || source.path.starts_with('[') { "" } else { "." };
    printable(format!("{} {}{dot}{}", source.owner, source.key, source.path).trim_end())
}

fn position(source: &BagPlace) -> String {
    match (source.line, source.column) {
        (Some(line), Some(column)) => faint(&format!("  line {line}, column {column}")),
        (Some(line), None) => faint(&format!("  line {line}")),
        _ => String::new(),
    }
}

fn since(source: &BagPlace, is_same: bool) -> String {
    let Some(since) = source.since.as_ref().filter(|_| !is_same) else { return String::new() };
    let text = match since.or_earlier {
        true => format!("since revision {} or earlier", since.revision),
        false => {
            let by = if since.author.is_empty() { String::new() } else { format!(" by {}", since.author) };
            format!("since revision {}, {}{by}: {}", since.revision, time(since.at_ms), since.description)
        }
    };
    field("", &faint(&printable(&text)))
}

fn shown_step(step: &ExplainedStep, title: &str) -> String {
    let mut text = field(title, &format!("{} {}  {}", warning(&step.what), step.field, faint(&step.why)));
    let mut side = |sign: &str, value: &Option<String>, paint: fn(&str) -> String| {
        if let Some(value) = value {
            text.push_str(&field("", &paint(&format!("{sign} {}", printable(value)))));
        }
    };
    side("-", &step.before, bad);
    side("+", &step.after, good);
    text
}
