//! Reads the world: the state, the agent's own files, and what is rendered now.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use relatum_relations::name::UnitName;

use super::PassError;
use super::apply::RenderedDirectory;
use crate::control::Problem;
use crate::declared::local::{LocalFiles, LocalFolders};
use crate::declared::relations::Declarations;
use crate::dialect::Layout;
use crate::identity::{self, Identity};
use crate::store::{Store, World};
use crate::templates::{Override, Template};
use crate::workload::Files;

/// A template is read up to this size.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;

/// Where this agent is: fixed while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which unit of the application this agent is.
    pub unit: UnitName,
    /// The directory of the rendered files, absolute.
    pub rendered: PathBuf,
    /// The file with our key and our requests for certificates, absolute.
    pub identity: PathBuf,
    /// The directory of the samples, absolute.
    pub samples: PathBuf,
    /// `host:port` the server listens on.
    pub listen: String,
    /// `host:port` under which the server scrapes itself.
    pub self_target: String,
    /// `host:port` under which this agent is scraped, where that is not the server.
    pub agent_target: Option<String>,
    /// The URL under which others on the network reach the server; without a slash at the end.
    pub url: String,
    /// The size of the file system that holds the samples.
    pub file_system_bytes: u64,
    /// Whether the certificates of a job are tried before it is rendered, as our own server would refuse its whole file for one.
    /// Another server judges by itself, and a case of the charm's leaves it to that.
    pub tries_certificates: bool,
}

/// What passes read beside the state store. The texts of options are replaced by a reload.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The folder whose templates override ours; it need not exist.
    pub templates: PathBuf,
    /// The folder of `relatum.yaml`, which also holds `relations.d`, `scrape.d` and `rules.d`; it need not exist.
    pub config: PathBuf,
    /// Defaults of options that differ from the charm's.
    pub option_defaults: BTreeMap<String, String>,
    /// The options of `relatum.yaml` as of the last reload.
    pub file_options: Arc<Mutex<FileOptions>>,
}

/// What `relatum.yaml` says that counts without a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// The last ones that could be read.
    pub options: BTreeMap<String, String>,
    /// Why the newest version of the file is not in effect: the file and the reason.
    pub fault: Option<(String, String)>,
    /// Whether another unit leads the application, so that this one says nothing in its name.
    pub follows: bool,
    /// Keys that say something else than at the start, and count only after a restart.
    pub restart_needed: Vec<&'static str>,
}

/// The world as one value.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The state.
    pub world: World,
    /// See [`FileOptions`].
    pub file: FileOptions,
    /// See [`Sources::option_defaults`].
    pub option_defaults: BTreeMap<String, String>,
    /// The operator's templates.
    pub overrides: BTreeMap<Template, Override>,
    /// What lies in `scrape.d` and `rules.d`.
    pub local: LocalFiles,
    /// What is wrong with the files of `relations.d`.
    pub declared: Vec<Problem>,
    /// The rendered files as they are on disk.
    pub current: Files,
    /// Our key and our requests for certificates; else why they cannot be read.
    pub identity: Result<Option<Identity>, String>,
    /// The time of looking, milliseconds since 1970.
    pub now_ms: i64,
    /// Where we are.
    pub place: Place,
}

/// The folders that are looked at in every pass, and what is remembered of them.
#[derive(Debug)]
pub struct Folders {
    declarations: Declarations,
    local: LocalFolders,
}

impl Folders {
    /// Those of `sources`.
    pub fn new(sources: &Sources) -> Self {
        Folders { declarations: Declarations::new(sources.config.clone()), local: LocalFolders::new(&sources.config) }
    }
}

/// Looks at everything once.
pub fn observe(
    store: &Mutex<Store>,
    sources: &Sources,
    place: &Place,
    rendered: &RenderedDirectory,
    folders: &mut Folders,
) -> Result<Observed, PassError> {
    // First what files declare, so that the world has it.
    let declared = folders.declarations.sync(store)?;
    let local = folders.local.read();
    let world = crate::lock(store).world()?;
    Ok(gather(world, declared, local, rendered.known(), sources, place))
}

/// Looks at everything around `world`, which need not be the one that is stored, and touches nothing.
pub fn look(world: World, sources: &Sources, place: &Place, layout: Layout) -> Result<Observed, PassError> {
    let local = LocalFolders::new(&sources.config).read();
    let mut rendered = RenderedDirectory::new(place.rendered.clone());
    rendered.set_layout(layout);
    let current = rendered.read()?;
    Ok(gather(world, Vec::new(), local, current, sources, place))
}

fn gather(
    world: World,
    declared: Vec<Problem>,
    local: LocalFiles,
    current: Files,
    sources: &Sources,
    place: &Place,
) -> Observed {
    Observed {
        declared,
        local,
        world,
        file: crate::lock(&sources.file_options).clone(),
        option_defaults: sources.option_defaults.clone(),
        overrides: overrides(&sources.templates),
        current,
        identity: identity::read(&place.identity).map_err(|error| crate::chain(&error)),
        now_ms: crate::now_ms(),
        place: place.clone(),
    }
}

fn overrides(folder: &Path) -> BTreeMap<Template, Override> {
    let read = |template: Template| {
        let path = folder.join(template.folder()).join("template.hbs");
        let text = match bounded(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(format!("cannot be read: {error}")),
            Ok(text) => Ok(text),
        };
        Some((template, Override { path: path.display().to_string(), text }))
    };
    Template::ALL.into_iter().filter_map(read).collect()
}

fn bounded(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > TEMPLATE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {TEMPLATE_BYTES_MAX} bytes")));
    }
    fs::read_to_string(path)
}
