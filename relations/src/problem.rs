//! What was wrong with a relation, and where.

use std::fmt;

use crate::bag::Relation;
use crate::name::UnitName;

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
    /// What is wrong, naming the job, group or rule.
    pub message: String,
    /// What to do about it, when we know.
    pub hint: Option<Box<str>>,
}

impl Problem {
    /// A problem that is not tied to a relation yet.
    pub fn new(message: impl Into<String>) -> Self {
        Problem { relation: None, unit: None, key: None, message: message.into(), hint: None }
    }

    /// The same problem, found in `relation`.
    pub fn relation(mut self, relation: &Relation) -> Self {
        self.relation = Some((relation.endpoint.clone(), relation.id));
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

    /// The same problem, with advice.
    pub fn hint(mut self, hint: impl Into<Box<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// `endpoint:id unit key: message (hint)`, leaving out what there is not.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut place = Vec::new();
        if let Some((endpoint, id)) = &self.relation {
            place.push(format!("{endpoint}:{id}"));
        }
        place.extend(self.unit.clone());
        place.extend(self.key.clone());
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
