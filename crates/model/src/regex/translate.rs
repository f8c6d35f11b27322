//! From RE2 syntax, as Go's `regexp/syntax` reads it, to the syntax of the `regex` crate.
//!
//! The two look alike and differ in many small things: in Go `\d` is ASCII, `{` may stand for itself, `&&` in brackets is two
//! characters, `a**` is an error. So the pattern is read with Go's grammar, which also gives Go's errors, and every piece is
//! written so that it means the same whatever surrounds it: flags are resolved here and never left to the other side.

use super::class;
use super::{NEST_MAX, RegexError};

/// A pattern in the syntax of the `regex` crate.
#[derive(Debug)]
pub(super) struct Translated {
    /// The pattern; not anchored.
    pub(super) pattern: String,
    /// The names of the groups in order, without the whole match; `""` for one that has none.
    pub(super) group_names: Vec<String>,
}

/// Go's bound for a repetition, and for repetitions of repetitions multiplied.
const REPEAT_MAX: u32 = 1000;

/// Matches no text at all.
const NOTHING: &str = r"[^\x00-\x{10FFFF}]";
/// Matches any one character.
const ANYTHING: &str = r"[\x00-\x{10FFFF}]";

#[derive(Debug, Clone, Copy)]
struct Flags {
    ignores_case: bool,
    is_multi_line: bool,
    dot_matches_newline: bool,
    is_lazy: bool,
}

/// A piece that a repetition can follow.
struct Piece {
    text: String,
    /// Whether a repetition can be written behind it as it is.
    is_atom: bool,
    /// How often repetitions with numbers inside it can repeat its innermost part.
    copies: u32,
}

/// A group that is not closed yet; the outermost one is the pattern.
struct Group {
    /// What opens it; empty for the pattern.
    open: &'static str,
    /// The flags to go back to.
    outer: Flags,
    /// The alternatives before the one that is being read.
    alternatives: String,
    copies: u32,
    pieces: Vec<Piece>,
}

struct Translator<'p> {
    whole: &'p str,
    flags: Flags,
    groups: Vec<Group>,
    group_names: Vec<String>,
    /// Whether groups are nested deeper than they may be: what is wrong in other ways is told first, but nothing is written any more.
    is_too_deep: bool,
}

/// Translates `pattern`, in which `.` matches a newline from the start.
pub(super) fn translate(pattern: &str) -> Result<Translated, RegexError> {
    let flags = Flags { ignores_case: false, is_multi_line: false, dot_matches_newline: true, is_lazy: false };
    let mut translator = Translator {
        whole: pattern,
        flags,
        groups: vec![Group::new("", flags)],
        group_names: Vec::new(),
        is_too_deep: false,
    };
    translator.read(pattern)?;
    let Translator { mut groups, group_names, is_too_deep, .. } = translator;
    match (groups.pop(), groups.is_empty()) {
        (Some(_), true) if is_too_deep => Err(too_deep(pattern)),
        (Some(group), true) => Ok(Translated { pattern: group.close().text, group_names }),
        _ => Err(error("missing closing )", pattern)),
    }
}

/// Groups are nested deeper than they may be.
pub(super) fn too_deep(pattern: &str) -> RegexError {
    error("expression nests too deeply", pattern)
}

/// An error in Go's words.
pub(super) fn error(what: &str, text: &str) -> RegexError {
    RegexError { message: format!("error parsing regexp: {what}: `{text}`") }
}

impl Group {
    fn new(open: &'static str, outer: Flags) -> Self {
        Group { open, outer, alternatives: String::new(), copies: 1, pieces: Vec::new() }
    }

    fn push(&mut self, text: String) {
        self.pieces.push(Piece { text, is_atom: true, copies: 1 });
    }

    fn end_alternative(&mut self) {
        for piece in self.pieces.drain(..) {
            self.alternatives.push_str(&piece.text);
            self.copies = self.copies.max(piece.copies);
        }
    }

