//! Asking the tree for values, as Go's YAML decodes them into Prometheus' structs.
//!
//! `null` is the zero value of whatever is asked for, not the default: `metrics_path:` without a value is an empty path.
//! Strings take any scalar as it is written; numbers and booleans take what YAML 1.1 calls so.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use relatum_model::text::quote;
use relatum_model::time::parse_duration;

use super::scalar::{bool_of, decode_base64, float_of, integer_of, quote_bytes};
use super::{Node, Value};
use crate::go_url;
use crate::problem::{Kind, Problem};
use crate::prometheus::{Feature, Use};
use crate::secret::{REDACTED, Secret, Url};

/// What readers found out about a document: its problems, and which of its nodes are secrets.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    problems: RefCell<Vec<(u32, Problem)>>,
    secrets: RefCell<HashMap<u32, String>>,
    uses: RefCell<Vec<(u32, Use)>>,
}

impl Findings {
    /// Adds a problem that belongs to no place.
    pub(crate) fn general(&self, message: impl Into<String>) {
        let problem = Problem { line: 0, column: 0, key: String::new(), kind: Kind::Invalid, message: message.into() };
        self.problems.borrow_mut().push((u32::MAX, problem));
    }

    fn add(&self, node: &Node, kind: Kind, message: String) {
        let problem = Problem { line: node.line, column: node.column, key: String::new(), kind, message };
        self.problems.borrow_mut().push((node.id, problem));
    }

    /// What was found, with the paths to its nodes.
    pub(crate) fn finish(self, root: Option<&Node>) -> Found {
        let (mut problems, mut uses) = (self.problems.into_inner(), self.uses.into_inner());
        let ids: HashSet<u32> = problems.iter().map(|(id, _)| *id).chain(uses.iter().map(|(id, _)| *id)).collect();
        let mut paths = BTreeMap::new();
        if let Some(root) = root.filter(|_| !ids.is_empty()) {
            collect_paths(root, &mut String::new(), &ids, &mut paths);
        }
        problems.sort_by_key(|(_, problem)| (problem.line, problem.column));
        uses.sort_by_key(|(_, found)| (found.line, found.column));
        let path = |id| paths.get(&id).cloned().unwrap_or_default();
        Found {
            problems: problems.into_iter().map(|(id, problem)| Problem { key: path(id), ..problem }).collect(),
            uses: uses.into_iter().map(|(id, found)| Use { key: path(id), ..found }).collect(),
            secrets: self.secrets.into_inner(),
        }
    }
}

/// What readers found out about a document; problems and uses in the order of the text, each with the path to its node.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) problems: Vec<Problem>,
    pub(crate) uses: Vec<Use>,
    /// What to show in place of the nodes that hold secrets, by their ids.
    pub(crate) secrets: HashMap<u32, String>,
}

/// Finds the paths of the nodes `ids`. Paths are wanted only when something is wrong, so readers do not carry them along.
fn collect_paths(node: &Node, path: &mut String, ids: &HashSet<u32>, paths: &mut BTreeMap<u32, String>) {
    if paths.len() == ids.len() {
        return;
    }
    if ids.contains(&node.id) {
        paths.entry(node.id).or_insert_with(|| path.clone());
    }
    let length = path.len();
    match &*node.value {
        Value::Scalar(_) => {}
        Value::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                collect_paths(item, path, ids, paths);
                path.truncate(length);
            }
        }
        Value::Mapping(pairs) => {
            for (key, value) in pairs {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key.scalar().map_or("?", |scalar| &scalar.text));
                if ids.contains(&key.id) {
                    paths.insert(key.id, path.clone());
                }
                collect_paths(value, path, ids, paths);
                path.truncate(length);
            }
        }
    }
}

/// A node that is being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    node: &'a Node,
    findings: &'a Findings,
}

impl<'a> Cursor<'a> {
    /// Starts at `node`.
    pub(crate) fn new(node: &'a Node, findings: &'a Findings) -> Self {
        Cursor { node, findings }
    }

