//! What is wrong with what relations, options and files say.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Something wrong, where, and what to do about it. They are sorted by place: relations and units by number, and what is in one value as
/// it stands there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `endpoint:id`; none when it concerns the agent as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// The unit whose bag it is; none for the application's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The key in the bag, the option or the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The path inside the key's value, such as `[0].tls_config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where that stands in the value's text: the line, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in characters, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Ord for Problem {
    fn cmp(&self, other: &Self) -> Ordering {
        fn numbered(name: &Option<String>) -> Option<(&str, Option<u64>, &str)> {
            let name = name.as_deref()?;
            let (kind, number) = name.rsplit_once([':', '/']).unwrap_or((name, ""));
            Some((kind, number.parse().ok(), name))
        }
        fn place(problem: &Problem) -> impl Ord + '_ {
            let Problem { relation, unit, key, path, line, column, message, hint } = problem;
            (numbered(relation), numbered(unit), key, line, column, path, message, hint)
        }
        place(self).cmp(&place(other))
    }
}

impl PartialOrd for Problem {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Problem {
    /// A problem of the agent as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Problem { message: message.into(), ..Problem::default() }
    }

    /// `key.path:line:column`, as far as they are known.
    pub fn place(&self) -> Option<String> {
        let mut place = self.key.clone()?;
        if let Some(path) = &self.path {
            place.push_str(if path.starts_with('[') { "" } else { "." });
            place.push_str(path);
        }
        if let (Some(line), Some(column)) = (self.line, self.column) {
            place.push_str(&format!(":{line}:{column}"));
        }
        Some(place)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = [self.relation.clone(), self.unit.clone(), self.place()];
        for part in place.into_iter().flatten() {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_sorted_by_place() {
        let problem = |relation: &str, unit: Option<&str>, place: Option<(usize, usize)>| Problem {
            relation: Some(relation.to_owned()),
            unit: unit.map(str::to_owned),
            key: Some("key".to_owned()),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            ..Problem::new("wrong")
        };
        let sorted = [
            Problem::new("of the agent"),
            problem("alertmanager:12", None, None),
            problem("metrics-endpoint:4", None, Some((1, 9))),
            problem("metrics-endpoint:4", None, Some((1, 10))),
            problem("metrics-endpoint:4", None, Some((2, 1))),
            problem("metrics-endpoint:4", Some("app/2"), None),
            problem("metrics-endpoint:4", Some("app/10"), None),
            problem("metrics-endpoint:10", None, None),
        ];
        let mut seen = sorted.to_vec();
        seen.reverse();
        seen.sort();
        assert_eq!(seen, sorted);
    }
}
