//! Filling a template with data.

use std::rc::Rc;

use super::functions::Function;
use super::value::Value;
use super::{Command, Node, Operand, Pipeline, Program, Query, TemplateData, TemplateError, VARIABLES};

/// The longest text a template may make, in bytes.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// How many nodes may be visited and values made; a value counts once more for every [`BYTES_PER_STEP`] it holds.
const STEPS_MAX: usize = 1 << 20;
const BYTES_PER_STEP: usize = 16;

/// How deep nodes may be nested while they run, over all templates that call each other: each level takes stack.
const DEPTH_MAX: usize = 250;

/// Fills `program`.
pub(super) fn render(
    program: &Program,
    data: &TemplateData<'_>,
    query: Option<&dyn Query>,
) -> Result<String, TemplateError> {
    // Most labels are plain text.
    if let [Node::Text(text)] = &program.main[..] {
        return Ok(text.clone());
    }
    let all = (data.labels.clone(), data.external_labels.clone(), data.external_url.to_owned(), data.value);
    let dot = Value::Data(Rc::new(all));
    let values = [
        dot.clone(),
        Value::Labels(data.labels.clone()),
        Value::Labels(data.external_labels.clone()),
        Value::string(data.external_url),
        Value::Float(data.value),
    ];
    let variables = VARIABLES.into_iter().zip(values).collect();
    let mut state =
        State { program, around: Around { data, query }, out: String::new(), variables, steps: 0, depth: 0 };
    state.walk(&program.main, &dot)?;
    Ok(state.out)
}

/// What functions can see besides their arguments.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) data: &'a TemplateData<'a>,
    pub(super) query: Option<&'a dyn Query>,
}

