//! A set of which a few files changed: only those are read, so that the work is that of the change and not that of the set.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use relatum_config::Problem;
use relatum_config::prometheus::{Config, ScrapeConfig, ScrapeConfigFile};
use relatum_config::rules::RuleFile;

use super::{Files, Loaded, Loader, Parses, SUPPORTED, Wildcard};

impl Loader {
    /// The set that `files` are now, when `loaded` is what they were and none but those at `changed` came, went or say something
    /// else; `main` is the main file.
    ///
    /// `None` when it takes loading the whole, either because so much changed, or because something is wrong and all of it is to
    /// be told.
    pub fn amend(&self, loaded: &Loaded, files: &dyn Files, main: &Path, changed: &[PathBuf]) -> Option<Loaded> {
        if changed.iter().any(|path| path == main) {
            return None;
        }
        let Config { global, scrape_config_files, rule_files, .. } = &*loaded.config;
        let mut amended = loaded.clone();
        let parse = |text: &str, path: &Path| {
            let mut file = ScrapeConfigFile::parse_for(text, global, SUPPORTED)?;
            file.join_directory(path.parent().unwrap_or(Path::new("")));
            Ok(file)
        };
        let mut known = self.scrapes.lock().expect("no thread panics while it holds the parses");
        if known.global != *global {
            // Another set was looked at since, and what was parsed for it has its defaults.
            return None;
        }
        let list = Listed { patterns: patterns(scrape_config_files)?, list: &mut amended.scrape_files };
        list.amend(files, changed, &mut known.parses, parse)?;
        drop(known);
        let mut known = self.rules.lock().expect("no thread panics while it holds the parses");
        let list = Listed { patterns: patterns(rule_files)?, list: &mut amended.rule_files };
        list.amend(files, changed, &mut known, |text, _| RuleFile::parse(text))?;
        drop(known);
        (!has_clash(loaded, &amended, changed)).then_some(amended)
    }
}

/// The files of some patterns, with what they were parsed to.
struct Listed<'a, T> {
    patterns: Vec<Wildcard>,
    /// In the order of the patterns, and for each in the order of the paths.
    list: &'a mut Arc<Vec<(Arc<Path>, Arc<T>)>>,
}

impl<T> Listed<'_, T> {
    /// Reads again what the patterns mean of `changed`; `None` if one is not good.
    fn amend(
        self,
        files: &dyn Files,
        changed: &[PathBuf],
        known: &mut Parses<T>,
        parse: impl Fn(&str, &Path) -> Result<T, Vec<Problem>>,
    ) -> Option<()> {
        let order = |path: &Path| self.patterns.iter().position(|pattern| pattern.matches(path));
        for path in changed {
            let Some(place) = order(path) else { continue };
            let key = (Some(place), path.as_path());
            let at = self.list.binary_search_by(|(other, _)| (order(other), &**other).cmp(&key));
            match (files.read(path), at) {
                (Ok(text), at) => {
                    let parsed = match known.take(path, &text) {
                        Some(parsed) => parsed,
                        None => Arc::new(parse(&text, path).ok()?),
                    };
                    known.0.insert(path.clone(), (text, Arc::clone(&parsed)));
                    match at {
                        Ok(at) => list(self.list)[at].1 = parsed,
                        Err(at) => list(self.list).insert(at, (path.as_path().into(), parsed)),
                    }
                }
                (Err(error), at) if error.kind() == io::ErrorKind::NotFound => {
                    known.0.remove(path);
                    at.ok().map(|at| list(self.list).remove(at));
                }
                (Err(_), _) => return None,
            }
        }
        Some(())
    }
}

fn patterns(patterns: &[String]) -> Option<Vec<Wildcard>> {
    patterns.iter().map(|pattern| Wildcard::new(Path::new(pattern)).ok()).collect()
}

/// The list itself, which others share until it changes.
fn list<T>(shared: &mut Arc<Vec<(Arc<Path>, Arc<T>)>>) -> &mut Vec<(Arc<Path>, Arc<T>)> {
    Arc::make_mut(shared)
}

