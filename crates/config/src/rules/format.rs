//! Rule files with their expressions laid out for reading.
//!
//! Only the values of `expr` change. All else (order, quotes, blank lines and comments) stays byte by byte as it is, because a
//! person chose it. An expression with comments in it stays too: the tree of an expression does not hold them.

use granit_parser::{Event, Parser, ScalarStyle, Span};
use relatum_model::yaml;
use relatum_promql::syntax::{self, ParseOptions};

use super::RuleFile;
use super::read::RuleOptions;
use crate::Problem;
use crate::problem::Kind;

impl RuleFile {
    /// `text` with every `expr` in the layout of [`syntax::Expr::pretty`]; fails if it is not a rule file. Formatting twice is
    /// formatting once, and the rules say what they said.
    pub fn format(text: &str) -> Result<String, Vec<Problem>> {
        let options = RuleOptions { syntax: ParseOptions::all(), ..RuleOptions::default() };
        let before = RuleFile::parse_with(text, &options)?;
        let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let mut out = String::with_capacity(text.len() + text.len() / 8);
        let mut done = 0;
        for place in expressions(text) {
            let Some(replacement) = place.replacement(text, &options.syntax) else { continue };
            out.push_str(&text[done..place.start]);
            out.push_str(&replacement.replace('\n', newline));
            done = place.end;
        }
        out.push_str(&text[done..]);
        // Files are written over with this, so it is looked at as a reader would.
        let meaning = |file: &RuleFile| -> Vec<_> {
            let rules = file.groups.iter().flat_map(|group| &group.rules);
            rules.map(|rule| (rule.kind.clone(), rule.labels.clone(), rule.expr.to_string())).collect()
        };
        match RuleFile::parse_with(&out, &options) {
            Ok(after) if meaning(&after) == meaning(&before) => Ok(out),
            _ => Err(vec![Problem {
                line: 1,
                column: 1,
                key: String::new(),
                kind: Kind::Invalid,
                message: "cannot lay out the expressions of this file without changing what it says".to_owned(),
            }]),
        }
    }
}

/// An `expr` of a rule: its value and where that stands.
struct Place {
    value: String,
    style: ScalarStyle,
    /// The bytes of the value; for a block from its `|` or `>` to its last line that is not blank.
    start: usize,
    end: usize,
    /// How far the key is from the beginning of its line.
    key_column: usize,
    is_in_flow: bool,
}

impl Place {
    /// What to write in place of the value; `None` if it is well as it is.
    fn replacement(&self, text: &str, options: &ParseOptions) -> Option<String> {
        if has_comment(&self.value) {
            return None;
        }
        let expr = syntax::parse(&self.value, options).ok()?;
        if self.is_in_flow {
            let canonical = expr.to_string();
            return if canonical == self.value { None } else { Some(single_quoted(&canonical)) };
        }
        let pretty = expr.pretty();
        let is_block = matches!(self.style, ScalarStyle::Literal | ScalarStyle::Folded);
        let header = if is_block { text[self.start..self.end].lines().next().unwrap_or_default() } else { "" };
        let comment = header.find('#').map(|at| format!(" {}", &header[at..]));
        let replacement = if pretty.contains('\n') || comment.is_some() {
            let indent = " ".repeat(self.key_column + 2);
            let lines: String = pretty.lines().map(|line| format!("\n{indent}{line}")).collect();
            // A first line that is further in than the others would be taken for the measure of them all.
            let indicator = if pretty.starts_with(' ') { "2" } else { "" };
            // A newline at the end of an expression is as good as none, so how it ended may stay.
            let signs = header.split([' ', '\t', '#']).next().unwrap_or_default();
            let ending = if self.style == ScalarStyle::Literal && signs.contains('-') { "-" } else { "" };
            format!("|{indicator}{ending}{}{lines}", comment.unwrap_or_default())
        } else if !is_block && pretty == self.value {
            return None;
        } else {
            let scalar = yaml::to_string(&pretty).ok()?.trim_end().to_owned();
            // Matchers are full of double quotes, which would have to be escaped within double quotes.
            let is_simple = pretty.chars().all(|c| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric());
            if scalar.starts_with('"') && is_simple { single_quoted(&pretty) } else { scalar }
        };
        (replacement != text[self.start..self.end]).then_some(replacement)
    }
}

fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Whether a `#` stands outside of the quoted texts of an expression.
fn has_comment(expr: &str) -> bool {
    let mut quote = None;
    let mut chars = expr.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '#') => return true,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (Some('"' | '\''), '\\') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    false
}

/// A mapping or sequence on the way to the node being read.
struct Open {
    is_mapping: bool,
    is_flow: bool,
    /// The key whose value comes next.
    key: Option<Key>,
}

struct Key {
    name: String,
    column: usize,
    /// The byte behind it.
    end: usize,
}

impl Key {
    fn new(name: &str, span: Span) -> Self {
        let end = span.byte_range().map_or(0, |range| range.end);
        Key { name: name.to_owned(), column: span.start.col(), end }
    }
}

/// Every scalar at `groups[…].rules[…].expr`, in the order of the text. The text was read before, so faults end the search.
fn expressions(text: &str) -> Vec<Place> {
    let mut open: Vec<Open> = Vec::new();
    let mut places = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        match event {
            Event::SequenceStart(..) => start(&mut open, text, span, false),
            Event::MappingStart(..) => start(&mut open, text, span, true),
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
                end_value(&mut open);
            }
            Event::Scalar(value, style, ..) => match open.last_mut() {
                Some(mapping) if mapping.is_mapping && mapping.key.is_none() => {
                    mapping.key = Some(Key::new(&value, span));
                }
                _ => {
                    places.extend(place(&open, text, &value, style, span));
                    end_value(&mut open);
                }
            },
            Event::Alias(_) => match open.last_mut() {
                Some(mapping) if mapping.is_mapping && mapping.key.is_none() => {
                    mapping.key = Some(Key::new("", span));
                }
                _ => end_value(&mut open),
            },
            Event::DocumentEnd => break,
            _ => {}
        }
    }
    places
}

fn start(open: &mut Vec<Open>, text: &str, span: Span, is_mapping: bool) {
    let first = span.byte_range().and_then(|range| text.as_bytes().get(range.start).copied());
    let is_flow = open.last().is_some_and(|open| open.is_flow) || matches!(first, Some(b'[' | b'{'));
    open.push(Open { is_mapping, is_flow, key: None });
}

fn end_value(open: &mut [Open]) {
    if let Some(open) = open.last_mut() {
        open.key = None;
    }
}

fn place(open: &[Open], text: &str, value: &str, style: ScalarStyle, span: Span) -> Option<Place> {
    let [root, groups, group, rules, rule] = open else { return None };
    let key = |open: &Open, name: &str| open.key.as_ref().is_some_and(|key| key.name == name);
    let is_expr = key(root, "groups") && !groups.is_mapping && key(group, "rules") && !rules.is_mapping;
    let expr = rule.key.as_ref().filter(|key| is_expr && key.name == "expr")?;
    let range = span.byte_range()?;
    let (start, end) = match style {
        ScalarStyle::Literal | ScalarStyle::Folded => block(text, expr)?,
        _ => (range.start, range.end),
    };
    Some(Place { value: value.to_owned(), style, start, end, key_column: expr.column, is_in_flow: rule.is_flow })
}