struct State<'a> {
    program: &'a Program,
    around: Around<'a>,
    out: String,
    /// The innermost last.
    variables: Vec<(&'a str, Value)>,
    steps: usize,
    depth: usize,
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl<'a> State<'a> {
    /// Counts `n` steps.
    fn step(&mut self, line: u64, n: usize) -> Result<(), TemplateError> {
        self.steps = self.steps.saturating_add(n);
        if self.steps > STEPS_MAX {
            return Err(TemplateError::invalid(line, "the template takes too many steps"));
        }
        Ok(())
    }

    fn write(&mut self, text: &str, line: u64) -> Result<(), TemplateError> {
        self.out.push_str(text);
        if self.out.len() > OUTPUT_BYTES_MAX {
            return Err(TemplateError::invalid(line, format!("the text is longer than {OUTPUT_BYTES_MAX} bytes")));
        }
        Ok(())
    }

    /// Counts a level; the caller takes it off again.
    fn deeper(&mut self, line: u64) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(TemplateError::invalid(line, format!("exceeded maximum template depth ({DEPTH_MAX})")));
        }
        Ok(())
    }

    fn walk(&mut self, nodes: &'a [Node], dot: &Value) -> Result<Flow, TemplateError> {
        self.deeper(1)?;
        let flow = self.nodes(nodes, dot)?;
        self.depth -= 1;
        Ok(flow)
    }

    fn nodes(&mut self, nodes: &'a [Node], dot: &Value) -> Result<Flow, TemplateError> {
        for node in nodes {
            match node {
                Node::Text(text) => {
                    self.step(1, 1)?;
                    self.write(text, 1)?;
                }
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.write(&value.to_string(), pipeline.line)?;
                    }
                }
                Node::If { condition, then, otherwise } => {
                    let mark = self.variables.len();
                    let branch = if self.pipeline(condition, dot)?.is_true() { then } else { otherwise };
                    let flow = self.walk(branch, dot)?;
                    self.variables.truncate(mark);
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::With { subject, then, otherwise } => {
                    let mark = self.variables.len();
                    let value = self.pipeline(subject, dot)?;
                    let flow = if value.is_true() { self.walk(then, &value)? } else { self.walk(otherwise, dot)? };
                    self.variables.truncate(mark);
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::Range { over, each, otherwise } => {
                    let flow = self.range(over, each, otherwise, dot)?;
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::Template { line, name, data } => self.call(*line, name, data.as_ref(), dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::Next)
    }

    fn range(
        &mut self,
        over: &'a Pipeline,
        each: &'a [Node],
        otherwise: &'a [Node],
        dot: &Value,
    ) -> Result<Flow, TemplateError> {
        let outside = self.variables.len();
        let value = self.pipeline(over, dot)?;
        let counted = |items: Vec<Value>| -> Vec<(Value, Value)> { (0..).map(Value::Integer).zip(items).collect() };
        let items: Vec<(Value, Value)> = match value {
            Value::Nil => Vec::new(),
            Value::Samples(samples) => counted(samples.borrow().iter().cloned().map(Value::Sample).collect()),
            Value::Labels(labels) => {
                labels.iter().map(|(name, value)| (Value::string(name), Value::string(value))).collect()
            }
            Value::Map(map) => map.iter().map(|(name, value)| (Value::string(name.as_str()), value.clone())).collect(),
            Value::Integer(number) if over.variables.len() < 2 => {
                let n = usize::try_from(number).unwrap_or(0);
                self.step(over.line, n)?;
                (0..number.max(0)).map(|i| (Value::Nil, Value::Integer(i))).collect()
            }
            Value::Integer(number) => {
                let message = format!("can't use {number} to iterate over more than one variable");
                return Err(TemplateError::invalid(over.line, message));
            }
            other => {
                return Err(TemplateError::invalid(over.line, format!("range can't iterate over {other}")));
            }
        };
        let inside = self.variables.len();
        if items.is_empty() {
            let flow = self.walk(otherwise, dot)?;
            self.variables.truncate(outside);
            return Ok(flow);
        }
        for (index, item) in items {
            match (&over.variables[..], over.is_assignment) {
                ([], _) => {}
                ([name], true) => self.assign(name, item.clone(), over.line)?,
                ([first, second, ..], true) => {
                    self.assign(first, index, over.line)?;
                    self.assign(second, item.clone(), over.line)?;
                }
                // Declared variables are the last ones, in the order of their names.
                ([_], false) => self.variables[inside - 1].1 = item.clone(),
                (_, false) => {
                    self.variables[inside - 1].1 = item.clone();
                    self.variables[inside - 2].1 = index;
                }
            }
            let flow = self.walk(each, &item)?;
            self.variables.truncate(inside);
            if flow == Flow::Break {
                break;
            }
        }
        self.variables.truncate(outside);
        Ok(Flow::Next)
    }

    /// Runs another template, which sees its own data only.
    fn call(&mut self, line: u64, name: &'a str, data: Option<&'a Pipeline>, dot: &Value) -> Result<(), TemplateError> {
        let Some(nodes) = self.program.defined.get(name) else {
            return Err(TemplateError::invalid(line, format!("template \"{name}\" not defined")));
        };
        let mark = self.variables.len();
        let dot = match data {
            Some(data) => self.pipeline(data, dot)?,
            None => Value::Nil,
        };
        self.variables.truncate(mark);
        let variables = std::mem::replace(&mut self.variables, vec![("", dot.clone())]);
        self.walk(nodes, &dot)?;
        self.variables = variables;
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Value, line: u64) -> Result<(), TemplateError> {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, place)) => {
                *place = value;
                Ok(())
            }
            None => Err(TemplateError::invalid(line, format!("undefined variable: ${name}"))),
        }
    }

    fn pipeline(&mut self, pipeline: &'a Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut piped = None;
        for command in &pipeline.commands {
            let value = self.command(command, piped, dot)?;
            self.step(command.line, 1 + value.weight() / BYTES_PER_STEP)?;
            piped = Some(value);
        }
        let value = piped.expect("a pipeline has at least one command");
        for name in &pipeline.variables {
            if pipeline.is_assignment {
                self.assign(name, value.clone(), pipeline.line)?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, command: &'a Command, piped: Option<Value>, dot: &Value) -> Result<Value, TemplateError> {
        let line = command.line;
        let (first, rest) = command.operands.split_first().expect("a command has at least one operand");
        match first {
            Operand::Function(function) => self.function(*function, rest, piped, line, dot),
            Operand::Nil => Err(TemplateError::invalid(line, "nil is not a command")),
            first => {
                let mut arguments = self.operands(rest, line, dot)?;
                arguments.extend(piped);
                let (value, fields) = self.base(first, line, dot)?;
                if fields.is_empty() && !arguments.is_empty() {
                    let message = format!("can't give argument to non-function {value}");
                    return Err(TemplateError::invalid(line, message));
                }
                descend(value, fields, &arguments).map_err(|message| TemplateError::invalid(line, message))
            }
        }
    }

    fn function(
        &mut self,
        function: Function,
        operands: &'a [Operand],
        piped: Option<Value>,
        line: u64,
        dot: &Value,
    ) -> Result<Value, TemplateError> {
        let failed = |message| TemplateError::invalid(line, message);
        if !matches!(function, Function::And | Function::Or) {
            let mut arguments = self.operands(operands, line, dot)?;
            arguments.extend(piped);
            return function.call(arguments, &self.around).map_err(failed);
        }
        // These two look at their arguments only as far as they have to.
        let mut last = None;
        for operand in operands {
            let value = self.operand(operand, line, dot)?;
            if value.is_true() == (function == Function::Or) {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| failed(format!("wrong number of args for {function}: want at least 1 got 0")))
    }

    fn operands(&mut self, operands: &'a [Operand], line: u64, dot: &Value) -> Result<Vec<Value>, TemplateError> {
        operands.iter().map(|operand| self.operand(operand, line, dot)).collect()
    }

    fn operand(&mut self, operand: &'a Operand, line: u64, dot: &Value) -> Result<Value, TemplateError> {
        let (value, fields) = self.base(operand, line, dot)?;
        descend(value, fields, &[]).map_err(|message| TemplateError::invalid(line, message))
    }

    /// What an operand begins with, and the fields to follow from there.
    fn base(&mut self, operand: &'a Operand, line: u64, dot: &Value) -> Result<(Value, &'a [String]), TemplateError> {
        let value = match operand {
            Operand::String(text) => Value::string(text.as_str()),
            Operand::Integer(number) => Value::Integer(*number),
            Operand::Overflow(text) => return Err(TemplateError::invalid(line, format!("{text} overflows int"))),
            Operand::Float(number) => Value::Float(*number),
            Operand::Bool(value) => Value::Bool(*value),
            Operand::Nil => Value::Nil,
            Operand::Dot(fields) => return Ok((dot.clone(), fields)),
            Operand::Variable(name, fields) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) =
                    found.ok_or_else(|| TemplateError::invalid(line, format!("undefined variable: ${name}")))?;
                return Ok((value.clone(), fields));
            }
            Operand::Function(function) => self.function(*function, &[], None, line, dot)?,
            Operand::Parenthesis(pipeline, fields) => {
                self.deeper(line)?;
                let value = self.pipeline(pipeline, dot)?;
                self.depth -= 1;
                return Ok((value, fields));
            }
        };
        Ok((value, &[]))
    }
}