    /// What is being read.
    pub(crate) fn node(self) -> &'a Node {
        self.node
    }

    /// Whether the node says nothing.
    pub(crate) fn is_null(self) -> bool {
        self.node.is_null()
    }

    /// The line of the node.
    pub(crate) fn line(self) -> u64 {
        self.node.line
    }

    /// How many problems the document has so far.
    pub(crate) fn n_problems(self) -> usize {
        self.findings.problems.borrow().len()
    }

    /// Notes that the node is wrong.
    pub(crate) fn invalid(self, message: impl Into<String>) {
        self.findings.add(self.node, Kind::Invalid, message.into());
    }

    /// Notes that the node asks for `feature`.
    pub(crate) fn asks_for(self, feature: Feature) {
        let found = Use { feature, line: self.node.line, column: self.node.column, key: String::new() };
        self.findings.uses.borrow_mut().push((self.node.id, found));
    }

    /// Go's words for a value of the wrong type.
    fn mismatch(self, wanted: &str) {
        let message = match &*self.node.value {
            Value::Sequence(_) => format!("cannot unmarshal !!seq into {wanted}"),
            Value::Mapping(_) => format!("cannot unmarshal !!map into {wanted}"),
            // Long texts are cut as Go cuts them.
            Value::Scalar(scalar) => {
                let (text, cut) = match scalar.text.char_indices().nth(7) {
                    Some((end, _)) if scalar.text.chars().count() > 10 => (&scalar.text[..end], "..."),
                    _ => (scalar.text.as_str(), ""),
                };
                format!("cannot unmarshal {} `{text}{cut}` into {wanted}", self.scalar_tag())
            }
        };
        self.invalid(message);
    }

    fn scalar_tag(self) -> &'static str {
        match self.node.scalar() {
            Some(scalar) if scalar.plain && scalar.tag.is_none() => {
                if bool_of(&scalar.text).is_some() {
                    "!!bool"
                } else if integer_of(&scalar.text).is_some() {
                    "!!int"
                } else if float_of(&scalar.text).is_some() {
                    "!!float"
                } else {
                    "!!str"
                }
            }
            _ => "!!str",
        }
    }

    /// The text of a scalar; `""` for null. Notes a problem and gives `None` for anything else.
    pub(crate) fn string(self) -> Option<String> {
        let Some(scalar) = self.node.scalar() else {
            self.mismatch("string");
            return None;
        };
        if scalar.is_null() {
            return Some(String::new());
        }
        if scalar.tag.as_deref() != Some("binary") {
            return Some(scalar.text.clone());
        }
        let Some(bytes) = decode_base64(&scalar.text) else {
            self.invalid("!!binary value contains invalid base64 data");
            return None;
        };
        match String::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(error) => {
                self.invalid(format!("{} is not valid UTF-8", quote_bytes(error.as_bytes())));
                None
            }
        }
    }

    /// A string where the empty one means that nothing was said.
    pub(crate) fn non_empty(self) -> Option<String> {
        self.string().filter(|text| !text.is_empty())
    }

    /// A text that must not be shown.
    pub(crate) fn secret(self) -> Option<Secret> {
        self.hide(REDACTED.to_owned());
        self.non_empty().map(Secret::new)
    }

    /// A URL, of which a password must not be shown; none for an empty text.
    pub(crate) fn url(self) -> Option<Url> {
        let text = self.non_empty()?;
        if let Err(message) = go_url::parse(&text) {
            self.invalid(message);
        }
        let url = Url::new(text);
        if url.has_password() {
            self.hide(url.to_string());
        }
        Some(url)
    }

    fn hide(self, shown: String) {
        self.findings.secrets.borrow_mut().insert(self.node.id, shown);
    }

    /// A path; none for an empty text.
    pub(crate) fn path(self) -> Option<PathBuf> {
        self.non_empty().map(PathBuf::from)
    }

    /// A boolean in any spelling of YAML 1.1.
    pub(crate) fn bool(self) -> Option<bool> {
        match self.node.scalar() {
            Some(scalar) if scalar.is_null() => Some(false),
            Some(scalar) if scalar.plain => bool_of(&scalar.text).or_else(|| {
                self.mismatch("bool");
                None
            }),
            _ => {
                self.mismatch("bool");
                None
            }
        }
    }

    /// A number that is not negative.
    pub(crate) fn unsigned(self) -> Option<u64> {
        match self.integer("uint") {
            Some(number) if number < 0 => {
                self.mismatch("uint");
                None
            }
            Some(number) => u64::try_from(number).ok(),
            None => None,
        }
    }

    /// A whole number.
    pub(crate) fn signed(self) -> Option<i64> {
        let number = self.integer("int")?;
        i64::try_from(number).ok().or_else(|| {
            self.mismatch("int");
            None
        })
    }

    fn integer(self, wanted: &str) -> Option<i128> {
        match self.node.scalar() {
            Some(scalar) if scalar.is_null() => Some(0),
            // A float is cut to its whole part, as Go does.
            Some(scalar) if scalar.plain => integer_of(&scalar.text)
                .or_else(|| float_of(&scalar.text).filter(|f| f.abs() < 1.8e19).map(|f| f as i128))
                .or_else(|| {
                    self.mismatch(wanted);
                    None
                }),
            _ => {
                self.mismatch(wanted);
                None
            }
        }
    }

    /// A number.
    pub(crate) fn float(self) -> Option<f64> {
        match self.node.scalar() {
            Some(scalar) if scalar.is_null() => Some(0.0),
            Some(scalar) if scalar.plain => {
                integer_of(&scalar.text).map(|i| i as f64).or_else(|| float_of(&scalar.text)).or_else(|| {
                    self.mismatch("float64");
                    None
                })
            }
            _ => {
                self.mismatch("float64");
                None
            }
        }
    }

    /// A duration such as `1h30m`; zero for null.
    pub(crate) fn duration(self) -> Option<Duration> {
        if self.is_null() {
            return Some(Duration::ZERO);
        }
        parse_duration(&self.string()?).map_err(|error| self.invalid(error.to_string())).ok()
    }

    /// The items of a sequence; none for null.
    pub(crate) fn items(self) -> Vec<Cursor<'a>> {
        match &*self.node.value {
            Value::Sequence(items) => items.iter().map(|node| Cursor { node, ..self }).collect(),
            _ if self.is_null() => Vec::new(),
            _ => {
                self.mismatch("[]string");
                Vec::new()
            }
        }
    }

    /// Any value, as JSON has it.
    pub(crate) fn json(self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &*self.node.value {
            Value::Sequence(_) => Json::Array(self.items().into_iter().map(Cursor::json).collect()),
            Value::Mapping(_) => {
                Json::Object(self.entries().into_iter().map(|(name, _, value)| (name, value.json())).collect())
            }
            Value::Scalar(scalar) if scalar.is_null() => Json::Null,
            Value::Scalar(scalar) if !scalar.plain || scalar.tag.is_some() => {
                Json::String(self.string().unwrap_or_default())
            }
            Value::Scalar(scalar) => {
                let integer = || integer_of(&scalar.text).and_then(|number| i64::try_from(number).ok()).map(Json::from);
                let float = || float_of(&scalar.text).map(Json::from);
                bool_of(&scalar.text)
                    .map(Json::from)
                    .or_else(integer)
                    .or_else(float)
                    .unwrap_or_else(|| Json::from(scalar.text.as_str()))
            }
        }
    }

    /// A list of strings.
    pub(crate) fn strings(self) -> Vec<String> {
        self.items().into_iter().filter_map(Cursor::string).collect()
    }

    /// The keys and values of a mapping whose keys are free, in the order of the text; repeated keys are noted.
    pub(crate) fn entries(self) -> Vec<(String, Cursor<'a>, Cursor<'a>)> {
        let pairs = match &*self.node.value {
            Value::Mapping(pairs) => pairs.as_slice(),
            _ if self.is_null() => &[],
            _ => {
                self.mismatch("map[string]string");
                &[]
            }
        };
        let mut seen = HashSet::new();
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let (key, value) = (Cursor { node: key, ..self }, Cursor { node: value, ..self });
            let Some(name) = key.string() else { continue };
            if seen.insert(name.clone()) {
                entries.push((name, key, value));
            } else {
                key.invalid(format!("key {} already set in map", quote(&name)));
            }
        }
        entries
    }

    /// A mapping from strings to strings.
    pub(crate) fn string_map(self) -> BTreeMap<String, String> {
        self.entries().into_iter().filter_map(|(name, _, value)| Some((name, value.string()?))).collect()
    }

    /// A mapping with known keys; `None` for null and, with a problem noted, for anything else.
    pub(crate) fn section(self) -> Option<Section<'a>> {
        match &*self.node.value {
            Value::Mapping(pairs) => {
                let mut fields: Vec<(Option<&str>, Cursor<'a>, Cursor<'a>)> = Vec::with_capacity(pairs.len());
                let mut seen = HashSet::new();
                for (key, value) in pairs {
                    let (key, value) = (Cursor { node: key, ..self }, Cursor { node: value, ..self });
                    let Some(name) = key.node.scalar().map(|scalar| scalar.text.as_str()) else {
                        key.mismatch("string");
                        continue;
                    };
                    if seen.insert(name) {
                        fields.push((Some(name), key, value));
                    } else {
                        key.invalid(format!("field {name} already set"));
                    }
                }
                Some(Section { cursor: self, fields, asked: Vec::new() })
            }
            _ if self.is_null() => None,
            _ => {
                self.mismatch("a section with keys");
                None
            }
        }
    }
}

