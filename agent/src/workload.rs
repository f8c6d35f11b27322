//! What the rendered configuration drives: the server in this process, or a Prometheus beside it.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use crate::control::Problem;
use crate::dialect::Dialect;
use crate::packed::PackedText;

/// Rendered files: path below `rendered/` to text. Whoever keeps them shares them, and two sets of which one came from the other are
/// compared in the time that their differences take.
pub type Files = OrdMap<Arc<str>, PackedText>;

/// The paths that only one of two sets has, or that say something else in the other, in order.
pub fn differing<'a>(a: &'a Files, b: &'a Files) -> impl Iterator<Item = &'a str> {
    a.diff(b).map(|item| match item {
        DiffItem::Add(path, _) | DiffItem::Update { new: (path, _), .. } | DiffItem::Remove(path, _) => &**path,
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

    /// Copies its samples into the new folder `to`; `false` if it keeps its own, and an error says why they cannot be copied.
    fn copy_samples(&self, to: &Path) -> Result<bool, String> {
        let _ = to;
        Ok(false)
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
