//! `relatum.yaml`: the agent's own config file. Its keys are the long flags of `relatum agent`, and `options:`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use relatum_model::yaml::{self, YamlError};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::external::WorkloadFlags;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AgentFile {
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--model`
    pub model: Option<String>,
    /// `--unit`
    pub unit: Option<String>,
    /// `--leader`; counts without a restart.
    pub leader: Option<bool>,
    /// `--durability`
    pub durability: Option<String>,
    /// `--host-metrics`
    pub host_metrics: bool,
    /// `--workload`
    pub workload: Option<String>,
    /// `--reload`
    pub reload: Option<String>,
    /// `--workload-url`
    pub workload_url: Option<String>,
    /// `--workload-version`
    pub workload_version: Option<String>,
    /// Config options of the application `prometheus`.
    options: BTreeMap<String, Value>,
}

/// Why the file cannot be used. Nothing of it is in effect then.
#[derive(Debug, Error)]
pub enum AgentFileError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("cannot understand {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: YamlError,
    },
}

impl AgentFile {
    /// Reads the file at `path`. A file that is not there is empty unless it is `required`.
    pub fn read(path: &Path, required: bool) -> Result<AgentFile, AgentFileError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => String::new(),
            Err(source) => return Err(AgentFileError::Read { path: path.to_owned(), source }),
        };
        // An empty document is null, and null is no map; `Option` takes both.
        let file: Result<Option<AgentFile>, _> = yaml::from_str(&text);
        file.map(Option::unwrap_or_default).map_err(|source| AgentFileError::Parse { path: path.to_owned(), source })
    }

    /// The long flags that say something else here than in `before`.
    pub fn changed_flags(&self, before: &AgentFile) -> Vec<&'static str> {
        let flags = [
            ("data-dir", self.data_dir != before.data_dir),
            ("listen", self.listen != before.listen),
            ("model", self.model != before.model),
            ("unit", self.unit != before.unit),
            ("durability", self.durability != before.durability),
            ("host-metrics", self.host_metrics != before.host_metrics),
            ("workload", self.workload != before.workload),
            ("reload", self.reload != before.reload),
            ("workload-url", self.workload_url != before.workload_url),
            ("workload-version", self.workload_version != before.workload_version),
        ];
        flags.into_iter().filter(|(_, changed)| *changed).map(|(flag, _)| flag).collect()
    }

    /// What it says of the workload.
    pub fn workload_flags(&self) -> WorkloadFlags {
        WorkloadFlags {
            workload: self.workload.clone(),
            reload: self.reload.clone(),
            url: self.workload_url.clone(),
            version: self.workload_version.clone(),
        }
    }

    /// The options as texts, as `relatum config` would be given them.
    pub fn options(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        self.options.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relatum.yaml");
        assert_eq!(AgentFile::read(&path, false).unwrap(), AgentFile::default());
        assert!(AgentFile::read(&path, true).is_err());
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            AgentFile::read(&path, true)
        };
        assert_eq!(read("# nothing yet\n").unwrap(), AgentFile::default());
        let file = read("listen: 127.0.0.1:0\noptions:\n  metrics_wal_compression: true\n  external_labels: {a: b}\n")
            .unwrap();
        assert_eq!(file.listen.as_deref(), Some("127.0.0.1:0"));
        assert_eq!(file.options()["metrics_wal_compression"], "true");
        assert_eq!(file.options()["external_labels"], r#"{"a":"b"}"#);
        // A misspelt key must not be silently without effect.
        assert!(read("listne: 127.0.0.1:0\n").is_err());
        assert!(read("options: [").is_err());
    }
}