    fn close(mut self) -> Piece {
        self.end_alternative();
        let text = match self.open {
            "" => self.alternatives,
            open => format!("{open}{})", self.alternatives),
        };
        Piece { text, is_atom: true, copies: self.copies }
    }
}

impl<'p> Translator<'p> {
    fn read(&mut self, pattern: &'p str) -> Result<(), RegexError> {
        let mut rest = pattern;
        // The text from the operator that was just read on, to refuse another right behind it.
        let mut repeated: Option<&str> = None;
        while let Some(c) = rest.chars().next() {
            let before = rest;
            let previous = repeated.take();
            rest = &rest[c.len_utf8()..];
            match c {
                '(' if rest.starts_with('?') => rest = self.flags_or_group(before)?,
                '(' => {
                    self.group_names.push(String::new());
                    self.open_group("(");
                }
                ')' => self.close_group()?,
                '|' => {
                    let group = self.group();
                    group.end_alternative();
                    group.alternatives.push('|');
                }
                '^' => self.push(if self.flags.is_multi_line { "(?m:^)" } else { r"\A" }),
                '$' => self.push(if self.flags.is_multi_line { "(?m:$)" } else { r"\z" }),
                '.' => self.push(if self.flags.dot_matches_newline { ANYTHING } else { r"[^\n]" }),
                '[' => rest = self.bracket(before)?,
                '*' | '+' | '?' => {
                    let (min, max) = match c {
                        '*' => (0, None),
                        '+' => (1, None),
                        _ => (0, Some(1)),
                    };
                    rest = self.repeat(Repeat { min, max, is_counted: false }, before, rest, previous)?;
                    repeated = Some(before);
                }
                '{' => match counted(before) {
                    None => self.literal('{'),
                    Some((None, after)) => return Err(error("invalid repeat count", up_to(before, after))),
                    Some((Some(repeat), after)) => {
                        rest = self.repeat(repeat, before, after, previous)?;
                        repeated = Some(before);
                    }
                },
                '\\' => rest = self.escape(before)?,
                c => self.literal(c),
            }
        }
        Ok(())
    }

    fn group(&mut self) -> &mut Group {
        self.groups.last_mut().expect("the pattern itself is a group and is never closed")
    }

    fn push(&mut self, text: &str) {
        self.group().push(text.to_owned());
    }

    fn literal(&mut self, c: char) {
        let text = regex_syntax::escape(c.encode_utf8(&mut [0; 4]));
        // Most characters have no case, and without the flag they cost less to read.
        let folds = self.flags.ignores_case && (c.is_ascii_alphabetic() || !c.is_ascii());
        self.group().push(if folds { format!("(?i:{text})") } else { text });
    }

    fn open_group(&mut self, open: &'static str) {
        self.groups.push(Group::new(open, self.flags));
        self.is_too_deep |= self.groups.len() > NEST_MAX as usize;
    }

    fn close_group(&mut self) -> Result<(), RegexError> {
        let group = self.groups.pop().filter(|group| !group.open.is_empty());
        let group = group.ok_or_else(|| error("unexpected )", self.whole))?;
        self.flags = group.outer;
        let mut piece = group.close();
        if self.is_too_deep {
            // Each level would copy all that is inside.
            piece.text.clear();
        }
        self.group().pieces.push(piece);
        Ok(())
    }

