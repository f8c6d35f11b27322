//! The functions of the language: Prometheus' own and those of Go's templates.

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use relatum_model::text::{quote, to_lower, to_upper};
use relatum_model::time::parse_duration;

use super::TemplateData;
use super::eval::Value;
use super::format::{float_g, sprintf};
use super::humanize::{humanize, humanize_1024, humanize_duration, humanize_timestamp};

/// A function that can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Humanize,
    Humanize1024,
    HumanizeDuration,
    HumanizePercentage,
    HumanizeTimestamp,
    ParseDuration,
    Title,
    ToUpper,
    ToLower,
    StripPort,
    StripDomain,
    UrlQueryEscape,
    GraphLink,
    TableLink,
    ExternalUrl,
    PathPrefix,
    SafeHtml,
    Printf,
    Print,
    Println,
    Index,
    Len,
    And,
    Or,
    Not,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const FUNCTIONS: [(&str, Function, Arity); 32] = [
    ("humanize", Function::Humanize, Arity::Exactly(1)),
    ("humanize1024", Function::Humanize1024, Arity::Exactly(1)),
    ("humanizeDuration", Function::HumanizeDuration, Arity::Exactly(1)),
    ("humanizePercentage", Function::HumanizePercentage, Arity::Exactly(1)),
    ("humanizeTimestamp", Function::HumanizeTimestamp, Arity::Exactly(1)),
    ("parseDuration", Function::ParseDuration, Arity::Exactly(1)),
    ("title", Function::Title, Arity::Exactly(1)),
    ("toUpper", Function::ToUpper, Arity::Exactly(1)),
    ("toLower", Function::ToLower, Arity::Exactly(1)),
    ("stripPort", Function::StripPort, Arity::Exactly(1)),
    ("stripDomain", Function::StripDomain, Arity::Exactly(1)),
    ("urlQueryEscape", Function::UrlQueryEscape, Arity::Exactly(1)),
    ("urlquery", Function::UrlQueryEscape, Arity::Exactly(1)),
    ("graphLink", Function::GraphLink, Arity::Exactly(1)),
    ("tableLink", Function::TableLink, Arity::Exactly(1)),
    ("externalURL", Function::ExternalUrl, Arity::Exactly(0)),
    ("pathPrefix", Function::PathPrefix, Arity::Exactly(0)),
    // Only matters in pages, and an alert's text is none.
    ("safeHtml", Function::SafeHtml, Arity::Exactly(1)),
    ("printf", Function::Printf, Arity::AtLeast(1)),
    ("print", Function::Print, Arity::AtLeast(0)),
    ("println", Function::Println, Arity::AtLeast(0)),
    ("index", Function::Index, Arity::Exactly(2)),
    ("len", Function::Len, Arity::Exactly(1)),
    ("and", Function::And, Arity::AtLeast(1)),
    ("or", Function::Or, Arity::AtLeast(1)),
    ("not", Function::Not, Arity::Exactly(1)),
    ("eq", Function::Equal, Arity::AtLeast(2)),
    ("ne", Function::NotEqual, Arity::Exactly(2)),
    ("lt", Function::Less, Arity::Exactly(2)),
    ("le", Function::LessOrEqual, Arity::Exactly(2)),
    ("gt", Function::Greater, Arity::Exactly(2)),
    ("ge", Function::GreaterOrEqual, Arity::Exactly(2)),
];

/// What Prometheus has besides: queries and their results, regular expressions, moments, and Go's own that no alert needs.
const KNOWN: [&str; 17] = [
    "query",
    "first",
    "label",
    "value",
    "strvalue",
    "sortByLabel",
    "args",
    "toTime",
    "toDuration",
    "now",
    "tmpl",
    "html",
    "js",
    "slice",
    "call",
    "match",
    "reReplaceAll",
];

/// How many arguments a function takes.
#[derive(Debug, Clone, Copy)]
enum Arity {
    Exactly(usize),
    AtLeast(usize),
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().0)
    }
}

impl Function {
    /// The function of this name, if it can be called.
    pub(super) fn named(name: &str) -> Option<Self> {
        FUNCTIONS.iter().find(|(known, _, _)| *known == name).map(|(_, function, _)| *function)
    }

    /// Whether Prometheus has a function of this name that we do not.
    pub(super) fn is_known(name: &str) -> bool {
        KNOWN.contains(&name)
    }

