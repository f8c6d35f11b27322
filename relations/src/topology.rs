//! Where a workload lives in Juju's world: the labels that identify it in every series and rule.

use serde_json::{Map, Value};
use thiserror::Error;
use uuid::{Uuid, Variant, Version};

/// The label and rule key of the model's name.
pub const JUJU_MODEL: &str = "juju_model";
/// The label of the model's uuid.
pub const JUJU_MODEL_UUID: &str = "juju_model_uuid";
/// The label of the application.
pub const JUJU_APPLICATION: &str = "juju_application";
/// The label of the unit.
pub const JUJU_UNIT: &str = "juju_unit";
/// The label of the charm.
pub const JUJU_CHARM: &str = "juju_charm";

/// A part of a topology is at most this long. Each goes into every job and rule, so a huge one would multiply.
pub const PART_BYTES_MAX: usize = 1024;

/// An application, or one unit of it, of one model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topology {
    model: String,
    model_uuid: String,
    application: String,
    unit: Option<String>,
    charm_name: Option<String>,
}

/// Why something is not a topology.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopologyError {
    /// A part that must be there is not, or is empty.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A part is there but not text.
    #[error("{0} is not a string")]
    NotText(&'static str),
    /// A part is longer than [`PART_BYTES_MAX`].
    #[error("{part} is {bytes} bytes long, more than {PART_BYTES_MAX}")]
    TooLong {
        /// Which part.
        part: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// The uuid is not one that Juju would make.
    #[error("model_uuid is not a lower-case version 4 uuid")]
    Uuid,
}

impl TopologyError {
    /// The part that is wrong, by its key in the metadata; `None` if the metadata as a whole is, because the part is not there.
    pub(crate) fn key(&self) -> Option<&'static str> {
        match self {
            TopologyError::Missing(_) => None,
            TopologyError::NotText(part) | TopologyError::TooLong { part, .. } => Some(part),
            TopologyError::Uuid => Some("model_uuid"),
        }
    }
}

impl Topology {
    /// The topology of an application, without unit and charm.
    pub fn new(model: &str, model_uuid: &str, application: &str) -> Result<Self, TopologyError> {
        let required = |part, text: &str| match text {
            "" => Err(TopologyError::Missing(part)),
            text => bounded(part, text),
        };
        let model = required("model", model)?;
        let application = required("application", application)?;
        if model_uuid.is_empty() {
            return Err(TopologyError::Missing("model_uuid"));
        }
        if !is_model_uuid(model_uuid) {
            return Err(TopologyError::Uuid);
        }
        Ok(Topology { model, model_uuid: model_uuid.to_owned(), application, unit: None, charm_name: None })
    }

    /// The same application, run by the charm `name`.
    pub fn with_charm(self, name: &str) -> Result<Self, TopologyError> {
        let charm_name = Some(bounded("charm_name", name)?).filter(|name| !name.is_empty());
        Ok(Topology { charm_name, ..self })
    }

    /// One unit of the application.
    pub fn with_unit(self, name: &str) -> Result<Self, TopologyError> {
        let unit = Some(bounded("unit", name)?).filter(|name| !name.is_empty());
        Ok(Topology { unit, ..self })
    }

    /// Reads the `scrape_metadata` object of a databag.
    pub fn from_metadata(metadata: &Map<String, Value>) -> Result<Self, TopologyError> {
        let part = |key: &'static str| match metadata.get(key) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(TopologyError::NotText(key)),
        };
        Topology::new(part("model")?, part("model_uuid")?, part("application")?)?
            .with_unit(part("unit")?)?
            .with_charm(part("charm_name")?)
    }

    /// The object that `scrape_metadata` holds. Parts that are unknown are null, as the charm libraries write them.
    pub fn to_metadata(&self) -> Map<String, Value> {
        let optional = |part: &Option<String>| part.clone().map_or(Value::Null, Value::String);
        Map::from_iter([
            ("model".to_owned(), Value::String(self.model.clone())),
            ("model_uuid".to_owned(), Value::String(self.model_uuid.clone())),
            ("application".to_owned(), Value::String(self.application.clone())),
            ("unit".to_owned(), optional(&self.unit)),
            ("charm_name".to_owned(), optional(&self.charm_name)),
        ])
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The model's uuid, in canonical form.
    pub fn model_uuid(&self) -> &str {
        &self.model_uuid
    }

    /// The application's name.
    pub fn application(&self) -> &str {
        &self.application
    }

    /// The unit's name, if this is the topology of a unit.
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// The charm's name, if known.
    pub fn charm_name(&self) -> Option<&str> {
        self.charm_name.as_deref()
    }

    /// `{model}_{first 8 of the uuid}_{application}`, every `/` made `_`: the stem of job, group and file names.
    pub fn identifier(&self) -> String {
        format!("{}_{}_{}", self.model, &self.model_uuid[..8], self.application).replace('/', "_")
    }

    /// The labels of the application in the order the libraries write them: model, uuid, application, and charm if known.
    /// Never the unit: it is different for every target.
    pub fn labels(&self) -> Vec<(&'static str, &str)> {
        let mut labels = vec![
            (JUJU_MODEL, self.model.as_str()),
            (JUJU_MODEL_UUID, self.model_uuid.as_str()),
            (JUJU_APPLICATION, self.application.as_str()),
        ];
        labels.extend(self.charm_name.as_deref().map(|name| (JUJU_CHARM, name)));
        labels
    }
}

/// Whether `text` is a uuid as Juju makes them: canonical, lower case, random (version 4).
pub fn is_model_uuid(text: &str) -> bool {
    let canonical = |uuid: &Uuid| uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text;
    Uuid::try_parse(text).is_ok_and(|uuid| {
        uuid.get_version() == Some(Version::Random) && uuid.get_variant() == Variant::RFC4122 && canonical(&uuid)
    })
}

fn bounded(part: &'static str, text: &str) -> Result<String, TopologyError> {
    match text.len() {
        bytes if bytes > PART_BYTES_MAX => Err(TopologyError::TooLong { part, bytes }),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uuid: &str, expected: bool) {
        assert_eq!(is_model_uuid(uuid), expected, "{uuid}");
    }

    #[test]
    fn uuids() {
        check("12de4fae-06cc-4ceb-9089-567be09fec78", true);
        check("12DE4FAE-06CC-4CEB-9089-567BE09FEC78", false);
        check("12de4fae06cc4ceb9089567be09fec78", false);
        check("12345678-1234-1234-1234-123456789012", false);
        check("12de4fae-06cc-4ceb-c089-567be09fec78", false);
        check("{12de4fae-06cc-4ceb-9089-567be09fec78}", false);
        check("", false);
    }

    #[test]
    fn identifier_holds_no_slash() {
        let topology = Topology::new("m/1", "12de4fae-06cc-4ceb-9089-567be09fec78", "a").expect("a topology");
        assert_eq!(topology.identifier(), "m_1_12de4fae_a");
    }
}
