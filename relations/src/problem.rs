//! What was wrong with a relation, and where.

use std::fmt;

use crate::bag::Relation;
use crate::hint;
use crate::name::UnitName;
use crate::place::Place;

/// A longer path is cut.
const PATH_CHARACTERS_MAX: usize = 200;

/// A part of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inside {
    /// The path, such as `[0].tls_config`; empty for the value as a whole.
    pub path: String,
    /// How many characters into the text at `path`, which is a string; 0 is the string as a whole.
    pub character: usize,
    /// Where that stands in the value's text.
    pub place: Option<Place>,
}

/// A part of a relation that was left out, and why.
///
/// The fields are the place, from the outside in; what is `None` has no such place. Values of the databag are never part of the
/// text, because they may be secrets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    /// Endpoint on our side and id of the relation.
    pub relation: Option<(String, u64)>,
    /// The remote unit whose databag it is; `None` for the application's databag.
    pub unit: Option<String>,
    /// The key in the databag.
    pub key: Option<String>,
    /// Where inside the value; `None` when the value as a whole is meant. Boxed, because most results have no problem to carry.
    pub inside: Option<Box<Inside>>,
    /// What is wrong, naming the job, group or rule.
    pub message: Box<str>,
    /// What to do about it, when we know.
    pub hint: Option<Box<str>>,
}

impl Problem {
    /// A problem that is not tied to a relation yet.
    pub fn new(message: impl Into<String>) -> Self {
        Problem { relation: None, unit: None, key: None, inside: None, message: message.into().into(), hint: None }
    }

    /// The same problem, found in `relation`. Without advice of its own it gets that for faults of its kind.
    pub fn relation(mut self, relation: &Relation) -> Self {
        self.relation = Some((relation.endpoint.clone(), relation.id));
        if let (None, Some(key)) = (&self.hint, &self.key) {
            let path = self.inside.as_ref().map_or("", |inside| &inside.path);
            self.hint = hint::hint(&relation.interface, key, path, &self.message).map(Into::into);
        }
        self
    }

    /// The same problem, found in the databag of `unit`.
    pub fn unit(mut self, unit: &UnitName) -> Self {
        self.unit = Some(unit.to_string());
        self
    }

    /// The same problem, found under `key`.
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// The same problem, found at `path` inside the value. A path made of a peer's names is cut.
    pub fn path(mut self, path: &str) -> Self {
        let path: String = path.trim_start_matches('.').chars().take(PATH_CHARACTERS_MAX).collect();
        if !path.is_empty() {
            self.inside.get_or_insert_default().path = path;
        }
        self
    }

    /// The same problem, found `character` characters into the string that is at its path.
    pub fn character(mut self, character: usize) -> Self {
        self.inside.get_or_insert_default().character = character;
        self
    }

    /// The same problem, found at `place` of the value's text.
    pub fn place(mut self, place: Place) -> Self {
        self.inside.get_or_insert_default().place = Some(place);
        self
    }

    /// The same problem, with advice.
    pub fn hint(mut self, hint: impl Into<Box<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// `endpoint:id unit key.path line:column: message (hint)`, leaving out what there is not.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut place = Vec::new();
        if let Some((endpoint, id)) = &self.relation {
            place.push(format!("{endpoint}:{id}"));
        }
        place.extend(self.unit.clone());
        let inside = self.inside.as_deref().cloned().unwrap_or_default();
        let path = &inside.path;
        let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
        place.extend(self.key.as_ref().map(|key| format!("{key}{dot}{path}")));
        place.extend(inside.place.map(|place| format!("{}:{}", place.line, place.column)));
        if !place.is_empty() {
            write!(f, "{}: ", place.join(" "))?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}
