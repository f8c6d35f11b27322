//! Relations and their databags, as they stand at one moment.

use std::collections::BTreeMap;
use std::fmt;

use crate::name::UnitName;

/// One databag. An empty value is the same as no key: writing one deletes the key.
pub type Databag = BTreeMap<String, String>;

/// One relation between two endpoints, seen from one of its sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The relation's number, unique in the model.
    pub id: u64,
    /// The name of the endpoint on our side.
    pub endpoint: String,
    /// The name of the interface both endpoints speak.
    pub interface: String,
    /// Our side: what we published, or are about to.
    pub local: Side,
    /// The other side: what we read.
    pub remote: Side,
}

/// What one side of a relation has put into its databags.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Side {
    /// The application's name. In a relation across models this is the name the controller gave it.
    pub application: String,
    /// The application's databag, written by its leader.
    pub app_bag: Databag,
    /// The databag of each unit that is in the relation now, in natural order of the units.
    pub units: BTreeMap<UnitName, Databag>,
}

impl Side {
    /// A side of `application` that has no units and has published nothing yet.
    pub fn new(application: impl Into<String>) -> Self {
        Side { application: application.into(), ..Side::default() }
    }
}

/// Shows the keys and how long their values are: values may hold passwords and private keys.
impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn lengths(bag: &Databag) -> BTreeMap<&str, usize> {
            bag.iter().map(|(key, value)| (key.as_str(), value.len())).collect()
        }
        let units: BTreeMap<_, _> = self.units.iter().map(|(unit, bag)| (unit.to_string(), lengths(bag))).collect();
        f.debug_struct("Side")
            .field("application", &self.application)
            .field("app_bag_bytes", &lengths(&self.app_bag))
            .field("unit_bag_bytes", &units)
            .finish()
    }
}

/// The value of `key`, or `None` if it is missing or empty, which in a databag means the same.
pub fn value<'a>(bag: &'a Databag, key: &str) -> Option<&'a str> {
    bag.get(key).map(String::as_str).filter(|text| !text.is_empty())
}
