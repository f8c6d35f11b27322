//! Expressions that look for a match anywhere in a text.
//!
//! Templates have them, because there they are Go's plain `regexp`: not anchored, and `.` stops at a newline.

use std::sync::Arc;

use ::regex::{Regex, RegexBuilder};

use super::translate::{Translated, error, translate};
use super::{COMPILED_BYTES_MAX, Captures, Groups, NEST_MAX, PATTERN_BYTES_MAX, RegexError};

/// A compiled expression that matches parts of texts.
#[derive(Debug, Clone)]
pub struct SearchRegex(Arc<(Regex, Vec<String>)>);

impl SearchRegex {
    /// Compiles `pattern`.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(RegexError { message: "error parsing regexp: expression too large".to_owned() });
        }
        // Read as it stands first, so that what follows is about a right pattern, and errors name it as it was written.
        translate(pattern)?;
        let Translated { pattern: translated, group_names } = translate(&format!("(?-s:{pattern})"))?;
        let built = RegexBuilder::new(&translated).size_limit(COMPILED_BYTES_MAX).nest_limit(NEST_MAX + 1).build();
        let regex = built.map_err(|_| error("expression too large", pattern))?;
        Ok(SearchRegex(Arc::new((regex, group_names))))
    }

    /// Whether a part of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.0.is_match(text)
    }

    /// `text` with each match replaced by `template`, filled as [`Captures::expand`] says.
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for groups in self.0.0.captures_iter(text) {
            let whole = groups.get(0).expect("group 0 is the match").range();
            out.push_str(&text[end..whole.start]);
            end = whole.end;
            out.push_str(&Captures { groups: Groups::Found(groups), names: &self.0.1 }.expand(template));
        }
        out.push_str(&text[end..]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_and_replaces_as_go_does() {
        for (pattern, text, template, expected) in [
            ("(a)b", "xabyab", "<$1>", "x<a>y<a>"),
            ("b*", "abc", "-", "-a-c-"),
            ("^a", "aa", "b", "ba"),
            ("(?P<n>.)$", "ab", "${n}${n}", "abb"),
            ("a.b", "a\nb", "x", "a\nb"),
            ("a|b", "", "x", ""),
            ("é?", "aéa", ".", ".a.a."),
        ] {
            let regex = SearchRegex::new(pattern).unwrap();
            assert_eq!(regex.replace_all(text, template), expected, "{pattern:?} in {text:?}");
        }
        assert!(SearchRegex::new("b").unwrap().is_match("abc"));
        assert!(SearchRegex::new("a)(b").is_err() && SearchRegex::new("(").is_err());
    }
}
