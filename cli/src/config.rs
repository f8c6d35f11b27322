//! `relatum config`

use relatum_agent::control::{ChangeConfiguration, Rehearse, Source};
use relatum_config::spelling::similar;
use serde_json::Value;

use crate::Global;
use crate::dry_run::DryRun;
use crate::failure::CommandFailure;
use crate::output::faint;
use crate::table::Table;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The application: prometheus
    application: String,
    /// An option to show, or options to set
    #[arg(value_name = "KEY[=VALUE]")]
    settings: Vec<String>,
    /// Options to put back to their default, separated by commas
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    reset: Vec<String>,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Shows all options, shows one, or changes some.
pub(crate) async fn run(global: &Global, args: &Args) -> Result<(), CommandFailure> {
    let client = global.client();
    let (changes, shown): (Vec<&String>, Vec<&String>) = args.settings.iter().partition(|s| s.contains('='));
    if args.application != "prometheus" {
        return Err(CommandFailure::failed(format!("application {:?} has no options here", args.application))
            .hint("the options are those of the application `prometheus`"));
    }
    if !changes.is_empty() || !args.reset.is_empty() {
        if let Some(key) = shown.first() {
            return Err(CommandFailure::usage(format!("cannot set options and show {key} in one command")));
        }
        let set = changes.iter().filter_map(|change| change.split_once('='));
        let request = ChangeConfiguration {
            application: args.application.clone(),
            set: set.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            reset: args.reset.clone(),
        };
        if !args.dry_run.was_asked(global, Rehearse::Config(request.clone())).await? {
            client.change_configuration(&request).await?;
        }
        return Ok(());
    }
    if args.dry_run.is_on() {
        return Err(CommandFailure::usage("nothing to try: no option is set or reset"));
    }
    let configuration = client.configuration().await?;
    match shown[..] {
        [] => global.format.print(&configuration, |configuration| {
            let mut table = Table::new(&["Option", "Value", "~Default", "~Source", "Description"]);
            for (name, option) in &configuration.settings {
                let source = match option.source {
                    Source::Default => "default",
                    Source::User => "user",
                    Source::File => "file",
                    Source::Unset => "unset",
                };
                let description = option.description.lines().next().unwrap_or_default();
                table.row([
                    name.clone(),
                    plain(&option.value),
                    plain(&option.default),
                    source.to_owned(),
                    faint(description),
                ]);
            }
            table.render()
        }),
        [key] => match configuration.settings.get(key) {
            Some(option) => global.format.print(&option.value, |value| plain(value) + "\n"),
            None => {
                let names = configuration.settings.keys().map(String::as_str);
                let near = similar(key, names).map(|near| format!("did you mean {near}?"));
                let message = format!("key {key:?} not found in \"prometheus\" application config");
                Err(CommandFailure::failed(message)
                    .hint(near.unwrap_or_else(|| "`relatum config prometheus` lists all".to_owned())))
            }
        },
        _ => Err(CommandFailure::usage("can only retrieve a single value, or all values")),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
