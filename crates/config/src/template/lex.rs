//! From text to tokens: literal text, and what stands between `{{` and `}}`.

use super::TemplateError;

/// A token with its line.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) line: u64,
    pub(super) kind: TokenKind,
    /// Whether white space stands before it; arguments are separated by nothing else.
    pub(super) spaced: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.`
    Dot,
    /// `.name`
    Field(String),
    /// `$` or `$name`, with the dollar.
    Variable(String),
    Identifier(String),
    Number(String),
    String(String),
    Character,
    Pipe,
    LeftParen,
    RightParen,
    /// `:=` and `=`
    Assign,
    Comma,
    Bad(char),
}

/// Splits `text`.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut lexer = Lexer { text, at: 0, line: 1, tokens: Vec::new() };
    let mut trim_next = false;
    loop {
        let rest = lexer.rest();
        let open = rest.find("{{");
        let mut literal = &rest[..open.unwrap_or(rest.len())];
        if trim_next {
            literal = literal.trim_start_matches(SPACES);
        }
        let trims = open.is_some_and(|open| is_trim_open(&rest[open + 2..]));
        if trims {
            literal = literal.trim_end_matches(SPACES);
        }
        if !literal.is_empty() {
            lexer.push(TokenKind::Text(literal.to_owned()), false);
        }
        let Some(open) = open else { return Ok(lexer.tokens) };
        lexer.advance(open + 2 + if trims { 2 } else { 0 });
        trim_next = if lexer.rest().starts_with("/*") { lexer.comment()? } else { lexer.action()? };
    }
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// `{{- `: the dash counts only with a space behind it, else it is a sign.
fn is_trim_open(after: &str) -> bool {
    after.strip_prefix('-').is_some_and(|rest| rest.starts_with(SPACES))
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u64,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn advance(&mut self, bytes: usize) {
        let passed = &self.rest()[..bytes];
        self.line += passed.bytes().filter(|byte| *byte == b'\n').count() as u64;
        self.at += bytes;
    }

    fn push(&mut self, kind: TokenKind, spaced: bool) {
        self.tokens.push(Token { line: self.line, kind, spaced });
    }

    fn error(&self, message: &str) -> TemplateError {
        TemplateError::invalid(self.line, message)
    }

    /// Skips `/* … */` up to and with the `}}`, which must follow at once; says whether the text behind is trimmed.
    fn comment(&mut self) -> Result<bool, TemplateError> {
        let end = self.rest().find("*/").ok_or_else(|| self.error("unclosed comment"))?;
        self.advance(end + 2);
        let rest = self.rest();
        let trimmed = rest.trim_start_matches(SPACES);
        if rest.starts_with("}}") {
            self.advance(2);
            Ok(false)
        } else if rest.len() > trimmed.len() && trimmed.starts_with("-}}") {
            self.advance(rest.len() - trimmed.len() + 3);
            Ok(true)
        } else {
            Err(self.error("comment ends before closing delimiter"))
        }
    }

    /// Reads the tokens of one action; says whether the text behind it is trimmed.
    fn action(&mut self) -> Result<bool, TemplateError> {
        self.push(TokenKind::Open, false);
        loop {
            let rest = self.rest();
            let spaces = rest.len() - rest.trim_start_matches(SPACES).len();
            let spaced = spaces > 0;
            self.advance(spaces);
            let rest = self.rest();
            if rest.starts_with("}}") {
                self.push(TokenKind::Close, spaced);
                self.advance(2);
                return Ok(false);
            }
            if spaced && rest.starts_with("-}}") {
                self.push(TokenKind::Close, spaced);
                self.advance(3);
                return Ok(true);
            }
            let Some(first) = rest.chars().next() else { return Err(self.error("unclosed action")) };
            let (kind, bytes) = self.token(first, rest)?;
            self.push(kind, spaced);
            self.advance(bytes);
        }
    }

    /// One token at the start of `rest`, and its length in bytes.
    fn token(&self, first: char, rest: &str) -> Result<(TokenKind, usize), TemplateError> {
        let word = |text: &str| text.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(text.len());
        Ok(match first {
            '|' => (TokenKind::Pipe, 1),
            '(' => (TokenKind::LeftParen, 1),
            ')' => (TokenKind::RightParen, 1),
            ',' => (TokenKind::Comma, 1),
            '=' => (TokenKind::Assign, 1),
            ':' if rest.starts_with(":=") => (TokenKind::Assign, 2),
            '"' => self.quoted(rest)?,
            '`' => {
                let end = rest[1..].find('`').ok_or_else(|| self.error("unterminated raw quoted string"))?;
                (TokenKind::String(rest[1..=end].to_owned()), end + 2)
            }
            '\'' => {
                let end = rest[1..].find('\'').ok_or_else(|| self.error("unterminated character constant"))?;
                (TokenKind::Character, end + 2)
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => match word(&rest[1..]) {
                0 => (TokenKind::Dot, 1),
                length => (TokenKind::Field(rest[1..=length].to_owned()), length + 1),
            },
            '$' => {
                let length = 1 + word(&rest[1..]);
                (TokenKind::Variable(rest[..length].to_owned()), length)
            }
            '+' | '-' | '.' | '0'..='9' => {
                let sign = usize::from(matches!(first, '+' | '-'));
                let mut length = sign;
                let mut previous = ' ';
                for c in rest[sign..].chars() {
                    let exponent_sign = matches!(c, '+' | '-') && matches!(previous, 'e' | 'E' | 'p' | 'P');
                    if !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || exponent_sign) {
                        break;
                    }
                    (length, previous) = (length + 1, c);
                }
                (TokenKind::Number(rest[..length].to_owned()), length)
            }
            c if c == '_' || c.is_alphabetic() => {
                let length = word(rest);
                (TokenKind::Identifier(rest[..length].to_owned()), length)
            }
            c => (TokenKind::Bad(c), c.len_utf8()),
        })
    }

    fn quoted(&self, rest: &str) -> Result<(TokenKind, usize), TemplateError> {
        let unterminated = || self.error("unterminated quoted string");
        let mut text = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return Ok((TokenKind::String(text), at + 1)),
                '\n' => return Err(unterminated()),
                '\\' => {
                    let (_, escape) = chars.next().ok_or_else(unterminated)?;
                    let digits = match escape {
                        'x' => 2,
                        'u' => 4,
                        'U' => 8,
                        _ => 0,
                    };
                    let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    let code = || u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                    text.push(match escape {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        'a' => '\u{7}',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'v' => '\u{b}',
                        '\\' | '"' => escape,
                        'x' | 'u' | 'U' => code().ok_or_else(|| self.error("invalid syntax"))?,
                        _ => return Err(self.error("invalid syntax")),
                    });
                }
                c => text.push(c),
            }
        }
        Err(unterminated())
    }
}
