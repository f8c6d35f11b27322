//! The labels that all of several label sets have: said once, so that the rows below show what differs.

use serde_json::Value;

use crate::output::faint;
use crate::table::Table;
use crate::targets::labels;

/// Labels that are shared, and those that are shown elsewhere.
#[derive(Debug)]
pub(crate) struct SharedLabels<'a> {
    shared: Vec<(&'a str, &'a Value)>,
    elsewhere: &'a [&'a str],
}

impl<'a> SharedLabels<'a> {
    /// What `sets` share but for `elsewhere`; nothing where there is only one, which is best read whole.
    pub(crate) fn of(sets: impl IntoIterator<Item = &'a Value>, elsewhere: &'a [&'a str]) -> Self {
        let mut sets = sets.into_iter();
        let first = sets.next().and_then(Value::as_object).into_iter().flatten();
        let mut shared: Vec<(&str, &Value)> =
            first.map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| !elsewhere.contains(name)).collect();
        let mut n_sets = 1;
        for set in sets {
            shared.retain(|(name, value)| set.get(name) == Some(value));
            n_sets += 1;
        }
        if n_sets == 1 {
            shared.clear();
        }
        SharedLabels { shared, elsewhere }
    }

    /// A line that says what is shared; empty if nothing is.
    pub(crate) fn head(&self) -> String {
        if self.shared.is_empty() {
            return String::new();
        }
        let pairs = self.shared.iter().map(|(name, value)| ((*name).to_owned(), (*value).clone()));
        let mut head = Table::new(&[""]);
        head.row([faint(&labels(&Value::Object(pairs.collect()), &[]))]);
        head.render_behind(&faint("all have "))
    }

    /// What `set` has besides.
    pub(crate) fn rest(&self, set: &Value) -> String {
        let names: Vec<&str> =
            self.shared.iter().map(|(name, _)| *name).chain(self.elsewhere.iter().copied()).collect();
        labels(set, &names)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_left() {
        let sets = [json!({"alertname": "X", "a": "1", "b": "2"}), json!({"alertname": "X", "a": "1", "b": "3"})];
        let shared = SharedLabels::of(&sets, &["alertname"]);
        let head = anstream::adapter::strip_str(&shared.head()).to_string();
        assert_eq!((head.as_str(), shared.rest(&sets[1]).as_str()), ("all have {a=\"1\"}\n", "{b=\"3\"}"));
        let alone = SharedLabels::of(&sets[..1], &["alertname"]);
        assert_eq!((alone.head().as_str(), alone.rest(&sets[0]).as_str()), ("", "{a=\"1\", b=\"2\"}"));
    }
}
