//! The functions of the language: Prometheus' own and those of Go's templates.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use relatum_model::regex::SearchRegex;
use relatum_model::text::{quote, to_lower, to_upper};
use relatum_model::time::parse_duration;

use super::exec::Around;
use super::format::{float_g, sprintf};
use super::humanize::{humanize, humanize_1024, humanize_duration, humanize_timestamp};
use super::time::{GoDuration, GoTime};
use super::value::Value;

/// A function that can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Query,
    First,
    Label,
    Value,
    StrValue,
    SortByLabel,
    Args,
    Match,
    ReReplaceAll,
    ToTime,
    ToDuration,
    Now,
    Html,
    Js,
    Slice,
    Call,
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
    UrlQuery,
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

const FUNCTIONS: [(&str, Function, Arity); 48] = [
    ("query", Function::Query, Arity::Exactly(1)),
    ("first", Function::First, Arity::Exactly(1)),
    ("label", Function::Label, Arity::Exactly(2)),
    ("value", Function::Value, Arity::Exactly(1)),
    ("strvalue", Function::StrValue, Arity::Exactly(1)),
    ("sortByLabel", Function::SortByLabel, Arity::Exactly(2)),
    ("args", Function::Args, Arity::AtLeast(0)),
    ("match", Function::Match, Arity::Exactly(2)),
    ("reReplaceAll", Function::ReReplaceAll, Arity::Exactly(3)),
    ("toTime", Function::ToTime, Arity::Exactly(1)),
    ("toDuration", Function::ToDuration, Arity::Exactly(1)),
    ("now", Function::Now, Arity::Exactly(0)),
    ("html", Function::Html, Arity::AtLeast(0)),
    ("js", Function::Js, Arity::AtLeast(0)),
    ("slice", Function::Slice, Arity::AtLeast(1)),
    ("call", Function::Call, Arity::AtLeast(1)),
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
    ("urlquery", Function::UrlQuery, Arity::AtLeast(0)),
    ("graphLink", Function::GraphLink, Arity::Exactly(1)),
    ("tableLink", Function::TableLink, Arity::Exactly(1)),
    ("externalURL", Function::ExternalUrl, Arity::Exactly(0)),
    ("pathPrefix", Function::PathPrefix, Arity::Exactly(0)),
    // Only matters in pages, and an alert's text is none.
    ("safeHtml", Function::SafeHtml, Arity::Exactly(1)),
    ("printf", Function::Printf, Arity::AtLeast(1)),
    ("print", Function::Print, Arity::AtLeast(0)),
    ("println", Function::Println, Arity::AtLeast(0)),
    ("index", Function::Index, Arity::AtLeast(1)),
    ("len", Function::Len, Arity::Exactly(1)),
    ("and", Function::And, Arity::AtLeast(1)),
    ("or", Function::Or, Arity::AtLeast(1)),
    ("not", Function::Not, Arity::Exactly(1)),
    ("eq", Function::Equal, Arity::AtLeast(1)),
    ("ne", Function::NotEqual, Arity::Exactly(2)),
    ("lt", Function::Less, Arity::Exactly(2)),
    ("le", Function::LessOrEqual, Arity::Exactly(2)),
    ("gt", Function::Greater, Arity::Exactly(2)),
    ("ge", Function::GreaterOrEqual, Arity::Exactly(2)),
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

    fn row(self) -> &'static (&'static str, Function, Arity) {
        FUNCTIONS.iter().find(|(_, function, _)| *function == self).expect("every function is in the table")
    }

    /// Calls it. The error is Go's text.
    pub(super) fn call(self, arguments: Vec<Value>, around: &Around<'_>) -> Result<Value, String> {
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
        let data = around.data;
        let number = |at: usize| number_of(&arguments[at]).map_err(failed);
        let text = |at: usize| match &arguments[at] {
            Value::String(text) => Ok(&**text),
            other => Err(format!("expected string; found {other}")),
        };
        let sample = |at: usize| match &arguments[at] {
            Value::Sample(sample) => Ok(&**sample),
            other => Err(format!("wrong type for value; expected *template.sample; got {}", other.type_name())),
        };
        let samples = |at: usize| match &arguments[at] {
            Value::Samples(samples) => Ok(samples),
            other => Err(format!("wrong type for value; expected template.queryResult; got {}", other.type_name())),
        };
        Ok(match self {
            Function::Query => {
                let query = around.query.ok_or_else(|| failed("nothing can be asked here".to_owned()))?;
                let found = query.query(text(0)?).map_err(failed)?;
                Value::Samples(Rc::new(RefCell::new(found.into_iter().map(Rc::new).collect())))
            }
            Function::First => match samples(0)?.borrow().first() {
                Some(first) => Value::Sample(Rc::clone(first)),
                None => return Err(failed("first() called on vector with no elements".to_owned())),
            },
            Function::Label => Value::string(sample(1)?.labels.value(text(0)?)),
            Function::Value => Value::Float(sample(0)?.value),
            Function::StrValue => Value::string(sample(0)?.labels.value("__value__")),
            Function::SortByLabel => {
                let label = text(0)?;
                samples(1)?.borrow_mut().sort_by(|a, b| a.labels.value(label).cmp(b.labels.value(label)));
                arguments[1].clone()
            }
            Function::Args => {
                let names = (0..).map(|at: usize| format!("arg{at}"));
                Value::Map(Rc::new(names.zip(arguments.iter().cloned()).collect()))
            }
            Function::Match => Value::Bool(regex(text(0)?).map_err(failed)?.is_match(text(1)?)),
            Function::ReReplaceAll => {
                let regex = regex(text(0)?).map_err(failed)?;
                let (template, whole) = (text(1)?, text(2)?);
                // Each place of the text may match, and groups may bring the text again.
                if template.len().saturating_mul(whole.len() + 1) > REPLACED_BYTES_MAX {
                    return Err(failed("the result may be too long".to_owned()));
                }
                Value::string(regex.replace_all(whole, template))
            }
            Function::ToTime => Value::Time(GoTime::of(number(0)?).map_err(failed)?),
            Function::ToDuration => Value::Duration(GoDuration((number(0)? * 1e9) as i64)),
            Function::Now => match around.query {
                Some(query) => Value::Float(query.at_ms() as f64 / 1000.0),
                None => return Err(failed("it is no time here".to_owned())),
            },
            Function::Html => Value::string(escape_html(&escapable(&arguments))),
            Function::Js => Value::string(escape_js(&escapable(&arguments))),
            Function::UrlQuery => Value::string(query_escape(&escapable(&arguments))),
            Function::Slice => slice(&arguments).map_err(failed)?,
            Function::Call if matches!(arguments[0], Value::Nil) => return Err(failed("call of nil".to_owned())),
            Function::Call => {
                return Err(failed(format!("non-function of type {}", arguments[0].type_name())));
            }
            Function::Humanize => Value::string(humanize(number(0)?)),
            Function::Humanize1024 => Value::string(humanize_1024(number(0)?)),
            Function::HumanizeDuration => Value::string(humanize_duration(number(0)?)),
            Function::HumanizePercentage => Value::string(format!("{}%", float_g(number(0)? * 100.0, Some(4)))),
            Function::HumanizeTimestamp => Value::string(humanize_timestamp(number(0)?).map_err(failed)?),
            Function::ParseDuration => {
                let (negative, text) = match text(0)?.strip_prefix('-') {
                    Some(rest) => (true, rest),
                    None => (false, text(0)?),
                };
                let seconds = parse_duration(text).map_err(|error| failed(error.to_string()))?.as_secs_f64();
                Value::Float(if negative { -seconds } else { seconds })
            }
            Function::Title => Value::string(title(text(0)?)),
            Function::ToUpper => Value::string(to_upper(text(0)?)),
            Function::ToLower => Value::string(to_lower(text(0)?)),
            Function::StripPort => {
                let address = text(0)?;
                Value::string(split_host_port(address).map_or(address, |(host, _)| host))
            }
            Function::StripDomain => Value::string(strip_domain(text(0)?)),
            Function::UrlQueryEscape => Value::string(query_escape(text(0)?)),
            Function::GraphLink => Value::string(format!("/graph?g0.expr={}&g0.tab=0", query_escape(text(0)?))),
            Function::TableLink => Value::string(format!("/graph?g0.expr={}&g0.tab=1", query_escape(text(0)?))),
            Function::ExternalUrl => Value::string(data.external_url),
            Function::PathPrefix => Value::string(path_of(data.external_url)),
            Function::SafeHtml => Value::string(text(0)?),
            Function::Printf => Value::string(sprintf(text(0)?, &arguments[1..])),
            Function::Print => Value::string(print(&arguments)),
            Function::Println => {
                let texts: Vec<String> = arguments.iter().map(printed).collect();
                Value::string(format!("{}\n", texts.join(" ")))
            }
            Function::Index => {
                let mut item = arguments[0].clone();
                for at in &arguments[1..] {
                    item = index(&item, at).map_err(failed)?;
                }
                item
            }
            Function::Len => Value::Integer(match &arguments[0] {
                Value::Labels(labels) => labels.len(),
                Value::Map(map) => map.len(),
                Value::Samples(samples) => samples.borrow().len(),
                Value::String(text) => text.len(),
                Value::Nil => return Err(failed("len of nil pointer".to_owned())),
                other => return Err(failed(format!("len of type {}", other.type_name()))),
            } as i64),
            Function::Not => Value::Bool(!arguments[0].is_true()),
            Function::Equal => {
                if got == 1 {
                    return Err(failed("missing argument for comparison".to_owned()));
                }
                let mut any = false;
                for other in &arguments[1..] {
                    any = equal(&arguments[0], other).map_err(failed)?;
                    if any {
                        break;
                    }
                }
                Value::Bool(any)
            }
            Function::NotEqual => Value::Bool(!equal(&arguments[0], &arguments[1]).map_err(failed)?),
            Function::Less | Function::LessOrEqual | Function::Greater | Function::GreaterOrEqual => {
                let order = order(&arguments[0], &arguments[1]).map_err(failed)?;
                Value::Bool(match self {
                    Function::Less => order == Some(Ordering::Less),
                    Function::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                    // Go takes these two as the opposite, also for what is not a number.
                    Function::Greater => !matches!(order, Some(Ordering::Less | Ordering::Equal)),
                    _ => order != Some(Ordering::Less),
                })
            }
            // They are evaluated before, because they look at their arguments only as far as they have to.
            Function::And | Function::Or => Value::Nil,
        })
    }
}

