//! The syntax from outside: by properties, at its bounds; against corpora in `tests/corpora`.

mod bounds;
mod printing;
mod properties;
mod rewriting;
mod stable;

pub(crate) use stable::{check_stable, read};