    fn row(self) -> &'static (&'static str, Function, Arity) {
        FUNCTIONS.iter().find(|(_, function, _)| *function == self).expect("every function is in the table")
    }

    /// Calls it. The error is Go's text.
    pub(super) fn call<'a>(self, arguments: Vec<Value<'a>>, data: &TemplateData<'a>) -> Result<Value<'a>, String> {
        let got = arguments.len();
        match self.row().2 {
            Arity::Exactly(want) if got != want => {
                return Err(format!("wrong number of args for {self}: want {want} got {got}"));
            }
            Arity::AtLeast(want) if got < want => {
                return Err(format!("wrong number of args for {self}: want at least {want} got {got}"));
            }
            _ => {}
        }
        let failed = |message: String| format!("error calling {self}: {message}");
        let number = |at: usize| number_of(&arguments[at]).map_err(failed);
        let text = |at: usize| match &arguments[at] {
            Value::String(text) => Ok(text.as_str()),
            other => Err(format!("expected string; found {other}")),
        };
        Ok(match self {
            Function::Humanize => Value::String(humanize(number(0)?)),
            Function::Humanize1024 => Value::String(humanize_1024(number(0)?)),
            Function::HumanizeDuration => Value::String(humanize_duration(number(0)?)),
            Function::HumanizePercentage => Value::String(format!("{}%", float_g(number(0)? * 100.0, Some(4)))),
            Function::HumanizeTimestamp => Value::String(humanize_timestamp(number(0)?).map_err(failed)?),
            Function::ParseDuration => {
                let (negative, text) = match text(0)?.strip_prefix('-') {
                    Some(rest) => (true, rest),
                    None => (false, text(0)?),
                };
                let seconds = parse_duration(text).map_err(|error| failed(error.to_string()))?.as_secs_f64();
                Value::Float(if negative { -seconds } else { seconds })
            }
            Function::Title => Value::String(title(text(0)?)),
            Function::ToUpper => Value::String(to_upper(text(0)?)),
            Function::ToLower => Value::String(to_lower(text(0)?)),
            Function::StripPort => {
                let address = text(0)?;
                Value::String(split_host_port(address).map_or(address, |(host, _)| host).to_owned())
            }
            Function::StripDomain => Value::String(strip_domain(text(0)?)),
            Function::UrlQueryEscape => Value::String(query_escape(text(0)?)),
            Function::GraphLink => Value::String(format!("/graph?g0.expr={}&g0.tab=0", query_escape(text(0)?))),
            Function::TableLink => Value::String(format!("/graph?g0.expr={}&g0.tab=1", query_escape(text(0)?))),
            Function::ExternalUrl => Value::String(data.external_url.to_owned()),
            Function::PathPrefix => Value::String(path_of(data.external_url).to_owned()),
            Function::SafeHtml => Value::String(text(0)?.to_owned()),
            Function::Printf => Value::String(sprintf(text(0)?, &arguments[1..])),
            Function::Print => Value::String(print(&arguments)),
            Function::Println => {
                let texts: Vec<String> = arguments.iter().map(ToString::to_string).collect();
                Value::String(format!("{}\n", texts.join(" ")))
            }
            Function::Index => match &arguments[0] {
                Value::Labels(labels) => Value::String(labels.value(text(1)?).to_owned()),
                other => return Err(failed(format!("can't index item of type {}", other.type_name()))),
            },
            Function::Len => match &arguments[0] {
                Value::Labels(labels) => Value::Integer(labels.len() as i64),
                Value::String(text) => Value::Integer(text.len() as i64),
                other => return Err(failed(format!("len of type {}", other.type_name()))),
            },
            Function::Not => Value::Bool(!arguments[0].is_true()),
            Function::Equal => {
                let mut any = false;
                for other in &arguments[1..] {
                    any |= compare(&arguments[0], other).map_err(failed)? == Some(Ordering::Equal);
                }
                Value::Bool(any)
            }
            Function::NotEqual => {
                Value::Bool(compare(&arguments[0], &arguments[1]).map_err(failed)? != Some(Ordering::Equal))
            }
            Function::Less | Function::LessOrEqual | Function::Greater | Function::GreaterOrEqual => {
                if let (Value::Bool(_), _) | (_, Value::Bool(_)) = (&arguments[0], &arguments[1]) {
                    return Err(failed("invalid type for comparison".to_owned()));
                }
                let order = compare(&arguments[0], &arguments[1]).map_err(failed)?;
                Value::Bool(match self {
                    Function::Less => order == Some(Ordering::Less),
                    Function::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                    Function::Greater => order == Some(Ordering::Greater),
                    _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                })
            }
            // Reached only without arguments, which the arity refuses.
            Function::And | Function::Or => Value::Nil,
        })
    }
}

/// The number that a value is, or that its text says.
fn number_of(value: &Value<'_>) -> Result<f64, String> {
    match value {
        Value::Float(number) => Ok(*number),
        Value::Integer(number) => Ok(*number as f64),
        Value::String(text) => {
            // The words that Go's parser knows differ from Rust's in nothing but these signs and cases.
            let invalid = || format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(text));
            if text.is_empty() { Err(invalid()) } else { text.parse().map_err(|_| invalid()) }
        }
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// The first letter of each word in upper case, the others as they are.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric() || c == '_' || (inside && c == '\'');
    }
    out
}

/// `host:port`, `[v6]:port`; `None` for anything else, as Go's `net.SplitHostPort`.
fn split_host_port(address: &str) -> Option<(&str, &str)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, after.strip_prefix(':')?)
        }
        None => address.split_once(':')?,
    };
    let odd = |text: &str| text.contains([':', '[', ']']);
    let host_is_odd = if address.starts_with('[') { host.contains(['[', ']']) } else { odd(host) };
    if host_is_odd || odd(port) { None } else { Some((host, port)) }
}

/// The first part of a host's name, with the port; addresses stay.
fn strip_domain(address: &str) -> String {
    let (host, port) = split_host_port(address).unwrap_or((address, ""));
    if host.parse::<IpAddr>().is_ok() {
        return address.to_owned();
    }
    let first = host.split('.').next().unwrap_or(host);
    match (port, first.contains(':')) {
        ("", _) => first.to_owned(),
        (port, false) => format!("{first}:{port}"),
        (port, true) => format!("[{first}]:{port}"),
    }
}

fn query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The path of a URL.
fn path_of(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.find('/').map_or("", |at| &after_scheme[at..]);
    path.find(['?', '#']).map_or(path, |end| &path[..end])
}

/// Go's `Sprint`: a space between two values of which neither is a string.
fn print(values: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut after_string = true;
    for value in values {
        let is_string = matches!(value, Value::String(_));
        if !after_string && !is_string {
            out.push(' ');
        }
        out.push_str(&value.to_string());
        after_string = is_string;
    }
    out
}

/// `None` when one of them is not a number.
fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::String(a), Value::String(b)) => Ok(Some(a.cmp(b))),
        (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
        // Go is strict here: `gt $value 1` does not compare, `gt $value 1.0` does.
        _ => Err("incompatible types for comparison".to_owned()),
    }
}
