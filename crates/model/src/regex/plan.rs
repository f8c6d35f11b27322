//! Ways to match that need no automaton, found in the parsed expression.

use std::borrow::Cow;

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

/// How many texts an expression such as `[a-z][0-9]` may stand for before it is no list of texts any more. A list that is
/// written out, `a|b|c`, may be as long as its writer likes.
const PRODUCTS_MAX: usize = 256;

/// How many code points a class has that has all. It counts the surrogates with the others, though no text has them.
const CODE_POINTS: usize = 0x11_0000;

/// How to decide whether a whole text matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// The text is one of these, which are sorted.
    Literals(Vec<String>),
    /// The text begins and ends like this, with at least `between_min` characters between.
    Affixes { prefix: String, suffix: String, between_min: u32 },
    /// The text has this somewhere.
    Contains(String),
    /// The automaton decides, for texts that begin like this.
    Automaton { prefix: String },
}

impl Plan {
    /// Whether `text` matches, or `None` if the automaton must decide.
    pub(super) fn decide(&self, text: &str) -> Option<bool> {
        match self {
            Plan::Literals(literals) if literals.len() == 1 => Some(literals[0] == text),
            Plan::Literals(literals) => Some(literals.binary_search_by(|literal| literal.as_str().cmp(text)).is_ok()),
            Plan::Affixes { prefix, suffix, between_min } => {
                let between = text.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_suffix(suffix.as_str()));
                Some(between.is_some_and(|between| has_chars(between, *between_min)))
            }
            Plan::Contains(part) => Some(text.contains(part.as_str())),
            Plan::Automaton { prefix } if text.starts_with(prefix.as_str()) => None,
            Plan::Automaton { .. } => Some(false),
        }
    }
}

fn has_chars(text: &str, min: u32) -> bool {
    match min {
        0 => true,
        1 => !text.is_empty(),
        min => text.chars().nth(min as usize - 1).is_some(),
    }
}

/// Finds the cheapest way to match an expression that is anchored at both ends.
pub(super) fn plan(hir: &Hir) -> Plan {
    let hir = &without_anchors(hir);
    if let Some(mut literals) = literals(hir) {
        literals.sort_unstable();
        literals.dedup();
        return Plan::Literals(literals);
    }
    let mut parts = Vec::new();
    flatten(hir, &mut parts);
    match parts.as_slice() {
        [Part::Anything(min)] => affixes("", *min, ""),
        [Part::Literal(prefix), Part::Anything(min)] => affixes(prefix, *min, ""),
        [Part::Anything(min), Part::Literal(suffix)] => affixes("", *min, suffix),
        [Part::Literal(prefix), Part::Anything(min), Part::Literal(suffix)] => affixes(prefix, *min, suffix),
        [Part::Anything(0), Part::Literal(part), Part::Anything(0)] => Plan::Contains(part.to_string()),
        [Part::Literal(prefix), ..] => Plan::Automaton { prefix: prefix.to_string() },
        _ => Plan::Automaton { prefix: String::new() },
    }
}

/// Drops the `^` in front and the `$` behind, which many people write and which change nothing here.
fn without_anchors(hir: &Hir) -> Cow<'_, Hir> {
    let HirKind::Concat(parts) = hir.kind() else { return Cow::Borrowed(hir) };
    let mut kept = parts.as_slice();
    while let [first, rest @ ..] = kept
        && *first.kind() == HirKind::Look(Look::Start)
    {
        kept = rest;
    }
    while let [rest @ .., last] = kept
        && *last.kind() == HirKind::Look(Look::End)
    {
        kept = rest;
    }
    if kept.len() == parts.len() { Cow::Borrowed(hir) } else { Cow::Owned(Hir::concat(kept.to_vec())) }
}

fn affixes(prefix: &str, between_min: u32, suffix: &str) -> Plan {
    Plan::Affixes { prefix: prefix.to_owned(), suffix: suffix.to_owned(), between_min }
}

