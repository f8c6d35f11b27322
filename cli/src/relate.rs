//! `relatum relate`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use relatum_agent::control::{Document, Rehearse, Relate};

use crate::Global;
use crate::dry_run::DryRun;
use crate::failure::CommandFailure;
use crate::output::{faint, printable, state};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  relatum relate metrics-endpoint 10.0.0.5:9100 10.0.0.6:9100 --name nodes
  relatum relate metrics-endpoint https://10.0.0.7:8443/metrics \\
      --ca-file ca.pem --label site=oslo
  relatum relate alertmanager 127.0.0.1:9093
  relatum relate send-remote-write \\
      https://region.example:9090/offers/2f8a90c1d3e4 --token-file secret
  relatum relate receive-remote-write --databag bags.yaml
  relatum relate mysql prometheus:metrics-endpoint")]
pub(crate) struct Args {
    /// An endpoint of prometheus and addresses or the URL of an offer, or two applications as APP[:ENDPOINT]
    #[arg(required = true, value_name = "ENDPOINT ADDRESS… | ENDPOINT URL | APP[:ENDPOINT] APP[:ENDPOINT]")]
    arguments: Vec<String>,
    /// The application at the other side [default: targets, or alertmanager]
    #[arg(long, value_name = "APP")]
    name: Option<String>,
    /// A label for every series of the application
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// A file with alert rules of the application
    #[arg(long, value_name = "FILE", num_args = 1..)]
    rules: Vec<PathBuf>,
    /// http or https, for addresses that do not say
    #[arg(long)]
    scheme: Option<String>,
    /// Certificates to trust, PEM
    #[arg(long, visible_alias = "ca", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A file with one line, user:password
    #[arg(long, value_name = "FILE", conflicts_with = "bearer_file")]
    basic_auth_file: Option<PathBuf>,
    /// A file with one line, the token or the secret of an offer
    #[arg(long, visible_alias = "token-file", value_name = "FILE")]
    bearer_file: Option<PathBuf>,
    /// How often to scrape, such as 15s
    #[arg(long, value_name = "DURATION")]
    interval: Option<String>,
    /// The other side's databags as YAML or JSON, exactly as a charm writes them
    #[arg(long, value_name = "FILE")]
    databag: Option<PathBuf>,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Relates, and says what came of it.
pub(crate) async fn run(global: &Global, args: Args) -> Result<(), CommandFailure> {
    let request = Relate {
        arguments: args.arguments,
        name: args.name,
        labels: labels(args.labels)?,
        rules: args.rules.iter().map(|path| read(path)).collect::<Result<_, _>>()?,
        scheme: args.scheme,
        ca: args.ca_file.as_deref().map(read).transpose()?,
        basic_auth: args.basic_auth_file.as_deref().map(read).transpose()?,
        bearer: args.bearer_file.as_deref().map(read).transpose()?,
        interval: args.interval,
        databag: args.databag.as_deref().map(read).transpose()?,
    };
    if args.dry_run.was_asked(global, Rehearse::Relate(Box::new(request.clone()))).await? {
        return Ok(());
    }
    let related = global.client().relate(&request).await?;
    global.format.print(&related, |related| {
        let relation = &related.relation;
        let mut text = format!("{}  {}  {}\n", relation.key, relation.provider, relation.requirer);
        for unit in &related.added {
            text.push_str(&format!("  + {unit}\n"));
        }
        if !related.changed {
            text.push_str(&faint("  nothing to do: it is related already\n"));
        }
        text
    })?;
    for problem in &related.problems {
        anstream::eprintln!("{} {}", state("error"), printable(&problem.to_string()));
    }
    Ok(())
}

/// One value for each name: of two, the person means one, and we cannot know which.
fn labels(given: Vec<(String, String)>) -> Result<BTreeMap<String, String>, CommandFailure> {
    let mut labels = BTreeMap::new();
    for (name, value) in given {
        if let Some(before) = labels.get(&name).filter(|before| **before != value) {
            return Err(CommandFailure::usage(format!(
                "--label {name} is given twice, as {before:?} and as {value:?}"
            )));
        }
        labels.insert(name, value);
    }
    Ok(labels)
}

fn label(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "a label is NAME=VALUE".to_owned())
}

/// Reads a file here and not in the agent, so that the permissions of the person who asks count. `-` is stdin.
fn read(path: &Path) -> Result<Document, CommandFailure> {
    let text =
        if path == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    let name = path.display().to_string();
    match text {
        Ok(text) => Ok(Document { name, text }),
        Err(error) => Err(CommandFailure::failed(format!("cannot read {name}: {error}"))),
    }
}
