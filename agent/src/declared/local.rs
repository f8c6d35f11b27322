//! `scrape.d` and `rules.d`: files in Prometheus' own formats, taken as they are into the rendered set.

use std::collections::BTreeMap;

use super::folder::{Content, Folder};

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
}

impl LocalFolders {
    /// Those below `config`, the config directory.
    pub fn new(config: &std::path::Path) -> Self {
        LocalFolders {
            scrapes: Folder::new(config.join(super::SCRAPES), &["yml", "yaml"]),
            rules: Folder::new(config.join(super::RULES), &["yml", "yaml", "rules"]),
        }
    }

    /// What is there now.
    pub fn read(&mut self) -> LocalFiles {
        let mut local = LocalFiles::default();
        for (folder, below, ending) in [(&mut self.scrapes, "scrape", "yml"), (&mut self.rules, "rules", "rules")] {
            let files = folder.read().unwrap_or_else(|reason| {
                local.faults.insert(folder.path().display().to_string(), reason);
                folder.known()
            });
            for (name, content) in files {
                let source = folder.path().join(&name).display().to_string();
                local.files.insert(rendered(below, &name, ending), (source, content));
            }
        }
        local
    }
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
    fn paths() {
        assert_eq!(rendered("scrape", "web.yml", "yml"), "scrape/local_web_2e_yml.yml");
        assert_ne!(rendered("rules", "a_2e_b", "rules"), rendered("rules", "a.b", "rules"));
        assert!(!rendered("rules", "a/../b", "rules")["rules/".len()..].contains('/'));
    }
}
