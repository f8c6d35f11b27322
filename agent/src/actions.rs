//! The charm's actions, which are done without its tools.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use relatum_server::files::{DiskFiles, Loader};
use serde_json::{Value, json};

use crate::pipeline::render::MAIN_PATH;

/// The names of all of them.
pub(crate) const ACTIONS: [&str; 1] = ["validate-configuration"];

/// `validate-configuration`: what `promtool check config` says of the rendered files, under the charm's keys.
pub(crate) fn validate_configuration(rendered: &Path) -> BTreeMap<String, Value> {
    let path = rendered.join(MAIN_PATH);
    let name = path.display();
    let (mut output, mut errors) = (format!("Checking {name}\n"), String::new());
    match Loader::default().load(&DiskFiles, &path) {
        Err(problems) => problems.iter().for_each(|problem| {
            let _ = writeln!(errors, "  FAILED: {problem}");
        }),
        Ok(loaded) => {
            if !loaded.rule_files.is_empty() {
                let _ = writeln!(output, "  SUCCESS: {} rule files found", loaded.rule_files.len());
            }
            let _ = writeln!(output, " SUCCESS: {name} is valid prometheus config file syntax\n");
            for (path, file) in loaded.rule_files.iter() {
                let rules: usize = file.groups.iter().map(|group| group.rules.len()).sum();
                let _ = writeln!(output, "Checking {}\n  SUCCESS: {rules} rules found\n", path.display());
            }
        }
    }
    // As the charm's Python writes them.
    let is_valid = if errors.is_empty() { "True" } else { "False" };
    BTreeMap::from([
        ("result".to_owned(), Value::from(output)),
        ("error-message".to_owned(), Value::from(errors)),
        ("valid".to_owned(), Value::from(is_valid)),
        ("return-code".to_owned(), json!(0)),
    ])
}