/// All texts that `hir` matches, if it is a short list of texts.
fn literals(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![text_of(&literal.0)?.to_owned()]),
        HirKind::Class(Class::Unicode(class)) => {
            let size: usize = class.iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum();
            if size > PRODUCTS_MAX {
                return None;
            }
            Some(class.iter().flat_map(|range| range.start()..=range.end()).map(String::from).collect())
        }
        HirKind::Class(Class::Bytes(class)) if class.is_ascii() => {
            Some(class.iter().flat_map(|range| range.start()..=range.end()).map(|b| char::from(b).into()).collect())
        }
        HirKind::Capture(capture) => literals(&capture.sub),
        HirKind::Repetition(Repetition { min: 0, max: Some(1), sub, .. }) => {
            let mut all = literals(sub)?;
            all.push(String::new());
            Some(all)
        }
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.append(&mut literals(branch)?);
            }
            Some(all)
        }
        HirKind::Concat(parts) => {
            let mut all = vec![String::new()];
            for part in parts {
                let endings = literals(part)?;
                let product = all.len().checked_mul(endings.len())?;
                // A common beginning or end of a long list does not make it longer.
                if product > PRODUCTS_MAX && all.len() > 1 && endings.len() > 1 {
                    return None;
                }
                all = all.iter().flat_map(|begin| endings.iter().map(move |end| format!("{begin}{end}"))).collect();
            }
            Some(all)
        }
        HirKind::Class(_) | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

enum Part<'a> {
    Literal(Cow<'a, str>),
    /// At least so many characters, whatever they are.
    Anything(u32),
    Other,
}

fn flatten<'a>(hir: &'a Hir, parts: &mut Vec<Part<'a>>) {
    match hir.kind() {
        HirKind::Empty => {}
        HirKind::Literal(literal) => match (text_of(&literal.0), parts.last_mut()) {
            (Some(text), Some(Part::Literal(before))) => before.to_mut().push_str(text),
            (Some(text), _) => parts.push(Part::Literal(Cow::Borrowed(text))),
            (None, _) => parts.push(Part::Other),
        },
        HirKind::Capture(capture) => flatten(&capture.sub, parts),
        HirKind::Concat(subs) => subs.iter().for_each(|sub| flatten(sub, parts)),
        HirKind::Repetition(Repetition { min, max: None, sub, .. }) if is_any_char(sub) => match parts.last_mut() {
            Some(Part::Anything(before)) => *before = before.saturating_add(*min),
            _ => parts.push(Part::Anything(*min)),
        },
        _ => parts.push(Part::Other),
    }
}

fn is_any_char(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            class.iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum::<usize>() == CODE_POINTS
        }
        HirKind::Capture(capture) => is_any_char(&capture.sub),
        _ => false,
    }
}

fn text_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::super::translate::translate;
    use super::*;

    #[track_caller]
    fn check(pattern: &str, expected: Plan) {
        let translated = translate(pattern).unwrap().pattern;
        assert_eq!(plan(&regex_syntax::parse(&translated).unwrap()), expected, "pattern {pattern:?}");
    }

    #[test]
    fn what_people_write_needs_no_automaton() {
        let affixes = |prefix: &str, between_min, suffix: &str| Plan::Affixes {
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
            between_min,
        };
        check(".*", affixes("", 0, ""));
        check(".+", affixes("", 1, ""));
        check("web-.*", affixes("web-", 0, ""));
        check("^.+:9100$", affixes("", 1, ":9100"));
        check("a..*b", Plan::Automaton { prefix: "a".to_owned() });
        check("a.+.*b", affixes("a", 1, "b"));
        check(".*12.*", Plan::Contains("12".to_owned()));
        check("web|db", Plan::Literals(vec!["db".to_owned(), "web".to_owned()]));
        // These stop at the end of a line, or do not take all characters.
        check("(?-s)a.*", Plan::Automaton { prefix: "a".to_owned() });
        check("a[^b]*", Plan::Automaton { prefix: "a".to_owned() });
    }
}
