//! Cuts a query into words. Which words there are depends on whether braces or a bracket is open.

use relatum_model::text::quote;

use super::ast::Span;
use super::error::ParseError;
use super::operators::BinaryOp;
use super::token::{Keyword, Kind, Token};

/// Cuts `text` into words, one at a time, so that the first error in the text is the one reported.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    paren_depth: usize,
    brace_open: bool,
    bracket: Option<Bracket>,
    /// Whether any bracket so far had a duration. As Prometheus never forgets that, `a[:5m]` and `a[5m:][:5m]` give two
    /// different messages.
    duration_seen: bool,
}

/// What was seen since `[`.
#[derive(Clone, Copy)]
struct Bracket {
    // Until the first number only durations are understood; behind it Prometheus reads words as everywhere, which shows in
    // what its messages say.
    number_seen: bool,
    colon_seen: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Lexer { text, at: 0, paren_depth: 0, brace_open: false, bracket: None, duration_seen: false }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// The next word; [`Kind::End`] at the end of the text, for ever.
    pub(super) fn next(&mut self) -> Result<Token, ParseError> {
        let in_duration = self.bracket.is_some_and(|bracket| !bracket.number_seen);
        loop {
            self.skip_while(is_space);
            if in_duration || self.peek() != Some('#') {
                break;
            }
            self.skip_while(|c| c != '\n' && c != '\r');
        }
        if self.brace_open {
            self.in_braces()
        } else if let Some(bracket) = self.bracket.filter(|_| in_duration) {
            self.in_duration(bracket)
        } else {
            self.in_expression()
        }
    }

    fn in_expression(&mut self) -> Result<Token, ParseError> {
        let start = self.at;
        let Some(c) = self.bump() else {
            if self.paren_depth > 0 {
                return Err(self.error(start, "unclosed left parenthesis"));
            }
            if self.bracket.is_some() {
                return Err(self.error(start, "unclosed left bracket"));
            }
            return Ok(self.token(start, Kind::End));
        };
        let kind = match c {
            ',' => Kind::Comma,
            '*' => Kind::Binary(BinaryOp::Mul),
            '/' => Kind::Binary(BinaryOp::Div),
            '%' => Kind::Binary(BinaryOp::Mod),
            '+' => Kind::Binary(BinaryOp::Add),
            '-' => Kind::Binary(BinaryOp::Sub),
            '^' => Kind::Binary(BinaryOp::Pow),
            '@' => Kind::At,
            '=' if self.bump_if('=') => Kind::Binary(BinaryOp::Equal),
            '=' if self.peek() == Some('~') => return Err(self.error(start, "unexpected character after '=': '~'")),
            '=' => Kind::Equal,
            '!' if self.bump_if('=') => Kind::Binary(BinaryOp::NotEqual),
            '!' => {
                let after = self.peek();
                return Err(self.error(start, format!("unexpected character after '!': {}", quote_char(after))));
            }
            '<' if self.bump_if('=') => Kind::Binary(BinaryOp::LessEqual),
            '<' if self.bump_if('/') => Kind::Binary(BinaryOp::TrimUpper),
            '<' => Kind::Binary(BinaryOp::Less),
            '>' if self.bump_if('=') => Kind::Binary(BinaryOp::GreaterEqual),
            '>' if self.bump_if('/') => Kind::Binary(BinaryOp::TrimLower),
            '>' => Kind::Binary(BinaryOp::Greater),
            '(' | ')' => return self.paren(c),
            '{' => {
                self.brace_open = true;
                Kind::LeftBrace
            }
            '[' if self.bracket.is_some() => return Err(self.error(start, "unexpected left bracket '['")),
            '[' => {
                self.bracket = Some(Bracket { number_seen: false, colon_seen: false });
                Kind::LeftBracket
            }
            ']' if self.bracket.is_none() => return Err(self.error(start, "unexpected right bracket ']'")),
            ']' => {
                self.bracket = None;
                Kind::RightBracket
            }
            '"' | '\'' | '`' => return self.string(start, c),
            '0'..='9' => return self.number_or_duration(start),
            '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => return self.number_or_duration(start),
            c if is_alpha(c) || c == ':' => match &mut self.bracket {
                None => return Ok(self.word(start)),
                Some(bracket) if c == ':' && !bracket.colon_seen => {
                    bracket.colon_seen = true;
                    Kind::Colon
                }
                Some(_) if c == ':' => return Err(self.error(start, "unexpected colon ':'")),
                Some(_) => match self.duration_function(start) {
                    Some(kind) => kind,
                    None => {
                        let message = format!("unexpected character: {}, expected ':'", quote_char(Some(c)));
                        return Err(self.error(start, message));
                    }
                },
            },
            c => return Err(self.error(start, format!("unexpected character: {}", quote_char(Some(c))))),
        };
        Ok(self.token(start, kind))
    }

