//! Where in a value of a databag something stands: its line and column in the text, found by its path.
//!
//! The values have been read by then, so that a text is looked through again only when something is wrong with it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::bag::Relation;
use crate::json::{as_long, dumps, without_constants};
use crate::problem::{Inside, Problem};

/// A position in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

impl Place {
    /// The position of a fault that a reader of JSON found; it counts columns in bytes.
    pub(crate) fn of_error(text: &str, error: &serde_json::Error) -> Self {
        let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
        let before = line.as_bytes().get(..error.column().saturating_sub(1)).unwrap_or(line.as_bytes());
        Place { line: error.line().max(1), column: n_characters(before) + 1 }
    }
}

/// Where `path` stands in `text`, which is JSON; where it leads nowhere, the part it would be in.
pub fn place_of(text: &str, path: &str) -> Place {
    places(text, &[(path, 0)]).pop().unwrap_or(Place { line: 1, column: 1 })
}

/// Gives each problem with a path the place that the path has in the databags of `relation`.
///
/// Where a path leads nowhere, because something is missing, the place is that of the part it would be in.
pub(crate) fn locate(problems: &mut [Problem], relation: &Relation) {
    let mut of_keys: BTreeMap<(Option<String>, String), Vec<usize>> = BTreeMap::new();
    for (at, problem) in problems.iter().enumerate() {
        if let (Some(key), Some(Inside { place: None, .. })) = (&problem.key, problem.inside.as_deref()) {
            of_keys.entry((problem.unit.clone(), key.clone())).or_default().push(at);
        }
    }
    for ((unit, key), wanted) in of_keys {
        let bag = match unit {
            None => Some(&relation.remote.app_bag),
            Some(unit) => unit.parse().ok().and_then(|unit| relation.remote.units.get(&unit)),
        };
        let Some(text) = bag.and_then(|bag| bag.get(&key)) else { continue };
        let spot =
            |&at: &usize| problems[at].inside.as_ref().map_or(("", 0), |inside| (&*inside.path, inside.character));
        let found = places(text, &wanted.iter().map(spot).collect::<Vec<_>>());
        for (at, place) in wanted.into_iter().zip(found) {
            problems[at].inside.get_or_insert_default().place = Some(place);
        }
    }
}

/// A relation reports at most this many problems; the rest is counted in one more.
const PROBLEMS_MAX: usize = 100;

/// `problems` as those of `relation`, with their places, those beyond [`PROBLEMS_MAX`] as one.
pub(crate) fn located(mut problems: Vec<Problem>, relation: &Relation) -> Vec<Problem> {
    let left_over = problems.len().saturating_sub(PROBLEMS_MAX);
    if left_over > 0 {
        problems.truncate(PROBLEMS_MAX);
        problems.push(Problem::new(format!("{left_over} more problems")));
    }
    locate(&mut problems, relation);
    problems.into_iter().map(|problem| problem.relation(relation)).collect()
}

/// `key` as a step of a path: as it is, or in brackets and quotes where it would be taken for more than one.
pub(crate) fn step(key: &str) -> String {
    match key.is_empty() || key.contains(['.', '[', ']', '"']) || key.contains(char::is_control) {
        true => format!("[{}]", dumps(&Value::from(key))),
        false => format!(".{key}"),
    }
}

/// The place of each of `paths` in `text`, or of the longest part of it that is there; in a string, that of the character with the number
/// beside the path.
fn places(text: &str, paths: &[(&str, usize)]) -> Vec<Place> {
    let plain = without_constants(text, as_long);
    let text = plain.as_deref().unwrap_or(text);
    let mut offsets = vec![0; paths.len()];
    let wanted = paths.iter().enumerate().map(|(at, (path, _))| (at, steps(path))).collect();
    find(text, 0, text, wanted, &mut offsets);
    for (offset, (_, character)) in offsets.iter_mut().zip(paths) {
        *offset += into_string(&text[*offset..], *character);
    }

    // In one walk over the text: a databag may be megabytes on one line.
    let mut order: Vec<usize> = (0..paths.len()).collect();
    order.sort_by_key(|&at| offsets[at]);
    let mut places = vec![Place { line: 1, column: 1 }; paths.len()];
    let (mut seen, mut here) = (0, Place { line: 1, column: 1 });
    for at in order {
        for line in text.as_bytes()[seen..offsets[at]].split_inclusive(|&byte| byte == b'\n') {
            here = match line.ends_with(b"\n") {
                true => Place { line: here.line + 1, column: 1 },
                false => Place { column: here.column + n_characters(line), ..here },
            };
        }
        seen = offsets[at];
        places[at] = here;
    }
    places
}

/// How many bytes of `raw`, a string of JSON and what comes after it, lead to its character number `character`; none to the string itself,
/// and none if it is no string.
fn into_string(raw: &str, character: usize) -> usize {
    let Some(inside) = raw.strip_prefix('"').filter(|_| character > 0) else { return 0 };
    let mut at = 0;
    for _ in 0..character {
        // A character beyond the 16 bits of one escape has two.
        let escaped = |at: usize| inside.get(at..at + 2) == Some("\\u");
        let is_pair = escaped(at)
            && inside
                .get(at + 2..at + 4)
                .is_some_and(|high| matches!(high.as_bytes(), [b'd' | b'D', b'8'..=b'9' | b'a'..=b'b' | b'A'..=b'B']));
        at += match inside.as_bytes().get(at) {
            None | Some(b'"') => break,
            Some(b'\\') if is_pair && escaped(at + 6) => 12,
            Some(b'\\') if escaped(at) => 6,
            Some(b'\\') => 2,
            Some(_) => inside[at..].chars().next().map_or(1, char::len_utf8),
        };
        if !inside.is_char_boundary(at) {
            return 0;
        }
    }
    1 + at
}

