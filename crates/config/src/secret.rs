//! Texts that must not be seen.

use std::fmt;

use serde::{Serialize, Serializer};

/// How a secret shows wherever it is printed; the word is Prometheus'.
pub(crate) const REDACTED: &str = "<secret>";

/// A password, token or key: every way of printing it gives `<secret>`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the one place that has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// A URL that may hold a password; every way of printing it shows `xxxxx` there.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url(String);

impl Url {
    /// Wraps `text`, which need not be a URL.
    pub fn new(text: impl Into<String>) -> Self {
        Url(text.into())
    }

    /// The URL with its password, for the one place that has to use it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn has_password(&self) -> bool {
        self.password().is_some()
    }

    /// Where the password stands.
    fn password(&self) -> Option<std::ops::Range<usize>> {
        let start = self.0.find("://")? + 3;
        let end = self.0[start..].find(['/', '?', '#']).map_or(self.0.len(), |at| start + at);
        let at = start + self.0[start..end].rfind('@')?;
        let colon = start + self.0[start..at].find(':')?;
        Some(colon + 1..at)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.password() {
            Some(range) => write!(f, "{}xxxxx{}", &self.0[..range.start], &self.0[range.end..]),
            None => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_shows() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {}", serde_json::to_string(&secret).unwrap()),
            "<secret> <secret> \"<secret>\""
        );
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(Url::new("http://me:p@ss@host:80/a@b:c").to_string(), "http://me:xxxxx@host:80/a@b:c");
        assert_eq!(Url::new("http://host:80/a@b").to_string(), "http://host:80/a@b");
    }
}