    /// Repeats the last piece. `before` begins with the operator, `after` behind it.
    fn repeat(
        &mut self,
        repeat: Repeat,
        before: &'p str,
        after: &'p str,
        previous: Option<&'p str>,
    ) -> Result<&'p str, RegexError> {
        let swaps = after.strip_prefix('?');
        let after = swaps.unwrap_or(after);
        if let Some(previous) = previous {
            return Err(error("invalid nested repetition operator", up_to(previous, after)));
        }
        let is_lazy = self.flags.is_lazy != swaps.is_some();
        let piece = self.group().pieces.last_mut();
        let piece = piece.ok_or_else(|| error("missing argument to repetition operator", up_to(before, after)))?;
        if repeat.is_counted {
            let times = repeat.max.unwrap_or(repeat.min);
            let copies = match repeat.max {
                // What is repeated no times counts no more.
                Some(0) => 1,
                _ => piece.copies.saturating_mul(times.max(1)),
            };
            let is_checked = repeat.min >= 2 || repeat.max.is_some_and(|max| max >= 2);
            if is_checked && copies > REPEAT_MAX {
                return Err(error("invalid repeat count", up_to(before, after)));
            }
            piece.copies = copies;
        }
        if !piece.is_atom {
            piece.text = format!("(?:{})", piece.text);
        }
        piece.text.push_str(&repeat.text());
        if is_lazy {
            piece.text.push('?');
        }
        piece.is_atom = false;
        Ok(after)
    }

    /// Reads `(?…`: a named group, flags, or a group with flags.
    fn flags_or_group(&mut self, text: &'p str) -> Result<&'p str, RegexError> {
        let named = if text.len() > 4 { text.strip_prefix("(?P<") } else { None };
        if let Some(body) = named.or_else(|| text.strip_prefix("(?<").filter(|body| !body.is_empty())) {
            let (name, rest) = body.split_once('>').ok_or_else(|| error("invalid named capture", text))?;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(error("invalid named capture", up_to(text, rest)));
            }
            self.group_names.push(name.to_owned());
            self.open_group("(");
            return Ok(rest);
        }
        let mut flags = self.flags;
        let (mut value, mut saw_flag, mut rest) = (true, false, &text[2..]);
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                'i' => flags.ignores_case = value,
                'm' => flags.is_multi_line = value,
                's' => flags.dot_matches_newline = value,
                'U' => flags.is_lazy = value,
                '-' if value => {
                    (value, saw_flag) = (false, false);
                    continue;
                }
                ':' | ')' if value || saw_flag => {
                    if c == ':' {
                        self.open_group("(?:");
                    }
                    self.flags = flags;
                    return Ok(rest);
                }
                _ => break,
            }
            saw_flag = true;
        }
        Err(error("invalid or unsupported Perl syntax", up_to(text, rest)))
    }

    /// Reads what begins with a backslash outside brackets.
    fn escape(&mut self, text: &'p str) -> Result<&'p str, RegexError> {
        let mut chars = text[1..].chars();
        let Some(c) = chars.next() else { return Err(error("trailing backslash at end of expression", "")) };
        let rest = chars.as_str();
        match c {
            'A' => self.push(r"\A"),
            'z' => self.push(r"\z"),
            'b' => self.push(r"(?-u:\b)"),
            'B' => self.push(r"(?-u:\B)"),
            'C' => return Err(error("invalid escape sequence", r"\C")),
            'Q' => {
                let (literal, rest) = rest.split_once(r"\E").unwrap_or((rest, ""));
                literal.chars().for_each(|c| self.literal(c));
                return Ok(rest);
            }
            'p' | 'P' => {
                let (class, rest) = unicode_class(text)?;
                let folded = self.folded(class);
                self.group().push(folded);
                return Ok(rest);
            }
            c => match class::perl(c) {
                Some(named) => {
                    let item = named.item(self.flags.ignores_case);
                    let folded = self.folded(format!("[{item}]"));
                    self.group().push(folded);
                }
                None => {
                    let (code, rest) = escaped_char(text)?;
                    match char::from_u32(code) {
                        Some(c) => self.literal(c),
                        None => self.push(NOTHING),
                    }
                    return Ok(rest);
                }
            },
        }
        Ok(rest)
    }

    /// Reads a bracket expression.
    fn bracket(&mut self, text: &'p str) -> Result<&'p str, RegexError> {
        let mut rest = &text[1..];
        let negated = rest.strip_prefix('^');
        rest = negated.unwrap_or(rest);
        let mut items = String::new();
        let mut is_first = true;
        loop {
            if let Some(after) = rest.strip_prefix(']').filter(|_| !is_first) {
                rest = after;
                break;
            }
            is_first = false;
            if let Some((named, after)) = named_class(rest)? {
                items.push_str(&named.item(self.flags.ignores_case));
                rest = after;
                continue;
            }
            if rest.starts_with(r"\p") || rest.starts_with(r"\P") {
                let (class, after) = unicode_class(rest)?;
                items.push_str(&class);
                rest = after;
                continue;
            }
            let start = rest;
            let low;
            (low, rest) = class_char(rest, text)?;
            let mut high = low;
            if rest.len() >= 2 && rest.starts_with('-') && !rest[1..].starts_with(']') {
                (high, rest) = class_char(&rest[1..], text)?;
                if high < low {
                    return Err(error("invalid character class range", up_to(start, rest)));
                }
            }
            push_range(&mut items, low, high);
        }
        let class = match (items.is_empty(), negated.is_some()) {
            (false, false) => format!("[{items}]"),
            (false, true) => format!("[^{items}]"),
            // Only surrogates were named.
            (true, false) => NOTHING.to_owned(),
            (true, true) => ANYTHING.to_owned(),
        };
        let folded = self.folded(class);
        self.group().push(folded);
        Ok(rest)
    }

    fn folded(&self, class: String) -> String {
        if self.flags.ignores_case { format!("(?i:{class})") } else { class }
    }
}

#[derive(Clone, Copy)]
struct Repeat {
    min: u32,
    max: Option<u32>,
    /// Whether it is written with braces.
    is_counted: bool,
}

impl Repeat {
    fn text(self) -> String {
        match (self.is_counted, self.min, self.max) {
            (false, 0, None) => "*".to_owned(),
            (false, 1, None) => "+".to_owned(),
            (false, ..) => "?".to_owned(),
            (true, min, None) => format!("{{{min},}}"),
            (true, min, Some(max)) => format!("{{{min},{max}}}"),
        }
    }
}

/// The part of `text` before its end `rest`.
fn up_to<'p>(text: &'p str, rest: &str) -> &'p str {
    &text[..text.len() - rest.len()]
}

