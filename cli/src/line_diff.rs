//! Two texts line by line, as `diff -u` shows them.

/// Lines that are shown around a change.
const CONTEXT: usize = 3;

/// Above this many pairs of lines the changed part is shown as a whole.
const PAIRS_MAX: usize = 4_000_000;

/// A line of both texts, or of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Unchanged.
    Same(&'a str),
    /// Only in the first.
    Removed(&'a str),
    /// Only in the second.
    Added(&'a str),
    /// Unchanged lines that are left out.
    Gap,
}

/// The lines that differ, with some around them.
pub(crate) fn diff<'a>(before: &'a str, after: &'a str) -> Vec<Line<'a>> {
    let all = lines(&before.lines().collect::<Vec<_>>(), &after.lines().collect::<Vec<_>>());
    let mut kept = vec![false; all.len()];
    for (at, _) in all.iter().enumerate().filter(|(_, line)| !matches!(line, Line::Same(_))) {
        kept[at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(all.len())].fill(true);
    }
    let mut shown = Vec::new();
    for (line, kept) in all.into_iter().zip(kept) {
        if kept {
            shown.push(line);
        } else if shown.last() != Some(&Line::Gap) {
            shown.push(Line::Gap);
        }
    }
    shown
}

fn lines<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Line<'a>> {
    let n_head = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (head, before) = before.split_at(n_head);
    let after = &after[n_head..];
    let n_tail = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
    let (before, tail) = before.split_at(before.len() - n_tail);
    let after = &after[..after.len() - n_tail];
    let mut out: Vec<Line<'a>> = head.iter().map(|line| Line::Same(line)).collect();
    middle(before, after, &mut out);
    out.extend(tail.iter().map(|line| Line::Same(line)));
    out
}

/// By the longest common subsequence.
fn middle<'a>(before: &[&'a str], after: &[&'a str], out: &mut Vec<Line<'a>>) {
    let columns = after.len() + 1;
    let mut common = vec![0_u32; 0];
    let is_small = before.len().saturating_mul(after.len()) <= PAIRS_MAX;
    if is_small {
        common.resize((before.len() + 1) * columns, 0);
        for a in (0..before.len()).rev() {
            for b in (0..after.len()).rev() {
                common[a * columns + b] = if before[a] == after[b] {
                    common[(a + 1) * columns + b + 1] + 1
                } else {
                    common[(a + 1) * columns + b].max(common[a * columns + b + 1])
                };
            }
        }
    }
    let (mut a, mut b) = (0, 0);
    while is_small && a < before.len() && b < after.len() {
        if before[a] == after[b] {
            out.push(Line::Same(before[a]));
            (a, b) = (a + 1, b + 1);
        } else if common[(a + 1) * columns + b] >= common[a * columns + b + 1] {
            out.push(Line::Removed(before[a]));
            a += 1;
        } else {
            out.push(Line::Added(after[b]));
            b += 1;
        }
    }
    out.extend(before[a..].iter().map(|line| Line::Removed(line)));
    out.extend(after[b..].iter().map(|line| Line::Added(line)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, after: &str, expected: &[&str]) {
        let shown: Vec<String> = diff(before, after)
            .into_iter()
            .map(|line| match line {
                Line::Same(text) => format!(" {text}"),
                Line::Removed(text) => format!("-{text}"),
                Line::Added(text) => format!("+{text}"),
                Line::Gap => "…".to_owned(),
            })
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn differences() {
        check("a\nb\n", "a\nb\n", &["…"]);
        check("", "a\n", &["+a"]);
        check("a\n", "", &["-a"]);
        check("a\nb\nc\n", "a\nx\nc\n", &[" a", "-b", "+x", " c"]);
        check("a\nb\nc\nd\n", "b\nc\nx\nd\n", &["-a", " b", " c", "+x", " d"]);
        check("1\n2\n3\n4\n5\n6\n7\n8\n", "1\n2\n3\n4\n5\n6\n7\nx\n", &["…", " 5", " 6", " 7", "-8", "+x"]);
    }
}
