//! What somebody wants to have explained, as typed.

use std::path::Path;

use crate::control::Failure;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// Anything of this name: a target's address, a unit, an application, a relation, an alert, a group, a URL.
    Name(String),
    /// `job/NAME`.
    Job(String),
    /// `LABEL=VALUE`: what has it in the end.
    Label(String, String),
    /// `FILE:LINE` of a rendered file.
    Line {
        /// Below the directory of rendered files.
        file: String,
        /// From 1.
        line: u64,
    },
}

impl Question {
    /// Reads what was typed; `rendered` is the directory of rendered files.
    pub(crate) fn parse(text: &str, rendered: &Path) -> Result<Question, Failure> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Failure::usage("nothing to explain"));
        }
        if let Some(name) = text.strip_prefix("job/") {
            return Ok(Question::Job(name.to_owned()));
        }
        if let Some((file, line)) = text.rsplit_once(':')
            && let Ok(line) = line.parse()
        {
            let file = Path::new(file).strip_prefix(rendered).unwrap_or(Path::new(file)).display().to_string();
            if file.starts_with("scrape/") || file.starts_with("rules/") || file == "prometheus.yml" {
                return Ok(Question::Line { file, line });
            }
        }
        let is_label_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
        };
        match text.split_once('=') {
            Some((name, value)) if is_label_name(name) => {
                let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
                Ok(Question::Label(name.to_owned(), value.to_owned()))
            }
            _ => Ok(Question::Name(text.to_owned())),
        }
    }

    /// Whether it is about something that goes by one of `names`, runs as part of one of `jobs`, has `labels`, and is rendered into
    /// `file`.
    pub(super) fn is_about(
        &self,
        names: &[&str],
        jobs: &[&str],
        label: impl Fn(&str) -> Option<String>,
        file: &str,
    ) -> bool {
        match self {
            Question::Name(text) => names.contains(&text.as_str()) || jobs.contains(&text.as_str()),
            Question::Job(name) => jobs.contains(&name.as_str()),
            Question::Label(name, value) => label(name).as_ref() == Some(value),
            Question::Line { file: wanted, .. } => wanted == file,
        }
    }
}
