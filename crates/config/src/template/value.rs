//! What operands and results are, and how Go prints them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use relatum_model::Labels;

use super::QuerySample;
use super::format::float_g;
use super::time::{GoDuration, GoTime};

/// The value of an operand or a command.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Go's untyped nothing.
    Nil,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(Rc<str>),
    /// `map[string]string`
    Labels(Labels),
    /// What `args` makes: `map[string]any`
    Map(Rc<BTreeMap<String, Value>>),
    /// What `query` gives. `sortByLabel` sorts it in place, so all that hold it see the new order.
    Samples(Rc<RefCell<Vec<Rc<QuerySample>>>>),
    Sample(Rc<QuerySample>),
    Time(GoTime),
    Duration(GoDuration),
    /// The data of the alert: labels, external labels, external URL, value.
    Data(Rc<(Labels, Labels, String, f64)>),
}

impl Value {
    pub(super) fn string(text: impl Into<Rc<str>>) -> Self {
        Value::String(text.into())
    }

    /// Go's name of the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "<nil>",
            Value::Bool(_) => "bool",
            Value::Integer(_) => "int",
            Value::Float(_) => "float64",
            Value::String(_) => "string",
            Value::Labels(_) => "map[string]string",
            Value::Map(_) => "map[string]interface {}",
            Value::Samples(_) => "template.queryResult",
            Value::Sample(_) => "*template.sample",
            Value::Time(_) => "*time.Time",
            Value::Duration(_) => "*time.Duration",
            Value::Data(_) => {
                "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }"
            }
        }
    }

    /// Go's idea of a value that counts as true: not zero, not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(value) => *value,
            Value::Integer(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::String(text) => !text.is_empty(),
            Value::Labels(labels) => !labels.is_empty(),
            Value::Map(map) => !map.is_empty(),
            Value::Samples(samples) => !samples.borrow().is_empty(),
            Value::Sample(_) | Value::Time(_) | Value::Duration(_) | Value::Data(_) => true,
        }
    }

    /// How many bytes holding or printing it takes, roughly; what work is measured by.
    pub(super) fn weight(&self) -> usize {
        match self {
            Value::String(text) => text.len(),
            Value::Samples(samples) => samples.borrow().len() * 64,
            Value::Map(map) => map.len() * 64,
            _ => 0,
        }
    }
}

/// As Go's `%v`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nil => f.write_str("<no value>"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Float(number) => f.write_str(&float_g(*number, None)),
            Value::String(text) => f.write_str(text),
            Value::Labels(labels) => write_map(f, labels.iter()),
            Value::Map(map) => {
                let shown =
                    |value: &Value| if matches!(value, Value::Nil) { "<nil>".to_owned() } else { value.to_string() };
                write_map(f, map.iter().map(|(name, value)| (name, shown(value))))
            }
            // Go prints where the samples are in its memory, which says nothing.
            Value::Samples(samples) => {
                f.write_str("[")?;
                for (index, sample) in samples.borrow().iter().enumerate() {
                    write!(f, "{}{}", if index > 0 { " " } else { "" }, Value::Sample(Rc::clone(sample)))?;
                }
                f.write_str("]")
            }
            Value::Sample(sample) => {
                f.write_str("{")?;
                write_map(f, sample.labels.iter())?;
                write!(f, " {}}}", float_g(sample.value, None))
            }
            Value::Time(time) => write!(f, "{time}"),
            Value::Duration(duration) => write!(f, "{duration}"),
            Value::Data(data) => {
                let (labels, external_labels, external_url, value) = &**data;
                f.write_str("{")?;
                write_map(f, labels.iter())?;
                f.write_str(" ")?;
                write_map(f, external_labels.iter())?;
                write!(f, " {external_url} {}}}", float_g(*value, None))
            }
        }
    }
}

fn write_map<N: fmt::Display, V: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    pairs: impl Iterator<Item = (N, V)>,
) -> fmt::Result {
    f.write_str("map[")?;
    for (index, (name, value)) in pairs.enumerate() {
        write!(f, "{}{name}:{value}", if index > 0 { " " } else { "" })?;
    }
    f.write_str("]")
}
