//! The units of the other side and where they can be reached.

use crate::bag::{self, Databag, Relation};
use crate::name::UnitName;
use crate::problem::Problem;

/// Key of the address in a unit's databag.
pub const UNIT_ADDRESS: &str = "prometheus_scrape_unit_address";
/// Key of what a unit calls itself.
pub const UNIT_NAME: &str = "prometheus_scrape_unit_name";
const UNIT_PATH: &str = "prometheus_scrape_unit_path";
const UNIT_FQDN: &str = "prometheus_scrape_unit_fqdn";
/// Written instead of [`UNIT_ADDRESS`] by libraries of long ago.
const LEGACY_HOST: &str = "prometheus_scrape_host";

/// Longer values are refused: each goes into every job of its unit.
const PART_BYTES_MAX: usize = 2048;

/// A unit that can be scraped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// The unit's own name; across models it is not the one the controller gave it.
    pub(super) unit: String,
    /// Its address or host name.
    pub(super) address: String,
    /// What comes before the metrics path; empty when the unit is reached directly.
    pub(super) path: String,
    /// Its full host name, if the peer says so; a target may name the unit by it.
    pub(super) fqdn: String,
}

impl Host {
    /// The unit's number, as text: what comes after the last `/`.
    pub(super) fn number(&self) -> &str {
        self.unit.rsplit('/').next().unwrap_or_default()
    }
}

/// The units that have published an address, in natural order. A unit that has not is not there yet, which is no problem.
pub(super) fn hosts(relation: &Relation) -> (Vec<Host>, Vec<Problem>) {
    let mut hosts: Vec<Host> = Vec::new();
    let mut problems = Vec::new();
    for (unit, bag) in &relation.remote.units {
        match host(unit, bag) {
            Ok(None) => {}
            Ok(Some(host)) if hosts.iter().any(|other| other.unit == host.unit) => {
                problems.push(Problem::new("another unit has the same name").key(UNIT_NAME).unit(unit));
            }
            Ok(Some(host)) => hosts.push(host),
            Err(problem) => problems.push(problem.unit(unit)),
        }
    }
    (hosts, problems)
}

/// Which key of a unit's databag has its address.
pub(super) fn address_key(bag: &Databag) -> &'static str {
    if bag::value(bag, UNIT_ADDRESS).unwrap_or_default().is_empty() { LEGACY_HOST } else { UNIT_ADDRESS }
}

/// The unit, if it says where it is.
pub(super) fn host(unit: &UnitName, bag: &Databag) -> Result<Option<Host>, Problem> {
    let part = |key: &'static str| match bag::value(bag, key).unwrap_or_default() {
        text if text.len() > PART_BYTES_MAX => {
            Err(Problem::new(format!("value is {} bytes long, more than {PART_BYTES_MAX}", text.len())).key(key))
        }
        text => Ok(text),
    };
    let (address, key) = match part(UNIT_ADDRESS)? {
        "" => (part(LEGACY_HOST)?, LEGACY_HOST),
        address => (address, UNIT_ADDRESS),
    };
    if address.is_empty() {
        return Ok(None);
    }
    if address.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
        return Err(Problem::new("value is neither an address nor a host name").key(key));
    }
    let name = part(UNIT_NAME)?;
    Ok(Some(Host {
        unit: if name.is_empty() { unit.to_string() } else { name.to_owned() },
        address: address.to_owned(),
        path: part(UNIT_PATH)?.to_owned(),
        fqdn: part(UNIT_FQDN)?.to_owned(),
    }))
}
