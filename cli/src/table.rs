//! Borderless columns, two blanks apart, as juju prints them.

mod fit;

use crate::output::printable;

/// What stands between columns.
const GAP: &str = "  ";

/// Narrower, text cannot be read.
const TEXT_MIN: usize = 12;

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Column {
    title: String,
    right: bool,
}

impl Table {
    /// A table with these titles; a title that begins with `>` makes a column of numbers, aligned to the right.
    pub(crate) fn new(titles: &[&str]) -> Self {
        let column = |title: &&str| match title.strip_prefix('>') {
            Some(title) => Column { title: title.to_owned(), right: true },
            None => Column { title: (*title).to_owned(), right: false },
        };
        Table { columns: titles.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row; cells may hold colours, which take no room.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// Whether no row was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, without blanks at line ends. On a terminal no line is wider than that, if it can be: the widest columns are
    /// cut, and the last one goes on in the next line.
    pub(crate) fn render(&self) -> String {
        self.render_within(crate::output::terminal_width())
    }

    fn render_within(&self, room: Option<usize>) -> String {
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.clone()).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&titles).chain(&self.rows).collect();
        let width = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| visible(cell)).max();
        let mut widths: Vec<usize> = (0..self.columns.len()).map(|at| width(at).unwrap_or(0)).collect();
        if let Some(room) = room {
            self.narrow(&mut widths, room);
        }
        let mut out = String::new();
        for line in lines {
            let mut below = Vec::new();
            let mut text = String::new();
            for (at, ((cell, column), width)) in line.iter().zip(&self.columns).zip(&widths).enumerate() {
                let mut pieces = if visible(cell) <= *width {
                    vec![cell.clone()]
                } else if at + 1 == self.columns.len() {
                    fit::wrapped(cell, *width)
                } else {
                    vec![fit::cut(cell, *width)]
                };
                let first = pieces.remove(0);
                below = pieces;
                let gap = " ".repeat(width.saturating_sub(visible(&first)));
                text.push_str(&if column.right { gap + &first } else { first + &gap });
                text.push_str(GAP);
            }
            out.push_str(text.trim_end());
            out.push('\n');
            let indent: usize = widths.iter().rev().skip(1).map(|width| width + GAP.len()).sum();
            for piece in below {
                out.push_str(&" ".repeat(indent));
                out.push_str(piece.trim_end());
                out.push('\n');
            }
        }
        out
    }

    /// Takes room from the widest columns of text, as long as there is too little and they can be read.
    fn narrow(&self, widths: &mut [usize], room: usize) {
        let total =
            |widths: &[usize]| widths.iter().map(|width| width + GAP.len()).sum::<usize>().saturating_sub(GAP.len());
        while total(widths) > room {
            let can_give =
                |at: &usize| !self.columns[*at].right && widths[*at] > TEXT_MIN.max(visible(&self.columns[*at].title));
            let Some(widest) = (0..widths.len()).filter(can_give).max_by_key(|at| widths[*at]) else { return };
            widths[widest] -= 1;
        }
    }
}

/// How many columns a cell takes on the screen: its characters, without colour codes.
pub(crate) fn visible(cell: &str) -> usize {
    let (mut n, mut in_code) = (0, false);
    for c in cell.chars() {
        match c {
            '\x1b' => in_code = true,
            'm' if in_code => in_code = false,
            _ if in_code => {}
            _ => n += 1,
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let mut table = Table::new(&["App", ">Scale", "Message"]);
        table.row(["mysql".into(), "3".into(), String::new()]);
        table.row([crate::output::bad("a"), "10".into(), "x".into()]);
        let text = table.render();
        assert!(text.starts_with("App    Scale  Message\nmysql      3\n"), "{text:?}");
        assert!(text.ends_with("m         10  x\n"), "{text:?}");
    }

    #[test]
    fn narrow_terminals() {
        let mut table = Table::new(&["Endpoint", ">Targets", "Message"]);
        table.row([
            "prometheus:metrics-endpoint".into(),
            "3".into(),
            crate::output::bad("no rule of this relation is right"),
        ]);
        table.row(["a".into(), "12".into(), "ok".into()]);
        let red = |text: &str| crate::output::bad(text);
        let expected = [
            "Endpoint         Targets  Message".to_owned(),
            format!("prometheus:met…        3  {}", red("no rule of this")),
            format!("                          {}", red("relation is")),
            format!("                          {}", red("right")),
            "a                     12  ok".to_owned(),
        ];
        assert_eq!(table.render_within(Some(41)), expected.join("\n") + "\n");
        let whole = table.render_within(None);
        assert!(whole.contains("prometheus:metrics-endpoint  ") && whole.lines().count() == 3, "{whole}");
        assert_eq!(table.render_within(Some(200)), whole);
        // Where nothing more can be given, all is shown rather than nothing.
        assert!(table.render_within(Some(5)).lines().all(|line| visible(line) <= 12 + 2 + 7 + 2 + 12));
    }
}
