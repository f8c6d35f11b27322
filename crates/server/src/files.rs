//! Where configuration texts come from, and what they mean: read, parsed and checked as one set.
//!
//! The set is the main file, the files of its `scrape_config_files` and the files of its `rule_files`. Parses are kept by
//! content, so the same text is parsed once however often it is checked and loaded.

mod amend;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use imbl::OrdSet;
use relatum_config::prometheus::{
    Config, Feature, GlobalConfig, ScrapeConfig, ScrapeConfigFile, ScrapeFiles, find_duplicate_job,
};
use relatum_config::rules::RuleFile;
use relatum_config::{FileSet, Kind, Problem};
use sha2::{Digest as _, Sha256};

use crate::parallel;

/// The optional features that this server has. The use of any other is refused by its key, so that nothing in a file is ignored.
pub const SUPPORTED: &[Feature] = &[Feature::RemoteWrite, Feature::RemoteRead, Feature::Otlp, Feature::QueryLog];

/// Something that configuration files can be read from.
pub trait Files: Send + Sync {
    /// The text of one file; shared where it is in memory already.
    fn read(&self, path: &Path) -> io::Result<Arc<str>>;

    /// The files that match a shell pattern, sorted. None is no error: the files may come later.
    fn matching(&self, pattern: &Path) -> io::Result<Vec<PathBuf>>;
}

/// The files on disk.
#[derive(Debug, Clone, Copy)]
pub struct DiskFiles;

// Larger than any rule file seen; a bound, so that a device or a log named by mistake cannot fill the memory.
const FILE_BYTES_MAX: u64 = 64 << 20;

impl Files for DiskFiles {
    fn read(&self, path: &Path) -> io::Result<Arc<str>> {
        use std::io::Read;
        let mut text = String::new();
        let n_bytes = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if n_bytes as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes")));
        }
        Ok(text.into())
    }

    fn matching(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let pattern = pattern.to_str().ok_or_else(|| io::Error::other("the pattern is not UTF-8"))?;
        let found = glob::glob(pattern).map_err(io::Error::other)?;
        // glob sorts each folder, so the whole is sorted.
        found.map(|path| path.map_err(io::Error::from)).collect()
    }
}

/// Files that are not written yet: path → text.
impl Files for BTreeMap<PathBuf, Arc<str>> {
    fn read(&self, path: &Path) -> io::Result<Arc<str>> {
        self.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn matching(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let pattern = Wildcard::new(pattern)?;
        Ok(self.keys().filter(|path| pattern.matches(path)).cloned().collect())
    }
}

/// A shell pattern for the paths of files that are not on disk.
#[derive(Debug, Clone)]
pub struct Wildcard(glob::Pattern);

impl Wildcard {
    /// Reads a pattern; an error says what is wrong with it.
    pub fn new(pattern: &Path) -> io::Result<Self> {
        let pattern = pattern.to_str().ok_or_else(|| io::Error::other("the pattern is not UTF-8"))?;
        Ok(Wildcard(glob::Pattern::new(pattern).map_err(io::Error::other)?))
    }

    /// Whether `path` is one of those that are meant. A star stands for no more than one folder.
    pub fn matches(&self, path: &Path) -> bool {
        let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
        self.0.matches_path_with(path, options)
    }
}

/// A problem in one file of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and where.
    pub problem: Problem,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A problem of the file as a whole has no line to follow the colon.
        let gap = if self.problem.line == 0 { " " } else { "" };
        write!(f, "{}:{gap}{}", self.path.display(), self.problem)
    }
}

/// A set of files that was read, parsed and found good.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The main file.
    pub config: Arc<Config>,
    /// The other files with scrape jobs, in the order of `scrape_config_files`.
    pub scrape_files: ScrapeFiles,
    /// Every rule file, in the order of `rule_files`.
    pub rule_files: FileSet<RuleFile>,
    /// The names of all scrape jobs.
    job_names: OrdSet<Arc<str>>,
}

