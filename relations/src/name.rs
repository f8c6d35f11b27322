//! Juju's rules for names.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Whether Juju takes `text` as the name of an application: lower-case words joined by hyphens, starting with a letter, and
/// no word after a hyphen made of digits alone, so that `app-1` can never be mistaken for a unit.
pub fn is_application(text: &str) -> bool {
    let mut words = text.split('-');
    let starts_with_letter = text.starts_with(|c: char| c.is_ascii_lowercase());
    starts_with_letter
        && words.all(|word| {
            word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && word.bytes().any(|b| b.is_ascii_lowercase())
        })
}

/// Whether Juju takes `text` as the name of a model: lower-case letters, digits and hyphens, not starting with a hyphen.
pub fn is_model(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether `text` is the name a controller gives to an application of another model: `remote-` and 32 hexadecimal digits.
pub fn is_remote_application(text: &str) -> bool {
    text.strip_prefix("remote-").is_some_and(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The name of a unit, `application/number`. Ordered by application, then by number, so that `a/2` comes before `a/10`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitName {
    application: String,
    number: u32,
}

impl UnitName {
    /// Unit `number` of `application`; fails if `application` is not a name Juju would take.
    pub fn new(application: &str, number: u32) -> Result<Self, UnitNameError> {
        if is_application(application) || is_remote_application(application) {
            Ok(UnitName { application: application.to_owned(), number })
        } else {
            Err(UnitNameError { text: application.chars().take(64).collect() })
        }
    }

    /// The application the unit belongs to.
    pub fn application(&self) -> &str {
        &self.application
    }

    /// The unit's number.
    pub fn number(&self) -> u32 {
        self.number
    }
}

/// A text that is not the name of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot read {text:?} as the name of a unit (application/number)")]
pub struct UnitNameError {
    text: String,
}

impl FromStr for UnitName {
    type Err = UnitNameError;

    fn from_str(text: &str) -> Result<Self, UnitNameError> {
        let refused = || UnitNameError { text: text.chars().take(64).collect() };
        let (application, number) = text.rsplit_once('/').ok_or_else(refused)?;
        let canonical = number == "0" || number.starts_with(|c: char| ('1'..='9').contains(&c));
        if !canonical || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refused());
        }
        UnitName::new(application, number.parse().map_err(|_| refused())?).map_err(|_| refused())
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.application, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, application: bool, model: bool, unit: bool) {
        assert_eq!(is_application(text), application, "application {text:?}");
        assert_eq!(is_model(text), model, "model {text:?}");
        assert_eq!(text.parse::<UnitName>().is_ok(), unit, "unit {text:?}");
        if unit {
            assert_eq!(text.parse::<UnitName>().map(|u| u.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn names() {
        check("mysql", true, true, false);
        check("prometheus-k8s", true, true, false);
        check("a1-2b", true, true, false);
        check("", false, false, false);
        // A last word of digits would look like a unit or a revision.
        check("app-1", false, true, false);
        check("app--x", false, true, false);
        check("app-", false, true, false);
        check("1app", false, true, false);
        check("-app", false, false, false);
        check("App", false, false, false);
        check("a_b", false, false, false);
        check("mysql/0", false, false, true);
        check("mysql/10", false, false, true);
        check("mysql/01", false, false, false);
        check("mysql/-1", false, false, false);
        check("mysql/+1", false, false, false);
        check("mysql/", false, false, false);
        check("mysql/4294967296", false, false, false);
        // The other side of an offer; the digits may happen to hold no letter.
        check("remote-00000000000000000000000000000012/3", false, false, true);
    }

    #[test]
    fn units_have_natural_order() {
        let unit = |text: &str| text.parse::<UnitName>().expect("a unit's name");
        assert!(unit("a/2") < unit("a/10"));
        assert!(unit("a/10") < unit("b/0"));
    }
}