/// The bytes of the block that is the value of `key`.
fn block(text: &str, key: &Key) -> Option<(usize, usize)> {
    let start = key.end + text.get(key.end..)?.find(['|', '>'])?;
    let mut end = start + text[start..].find('\n')?;
    let signs = text[start..end].split([' ', '\t', '#']).next().unwrap_or_default();
    let given = signs.chars().find_map(|sign| sign.to_digit(10)).map(|digit| key.column + digit as usize);
    let mut at = end + 1;
    let mut indent = given;
    for line in text[at..].split_inclusive('\n') {
        let content = line.trim_end();
        if !content.is_empty() {
            let own = line.len() - line.trim_start_matches(' ').len();
            if own < *indent.get_or_insert(own.max(1)) {
                break;
            }
            end = at + content.len();
        }
        at += line.len();
    }
    Some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "sum by (instance) (rate(http_requests_total{job=\"api\"}[5m])) / on (instance) group_left () \
                        sum by (instance) (rate(http_requests_total{job=\"all\"}[5m]))";

    /// Formats the value of one rule's `expr`; what stands around it must stay.
    #[track_caller]
    fn check(expr: &str, expected: &str) {
        let file = |expr: &str| {
            format!(
                "# head\ngroups: # all\n- name: g\n\n  rules:\n    - alert:   'A'\n      expr: {expr}\n\n      # of the labels\n      \
                 labels: {{a: \"b\"}} # behind\n"
            )
        };
        let formatted = RuleFile::format(&file(expr)).unwrap_or_else(|problems| panic!("{expr}: {problems:?}"));
        assert_eq!(formatted, file(expected));
        assert_eq!(RuleFile::format(&formatted).as_ref(), Ok(&formatted), "formatting twice");
    }

    /// The lines of a block, one step further in.
    fn deeper(block: &str) -> String {
        block.lines().skip(1).map(|line| format!("\n  {line}")).collect()
    }

    #[test]
    fn expressions_are_laid_out() {
        check("up==0", "up == 0");
        check("up == 0", "up == 0");
        check("'up == 0'", "'up == 0'");
        check("\"up==0\" # why", "up == 0 # why");
        check("|\n        up==0", "up == 0");
        check("|- # why\n        up==0", "|- # why\n        up == 0");
        check(">\n        sum(\n          up)\n         by (a)", "sum by (a) (up)");
        check("sum(\n        up)", "sum(up)");
        // What would be YAML's, not PromQL's, is quoted.
        check("'{a = \"b\"}'", "'{a=\"b\"}'");
        check("|\n       {a = \"b: #c\"}", "'{a=\"b: #c\"}'");
        check("|\n       up # why\n       == 0", "|\n       up # why\n       == 0");
        let pretty = "|2\n          sum by (instance) (rate(http_requests_total{job=\"api\"}[5m]))\n        / on (instance) group_left ()\n          \
                      sum by (instance) (rate(http_requests_total{job=\"all\"}[5m]))";
        check(LONG, pretty);
        check(&format!("absent({LONG})"), &format!("|\n        absent({}\n        )", deeper(pretty)));
        check(&format!("|-\n         {LONG}"), &pretty.replacen("|2", "|2-", 1));
    }

    #[test]
    fn odd_files() {
        let format = |text: &str| RuleFile::format(text);
        assert_eq!(format("").as_deref(), Ok(""));
        let flow = "groups: [{name: g, rules: [{record: a, expr: 'up+1'}, {record: b, expr: up}]}]";
        assert_eq!(
            format(flow).as_deref(),
            Ok("groups: [{name: g, rules: [{record: a, expr: 'up + 1'}, {record: b, expr: up}]}]")
        );
        let crlf = "groups:\r\n- name: g\r\n  rules:\r\n  - record: a\r\n    expr: up+1\r\n";
        assert_eq!(format(crlf), Ok(crlf.replace("up+1", "up + 1")));
        // The anchor's value changes, and with it what its aliases say.
        let alias = "groups:\n- name: g\n  rules:\n  - {record: a, expr: &e up+1}\n  - {record: b, expr: *e}\n";
        assert_eq!(format(alias), Ok(alias.replace("up+1", "'up + 1'")));
        // An `expr` that is a label.
        let label = "groups:\n- name: g\n  rules:\n  - record: a\n    expr: up\n    labels:\n      expr: a+b\n";
        assert_eq!(format(label).as_deref(), Ok(label));
        let problems = format("groups:\n- name: g\n  rules:\n  - record: a\n    expr: up +\n").unwrap_err();
        assert_eq!(problems[0].line, 5);
    }
}
