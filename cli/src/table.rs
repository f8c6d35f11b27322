//! Borderless columns, two blanks apart, as juju prints them.

use crate::output::printable;

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

    /// The table as text, a line a row, without blanks at line ends.
    pub(crate) fn render(&self) -> String {
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.clone()).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&titles).chain(&self.rows).collect();
        let width = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| visible(cell)).max();
        let widths: Vec<usize> = (0..self.columns.len()).map(|at| width(at).unwrap_or(0)).collect();
        let mut out = String::new();
        for line in lines {
            let mut text = String::new();
            for ((cell, column), width) in line.iter().zip(&self.columns).zip(&widths) {
                let gap = " ".repeat(width - visible(cell));
                let padded = if column.right { gap + cell } else { cell.clone() + &gap };
                text.push_str(&padded);
                text.push_str("  ");
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
        out
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
}