/// Reads `{2}`, `{2,}` or `{2,3}`. `None` if it is not of this form and stands for itself; no repetition in the answer if the
/// numbers are too large.
fn counted(text: &str) -> Option<(Option<Repeat>, &str)> {
    let (min, rest) = number(text.strip_prefix('{')?)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => {
            let (max, rest) = number(rest)?;
            (Some(max), rest)
        }
    };
    let rest = rest.strip_prefix('}')?;
    let is_valid = min <= REPEAT_MAX && max.is_none_or(|max| min <= max && max <= REPEAT_MAX);
    Some((is_valid.then_some(Repeat { min, max, is_counted: true }), rest))
}

/// Reads a number without a leading zero; one that is too large becomes the largest.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}

/// Reads `\pL` or `\P{Greek}`.
fn unicode_class(text: &str) -> Result<(String, &str), RegexError> {
    let is_negated = text.starts_with(r"\P");
    let body = &text[2..];
    let invalid = |class: &str| error("invalid character class range", class);
    let (name, rest) = match body.strip_prefix('{') {
        Some(inner) => inner.split_once('}').ok_or_else(|| invalid(text))?,
        None => body.split_at(body.chars().next().map_or(0, char::len_utf8)),
    };
    let class = class::unicode(name, is_negated).ok_or_else(|| invalid(up_to(text, rest)))?;
    Ok((class, rest))
}

