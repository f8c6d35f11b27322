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
    /// `'a'`: a number.
    Character(char),
    Pipe,
    LeftParen,
    RightParen,
    /// `:=`
    Declare,
    /// `=`
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
            ':' if rest.starts_with(":=") => (TokenKind::Declare, 2),
            '"' => {
                let (text, length) = self.escaped(rest, '"', "unterminated quoted string")?;
                (TokenKind::String(text), length)
            }
            '`' => {
                let end = rest[1..].find('`').ok_or_else(|| self.error("unterminated raw quoted string"))?;
                (TokenKind::String(rest[1..=end].to_owned()), end + 2)
            }
            '\'' => {
                let (text, length) = self.escaped(rest, '\'', "unterminated character constant")?;
                let mut chars = text.chars();
                match (chars.next(), chars.next()) {
                    (Some(c), None) => (TokenKind::Character(c), length),
                    _ => return Err(self.error(&format!("malformed character constant: {}", &rest[..length]))),
                }
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

    /// A text between two of `quote`, at the start of `rest`, and its length with them.
    fn escaped(&self, rest: &str, quote: char, unterminated: &str) -> Result<(String, usize), TemplateError> {
        let unterminated = || self.error(unterminated);
        let invalid = || self.error("invalid syntax");
        let mut bytes: Vec<u8> = Vec::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    // Go's strings may hold any bytes; ours hold text.
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    return Ok((text, at + 1));
                }
                '\n' => return Err(unterminated()),
                '\\' => {
                    let (_, escape) = chars.next().ok_or_else(unterminated)?;
                    let (radix, digits) = match escape {
                        'x' => (16, 2),
                        'u' => (16, 4),
                        'U' => (16, 8),
                        '0'..='7' => (8, 2),
                        _ => (10, 0),
                    };
                    let mut number: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    if radix == 8 {
                        number.insert(0, escape);
                    }
                    let code = || u32::from_str_radix(&number, radix).map_err(|_| invalid());
                    match escape {
                        'n' => push_char(&mut bytes, '\n'),
                        't' => push_char(&mut bytes, '\t'),
                        'r' => push_char(&mut bytes, '\r'),
                        'a' => push_char(&mut bytes, '\u{7}'),
                        'b' => push_char(&mut bytes, '\u{8}'),
                        'f' => push_char(&mut bytes, '\u{c}'),
                        'v' => push_char(&mut bytes, '\u{b}'),
                        '\\' => push_char(&mut bytes, '\\'),
                        c if c == quote => push_char(&mut bytes, c),
                        'x' | '0'..='7' => bytes.push(u8::try_from(code()?).map_err(|_| invalid())?),
                        'u' | 'U' => push_char(&mut bytes, char::from_u32(code()?).ok_or_else(invalid)?),
                        _ => return Err(invalid()),
                    }
                }
                c => push_char(&mut bytes, c),
            }
        }
        Err(unterminated())
    }
}

fn push_char(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
