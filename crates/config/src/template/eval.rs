//! Filling a template with data.

use std::fmt;

use relatum_model::Labels;

use super::functions::Function;
use super::{Command, Node, Operand, Pipeline, TemplateData, TemplateError, Variable, format};

/// The longest text a template may make, in bytes.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// What an operand or a command is.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    String(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Labels(&'a Labels),
    /// `.`: all of the data.
    Data,
    Nil,
}

impl Value<'_> {
    /// Go's name of the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::String(_) => "string",
            Value::Integer(_) => "int",
            Value::Float(_) => "float64",
            Value::Bool(_) => "bool",
            Value::Labels(_) => "map[string]string",
            Value::Data => "struct",
            Value::Nil => "<nil>",
        }
    }

    /// Go's idea of a value that counts as true: not zero, not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::String(text) => !text.is_empty(),
            Value::Integer(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Bool(value) => *value,
            Value::Labels(labels) => !labels.is_empty(),
            Value::Data => true,
            Value::Nil => false,
        }
    }
}

/// As Go's `%v`.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::String(text) => f.write_str(text),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Float(number) => f.write_str(&format::float_g(*number, None)),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Labels(labels) => {
                f.write_str("map[")?;
                for (index, (name, value)) in labels.iter().enumerate() {
                    write!(f, "{}{name}:{value}", if index > 0 { " " } else { "" })?;
                }
                f.write_str("]")
            }
            Value::Data | Value::Nil => f.write_str("<no value>"),
        }
    }
}

pub(super) fn render(nodes: &[Node], data: &TemplateData<'_>) -> Result<String, TemplateError> {
    // Most labels are plain text.
    if let [Node::Text(text)] = nodes {
        return Ok(text.clone());
    }
    let mut out = String::new();
    render_into(&mut out, nodes, data)?;
    Ok(out)
}

fn render_into(out: &mut String, nodes: &[Node], data: &TemplateData<'_>) -> Result<(), TemplateError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Action(pipeline) => {
                let value = evaluate(pipeline, data)?;
                if matches!(value, Value::Data) {
                    let all = format!(
                        "{{{} {} {} {}}}",
                        Value::Labels(data.labels),
                        Value::Labels(data.external_labels),
                        data.external_url,
                        Value::Float(data.value)
                    );
                    out.push_str(&all);
                } else {
                    out.push_str(&value.to_string());
                }
            }
            Node::If { condition, then, otherwise } => {
                let branch = if evaluate(condition, data)?.is_true() { then } else { otherwise };
                render_into(out, branch, data)?;
            }
        }
        if out.len() > OUTPUT_BYTES_MAX {
            return Err(TemplateError::invalid(1, format!("the text is longer than {OUTPUT_BYTES_MAX} bytes")));
        }
    }
    Ok(())
}

fn evaluate<'a>(pipeline: &Pipeline, data: &TemplateData<'a>) -> Result<Value<'a>, TemplateError> {
    let mut piped = None;
    for command in &pipeline.commands {
        piped = Some(run(command, piped, data)?);
    }
    Ok(piped.expect("a pipeline has at least one command"))
}

fn run<'a>(command: &Command, piped: Option<Value<'a>>, data: &TemplateData<'a>) -> Result<Value<'a>, TemplateError> {
    let line = command.line;
    let (first, rest) = command.operands.split_first().expect("a command has at least one operand");
    let Operand::Function(function) = first else {
        let value = operand(first, line, data)?;
        if !rest.is_empty() || piped.is_some() {
            return Err(TemplateError::invalid(line, format!("can't give argument to non-function {value}")));
        }
        return Ok(value);
    };
    match function {
        // These two look at their arguments only as far as they have to.
        Function::And | Function::Or => {
            let mut last = None;
            for argument in rest {
                let value = operand(argument, line, data)?;
                if value.is_true() == (*function == Function::Or) {
                    return Ok(value);
                }
                last = Some(value);
            }
            let missing =
                || TemplateError::invalid(line, format!("wrong number of args for {function}: want at least 1 got 0"));
            piped.or(last).ok_or_else(missing)
        }
        function => {
            let mut arguments =
                rest.iter().map(|argument| operand(argument, line, data)).collect::<Result<Vec<_>, _>>()?;
            arguments.extend(piped);
            function.call(arguments, data).map_err(|message| TemplateError::invalid(line, message))
        }
    }
}

fn operand<'a>(operand: &Operand, line: u64, data: &TemplateData<'a>) -> Result<Value<'a>, TemplateError> {
    match operand {
        Operand::String(text) => Ok(Value::String(text.clone())),
        Operand::Integer(number) => Ok(Value::Integer(*number)),
        Operand::Float(number) => Ok(Value::Float(*number)),
        Operand::Bool(value) => Ok(Value::Bool(*value)),
        Operand::Nil => Ok(Value::Nil),
        Operand::Data(fields) => descend(Value::Data, fields, line, data),
        Operand::Variable(name, fields) => {
            let value = match name {
                Variable::Labels => Value::Labels(data.labels),
                Variable::ExternalLabels => Value::Labels(data.external_labels),
                Variable::ExternalUrl => Value::String(data.external_url.to_owned()),
                Variable::Value => Value::Float(data.value),
            };
            descend(value, fields, line, data)
        }
        Operand::Function(function) => {
            function.call(Vec::new(), data).map_err(|message| TemplateError::invalid(line, message))
        }
        Operand::Parenthesis(pipeline, fields) => descend(evaluate(pipeline, data)?, fields, line, data),
    }
}

/// Follows `fields` from `value`.
fn descend<'a>(
    mut value: Value<'a>,
    fields: &[String],
    line: u64,
    data: &TemplateData<'a>,
) -> Result<Value<'a>, TemplateError> {
    for field in fields {
        value = match (&value, field.as_str()) {
            (Value::Labels(labels), name) => Value::String(labels.value(name).to_owned()),
            (Value::Data, "Labels") => Value::Labels(data.labels),
            (Value::Data, "ExternalLabels") => Value::Labels(data.external_labels),
            (Value::Data, "ExternalURL") => Value::String(data.external_url.to_owned()),
            (Value::Data, "Value") => Value::Float(data.value),
            (Value::Data, name) => {
                let message = format!("can't evaluate field {name} in the data of an alert");
                return Err(TemplateError::invalid(line, message));
            }
            (other, name) => {
                let message = format!("can't evaluate field {name} in type {}", other.type_name());
                return Err(TemplateError::invalid(line, message));
            }
        };
    }
    Ok(value)
}