impl Loaded {
    /// Every scrape job: those of the main file first, then those of the other files in their order.
    pub fn scrape_jobs(&self) -> impl Iterator<Item = &Arc<ScrapeConfig>> {
        let others = self.scrape_files.iter().flat_map(|(_, file)| &file.scrape_configs);
        self.config.scrape_configs.iter().chain(others)
    }
}

/// Reads whole sets and remembers what it parsed.
#[derive(Debug, Default)]
pub struct Loader {
    rules: Mutex<Parses<RuleFile>>,
    scrapes: Mutex<ScrapeParses>,
}

/// Parses of scrape files, which hold only as long as the global section they were filled in from.
#[derive(Debug, Default)]
struct ScrapeParses {
    global: GlobalConfig,
    parses: Parses<ScrapeConfigFile>,
}

/// Parses of the set that was loaded last, by path, each with the digest of the text it was made from.
#[derive(Debug)]
struct Parses<T>(HashMap<Arc<Path>, (Digest, Arc<T>)>);

/// SHA-256: nobody can write another text with the digest of one that is known.
type Digest = [u8; 32];

fn digest(text: &str) -> Digest {
    Sha256::digest(text.as_bytes()).into()
}

impl<T> Default for Parses<T> {
    fn default() -> Self {
        Parses(HashMap::new())
    }
}

impl<T> Parses<T> {
    /// Takes out what `text` was parsed to when it stood at `path`.
    fn take(&mut self, path: &Path, text: &str) -> Option<Arc<T>> {
        let (known, parsed) = self.0.remove(path)?;
        (known == digest(text)).then_some(parsed)
    }

    /// Remembers what `text` was parsed to.
    fn put(&mut self, path: Arc<Path>, text: &str, parsed: &Arc<T>) {
        self.0.insert(path, (digest(text), Arc::clone(parsed)));
    }
}

impl<T: Send + Sync> Parses<T> {
    /// Parses the files that were `found`, each with the number of its pattern, and keeps only those, so that the memory is bounded by
    /// the configuration itself.
    fn load(
        &mut self,
        files: &dyn Files,
        found: Vec<(usize, PathBuf)>,
        parse: impl Fn(&str, &Path) -> Result<T, Vec<Problem>> + Sync,
        problems: &mut Vec<FileProblem>,
    ) -> FileSet<T> {
        let known = &std::mem::take(self).0;
        let read = parallel::map(&found, |(_, path)| -> Result<_, Vec<FileProblem>> {
            let text = files.read(path).map_err(|error| vec![unreadable(path, &error)])?;
            let digest = digest(&text);
            let parsed = match known.get(path.as_path()).filter(|(before, _)| *before == digest) {
                Some((_, parsed)) => Arc::clone(parsed),
                None => Arc::new(parse(&text, path).map_err(|problems| in_file(path, problems))?),
            };
            Ok((digest, parsed))
        });
        let mut set = FileSet::default();
        for ((pattern, path), read) in found.into_iter().zip(read) {
            match read {
                Ok((digest, parsed)) => {
                    let path: Arc<Path> = path.into();
                    self.0.insert(Arc::clone(&path), (digest, Arc::clone(&parsed)));
                    set.insert((pattern, path), parsed);
                }
                Err(mut found) => problems.append(&mut found),
            }
        }
        set
    }
}

