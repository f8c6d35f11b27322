//! Borderless columns, two blanks apart, as juju prints them.

mod fit;
mod room;

use crate::output::printable;
use room::Wish;

/// What stands between columns.
const GAP: &str = "  ";

/// What stands before what hangs below its row.
const INDENT: &str = "    ";

/// Narrower, text cannot be read.
const TEXT_MIN: usize = 12;

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// A text and how many columns it takes, which is asked often.
#[derive(Debug)]
struct Cell {
    text: String,
    width: usize,
}

impl Cell {
    fn new(text: String) -> Self {
        let text = if text.contains(char::is_control) { printable(&text) } else { text };
        Cell { width: visible(&text), text }
    }
}

#[derive(Debug)]
struct Column {
    title: String,
    right: bool,
    minor: bool,
    whole: bool,
    flows: bool,
}

impl Table {
    /// A table with these titles; without any text in them there is no line of titles. Marks stand before a title:
    ///
    /// - `~` makes a column that gives room before others do, and goes where a terminal is too narrow for all,
    /// - `=` one that is never cut,
    /// - `+` one that goes on in the next line instead of being cut, as the last one does anyhow,
    /// - `>` one of numbers, aligned to the right and never cut.
    pub(crate) fn new(titles: &[&str]) -> Self {
        let column = |title: &&str| {
            let text = title.trim_start_matches(['~', '=', '+', '>']);
            let has = |mark: char| title[..title.len() - text.len()].contains(mark);
            let (right, minor, whole, flows) = (has('>'), has('~'), has('=') || has('>'), has('+'));
            Column { title: text.to_owned(), right, minor, whole, flows }
        };
        Table { columns: titles.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row; cells may hold colours, which take no room.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(Cell::new).collect());
    }

    /// Whether no row was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, without blanks at line ends. On a terminal no line is wider than that, if it can be: columns that say nothing
    /// or little go, others are cut, and prose that would be too narrow stands below its row.
    pub(crate) fn render(&self) -> String {
        self.render_within(crate::output::terminal_width())
    }

    /// The same behind `first`, which stands before the first line, and blanks before the others.
    pub(crate) fn render_behind(&self, first: &str) -> String {
        let indent = visible(first);
        let text = self.render_within(crate::output::terminal_width().map(|room| room.saturating_sub(indent)));
        let blanks = " ".repeat(indent);
        text.lines()
            .enumerate()
            .map(|(at, line)| format!("{}{line}\n", if at == 0 { first } else { &blanks }))
            .collect()
    }

    fn render_within(&self, room: Option<usize>) -> String {
        let titles: Vec<Cell> = self.columns.iter().map(|column| Cell::new(column.title.clone())).collect();
        let has_titles = titles.iter().any(|title| title.width > 0);
        let lines: Vec<&Vec<Cell>> = has_titles.then_some(&titles).into_iter().chain(&self.rows).collect();
        let widest = |at: usize, lines: &mut dyn Iterator<Item = &Vec<Cell>>| {
            lines.filter_map(|line| line.get(at)).map(|cell| cell.width).max().unwrap_or(0)
        };
        let natural: Vec<usize> = (0..self.columns.len()).map(|at| widest(at, &mut lines.iter().copied())).collect();
        let (widths, hanging) = match room {
            None => (natural.into_iter().map(Some).collect(), Vec::new()),
            Some(room) => {
                let wish = |(at, (column, width)): (usize, (&Column, &usize))| Wish {
                    width: *width,
                    title: titles[at].width,
                    is_minor: column.minor,
                    is_whole: column.whole,
                    flows: column.flows,
                    is_empty: widest(at, &mut self.rows.iter()) == 0,
                };
                let wishes: Vec<Wish> = self.columns.iter().zip(&natural).enumerate().map(wish).collect();
                room::share_or_hang(&wishes, room, GAP.len())
            }
        };
        let room_below = room.map_or(usize::MAX, |room| room.saturating_sub(INDENT.len()).max(TEXT_MIN));
        let shown: Vec<(usize, usize)> =
            widths.iter().enumerate().filter_map(|(at, width)| Some((at, (*width)?))).collect();
        let last = shown.last().map(|(at, _)| *at);
        let mut out = String::new();
        for (at_line, line) in lines.into_iter().enumerate() {
            let fits = |(at, width): &(usize, usize)| line.get(*at).is_none_or(|cell| cell.width <= *width);
            if shown.iter().all(fits) {
                self.put_line(&mut out, &shown, |at| line.get(at).map(|cell| (cell.text.as_str(), cell.width)));
            } else {
                let pieces = |(at, width): &(usize, usize)| match line.get(*at) {
                    Some(cell) if cell.width <= *width => vec![cell.text.clone()],
                    Some(cell) if self.columns[*at].flows || Some(*at) == last => fit::wrapped(&cell.text, *width),
                    Some(cell) => vec![fit::cut(&cell.text, *width)],
                    None => Vec::new(),
                };
                let mut cells: Vec<Vec<String>> = vec![Vec::new(); self.columns.len()];
                for place in &shown {
                    cells[place.0] = pieces(place);
                }
                for below in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
                    let piece = |at: usize| cells[at].get(below).map(|piece| (piece.as_str(), visible(piece)));
                    self.put_line(&mut out, &shown, piece);
                }
            }
            let is_titles = has_titles && at_line == 0;
            let below = hanging.iter().filter_map(|at| line.get(*at)).filter(|cell| !is_titles && cell.width > 0);
            for piece in below.flat_map(|cell| fit::wrapped(&cell.text, room_below)) {
                out.push_str(&format!("{INDENT}{}\n", piece.trim_end()));
            }
        }
        out
    }

    /// Adds one line to `out`: of each column in `shown`, with its width, what `piece` says and how wide that is.
    fn put_line<'a>(
        &self,
        out: &mut String,
        shown: &[(usize, usize)],
        piece: impl Fn(usize) -> Option<(&'a str, usize)>,
    ) {
        let start = out.len();
        for (at, width) in shown {
            let (piece, used) = piece(*at).unwrap_or_default();
            let gap = width.saturating_sub(used);
            if self.columns[*at].right {
                out.extend(std::iter::repeat_n(' ', gap));
                out.push_str(piece);
            } else {
                out.push_str(piece);
                out.extend(std::iter::repeat_n(' ', gap));
            }
            out.push_str(GAP);
        }
        out.truncate(start + out[start..].trim_end().len());
        out.push('\n');
    }
}

