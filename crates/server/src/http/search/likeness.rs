//! How well a text fits what somebody searches for, from 0 to 1: the scores of Prometheus' search API, on characters.

/// Of what is longer, only so much is compared: the work grows with the square of the length, and nobody types as much.
const COMPARED_MAX: usize = 1_000;

/// What is not the text itself stays below 1, also when it is rounded.
const NOT_THE_TEXT: f64 = 0.999;

/// How much a character at the beginning that two texts have in common is worth, and how many count: Winkler's numbers.
const PREFIX_WEIGHT: f64 = 0.1;
const PREFIX_MAX: usize = 4;

/// One for what begins with `term`, less the later it begins; `None` where it does not occur.
pub(super) fn substring(term: &str, text: &str) -> Option<f64> {
    let before = text.find(term)?;
    if before == 0 {
        return Some(1.0);
    }
    let n_chars = |text: &str| text.chars().count() as f64;
    let last = n_chars(text) - n_chars(term);
    Some(if last > 0.0 { 1.0 - 0.9 * n_chars(&text[..before]) / last } else { 1.0 })
}

/// One for `term` itself, less for a text that has its characters in this order with others in between, the more of them the less;
/// `None` where they are not there.
pub(super) fn subsequence(term: &[char], text: &str) -> Option<f64> {
    let text: Vec<char> = text.chars().take(COMPARED_MAX).collect();
    if term == text {
        return Some(1.0);
    }
    let (first, last_start) = (term.first()?, text.len().checked_sub(term.len())?);
    let starts = (0..=last_start).filter(|at| text[*at] == *first);
    // What cannot be completed from one place cannot be from a later one.
    let best = starts.map_while(|start| runs_score(term, &text, start)).fold(-1.0, f64::max);
    let whole = (term.len() * term.len()) as f64;
    (best > 0.0).then_some(best / whole * NOT_THE_TEXT)
}

/// The squares of the lengths of the runs in which `term` stands in `text` from `start` on, taken as early as possible, less the parts of the
/// text before, between and, by half, behind them.
fn runs_score(term: &[char], text: &[char], start: usize) -> Option<f64> {
    let share = 1.0 / text.len() as f64;
    let (mut score, mut behind_last, mut matched) = (0.0, 0, 0);
    while matched < term.len() {
        let from = if matched == 0 {
            start
        } else {
            behind_last + text[behind_last..].iter().position(|c| *c == term[matched])?
        };
        let length = text[from..].iter().zip(&term[matched..]).take_while(|(a, b)| a == b).count();
        score += (length * length) as f64 - (from - behind_last) as f64 * share;
        behind_last = from + length;
        matched += length;
    }
    Some(score - (text.len() - behind_last) as f64 * share * 0.5)
}

/// The similarity of Jaro and Winkler.
pub(super) fn jaro_winkler(term: &[char], text: &str) -> f64 {
    let text: Vec<char> = text.chars().take(COMPARED_MAX).collect();
    let term = &term[..term.len().min(COMPARED_MAX)];
    let (short, long) = if term.len() <= text.len() { (term, &text[..]) } else { (&text[..], term) };
    if short == long {
        return 1.0;
    }
    let reach = (long.len() / 2).saturating_sub(1);
    let mut is_taken = vec![false; long.len()];
    // The characters that both have, in the order of the shorter one.
    let common: Vec<char> = (0..short.len())
        .filter_map(|at| {
            let nearby = at.saturating_sub(reach)..(at + reach + 1).min(long.len());
            let place = nearby.into_iter().find(|place| !is_taken[*place] && long[*place] == short[at])?;
            is_taken[place] = true;
            Some(short[at])
        })
        .collect();
    if common.is_empty() {
        return 0.0;
    }
    let in_long = is_taken.iter().zip(long).filter(|(is_taken, _)| **is_taken).map(|(_, c)| c);
    let n_moved = common.iter().zip(in_long).filter(|(a, b)| a != b).count();
    let n = common.len() as f64;
    let jaro = (n / short.len() as f64 + n / long.len() as f64 + (n - n_moved as f64 * 0.5) / n) / 3.0;
    let n_same = short.iter().zip(long).take(PREFIX_MAX).take_while(|(a, b)| a == b).count();
    jaro + n_same as f64 * PREFIX_WEIGHT * (1.0 - jaro)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    fn is_near(score: Option<f64>, expected: Option<f64>) -> bool {
        match (score, expected) {
            (Some(score), Some(expected)) => (score - expected).abs() < 1e-12,
            (score, expected) => score == expected,
        }
    }

    #[test]
    fn substrings() {
        for (term, text, expected) in [
            ("up", "up", Some(1.0)),
            ("http", "http_requests", Some(1.0)),
            ("b", "ab", Some(0.1)),
            ("b", "abc", Some(0.55)),
            ("b", "äbc", Some(0.55)),
            ("x", "abc", None),
        ] {
            let score = substring(term, text);
            assert!(is_near(score, expected), "{term} in {text}: {score:?}");
        }
    }

    #[test]
    fn subsequences() {
        for (term, text, expected) in [
            ("my awesome text", "my awesome text", Some(1.0)),
            // One run of two, thirteen of fifteen behind it.
            ("my", "my awesome text", Some(107.0 / 120.0 * 0.999)),
            // Two runs of one, one in between of three.
            ("ac", "abc", Some((2.0 - 1.0 / 3.0) / 4.0 * 0.999)),
            // The later beginning is the better one.
            ("ab", "aab", Some((4.0 - 1.0 / 3.0) / 4.0 * 0.999)),
            ("éc", "aéc", Some((4.0 - 1.0 / 3.0) / 4.0 * 0.999)),
            ("ca", "abc", None),
            ("abcd", "abc", None),
            ("a", "", None),
        ] {
            let score = subsequence(&chars(term), text);
            assert!(is_near(score, expected), "{term} in {text}: {score:?}");
        }
    }

    #[test]
    fn similarities() {
        // Of the papers of Jaro and Winkler.
        for (a, b, expected) in [
            ("martha", "marhta", 0.961),
            ("dwayne", "duane", 0.840),
            ("dixon", "dicksonx", 0.813),
            ("abc", "xyz", 0.0),
            ("abc", "", 0.0),
            ("café", "cafe", 0.883),
            ("prometheus", "prometheus", 1.0),
        ] {
            for (a, b) in [(a, b), (b, a)] {
                let score = jaro_winkler(&chars(a), b);
                assert!((score - expected).abs() < 0.001, "{a} and {b}: {score}");
            }
        }
        let long = "a".repeat(1 << 20);
        assert_eq!(jaro_winkler(&chars(&long), &long), 1.0);
        assert!(subsequence(&chars("ab"), &long).is_none());
    }
}