/// A mapping with known keys. What was not taken when it is finished is unknown.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    cursor: Cursor<'a>,
    /// Name, key and value; the name goes when it is taken.
    fields: Vec<(Option<&'a str>, Cursor<'a>, Cursor<'a>)>,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The mapping itself, for problems of the whole.
    pub(crate) fn cursor(&self) -> Cursor<'a> {
        self.cursor
    }

    /// The value of `key`, if it is there.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Cursor<'a>> {
        self.asked.push(key);
        let field = self.fields.iter_mut().find(|(name, _, _)| *name == Some(key))?;
        field.0 = None;
        Some(field.2)
    }

    /// The same with the key itself; `None` also if the value says nothing.
    pub(crate) fn take_pair(&mut self, key: &'static str) -> Option<(Cursor<'a>, Cursor<'a>)> {
        self.asked.push(key);
        let field = self.fields.iter_mut().find(|(name, _, _)| *name == Some(key))?;
        field.0 = None;
        (!field.2.is_null()).then_some((field.1, field.2))
    }

    /// The value of `key`, which stands for a feature; `None` also if the value says nothing.
    pub(crate) fn take_feature(&mut self, key: &'static str, feature: Feature) -> Option<Cursor<'a>> {
        let (name, value) = self.take_pair(key)?;
        name.asks_for(feature);
        Some(value)
    }

    /// A switch that stands for a feature when it is on.
    pub(crate) fn take_switch(&mut self, key: &'static str, feature: Feature, default: bool) -> bool {
        let Some(value) = self.take(key) else { return default };
        let on = value.bool().unwrap_or(default);
        if on {
            value.asks_for(feature);
        }
        on
    }

    /// Notes every key that nobody asked for, with the most similar one that somebody did.
    pub(crate) fn finish(self) {
        // Whoever has more of them does not mistype but has another file in hand.
        const GUESSES_MAX: usize = 100;
        let unknown = self.fields.iter().filter_map(|(name, key, _)| Some(((*name)?, key)));
        for (at, (name, key)) in unknown.enumerate() {
            let known = if at < GUESSES_MAX { self.asked.as_slice() } else { &[] };
            let similar =
                known.iter().filter(|asked| crate::spelling::is_similar(name, asked)).min_by_key(|asked| asked.len());
            match similar {
                Some(similar) => key.invalid(format!("field {name} not found, did you mean {similar}?")),
                None => key.invalid(format!("field {name} not found")),
            }
        }
    }
}