/// The most bytes that replacing may make.
const REPLACED_BYTES_MAX: usize = 4 << 20;

fn regex(pattern: &str) -> Result<SearchRegex, String> {
    SearchRegex::new(pattern).map_err(|error| error.to_string())
}

/// One step of `index`.
fn index(item: &Value, at: &Value) -> Result<Value, String> {
    let position = |length: usize| match at {
        Value::Integer(at) => {
            usize::try_from(*at).ok().filter(|at| *at < length).ok_or_else(|| format!("index out of range: {at}"))
        }
        Value::Nil => Err("cannot index slice/array with nil".to_owned()),
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    let name = || match at {
        Value::String(name) => Ok(&**name),
        Value::Nil => Err("value is nil; should be of type string".to_owned()),
        other => Err(format!("value has type {}; should be string", other.type_name())),
    };
    match item {
        Value::Labels(labels) => Ok(Value::string(labels.value(name()?))),
        Value::Map(map) => Ok(map.get(name()?).cloned().unwrap_or(Value::Nil)),
        Value::Samples(samples) => {
            let samples = samples.borrow();
            Ok(Value::Sample(Rc::clone(&samples[position(samples.len())?])))
        }
        Value::String(text) => Ok(Value::Integer(i64::from(text.as_bytes()[position(text.len())?]))),
        Value::Nil => Err("index of untyped nil".to_owned()),
        other => Err(format!("can't index item of type {}", other.type_name())),
    }
}

/// `slice x 1 2` is `x[1:2]`.
fn slice(arguments: &[Value]) -> Result<Value, String> {
    let (item, bounds) = arguments.split_first().ok_or_else(|| "slice of untyped nil".to_owned())?;
    let length = match item {
        Value::String(text) => text.len(),
        Value::Samples(samples) => samples.borrow().len(),
        Value::Nil => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    if bounds.len() > if matches!(item, Value::String(_)) { 2 } else { 3 } {
        return Err(if bounds.len() > 3 {
            format!("too many slice indexes: {}", bounds.len())
        } else {
            "cannot 3-index slice a string".to_owned()
        });
    }
    let mut places = Vec::new();
    for bound in bounds {
        match bound {
            Value::Integer(at) => {
                let place = usize::try_from(*at).ok().filter(|at| *at <= length);
                places.push(place.ok_or_else(|| format!("index out of range: {at}"))?);
            }
            Value::Nil => return Err("cannot index slice/array with nil".to_owned()),
            other => return Err(format!("cannot index slice/array with type {}", other.type_name())),
        }
    }
    let (start, end) = (places.first().copied().unwrap_or(0), places.get(1).copied().unwrap_or(length));
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    Ok(match item {
        // Go cuts anywhere; a character that is cut is none.
        Value::String(text) => Value::string(String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned()),
        Value::Samples(samples) => Value::Samples(Rc::new(RefCell::new(samples.borrow()[start..end].to_vec()))),
        _ => Value::Nil,
    })
}

/// The number that a value is, or that its text says.
fn number_of(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(number) => Ok(*number),
        Value::Integer(number) => Ok(*number as f64),
        Value::String(text) => {
            parse_float(text).ok_or_else(|| format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(text)))
        }
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// Go's `ParseFloat`, which reads what Rust's does, and hexadecimal digits with a power of two.
fn parse_float(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) else { return text.parse().ok() };
    let (mantissa, exponent) = hex.split_once(['p', 'P'])?;
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i32 = exponent.parse().ok()?;
    if whole.len() + part.len() == 0 || whole.len() + part.len() > 64 {
        return None;
    }
    let mut value = 0.0;
    for c in whole.chars().chain(part.chars()) {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    Some(sign * value * 2f64.powi(exponent.saturating_sub(4 * part.len() as i32)))
}

/// The first letter of each word as a title has it, the others as they are. A word may begin with what has no cases.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_cased = c.is_lowercase() || c.is_uppercase() || c.to_lowercase().next() != Some(c);
        if inside || !is_cased {
            out.push(c);
        } else {
            push_title(&mut out, c);
        }
        // These join the letters on both sides of them.
        let joins = matches!(c, '\'' | '’' | '.' | ':' | '·') && chars.peek().is_some_and(|next| next.is_alphabetic());
        inside = (is_cased && !inside) || (inside && (c.is_alphanumeric() || c == '_' || joins));
    }
    out
}