/// Reads `[:alpha:]`, `\d` and their like inside brackets; `None` if there is none.
fn named_class(text: &str) -> Result<Option<(class::Named, &str)>, RegexError> {
    if let Some(body) = text.strip_prefix("[:")
        && let Some((name, rest)) = body.split_once(":]")
    {
        let named = class::posix(name).ok_or_else(|| error("invalid character class range", up_to(text, rest)))?;
        return Ok(Some((named, rest)));
    }
    let mut chars = text.chars();
    if chars.next() == Some('\\')
        && let Some(named) = chars.next().and_then(class::perl)
    {
        return Ok(Some((named, chars.as_str())));
    }
    Ok(None)
}

fn class_char<'p>(text: &'p str, whole_class: &str) -> Result<(u32, &'p str), RegexError> {
    match text.chars().next() {
        None => Err(error("missing closing ]", whole_class)),
        Some('\\') => escaped_char(text),
        Some(c) => Ok((u32::from(c), &text[c.len_utf8()..])),
    }
}

/// Reads a backslash and the one character it stands for, which may be a surrogate.
fn escaped_char(text: &str) -> Result<(u32, &str), RegexError> {
    let mut chars = text[1..].chars();
    let Some(c) = chars.next() else { return Err(error("trailing backslash at end of expression", "")) };
    let rest = chars.as_str();
    let invalid = |rest: &str| error("invalid escape sequence", up_to(text, rest));
    let is_octal = |b: &u8| (b'0'..=b'7').contains(b);
    match c {
        'a' => Ok((0x07, rest)),
        'f' => Ok((0x0c, rest)),
        'n' => Ok((0x0a, rest)),
        'r' => Ok((0x0d, rest)),
        't' => Ok((0x09, rest)),
        'v' => Ok((0x0b, rest)),
        'x' => hexadecimal(text, rest),
        // A single digit other than 0 would be a back-reference.
        '1'..='7' if !rest.as_bytes().first().is_some_and(is_octal) => Err(invalid(rest)),
        '0'..='7' => {
            let digits = 1 + rest.bytes().take(2).take_while(is_octal).count();
            let code = text[1..=digits].bytes().fold(0, |code, digit| code * 8 + u32::from(digit - b'0'));
            Ok((code, &text[1 + digits..]))
        }
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok((u32::from(c), rest)),
        _ => Err(invalid(rest)),
    }
}

/// Reads `\x1F` or `\x{1F600}`; `digits` is what follows the `x`.
fn hexadecimal<'p>(text: &str, digits: &'p str) -> Result<(u32, &'p str), RegexError> {
    let invalid = |rest: &str| error("invalid escape sequence", up_to(text, rest));
    let mut chars = digits.chars();
    if let Some(inner) = digits.strip_prefix('{') {
        let mut chars = inner.chars();
        let mut code: Option<u32> = None;
        while let Some(c) = chars.next() {
            if let ('}', Some(code)) = (c, code) {
                return Ok((code, chars.as_str()));
            }
            let digit = c.to_digit(16).ok_or_else(|| invalid(chars.as_str()))?;
            let next = code.unwrap_or(0) * 16 + digit;
            if next > u32::from(char::MAX) {
                return Err(invalid(chars.as_str()));
            }
            code = Some(next);
        }
        return Err(invalid(""));
    }
    if digits.is_empty() {
        return Err(invalid(""));
    }
    // Go looks at two characters before it judges either.
    let pair = [chars.next(), chars.next()].map(|c| c.and_then(|c| c.to_digit(16)));
    match pair {
        [Some(high), Some(low)] => Ok((high * 16 + low, chars.as_str())),
        _ => Err(invalid(chars.as_str())),
    }
}

/// Adds a range without the surrogates in it, which no text contains.
fn push_range(items: &mut String, low: u32, high: u32) {
    let low = if (0xd800..0xe000).contains(&low) { 0xe000 } else { low };
    let high = if (0xd800..0xe000).contains(&high) { 0xd7ff } else { high };
    if low <= high {
        items.push_str(&format!(r"\x{{{low:X}}}-\x{{{high:X}}}"));
    }
}