impl Loader {
    /// Reads the main file at `path` and all that it names. Returns every problem of every file, not only the first.
    pub fn load(&self, files: &dyn Files, path: &Path) -> Result<Loaded, Vec<FileProblem>> {
        let text = files.read(path).map_err(|error| vec![unreadable(path, &error)])?;
        let mut config = Config::parse_for(&text, SUPPORTED).map_err(|problems| in_file(path, problems))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.join_directory(folder);
        let mut problems = Vec::new();
        let scrape_files = self.load_scrapes(files, &config, path, &mut problems);
        let names: Vec<String> = scrape_files.iter().map(|(path, _)| path.display().to_string()).collect();
        let named: Vec<(&str, &ScrapeConfigFile)> =
            names.iter().zip(scrape_files.iter()).map(|(name, (_, file))| (name.as_str(), &**file)).collect();
        if let Some((job, first, second)) = find_duplicate_job(&config, &named) {
            let message = format!("found multiple scrape configs with job name {job:?}, the other one in {first}");
            problems.push(FileProblem { path: second.into(), problem: whole_file(message) });
        }
        let rule_files = self.load_rules(files, &config, path, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut loaded = Loaded { config: Arc::new(config), scrape_files, rule_files, job_names: OrdSet::new() };
        loaded.job_names = loaded.scrape_jobs().map(|job| Arc::from(job.job_name.as_str())).collect();
        Ok(loaded)
    }

    fn load_scrapes(
        &self,
        files: &dyn Files,
        config: &Config,
        main: &Path,
        problems: &mut Vec<FileProblem>,
    ) -> ScrapeFiles {
        let mut known = self.scrapes.lock().expect("no thread panics while it holds the parses");
        if known.global != config.global {
            *known = ScrapeParses { global: config.global.clone(), ..ScrapeParses::default() };
        }
        let parse = |text: &str, path: &Path| {
            let mut file = ScrapeConfigFile::parse_for(text, &config.global, SUPPORTED)?;
            file.join_directory(path.parent().unwrap_or(Path::new("")));
            Ok(file)
        };
        let found = expand(files, &config.scrape_config_files, main, problems);
        known.parses.load(files, found, parse, problems)
    }

    fn load_rules(
        &self,
        files: &dyn Files,
        config: &Config,
        main: &Path,
        problems: &mut Vec<FileProblem>,
    ) -> FileSet<RuleFile> {
        let mut known = self.rules.lock().expect("no thread panics while it holds the parses");
        let found = expand(files, &config.rule_files, main, problems);
        known.load(files, found, |text, _| RuleFile::parse(text), problems)
    }
}

/// The files that match `patterns`, each with the number of the first pattern that it matches.
fn expand(
    files: &dyn Files,
    patterns: &[String],
    main: &Path,
    problems: &mut Vec<FileProblem>,
) -> Vec<(usize, PathBuf)> {
    let mut found = Vec::new();
    for (number, pattern) in patterns.iter().enumerate() {
        match files.matching(Path::new(pattern)) {
            Ok(paths) => found.extend(paths.into_iter().map(|path| (number, path))),
            Err(error) => {
                let message = format!("error retrieving files for {pattern:?}: {error}");
                problems.push(FileProblem { path: main.to_owned(), problem: whole_file(message) });
            }
        }
    }
    // Two patterns may name one file.
    let mut seen = std::collections::HashSet::new();
    found.retain(|(_, path)| seen.insert(path.clone()));
    found
}

fn unreadable(path: &Path, error: &io::Error) -> FileProblem {
    FileProblem { path: path.to_owned(), problem: whole_file(format!("cannot read the file: {error}")) }
}

fn in_file(path: &Path, problems: Vec<Problem>) -> Vec<FileProblem> {
    problems.into_iter().map(|problem| FileProblem { path: path.to_owned(), problem }).collect()
}

pub(crate) fn whole_file(message: String) -> Problem {
    Problem { line: 0, column: 0, key: String::new(), kind: Kind::Invalid, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_lack_is_refused_by_name_and_place() {
        let main = "scrape_config_files: [more.yml]\nscrape_configs:\n- {job_name: a, static_configs: []}\n";
        let mut files = BTreeMap::from([
            (PathBuf::from("/p/main.yml"), main.into()),
            (PathBuf::from("/p/more.yml"), "scrape_configs:\n- job_name: b\n  dns_sd_configs: [{names: [a]}]\n".into()),
        ]);
        let load = |files: &BTreeMap<PathBuf, Arc<str>>| {
            let problems = Loader::default().load(files, Path::new("/p/main.yml")).err().unwrap_or_default();
            problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let expected = "/p/more.yml:3:3: dns_sd_configs is not supported yet (in scrape_configs[0].dns_sd_configs)";
        assert_eq!(load(&files), [expected]);
        files.insert("/p/main.yml".into(), "tracing: {endpoint: a}\n".into());
        assert_eq!(load(&files), ["/p/main.yml:1:1: tracing is not supported yet (in tracing)"]);
    }
}
