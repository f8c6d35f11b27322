//! `scrape.d` and `rules.d`: files in Prometheus' own formats, taken as they are into the rendered set.

use std::collections::BTreeMap;
use std::path::Path;

use relatum_model::yaml;
use serde_json::Value;

use super::folder::{Content, Folder};
use crate::packed::PackedText;

/// What lies in these folders, by the path below `rendered/` that it gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalFiles {
    /// The file it comes from, and its text or why there is none.
    pub files: BTreeMap<String, (String, Content)>,
    /// Folders that cannot be read, and why; all of their files are as they were.
    pub faults: BTreeMap<String, String>,
}

/// The beginning of the names of all files that come from these folders.
pub const PREFIX: &str = "local_";

/// Both folders.
#[derive(Debug)]
pub struct LocalFolders {
    scrapes: Folder,
    rules: Folder,
    /// Texts of `scrape.d`, by name: as they are and as they are rendered.
    rooted: BTreeMap<String, (PackedText, PackedText)>,
}

impl LocalFolders {
    /// Those below `config`, the config directory.
    pub fn new(config: &Path) -> Self {
        LocalFolders {
            scrapes: Folder::new(config.join(super::SCRAPES), &["yml", "yaml"]),
            rules: Folder::new(config.join(super::RULES), &["yml", "yaml", "rules"]),
            rooted: BTreeMap::new(),
        }
    }

    /// What is there now.
    pub fn read(&mut self) -> LocalFiles {
        let mut local = LocalFiles::default();
        let mut before = std::mem::take(&mut self.rooted);
        for (folder, below, ending) in [(&mut self.scrapes, "scrape", "yml"), (&mut self.rules, "rules", "rules")] {
            let files = folder.read().unwrap_or_else(|reason| {
                local.faults.insert(folder.path().display().to_string(), reason);
                folder.known()
            });
            for (name, mut content) in files {
                if let (Ok(text), "scrape") = (&mut content, below) {
                    let (given, known) = (text.clone(), before.remove(&name));
                    *text = rooted(known, text, folder.path());
                    self.rooted.insert(name.clone(), (given, text.clone()));
                }
                let source = folder.path().join(&name).display().to_string();
                local.files.insert(rendered(below, &name, ending), (source, content));
            }
        }
        local
    }
}

/// What is rendered of `text`, a file in `folder`: itself, unless it names files by relative paths. Those start at the
/// folder, as they would for a Prometheus that reads the file there, and what is rendered lies elsewhere.
fn rooted(known: Option<(PackedText, PackedText)>, text: &PackedText, folder: &Path) -> PackedText {
    match known {
        Some((before, rooted)) if before == *text => rooted,
        _ => join(&text.read(), folder).map_or_else(|| text.clone(), PackedText::from),
    }
}

/// `text` with its relative paths below `folder`; `None` where there is none, or where the text is no YAML, which others will say.
fn join(text: &str, folder: &Path) -> Option<String> {
    fn walk(value: &mut Value, is_path: bool, folder: &Path, joined: &mut bool) {
        match value {
            Value::String(path) if is_path && !path.is_empty() && Path::new(path).is_relative() => {
                *path = folder.join(&*path).display().to_string();
                *joined = true;
            }
            Value::Array(items) => items.iter_mut().for_each(|item| walk(item, is_path, folder, joined)),
            // Every key of Prometheus' that names a file ends so, and lists of files are called so.
            Value::Object(map) => map
                .iter_mut()
                .for_each(|(key, value)| walk(value, key.ends_with("_file") || key == "files", folder, joined)),
            _ => {}
        }
    }
    let mut value: Value = yaml::from_str(text).ok()?;
    let mut joined = false;
    // Labels and parameters may have any name, so only what a job says of itself is looked at.
    for job in value.get_mut("scrape_configs")?.as_array_mut()?.iter_mut().filter_map(Value::as_object_mut) {
        let own = job.iter_mut().filter(|(key, _)| !["static_configs", "params"].contains(&key.as_str()));
        own.for_each(|(key, value)| walk(value, key.ends_with("_file"), folder, &mut joined));
    }
    if joined { yaml::to_string(&value).ok() } else { None }
}

/// The path below `rendered/` for a file called `name`. Two names never give one path.
fn rendered(below: &str, name: &str, ending: &str) -> String {
    let mut stem = String::new();
    for c in name.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '-' => stem.push(c),
            // Doubled, as single ones stand before the codes of other letters.
            '_' => stem.push_str("__"),
            c => stem.push_str(&format!("_{:x}_", u32::from(c))),
        }
    }
    format!("{below}/{PREFIX}{stem}.{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_start_at_the_folder() {
        let text = "scrape_configs:\n- job_name: a\n  tls_config: {ca_file: ca.crt, key_file: /etc/key}\n  params: {x_file: [a]}\n  \
                    file_sd_configs: [{files: [t/*.json, '']}]\n  http_headers: {X: {files: [h]}}\n  bearer_token_file: tok\n  \
                    static_configs: [{targets: ['a:1'], labels: {log_file: b}}]\n";
        let joined: Value = yaml::from_str(&join(text, Path::new("/etc/relatum/scrape.d")).unwrap()).unwrap();
        let job = &joined["scrape_configs"][0];
        assert_eq!(job["tls_config"]["ca_file"], "/etc/relatum/scrape.d/ca.crt");
        assert_eq!(job["tls_config"]["key_file"], "/etc/key");
        assert_eq!(job["file_sd_configs"][0]["files"], serde_json::json!(["/etc/relatum/scrape.d/t/*.json", ""]));
        assert_eq!(job["http_headers"]["X"]["files"][0], "/etc/relatum/scrape.d/h");
        assert_eq!(job["bearer_token_file"], "/etc/relatum/scrape.d/tok");
        assert_eq!(
            (&job["params"]["x_file"][0], &job["static_configs"][0]["labels"]["log_file"]),
            (&"a".into(), &"b".into())
        );
        for text in ["scrape_configs: [{job_name: a}]", "scrape_configs: [", "a: {ca_file: b}", ""] {
            assert_eq!(join(text, Path::new("/x")), None, "{text}");
        }
    }

    #[test]
    fn paths() {
        assert_eq!(rendered("scrape", "web.yml", "yml"), "scrape/local_web_2e_yml.yml");
        assert_ne!(rendered("rules", "a_2e_b", "rules"), rendered("rules", "a.b", "rules"));
        assert!(!rendered("rules", "a/../b", "rules")["rules/".len()..].contains('/'));
    }
}
