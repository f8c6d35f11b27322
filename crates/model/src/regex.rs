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
    regex: ::regex::Regex,
}

impl AnchoredRegex {
    /// Compiles `pattern`.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        ::regex::RegexBuilder::new(&format!("^(?s:{pattern})$"))
            .size_limit(1 << 20)
            .build()
            .map(|regex| AnchoredRegex { regex })
            .map_err(|error| RegexError { message: error.to_string() })
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}
