//! What operators write into files beside `relatum.yaml`: relations, scrape configurations, rules.
//!
//! `relations.d/*.yaml` become relations in the state store ([`relations`]), which from there on are like all others but that only
//! their file can change them. `scrape.d/*.yml` and `rules.d/*` are taken as they are into the rendered set ([`local`]). A file that
//! cannot be understood changes nothing: what it said before stays. [`folder`] reads folders and remembers what has not changed.

pub mod file;
pub mod folder;
pub mod local;
pub mod relations;

/// The folders, by what they hold, below the config directory.
pub const RELATIONS: &str = "relations.d";
/// See [`RELATIONS`].
pub const SCRAPES: &str = "scrape.d";
/// See [`RELATIONS`].
pub const RULES: &str = "rules.d";
