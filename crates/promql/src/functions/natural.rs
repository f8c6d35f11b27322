//! The order of texts in which `node2` comes before `node10`.

use std::cmp::Ordering;

/// Compares texts part by part: runs of digits as numbers, everything else as text.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    loop {
        match (rest_a.is_empty(), rest_b.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        let (part_a, part_b);
        (part_a, rest_a) = part(rest_a);
        (part_b, rest_b) = part(rest_b);
        let order = match (part_a.parse::<i64>(), part_b.parse::<i64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => part_a.cmp(part_b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn part(text: &str) -> (&str, &str) {
    let is_digit = text.as_bytes()[0].is_ascii_digit();
    let end = text.bytes().position(|byte| byte.is_ascii_digit() != is_digit).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count() {
        for (a, b) in [("node2", "node10"), ("a", "b"), ("2", "a"), ("a", "a1"), ("4.0.9", "4.0.10"), ("", "a")] {
            assert_eq!(compare(a, b), Ordering::Less, "{a} and {b}");
            assert_eq!(compare(b, a), Ordering::Greater, "{b} and {a}");
        }
        assert_eq!(compare("a01", "a1"), Ordering::Equal);
    }
}