/// Whether a job in one of the files at `changed` has the name of another job; no two had one `before`.
fn has_clash(before: &Loaded, amended: &Loaded, changed: &[PathBuf]) -> bool {
    let changed: HashSet<&Path> = changed.iter().map(PathBuf::as_path).collect();
    let jobs = |loaded: &'_ Loaded| -> Vec<Arc<ScrapeConfig>> {
        let files = loaded.scrape_files.iter().filter(|(path, _)| changed.contains(&**path));
        files.flat_map(|(_, file)| file.scrape_configs.iter().cloned()).collect()
    };
    let (then, now) = (jobs(before), jobs(amended));
    let names =
        |jobs: &[Arc<ScrapeConfig>]| -> HashSet<String> { jobs.iter().map(|job| job.job_name.clone()).collect() };
    if names(&now).len() < now.len() {
        return true;
    }
    // Only a name that these files did not have before can be another's.
    let new = &names(&now) - &names(&then);
    !new.is_empty() && amended.scrape_jobs().filter(|job| new.contains(&job.job_name)).count() > new.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const MAIN: &str = "/p/main.yml";

    type Set = BTreeMap<PathBuf, Arc<str>>;

    fn set(files: &[(&str, &str)]) -> Set {
        files.iter().map(|(path, text)| (PathBuf::from(format!("/p/{path}")), (*text).into())).collect()
    }

    fn names(loaded: &Loaded) -> Vec<String> {
        let jobs = loaded.scrape_jobs().map(|job| job.job_name.clone());
        let rules = loaded
            .rule_files
            .iter()
            .flat_map(|(path, file)| file.groups.iter().map(move |group| format!("{} {}", path.display(), group.name)));
        jobs.chain(rules).collect()
    }

    /// What `change` makes of the set is the same whether it is amended or loaded whole; `is_amended` says whether it could be
    /// amended at all.
    #[track_caller]
    fn check(change: &[(&str, Option<&str>)], is_amended: bool) {
        let mut files = set(&[
            (
                "main.yml",
                "scrape_config_files: [s/b*.yml, s/*.yml]\nrule_files: [r/*.yml]\nscrape_configs: [{job_name: own}]\n",
            ),
            ("s/a.yml", "scrape_configs: [{job_name: a}]\n"),
            ("s/b.yml", "scrape_configs: [{job_name: b}]\n"),
            ("s/d.yml", "scrape_configs: [{job_name: d}]\n"),
            ("r/x.yml", "groups: [{name: x, rules: []}]\n"),
        ]);
        let loader = Loader::default();
        let before = loader.load(&files, Path::new(MAIN)).unwrap();
        for (path, text) in change {
            let path = PathBuf::from(format!("/p/{path}"));
            match text {
                Some(text) => drop(files.insert(path, (*text).into())),
                None => drop(files.remove(&path)),
            }
        }
        let changed: Vec<PathBuf> = change.iter().map(|(path, _)| PathBuf::from(format!("/p/{path}"))).collect();
        let amended = loader.amend(&before, &files, Path::new(MAIN), &changed);
        assert_eq!(amended.is_some(), is_amended, "{change:?}");
        let whole = Loader::default().load(&files, Path::new(MAIN));
        if let Some(amended) = amended {
            assert_eq!(names(&amended), names(&whole.unwrap()), "{change:?}");
            let kept = amended.scrape_files.iter().filter(|(path, _)| !changed.iter().any(|one| **one == **path));
            for (path, file) in kept {
                let known = before.scrape_files.iter().find(|(other, _)| other == path).unwrap();
                assert!(Arc::ptr_eq(file, &known.1), "{} was not touched", path.display());
            }
        }
    }

    #[test]
    fn a_set_with_changes_is_the_set_that_is_there() {
        check(&[], true);
        check(&[("s/a.yml", Some("scrape_configs: [{job_name: z}, {job_name: y}]\n"))], true);
        check(&[("s/c.yml", Some("scrape_configs: [{job_name: c}]\n")), ("s/d.yml", None)], true);
        check(&[("s/ba.yml", Some("scrape_configs: [{job_name: ba}]\n"))], true);
        check(&[("r/w.yml", Some("groups: [{name: w, rules: []}]\n")), ("r/x.yml", None)], true);
        check(&[("elsewhere.yml", Some("nothing we read"))], true);
        // A name moves from one file to another.
        check(
            &[
                ("s/a.yml", Some("scrape_configs: [{job_name: d}]\n")),
                ("s/d.yml", Some("scrape_configs: [{job_name: a}]\n")),
            ],
            true,
        );
    }

    #[test]
    fn what_is_not_good_takes_loading_the_whole() {
        check(&[("main.yml", Some("rule_files: []\n"))], false);
        check(&[("s/a.yml", Some("scrape_configs: [{job_name: b}]\n"))], false);
        check(&[("s/a.yml", Some("scrape_configs: [{job_name: own}]\n"))], false);
        check(&[("s/a.yml", Some("scrape_configs: [{job_name: n}, {job_name: n}]\n"))], false);
        check(&[("s/a.yml", Some("scrape_configs: 1\n"))], false);
        check(&[("r/x.yml", Some("groups: 1\n"))], false);
    }

    #[test]
    fn what_was_parsed_for_another_set_is_not_taken() {
        let job = ("s/a.yml", "scrape_configs: [{job_name: a}]\n");
        let files = |interval: &str| {
            let main = format!("global: {{scrape_interval: {interval}}}\nscrape_config_files: [s/*.yml]\n");
            set(&[("main.yml", &main), job])
        };
        let (minute, second) = (files("1m"), files("2s"));
        let loader = Loader::default();
        let before = loader.load(&minute, Path::new(MAIN)).unwrap();
        loader.load(&second, Path::new(MAIN)).unwrap();
        let changed = [PathBuf::from("/p/s/a.yml")];
        assert!(loader.amend(&before, &minute, Path::new(MAIN), &changed).is_none());
    }
}
