//! YAML, read and written as Go (Prometheus) and Python (PyYAML) programs do.
//!
//! This is the only place that knows the YAML crate: it owns the options and turns errors into ours, with line and column. Reading is
//! strict where Prometheus is (a repeated key is an error) and follows YAML 1.1 where both peers do: `yes` is a boolean if a
//! boolean is asked for, `0777` is octal, `1_000` is a thousand, `<<` merges. What is written reads back the same in
//! readers of YAML 1.1 and 1.2, whatever the strings contain.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_yaml::{LitStr, MessageFormatter as _, Options, SerializerOptions, UserMessageFormatter};
use thiserror::Error;

/// The largest text that is read, in bytes: far above any real configuration or service-discovery file.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// How deep collections may be nested. Real files stay below ten; a level costs up to 30 kB of stack in a debug build.
const DEPTH_MAX: usize = 32;

/// Why a text is not the YAML that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{message}", place(*.line, *.column))]
pub struct YamlError {
    /// The line, from 1; 0 if it is not known.
    pub line: u64,
    /// The column in characters, from 1; 0 if it is not known.
    pub column: u64,
    /// What is wrong, without the place.
    pub message: String,
}

fn place(line: u64, column: u64) -> String {
    if line == 0 { String::new() } else { format!("line {line}, column {column}: ") }
}

/// A value together with the place where it stands in the text.
///
/// A value that came through an alias stands where the alias is used. Read from anything but [`from_str`], or below a
/// `#[serde(flatten)]`, the place is 0. It is written as the bare value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// The line, from 1; 0 if it is not known.
    pub line: u64,
    /// The column in characters, from 1; 0 if it is not known.
    pub column: u64,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_yaml::Spanned::<T>::deserialize(deserializer)?;
        let (line, column) = (spanned.referenced.line(), spanned.referenced.column());
        Ok(Spanned { value: spanned.value, line, column })
    }
}

impl<T: Serialize> Serialize for Spanned<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// Reads one document. An empty text is null.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(YamlError { line: 0, column: 0, message: format!("text is larger than {TEXT_BYTES_MAX} bytes") });
    }
    serde_yaml::from_str_with_options(text, options(text.len())).map_err(|error| from_reading(&error))
}

/// Reads one document from bytes, which must be UTF-8.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, YamlError> {
    from_str(utf8(bytes)?)
}

/// Reads JSON, and if it is none, YAML, into a value that keeps the order of keys.
///
/// Untyped YAML is resolved as YAML 1.1 does, so an unquoted `yes` is `true`: prefer [`from_str`] with a type wherever
/// the shape is known.
pub fn from_json_or_yaml(text: &str) -> Result<serde_json::Value, YamlError> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(_) => from_str(text),
    }
}

/// Writes `value` as one block-style document that ends in a newline. Keys keep their order.
///
/// Fails only for what JSON cannot hold either: keys that are no scalars, and values that refuse to be serialized.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, YamlError> {
    let unplaced = |message: String| YamlError { line: 0, column: 0, message };
    let tree = serde_json::to_value(value).map_err(|error| unplaced(error.to_string()))?;
    serde_yaml::to_string_with_options(&Styled(&tree), writer_options()).map_err(|error| unplaced(error.to_string()))
}

/// A tree whose strings choose their style.
struct Styled<'a>(&'a serde_json::Value);

impl Serialize for Styled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            serde_json::Value::String(text) if reads_well_as_block(text) => LitStr(text).serialize(serializer),
            serde_json::Value::Array(items) => serializer.collect_seq(items.iter().map(Styled)),
            serde_json::Value::Object(entries) => {
                serializer.collect_map(entries.iter().map(|(key, value)| (key, Styled(value))))
            }
            scalar => scalar.serialize(serializer),
        }
    }
}

/// Whether `text` has several lines that every reader takes the same way from a `|` block.
///
/// Readers disagree about white space in front of the first line (libyaml and Go refuse a tab there) and few people see it at
/// the end of a line, so such texts, and those with characters that need escapes, are quoted instead.
fn reads_well_as_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.starts_with([' ', '\t', '\n'])
        && !body.ends_with('\n')
        && body.lines().all(|line| !line.starts_with('\t') && !line.ends_with([' ', '\t']))
        && body.chars().all(|c| c == '\n' || c == '\t' || !(c.is_control() || is_odd_separator(c)))
}

fn is_odd_separator(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn utf8(bytes: &[u8]) -> Result<&str, YamlError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        YamlError { line: line as u64, column: column as u64, message: "text is not valid UTF-8".to_owned() }
    })
}