/// Follows `fields` from `value`; the last one may be a method, which gets the arguments. The error is Go's text.
fn descend(mut value: Value, fields: &[String], arguments: &[Value]) -> Result<Value, String> {
    for (at, field) in fields.iter().enumerate() {
        let arguments = if at + 1 == fields.len() { arguments } else { &[] };
        let method = match &value {
            Value::Time(time) => time.method(field, arguments),
            Value::Duration(duration) => duration.method(field, arguments),
            _ => None,
        };
        if let Some(result) = method {
            value = result?;
            continue;
        }
        let name = field.as_str();
        let found = match (&value, name) {
            (Value::Nil, _) => Some(Value::Nil),
            (Value::Labels(labels), name) => Some(Value::string(labels.value(name))),
            (Value::Map(map), name) => Some(map.get(name).cloned().unwrap_or(Value::Nil)),
            (Value::Data(data), "Labels") => Some(Value::Labels(data.0.clone())),
            (Value::Data(data), "ExternalLabels") => Some(Value::Labels(data.1.clone())),
            (Value::Data(data), "ExternalURL") => Some(Value::string(data.2.as_str())),
            (Value::Data(data), "Value") => Some(Value::Float(data.3)),
            (Value::Sample(sample), "Labels") => Some(Value::Labels(sample.labels.clone())),
            (Value::Sample(sample), "Value") => Some(Value::Float(sample.value)),
            _ => None,
        };
        value = match found {
            Some(_) if !arguments.is_empty() => return Err(format!("{name} is not a method but has arguments")),
            Some(found) => found,
            None => return Err(format!("can't evaluate field {name} in type {}", value.type_name())),
        };
    }
    Ok(value)
}