fn push_title(out: &mut String, c: char) {
    match c {
        // The four letters that have a case of their own for titles.
        'Ǆ' | 'ǅ' | 'ǆ' => out.push('ǅ'),
        'Ǉ' | 'ǈ' | 'ǉ' => out.push('ǈ'),
        'Ǌ' | 'ǋ' | 'ǌ' => out.push('ǋ'),
        'Ǳ' | 'ǲ' | 'ǳ' => out.push('ǲ'),
        c => {
            let mut upper = c.to_uppercase();
            out.extend(upper.next());
            out.extend(upper.flat_map(char::to_lowercase));
        }
    }
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

/// As `print` and its relatives show it.
fn printed(value: &Value) -> String {
    if matches!(value, Value::Nil) { "<nil>".to_owned() } else { value.to_string() }
}

/// Go's `Sprint`: a space between two values of which neither is a string.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    let mut after_string = true;
    for value in values {
        let is_string = matches!(value, Value::String(_));
        if !after_string && !is_string {
            out.push(' ');
        }
        out.push_str(&printed(value));
        after_string = is_string;
    }
    out
}

/// The text that an escaping function works on: one string as it is, anything else as `print` shows it.
fn escapable(values: &[Value]) -> String {
    if let [Value::Nil] = values { "<no value>".to_owned() } else { print(values) }
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn escape_js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => out.extend(['\\', c]),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::String(a), Value::String(b)) => Ok(a == b),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        // Pointers are equal when they point to the same.
        (Value::Sample(a), Value::Sample(b)) => Ok(Rc::ptr_eq(a, b)),
        (Value::Labels(_) | Value::Map(_) | Value::Samples(_) | Value::Data(_), b) if !is_basic(b) => {
            Err(format!("non-comparable types {a}: {}, {b}: {}", a.type_name(), b.type_name()))
        }
        // Go is strict here: `eq $value 1` does not compare, `eq $value 1.0` does.
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn is_basic(value: &Value) -> bool {
    matches!(value, Value::Integer(_) | Value::Float(_) | Value::String(_) | Value::Bool(_))
}

/// `None` when one of them is not a number.
fn order(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::String(a), Value::String(b)) => Ok(Some(a.cmp(b))),
        (a, b) if is_basic(a) && is_basic(b) && a.type_name() != b.type_name() => {
            Err("incompatible types for comparison".to_owned())
        }
        _ => Err("invalid type for comparison".to_owned()),
    }
}
