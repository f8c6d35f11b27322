//! What the rendered configuration drives: the server in this process, or a Prometheus beside it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use crate::control::Problem;
use crate::dialect::Dialect;

/// Rendered files: path below `rendered/` to text. Whoever keeps a text shares it.
pub type Files = BTreeMap<String, Arc<str>>;

/// Whether two texts are equal; at once where they are one.
pub fn is_same_text(a: &Arc<str>, b: &Arc<str>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// Whether two sets of files are equal.
pub fn are_same_files(a: &Files, b: &Files) -> bool {
    a.len() == b.len() && a.keys().eq(b.keys()) && a.values().zip(b.values()).all(|(a, b)| is_same_text(a, b))
}

/// The paths that only one of two sets has, or that say something else in the other, in order.
pub fn differing<'a>(a: &'a Files, b: &'a Files) -> impl Iterator<Item = &'a str> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            match order {
                Ordering::Less => return a.next().map(|(path, _)| path.as_str()),
                Ordering::Greater => return b.next().map(|(path, _)| path.as_str()),
                Ordering::Equal => {
                    let ((path, a), (_, b)) = (a.next()?, b.next()?);
                    if !is_same_text(a, b) {
                        return Some(path.as_str());
                    }
                }
            }
        }
    })
}

/// Something wrong with one rendered file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The path below `rendered/`; empty when it is no file's fault.
    pub path: String,
    /// What is wrong, with line and column where known.
    pub message: String,
}

/// How one of those does that samples are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its name in the configuration.
    pub name: String,
    /// How far it is behind the newest sample; `None` while it has taken none.
    pub lag_ms: Option<u64>,
    /// Why the last request failed; `None` after one that worked.
    pub failure: Option<String>,
}

/// Why a workload beside us does not run what is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRun {
    /// It looked at the files and refuses them.
    Refused(Vec<Fault>),
    /// It cannot be told. It reads the files when it is there again, so they stay.
    Absent,
}

/// How a workload beside us does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Runs what was rendered.
///
/// A reload happens wholly or not at all: [`Workload::prepare`] does everything that can fail, [`Ready::commit`] cannot.
pub trait Workload: Send + Sync {
    /// What is rendered for it.
    fn dialect(&self) -> Dialect {
        Dialect::default()
    }

    /// Reads `files` as a whole, as they would be loaded, and gives every fault; none means that they would load.
    ///
    /// Files they name beside themselves, such as certificates, need not be there yet.
    fn check(&self, files: &Files) -> Vec<Fault>;

    /// Makes everything ready to run `files`, all that they name included, and changes nothing that runs.
    fn prepare<'a>(&'a self, files: &Files) -> Result<Box<dyn Ready + 'a>, Vec<Fault>>;

    /// Has a workload beside us read the files, which are on disk now; one in this process runs them since the commit.
    fn reload(&self, _files: &Files) -> Result<(), NotRun> {
        Ok(())
    }

    /// What it refused is not on disk any more, what it ran before is.
    fn restored(&self) {}

    /// Whether it has to read the files again, though they did not change.
    fn needs_reload(&self) -> bool {
        false
    }

    /// How it does at this moment, where that is not ours to decide.
    fn standing(&self) -> Standing {
        Standing::default()
    }

    /// How those do that samples are sent to; nothing where nobody can tell.
    fn remotes(&self) -> Vec<Remote> {
        Vec::new()
    }

    /// Ends it, when no pass will come any more.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }
}

/// A prepared reload; dropping it forgets it.
pub trait Ready {
    /// Runs it from now on.
    fn commit(self: Box<Self>);
}