/// How many columns a cell takes on the screen: its characters, without colour codes.
pub(crate) fn visible(cell: &str) -> usize {
    if !cell.contains('\x1b') {
        return cell.chars().count();
    }
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
            "Endpoint                     Targets".to_owned(),
            "prometheus:metrics-endpoint        3".to_owned(),
            format!("    {}", red("no rule of this relation is right")),
            "a                                 12".to_owned(),
            "    ok".to_owned(),
        ];
        assert_eq!(table.render_within(Some(41)), expected.join("\n") + "\n");
        let whole = table.render_within(None);
        assert!(whole.contains("prometheus:metrics-endpoint  ") && whole.lines().count() == 3, "{whole}");
        assert_eq!(table.render_within(Some(200)), whole);
        // Where nothing more can be given, all is shown rather than nothing.
        assert!(table.render_within(Some(5)).lines().all(|line| visible(line) <= 8 + 2 + 7 + 2 + 8));
    }

    #[test]
    fn columns_go_before_addresses_are_cut() {
        let mut table = Table::new(&["Unit", "Endpoint", "~Job", "Channel", "~>Took", "Error"]);
        let cells = ["nodes/0", "http://10.20.30.40:9100/metrics", "juju_site_12de4fae_nodes", "", "1.2ms", "refused"];
        table.row(cells.map(str::to_owned));
        for (room, expected) in [
            (101, "nodes/0  http://10.20.30.40:9100/metrics  juju_site_12de4fae_nodes           1.2ms  refused"),
            (90, "nodes/0  http://10.20.30.40:9100/metrics  juju_site_12de4fae_nodes  1.2ms  refused"),
            (80, "nodes/0  http://10.20.30.40:9100/metrics  juju_site_12de4fae_no…  1.2ms  refused"),
            (60, "nodes/0  http://10.20.30.40:9100/metrics  1.2ms  refused"),
            (50, "nodes/0  http://10.20.30.40:9100/metrics  refused"),
            (45, "nodes/0  10.20.30.40:9100/metrics     refused"),
        ] {
            let text = table.render_within(Some(room));
            assert_eq!(text.lines().nth(1), Some(expected), "{room} columns");
            assert!(text.lines().all(|line| visible(line) <= room), "{room} columns");
        }
    }

    #[test]
    fn prose_goes_on_below() {
        let mut table = Table::new(&["+Command", "Changes"]);
        table.row(["relate metrics-endpoint 10.0.0.1:1".into(), "+relation".into()]);
        let expected = "Command            Changes\nrelate             +relation\nmetrics-endpoint\n10.0.0.1:1\n";
        assert_eq!(table.render_within(Some(28)), expected);
    }

    #[test]
    fn tables_without_titles_and_behind_one() {
        let mut table = Table::new(&["", ""]);
        table.row(["a".into(), "b".into()]);
        table.row(["cc".into(), "d".into()]);
        assert_eq!(table.render_behind("  x "), "  x a   b\n    cc  d\n");
    }
}