fn options(text_bytes: usize) -> Options {
    serde_yaml::options! {
        legacy_octal_numbers: true,
        // Snippets quote the text, and the text may hold secrets.
        with_snippet: false,
        emit_comments: false,
        budget: serde_yaml::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            // Every node takes at least one byte of the text unless an alias repeats it; aliases have bounds of their own.
            max_nodes: text_bytes + 250_000,
            max_events: 2 * text_bytes + 1_000_000,
        },
    }
}

fn writer_options() -> SerializerOptions {
    // `Styled` chooses the blocks. A long line is never folded: readers differ in how they unfold it.
    serde_yaml::ser_options! { prefer_block_scalars: false, folded_wrap_chars: usize::MAX }
}

fn from_reading(error: &serde_yaml::Error) -> YamlError {
    let (line, column) = error.location().map_or((0, 0), |location| (location.line(), location.column()));
    let message = match error.without_snippet() {
        serde_yaml::Error::DuplicateMappingKey { key: Some(key), .. } => format!("key {key:?} is already set"),
        serde_yaml::Error::NullIntoString { .. } => "null is not a string".to_owned(),
        serde_yaml::Error::InvalidScalar { ty, .. } => match *ty {
            "f32" | "f64" => "not a number".to_owned(),
            ty if ty.starts_with(['i', 'u']) && ty[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                "not a whole number".to_owned()
            }
            ty => format!("not a {ty}"),
        },
        other => UserMessageFormatter.format_message(other).into_owned(),
    };
    YamlError { line, column, message }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::LazyLock;

    use ::regex::Regex;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[derive(Default)]
    struct Job {
        limit: Option<Spanned<i64>>,
        honor: bool,
        name: Option<String>,
        labels: BTreeMap<String, String>,
    }

    #[track_caller]
    fn check_read(text: &str, expected: Result<Job, &str>) {
        let read = from_str::<Job>(text).map_err(|error| error.to_string());
        assert_eq!(read, expected.map_err(str::to_owned), "input {text:?}");
    }

    #[test]
    fn reads_as_go_does() {
        let limit = |value, line, column| Job { limit: Some(Spanned { value, line, column }), ..Job::default() };
        check_read("", Ok(Job::default()));
        check_read("limit: 1_000", Ok(limit(1000, 1, 8)));
        check_read("# é\n\nlimit:  0777\n", Ok(limit(511, 3, 9)));
        check_read("limit: 0x1F", Ok(limit(31, 1, 8)));
        check_read("honor: yes", Ok(Job { honor: true, ..Job::default() }));
        // A string stays what was written, whatever else it could be.
        check_read("name: 010", Ok(Job { name: Some("010".to_owned()), ..Job::default() }));
        check_read("name:", Ok(Job::default()));
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        check_read("labels: {<<: {a: 1}, b: 2}", Ok(Job { labels, ..Job::default() }));

        check_read("name: a\nname: b", Err("line 2, column 1: key \"name\" is already set"));
        check_read("labels:\n  a: 1\n  a: 2", Err("line 3, column 3: key \"a\" is already set"));
        check_read("nam: a", Err("line 1, column 1: unknown field `nam`, expected one of limit, honor, name, labels"));
        check_read("labels:\n  a:", Err("line 2, column 4: null is not a string"));
        check_read("name: a\nlimit: x", Err("line 2, column 8: not a whole number"));
        check_read("name: 'x", Err("line 1, column 7: unclosed quote"));
        check_read(
            "name: a\n---\nname: b",
            Err("line 3, column 1: only single YAML document expected but multiple found"),
        );
        assert_eq!(
            from_slice::<Job>(b"name: a\nhonor: \xff").unwrap_err().to_string(),
            "line 2, column 8: text is not valid UTF-8"
        );
    }

    #[test]
    fn hostile_texts_are_refused_in_little_time() {
        let bomb: String = (1..12)
            .map(|level| format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(",")))
            .collect();
        for (text, reason) in [
            ("[".repeat(10_000), "recursion limit"),
            ("{a: ".repeat(10_000), "recursion limit"),
            ("- ".repeat(10_000), "Depth"),
            ((0..10_000).map(|indent| format!("{}a:\n", " ".repeat(indent))).collect(), "Depth"),
            (format!("a0: &a0 [x]\n{bomb}"), "Nodes"),
            ("a: &a [*a]".to_owned(), "Recursive"),
        ] {
            let error = from_str::<serde_json::Value>(&text).expect_err("hostile text was read");
            assert!(error.message.contains(reason), "{error}");
        }
    }

    /// What each of these became in PyYAML, go yaml.v2 and yaml.v3 when it was written without quotes is not a string, or
    /// not this string. With the texts asserted here all three read back exactly the string.
    #[test]
    fn writes_for_every_reader() {
        for (value, text) in [
            ("yes", "\"yes\""),
            ("y", "\"y\""),
            ("Off", "\"Off\""),
            ("null", "\"null\""),
            ("~", "\"~\""),
            ("", "\"\""),
            ("1:30", "\"1:30\""),
            ("190:20:30.15", "\"190:20:30.15\""),
            ("1_000", "\"1_000\""),
            ("0x1", "\"0x1\""),
            ("0o7", "\"0o7\""),
            ("010", "\"010\""),
            (".5", "\".5\""),
            ("1e3", "\"1e3\""),
            (".inf", "\".inf\""),
            ("2001-01-01", "\"2001-01-01\""),
            ("2001-12-14 21:59:43.10 -5", "\"2001-12-14 21:59:43.10 -5\""),
            ("<<", "\"<<\""),
            ("=", "\"=\""),
            ("{{ $labels.instance }}", "\"{{ $labels.instance }}\""),
            ("#a", "\"#a\""),
            ("a #b", "\"a #b\""),
            ("a: b", "\"a: b\""),
            ("- a", "\"- a\""),
            ("---", "\"---\""),
            ("'a'", "\"'a'\""),
            ("\"a\"", "\"\\\"a\\\"\""),
            (" a", "\" a\""),
            ("a ", "\"a \""),
            ("\ta", "\"\\ta\""),
            ("a\r\nb", "\"a\\r\\nb\""),
            ("\u{feff}a\u{2028}\u{85}", "\"\\uFEFFa\\L\\N\""),
            // A tab or space before the first line: Go's reader refuses or mistakes a block.
            ("\t,\nb", "\"\\t,\\nb\""),
            (" a\nb", "\" a\\nb\""),
            ("a\n\n", "\"a\\n\\n\""),
            // What needs no quotes has none.
            ("10.0.0.1:9100", "10.0.0.1:9100"),
            ("sum(rate(x{a=\"b\"}[5m])) by (c) > 0", "sum(rate(x{a=\"b\"}[5m])) by (c) > 0"),
            ("a\nb\n", "|\n  a\n  b"),
            ("a\n  b", "|-\n  a\n    b"),
        ] {
            assert_eq!(to_string(&json!({"k": value})).unwrap(), format!("k: {text}\n"), "value {value:?}");
            let keyed = to_string(&json!({value: 1})).unwrap();
            assert_eq!(from_str::<BTreeMap<String, i64>>(&keyed).unwrap(), BTreeMap::from([(value.to_owned(), 1)]));
        }
    }

    #[test]
    fn keeps_order_and_kinds() {
        let value = json!({"z": 1, "a": [true, null, -2, 1.5, {"c": "x", "b": []}], "m": {}});
        let text = to_string(&value).unwrap();
        assert_eq!(text, "z: 1\na:\n- true\n- null\n- -2\n- 1.5\n- c: x\n  b: []\nm: {}\n");
        let back = from_json_or_yaml(&text).unwrap();
        assert_eq!(back.to_string(), value.to_string());
        assert_eq!(from_json_or_yaml(&value.to_string()).unwrap().to_string(), value.to_string());
    }

    /// Scalars that are not strings, by the type repository of YAML 1.1 (yaml.org/type).
    static TYPED: LazyLock<Regex> = LazyLock::new(|| {
        let types = [
            "y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
            r"[-+]?([0-9][0-9_]*)?\.[0-9.]*([eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*",
            r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|<<|=|~|null|Null|NULL|",
            r"[-+]?(0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(:[0-5]?[0-9])+)",
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}.*",
        ];
        Regex::new(&format!("^({})$", types.join("|"))).expect("the expression is valid")
    });

    proptest! {
        #[test]
        fn every_string_comes_back(strings in prop::collection::vec("[ \n\t:#'\"{}\\[\\],&*!|>%@~?=<\\\\a1_.0xé\u{85}\u{2028}\r-]{0,9}|\\PC*", 1..20)) {
            let text = to_string(&strings).unwrap();
            prop_assert_eq!(from_str::<Vec<String>>(&text).unwrap(), strings);
        }

        /// What readers of YAML 1.1 take for something else than a string stands in quotes, as a value and as a key.
        #[test]
        fn look_alikes_are_quoted(text in "[0-9_:.+\\-eExobtTzZinfaNIFA~=< ]{0,8}|[yYnNtTfFoO][a-zA-Z]{0,4}") {
            for written in [to_string(&[&text]).unwrap(), to_string(&json!({&text: 1})).unwrap()] {
                let is_plain = !written.trim_start_matches("- ").starts_with(['"', '\'']);
                prop_assert!(!(is_plain && TYPED.is_match(&text)), "{written}");
            }
        }

        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[ \n\t:#'\"{}\\[\\],&*!|>%a1?-]{0,60}") {
            let _ = from_slice::<serde_json::Value>(&bytes);
            let _ = from_str::<Job>(&text);
            let _ = from_json_or_yaml(&text);
        }
    }
}
