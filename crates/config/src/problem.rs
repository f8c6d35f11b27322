//! What is wrong with a text, and where.

use std::fmt;

/// What sort of fault a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The text is wrong; Prometheus refuses it too.
    Invalid,
    /// The text is right, but asks for something this program does not do yet.
    Unsupported,
}

/// One fault of a text, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1; 0 when the fault has no place, for instance because something is missing as a whole.
    pub line: u64,
    /// The column in characters, counted from 1; 0 when unknown.
    pub column: u64,
    /// The path to the value at fault, such as `scrape_configs[2].relabel_configs[0].regex`; empty for the whole text.
    pub key: String,
    /// Whether it is wrong, or only not supported.
    pub kind: Kind,
    /// What is wrong, in the words of Prometheus where it has some.
    pub message: String,
}

/// `line:column: message (key)`, without the parts that are not known.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        f.write_str(&self.message)?;
        if !self.key.is_empty() { write!(f, " (in {})", self.key) } else { Ok(()) }
    }
}

impl std::error::Error for Problem {}
