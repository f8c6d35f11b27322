//! A set of which a few files changed: only those are read, so that the work is that of the change and not that of the set.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imbl::OrdSet;
use relatum_config::prometheus::{Config, ScrapeConfigFile};
use relatum_config::rules::RuleFile;
use relatum_config::{FilePlace, FileSet, Problem};

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
        let listed = Listed { patterns: patterns(scrape_config_files)?, set: &mut amended.scrape_files };
        listed.amend(files, changed, &mut known.parses, parse)?;
        drop(known);
        let mut known = self.rules.lock().expect("no thread panics while it holds the parses");
        let listed = Listed { patterns: patterns(rule_files)?, set: &mut amended.rule_files };
        listed.amend(files, changed, &mut known, |text, _| RuleFile::parse(text))?;
        drop(known);
        rename(&mut amended.job_names, &loaded.scrape_files, &amended.scrape_files).then_some(amended)
    }
}

/// The files of some patterns, with what they were parsed to.
struct Listed<'a, T> {
    patterns: Vec<Wildcard>,
    set: &'a mut FileSet<T>,
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
        for path in changed {
            let Some(pattern) = self.patterns.iter().position(|pattern| pattern.matches(path)) else { continue };
            let place: FilePlace = (pattern, path.as_path().into());
            match files.read(path) {
                Ok(text) => {
                    let parsed = match known.take(path, &text) {
                        Some(parsed) => parsed,
                        None => Arc::new(parse(&text, path).ok()?),
                    };
                    known.put(Arc::clone(&place.1), &text, &parsed);
                    self.set.insert(place, parsed);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    known.0.remove(path.as_path());
                    self.set.remove(&place);
                }
                Err(_) => return None,
            }
        }
        Some(())
    }
}

fn patterns(patterns: &[String]) -> Option<Vec<Wildcard>> {
    patterns.iter().map(|pattern| Wildcard::new(Path::new(pattern)).ok()).collect()
}

/// Makes `names`, those of all jobs, what they are with the files `after` instead of `before`. False when two jobs have one name then.
fn rename(names: &mut OrdSet<Arc<str>>, before: &FileSet<ScrapeConfigFile>, after: &FileSet<ScrapeConfigFile>) -> bool {
    let jobs = |file: Option<&Arc<ScrapeConfigFile>>| file.map_or(&[][..], |file| &file.scrape_configs[..]).to_vec();
    for job in before.changes(after).flat_map(|change| jobs(change.before)) {
        names.remove(job.job_name.as_str());
    }
    let mut new = before.changes(after).flat_map(|change| jobs(change.after));
    new.all(|job| names.insert(job.job_name.as_str().into()).is_none())
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
            let kept = amended.scrape_files.iter().filter(|(path, _)| !changed.iter().any(|one| **one == ***path));
            for (path, file) in kept {
                let known = before.scrape_files.iter().find(|(other, _)| *other == path).unwrap();
                assert!(Arc::ptr_eq(file, known.1), "{} was not touched", path.display());
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
