//! Which known name a person may have meant by one that nobody knows.

/// Longer names are not mistyped but something else.
const NAME_BYTES_MAX: usize = 64;

/// The name of `known` that is most like `written`; none if no one is near.
pub fn similar<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().filter(|known| is_similar(written, known));
    near.min_by_key(|known| (edit_distance(&plain(written), &plain(known)), known.len()))
}

/// Whether a person may have meant `known` by `written`: the same but for case and dashes, one too long, or few letters off.
pub(crate) fn is_similar(written: &str, known: &str) -> bool {
    let (written, known) = (plain(written), plain(known));
    written.len() < NAME_BYTES_MAX && edit_distance(&written, &known) <= 1 + known.len() / 8
}

fn plain(text: &str) -> String {
    text.to_lowercase().replace('-', "_")
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, expected: Option<&str>) {
        let known = ["metrics-endpoint", "self-metrics-endpoint", "alertmanager", "ingress", "logging"];
        assert_eq!(similar(written, known), expected, "{written}");
    }

    #[test]
    fn names() {
        check("metric-endpoint", Some("metrics-endpoint"));
        check("METRICS_ENDPOINT", Some("metrics-endpoint"));
        check("alertmanger", Some("alertmanager"));
        check("loging", Some("logging"));
        check("mysql", None);
        check("", None);
        check(&"ingress".repeat(1000), None);
    }
}
