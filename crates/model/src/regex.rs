//! Regular expressions as Prometheus reads them: RE2 syntax, always matched against the whole text.

use thiserror::Error;

/// Why a pattern is refused; the text is Go's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct RegexError {
    /// The message, in the words of Go's `regexp/syntax`.
    pub message: String,
}

/// A compiled expression that matches only whole texts; `.` also matches a newline.
#[derive(Debug, Clone)]
pub struct AnchoredRegex {
    pattern: String,
    regex: ::regex::Regex,
}

impl AnchoredRegex {
    /// Compiles `pattern`.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let regex = ::regex::RegexBuilder::new(&format!("^(?s:{pattern})$"))
            .size_limit(1 << 20)
            .build()
            .map_err(|error| RegexError { message: error.to_string() })?;
        Ok(AnchoredRegex { pattern: pattern.to_owned(), regex })
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// `template` filled with the groups of the match, or `None` if `text` does not match.
    pub fn replace(&self, text: &str, template: &str) -> Option<String> {
        self.captures(text).map(|captures| captures.expand(template))
    }

    /// The groups of the match, or `None` if `text` does not match.
    pub fn captures<'a>(&'a self, text: &'a str) -> Option<Captures<'a>> {
        self.regex.captures(text).map(Captures)
    }
}

/// Two expressions are equal when they are written the same.
impl PartialEq for AnchoredRegex {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for AnchoredRegex {}

/// The groups of one match; see [`AnchoredRegex::captures`].
#[derive(Debug)]
pub struct Captures<'a>(::regex::Captures<'a>);

impl Captures<'_> {
    /// Fills a template as Go's `Regexp.Expand` does.
    ///
    /// `$1` or `${1}` is a group by number, `$name` or `${name}` by name, `$$` a dollar sign. A name is taken as long as it
    /// can be, so `$1x` asks for a group called `1x`. A group that does not exist or took no part is empty, and a dollar sign
    /// that starts none of these stays.
    pub fn expand(&self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = group_name(rest) {
                out.push_str(self.group(name));
                rest = after;
            } else {
                out.push('$');
            }
        }
        out.push_str(rest);
        out
    }

    fn group(&self, name: &str) -> &str {
        let group = match group_number(name) {
            Some(number) => self.0.get(number),
            None => self.0.name(name),
        };
        group.map_or("", |group| group.as_str())
    }
}

/// Splits the name or number of a group off what follows a dollar sign.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let braced = text.strip_prefix('{');
    let body = braced.unwrap_or(text);
    let end = body.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(body.len());
    let (name, after) = body.split_at(end);
    if name.is_empty() {
        return None;
    }
    match braced {
        Some(_) => after.strip_prefix('}').map(|after| (name, after)),
        None => Some((name, after)),
    }
}

/// Go reads digits as a number up to a bound, and not with a leading zero; otherwise they are a name like any other.
fn group_number(name: &str) -> Option<usize> {
    if (name.len() > 1 && name.starts_with('0')) || name.len() > 9 || !name.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    name.parse().ok()
}