    /// Inside a bracket, before its first number.
    fn in_duration(&mut self, mut bracket: Bracket) -> Result<Token, ParseError> {
        let start = self.at;
        let Some(c) = self.bump() else {
            return Err(self.error(start, "unexpected end of input in duration expression"));
        };
        let kind = match c {
            ']' => {
                self.bracket = None;
                return Ok(self.token(start, Kind::RightBracket));
            }
            ':' if !self.duration_seen => {
                return Err(self.error(self.at, "unexpected colon before duration in duration expression"));
            }
            ':' if bracket.colon_seen => {
                return Err(self.error(self.at, "unexpected repeated colon in duration expression"));
            }
            ':' => {
                bracket.colon_seen = true;
                Kind::Colon
            }
            '(' | ')' => return self.paren(c),
            '+' => Kind::Binary(BinaryOp::Add),
            '-' => Kind::Binary(BinaryOp::Sub),
            '*' => Kind::Binary(BinaryOp::Mul),
            '/' => Kind::Binary(BinaryOp::Div),
            '%' => Kind::Binary(BinaryOp::Mod),
            '^' => Kind::Binary(BinaryOp::Pow),
            ',' => Kind::Comma,
            '0'..='9' | '.' if c != '.' || self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                self.duration_seen = true;
                self.bracket = Some(Bracket { number_seen: true, ..bracket });
                return self.number_or_duration(start);
            }
            c => match self.duration_function(start) {
                Some(kind) => {
                    self.duration_seen = true;
                    kind
                }
                None => {
                    let message = format!("unexpected character in duration expression: {}", quote_char(Some(c)));
                    return Err(self.error(start, message));
                }
            },
        };
        self.bracket = Some(bracket);
        Ok(self.token(start, kind))
    }

    /// Inside braces all words are label names.
    fn in_braces(&mut self) -> Result<Token, ParseError> {
        let start = self.at;
        let Some(c) = self.bump() else {
            return Err(self.error(start, "unexpected end of input inside braces"));
        };
        let kind = match c {
            ',' => Kind::Comma,
            '=' if self.bump_if('~') => Kind::Regex,
            '=' => Kind::Equal,
            '!' if self.bump_if('~') => Kind::NotRegex,
            '!' if self.bump_if('=') => Kind::Binary(BinaryOp::NotEqual),
            '!' => {
                let after = quote_char(self.peek());
                return Err(self.error(start, format!("unexpected character after '!' inside braces: {after}")));
            }
            '{' => return Err(self.error(start, "unexpected left brace '{'")),
            '}' => {
                self.brace_open = false;
                Kind::RightBrace
            }
            '"' | '\'' | '`' => return self.string(start, c),
            c if is_alpha(c) => {
                self.skip_while(is_alphanumeric);
                Kind::Identifier
            }
            c => return Err(self.error(start, format!("unexpected character inside braces: {}", quote_char(Some(c))))),
        };
        Ok(self.token(start, kind))
    }

    fn paren(&mut self, c: char) -> Result<Token, ParseError> {
        let start = self.at - 1;
        if c == '(' {
            self.paren_depth += 1;
            return Ok(self.token(start, Kind::LeftParen));
        }
        match self.paren_depth.checked_sub(1) {
            Some(depth) => self.paren_depth = depth,
            None => return Err(self.error(self.at, "unexpected right parenthesis ')'")),
        }
        Ok(self.token(start, Kind::RightParen))
    }

    fn word(&mut self, start: usize) -> Token {
        self.skip_while(|c| is_alphanumeric(c) || c == ':');
        let kind = match Kind::of_word(&self.text[start..self.at]) {
            // Metrics may be called so, and were before these were keywords; only a parenthesis makes them keywords.
            Kind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)
                if !self.text[self.at..].trim_start_matches(is_space).starts_with('(') =>
            {
                Kind::Identifier
            }
            kind => kind,
        };
        self.token(start, kind)
    }

    /// The functions of durations, the only words inside brackets.
    fn duration_function(&mut self, start: usize) -> Option<Kind> {
        self.skip_while(is_alpha);
        match Kind::of_word(&self.text[start..self.at]) {
            kind @ Kind::Keyword(Keyword::Step | Keyword::Range | Keyword::MaxOf | Keyword::MinOf) => Some(kind),
            _ => None,
        }
    }

    fn number_or_duration(&mut self, start: usize) -> Result<Token, ParseError> {
        self.at = start;
        if self.scan_number() {
            return Ok(self.token(start, Kind::Number));
        }
        if self.scan_duration() {
            return Ok(self.token(start, Kind::Duration));
        }
        // What follows the units was looked at and belongs to what is bad.
        let message = format!("bad number or duration syntax: {}", quote(&self.text[start..self.at]));
        Err(self.error(start, message))
    }

    /// Runs over what may be a number; whether it is one is seen when its value is needed. Stops where it cannot be.
    fn scan_number(&mut self) -> bool {
        let mut is_digit: fn(char) -> bool = |c| c.is_ascii_digit();
        let mut is_hex = false;
        if self.bump_if('0') && (self.bump_if('x') || self.bump_if('X')) {
            self.bump_if('_');
            is_digit = |c| c.is_ascii_hexdigit();
            is_hex = true;
        }
        self.bump_if('.');
        self.accept(is_digit);
        let (mut dot_seen, mut exponent_seen) = (false, false);
        while let Some(c) = self.peek() {
            match c {
                '.' => {
                    self.bump();
                    // A second dot, a dot before `_`, and fractions of hexadecimal numbers are not allowed.
                    if dot_seen || self.accept(|c| c == '_' || c == '.') || is_hex {
                        return false;
                    }
                    dot_seen = true;
                }
                'e' | 'E' => {
                    self.bump();
                    if exponent_seen {
                        return false;
                    }
                    exponent_seen = true;
                    self.accept(|c| c == '+' || c == '-');
                    if self.accept(is_separator) || self.peek().is_none() {
                        return false;
                    }
                }
                '_' => {
                    self.bump();
                    if self.accept(is_separator) || self.peek().is_none() {
                        return false;
                    }
                }
                c if is_digit(c) => self.skip_while(is_digit),
                _ => break,
            }
        }
        !self.peek().is_some_and(is_alphanumeric)
    }

    /// Goes on after digits: a unit, then more digits with units.
    fn scan_duration(&mut self) -> bool {
        if !self.accept(|c| "smhdwy".contains(c)) {
            return false;
        }
        // For `ms`; a wrong unit such as `hs` is seen when the value is needed.
        self.bump_if('s');
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.skip_while(|c| c.is_ascii_digit());
            if !self.accept(|c| "smhdw".contains(c)) {
                return false;
            }
            self.bump_if('s');
        }
        !self.accept(is_alphanumeric)
    }

    fn string(&mut self, start: usize, quote: char) -> Result<Token, ParseError> {
        loop {
            match self.bump() {
                Some(c) if c == quote => return Ok(self.token(start, Kind::String)),
                None if quote == '`' => return Err(self.error(start, "unterminated raw string")),
                None => return Err(self.error(start, "unterminated quoted string")),
                Some('\n') if quote != '`' => return Err(self.error(start, "unterminated quoted string")),
                // What stands for bytes that were not UTF-8 when the text was read.
                Some(char::REPLACEMENT_CHARACTER) => return Err(self.error(start, "invalid UTF-8 rune")),
                Some('\\') if quote != '`' => self.escape(start, quote)?,
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self, start: usize, quote: char) -> Result<(), ParseError> {
        let (digits, radix, max) = match self.bump() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some('0'..='7') => {
                self.at -= 1;
                (3, 8, 0xff)
            }
            Some('x') => (2, 16, 0xff),
            Some('u') => (4, 16, 0x10_ffff),
            Some('U') => (8, 16, 0x10_ffff),
            None => return Err(self.error(start, "escape sequence not terminated")),
            Some(c) => return Err(self.error(start, format!("unknown escape sequence {}", code_point(c)))),
        };
        let mut value = 0u32;
        for _ in 0..digits {
            let Some(c) = self.bump() else {
                return Err(self.error(start, "escape sequence not terminated"));
            };
            let Some(digit) = c.to_digit(radix) else {
                return Err(self.error(start, format!("illegal character {} in escape sequence", code_point(c))));
            };
            value = value.wrapping_mul(radix).wrapping_add(digit);
        }
        if value > max || (0xd800..0xe000).contains(&value) {
            return Err(self.error(start, "escape sequence is an invalid Unicode code point"));
        }
        Ok(())
    }

    fn token(&self, start: usize, kind: Kind) -> Token {
        Token { kind, span: Span::new(start, self.at) }
    }

    /// Errors of words reach to the end of the text: from here on nothing is known.
    fn error(&self, start: usize, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, Span::new(start, self.text.len()), message)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        let found = self.peek().filter(|c| wanted(*c));
        self.at += found.map_or(0, char::len_utf8);
        found.is_some()
    }

    fn bump_if(&mut self, wanted: char) -> bool {
        self.accept(|c| c == wanted)
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.accept(&wanted) {}
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

/// What may follow neither an exponent nor an underscore of a number.
fn is_separator(c: char) -> bool {
    matches!(c, '.' | '_' | 'e' | 'E')
}

/// A character as Go's `%q` writes it; the end of the text is written as an unreadable character.
fn quote_char(c: Option<char>) -> String {
    match c {
        None => "'\u{fffd}'".to_owned(),
        Some('"') => "'\"'".to_owned(),
        Some('\'') => "'\\''".to_owned(),
        Some(c) => format!("'{}'", quote(c.encode_utf8(&mut [0; 4])).trim_matches('"')),
    }
}

/// A character as Go's `%#U` writes it.
fn code_point(c: char) -> String {
    let number = format!("U+{:04X}", c as u32);
    let quoted = quote(c.encode_utf8(&mut [0; 4]));
    // Quoting changes what cannot be printed, and two that can.
    if quoted.trim_matches('"').starts_with('\\') && c != '"' && c != '\\' { number } else { format!("{number} '{c}'") }
}