fn n_characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

/// One step down into a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step<'a> {
    Item(usize),
    Key(Cow<'a, str>),
}

/// The steps of `a[1].b["c"]`, the first of them last. What is no path has the steps up to there.
fn steps(path: &str) -> Vec<Step<'_>> {
    let (mut steps, mut rest) = (Vec::new(), path);
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('[').filter(|inside| inside.starts_with('"')) {
            let mut keys = serde_json::Deserializer::from_str(quoted).into_iter::<String>();
            let Some(Ok(key)) = keys.next() else { break };
            let Some(after) = quoted[keys.byte_offset()..].strip_prefix(']') else { break };
            steps.push(Step::Key(Cow::Owned(key)));
            rest = after;
        } else if let Some((number, after)) = rest.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
            let Ok(number) = number.parse() else { break };
            steps.push(Step::Item(number));
            rest = after;
        } else {
            let key = rest.strip_prefix('.').unwrap_or(rest);
            let (key, after) = key.split_at(key.find(['.', '[']).unwrap_or(key.len()));
            if key.is_empty() {
                break;
            }
            steps.push(Step::Key(Cow::Borrowed(key)));
            rest = after;
        }
    }
    steps.reverse();
    steps
}

/// What is looked for below one value: which of the paths, and its steps from there, the first last.
type Wanted<'a> = Vec<(usize, Vec<Step<'a>>)>;

/// Writes down where the value `raw`, which starts at `base` of the text, or what is looked for below it stands. As deep as the
/// paths are, whatever the nesting of the value.
fn find(raw: &str, base: usize, text: &str, wanted: Wanted<'_>, offsets: &mut [usize]) {
    let base = base + (raw.len() - raw.trim_start().len());
    let mut below: BTreeMap<Step<'_>, Wanted<'_>> = BTreeMap::new();
    for (at, mut steps) in wanted {
        offsets[at] = base;
        if let Some(step) = steps.pop() {
            below.entry(step).or_default().push((at, steps));
        }
    }
    if below.is_empty() {
        return;
    }
    let (mut items, mut entries): (Vec<&RawValue>, BTreeMap<String, &RawValue>) = Default::default();
    match raw.trim_start().starts_with('[') {
        true => items = serde_json::from_str(raw).unwrap_or_default(),
        false => entries = serde_json::from_str(raw).unwrap_or_default(),
    }
    for (step, wanted) in below {
        let part = match step {
            Step::Item(at) => items.get(at),
            Step::Key(key) => entries.get(&*key),
        };
        if let Some(part) = part {
            // The part borrows from the text, which tells where it starts.
            let start = part.get().as_ptr() as usize - text.as_ptr() as usize;
            find(part.get(), start, text, wanted, offsets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, path: &str, line: usize, column: usize) {
        assert_eq!(places(text, &[("", 0), (path, 0)])[1], Place { line, column }, "{path} in {text}");
    }

    #[test]
    fn characters_of_strings() {
        for (text, character, column) in [
            (r#"["up =="]"#, 0, 2),
            (r#"["up =="]"#, 3, 6),
            // Behind the last one, and beyond that.
            (r#"["up"]"#, 2, 5),
            (r#"["up"]"#, 9, 5),
            // As written: a quotation mark is two, a character by its number six or twelve.
            (r#"["a\"b"]"#, 2, 6),
            (r#"["\u00e9b"]"#, 1, 9),
            (r#"["\ud83d\ude00b"]"#, 1, 15),
            (r#"["éb"]"#, 1, 4),
            ("[7]", 1, 2),
            (r#"["\ud83d"#, 1, 1),
        ] {
            assert_eq!(places(text, &[("[0]", character)])[0], Place { line: 1, column }, "{character} in {text}");
        }
    }

    #[test]
    fn paths() {
        check(r#"[{"a": 1}, {"a": [1, 2]}]"#, "[1].a[1]", 1, 22);
        check(r#"[{"a": 1}, {"a": [1, 2]}]"#, "[1]", 1, 12);
        check("{\"a\":\n  {\"b\":\n    \"é\", \"c\": 1}}", "a.c", 3, 15);
        check("  {}", "", 1, 3);
        // Names that would be more than one step stand in quotes.
        check(r#"{"a.b[0]": {"c": 1}}"#, "[\"a.b[0]\"].c", 1, 18);
        check(r#"{"a.b[0]": {"c": 1}}"#, &format!("{}.c", step("a.b[0]")), 1, 18);
        // What is not there is missing from what is.
        check(r#"{"groups": [{"name": "g"}]}"#, "groups[0].rules[3].expr", 1, 13);
        check(r#"{"groups": [{"name": "g"}]}"#, "groups[7]", 1, 12);
        check(r#"{"a": 1, "a": 2}"#, "a", 1, 15);
        // Not paths, and not JSON.
        check(r#"{"a": 1}"#, "a[x]..", 1, 7);
        check(r#"{"a": "#, "a", 1, 1);
        check("", "a", 1, 1);
    }

    #[test]
    fn deep_values_need_no_stack() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        check(&deep, "[0][0][0]", 1, 4);
    }

    #[test]
    fn places_of_errors() {
        for (text, line, column) in [("[1,]", 1, 4), ("{\n\"é\": x}", 2, 6), ("", 1, 1)] {
            let error = serde_json::from_str::<Value>(text).expect_err("bad JSON");
            assert_eq!(Place::of_error(text, &error), Place { line, column }, "{text}: {error}");
        }
    }
}
