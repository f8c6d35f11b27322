//! From tokens to nodes.

use super::functions::Function;
use super::lex::{Token, TokenKind};
use super::{Command, Node, Operand, Pipeline, TemplateError, Variable};

/// How deep parentheses and `if`s may be nested: each level is a call.
const DEPTH_MAX: usize = 100;

/// Go's other keywords, which need what this program does not do yet.
const UNSUPPORTED_KEYWORDS: [&str; 7] = ["range", "with", "define", "template", "block", "break", "continue"];

pub(super) fn parse(tokens: Vec<Token>) -> Result<Vec<Node>, TemplateError> {
    let last_line = tokens.last().map_or(1, |token| token.line);
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), line: 1, last_line, depth: 0 };
    let (nodes, end) = parser.list()?;
    match end {
        End::OfText => Ok(nodes),
        End::Closed => Err(parser.error("unexpected {{end}}")),
        End::Else { .. } => Err(parser.error("unexpected {{else}}")),
    }
}

/// What ended a list of nodes.
enum End {
    OfText,
    Closed,
    /// With the condition of an `else if`.
    Else {
        condition: Option<Pipeline>,
    },
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    /// The line of the token that was taken last.
    line: u64,
    last_line: u64,
    depth: usize,
}

impl Parser {
    fn error(&self, message: impl Into<String>) -> TemplateError {
        TemplateError::invalid(self.line, message)
    }

    fn unsupported(&self, what: &str) -> TemplateError {
        TemplateError::unsupported(self.line, what)
    }

    fn next(&mut self) -> Result<Token, TemplateError> {
        let token = self.tokens.next().ok_or_else(|| TemplateError::invalid(self.last_line, "unexpected EOF"))?;
        self.line = token.line;
        Ok(token)
    }

    fn deeper(&mut self) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.error("max expression depth exceeded")) } else { Ok(()) }
    }

    fn list(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        let mut nodes = Vec::new();
        while self.tokens.peek().is_some() {
            match self.next()?.kind {
                TokenKind::Text(text) => nodes.push(Node::Text(text)),
                TokenKind::Open => {
                    let keyword = match self.tokens.peek().map(|token| &token.kind) {
                        Some(TokenKind::Identifier(name)) => name.clone(),
                        _ => String::new(),
                    };
                    match keyword.as_str() {
                        "end" => {
                            self.next()?;
                            self.close("end")?;
                            return Ok((nodes, End::Closed));
                        }
                        "else" => return Ok((nodes, self.otherwise()?)),
                        "if" => {
                            self.next()?;
                            let condition = self.pipeline("if", &TokenKind::Close)?;
                            nodes.push(self.branches(condition)?);
                        }
                        keyword if UNSUPPORTED_KEYWORDS.contains(&keyword) => {
                            self.next()?;
                            return Err(self.unsupported(&format!("{{{{{keyword}}}}}")));
                        }
                        _ => nodes.push(Node::Action(self.pipeline("command", &TokenKind::Close)?)),
                    }
                }
                _ => unreachable!("outside of actions there is only text"),
            }
        }
        Ok((nodes, End::OfText))
    }

    fn close(&mut self, context: &str) -> Result<(), TemplateError> {
        let token = self.next()?;
        if token.kind == TokenKind::Close { Ok(()) } else { Err(self.unexpected(&token.kind, context)) }
    }

    /// The rest of an `{{else`.
    fn otherwise(&mut self) -> Result<End, TemplateError> {
        self.next()?;
        let chained = matches!(self.tokens.peek(), Some(token) if token.kind == TokenKind::Identifier("if".to_owned()));
        if chained {
            self.next()?;
            return Ok(End::Else { condition: Some(self.pipeline("if", &TokenKind::Close)?) });
        }
        self.close("else")?;
        Ok(End::Else { condition: None })
    }

    /// What follows an `{{if condition}}`, up to and with its end.
    fn branches(&mut self, condition: Pipeline) -> Result<Node, TemplateError> {
        self.deeper()?;
        let (then, end) = self.list()?;
        let otherwise = match end {
            End::Closed => Vec::new(),
            End::Else { condition: Some(condition) } => vec![self.branches(condition)?],
            End::Else { condition: None } => {
                let (otherwise, end) = self.list()?;
                match end {
                    End::Closed => otherwise,
                    End::Else { .. } => return Err(self.error("expected end; found {{else}}")),
                    End::OfText => return Err(TemplateError::invalid(self.last_line, "unexpected EOF")),
                }
            }
            End::OfText => return Err(TemplateError::invalid(self.last_line, "unexpected EOF")),
        };
        self.depth -= 1;
        Ok(Node::If { condition, then, otherwise })
    }

    /// Commands up to `end`, which is taken too.
    fn pipeline(&mut self, context: &str, end: &TokenKind) -> Result<Pipeline, TemplateError> {
        self.deeper()?;
        let mut commands = Vec::new();
        loop {
            let command = self.command(context)?;
            let stage = commands.len() + 1;
            match (command, stage) {
                (None, 1) => return Err(self.error(format!("missing value for {context}"))),
                (None, _) => return Err(self.error("empty command")),
                (Some(command), stage) => {
                    if stage > 1 && is_constant(&command.operands[0]) {
                        return Err(self.error(format!("non executable command in pipeline stage {stage}")));
                    }
                    commands.push(command);
                }
            }
            let token = self.next()?;
            match token.kind {
                TokenKind::Pipe => {}
                kind if kind == *end => break,
                TokenKind::Close => return Err(self.error("unclosed left paren")),
                TokenKind::RightParen => return Err(self.error("unexpected right paren")),
                kind => return Err(self.unexpected(&kind, context)),
            }
        }
        self.depth -= 1;
        Ok(Pipeline { commands })
    }

    /// Operands up to the end of the command, which is left; `None` if there are none.
    fn command(&mut self, context: &str) -> Result<Option<Command>, TemplateError> {
        let mut operands = Vec::new();
        let mut line = self.line;
        while let Some(token) = self.tokens.peek() {
            if matches!(token.kind, TokenKind::Pipe | TokenKind::Close | TokenKind::RightParen) {
                break;
            }
            if !operands.is_empty() && !token.spaced {
                let kind = token.kind.clone();
                return Err(self.unexpected(&kind, "operand"));
            }
            let token = self.next()?;
            if operands.is_empty() {
                line = token.line;
            }
            operands.push(self.operand(token.kind, context)?);
        }
        Ok((!operands.is_empty()).then_some(Command { line, operands }))
    }

    fn operand(&mut self, kind: TokenKind, context: &str) -> Result<Operand, TemplateError> {
        Ok(match kind {
            TokenKind::String(text) => Operand::String(text),
            TokenKind::Number(text) => self.number(&text)?,
            TokenKind::Character => return Err(self.unsupported("character constant")),
            TokenKind::Dot => Operand::Data(self.fields()),
            TokenKind::Field(name) => {
                let mut fields = vec![name];
                fields.extend(self.fields());
                Operand::Data(fields)
            }
            TokenKind::Variable(name) => {
                if matches!(self.tokens.peek(), Some(token) if token.kind == TokenKind::Assign) {
                    return Err(self.unsupported(&format!("declaring {name}")));
                }
                let variable = match name.as_str() {
                    "$" => return Ok(Operand::Data(self.fields())),
                    "$labels" => Variable::Labels,
                    "$externalLabels" => Variable::ExternalLabels,
                    "$externalURL" => Variable::ExternalUrl,
                    "$value" => Variable::Value,
                    _ => return Err(self.error(format!("undefined variable \"{name}\""))),
                };
                Operand::Variable(variable, self.fields())
            }
            TokenKind::Identifier(name) => match name.as_str() {
                "true" => Operand::Bool(true),
                "false" => Operand::Bool(false),
                "nil" => Operand::Nil,
                _ => Operand::Function(self.function(&name)?),
            },
            TokenKind::LeftParen => {
                let inner = self.pipeline("parenthesized pipeline", &TokenKind::RightParen)?;
                Operand::Parenthesis(inner, self.fields())
            }
            kind => return Err(self.unexpected(&kind, context)),
        })
    }

    /// `.a.b` that follows its operand at once.
    fn fields(&mut self) -> Vec<String> {
        let mut fields = Vec::new();
        while let Some(token) = self.tokens.peek() {
            match &token.kind {
                TokenKind::Field(name) if !token.spaced => fields.push(name.clone()),
                _ => break,
            }
            self.tokens.next();
        }
        fields
    }

    fn function(&self, name: &str) -> Result<Function, TemplateError> {
        match Function::named(name) {
            Some(function) => Ok(function),
            None if Function::is_known(name) => Err(self.unsupported(&format!("function {name}"))),
            None => Err(self.error(format!("function \"{name}\" not defined"))),
        }
    }

    fn number(&self, text: &str) -> Result<Operand, TemplateError> {
        let bad = || self.error(format!("bad number syntax: \"{text}\""));
        let plain = text.replace('_', "");
        let (sign, digits) = match plain.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
        };
        let radix = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => 16,
            Some("0o") => 8,
            Some("0b") => 2,
            _ => 10,
        };
        if radix != 10 {
            return i64::from_str_radix(&digits[2..], radix).map(|n| Operand::Integer(sign * n)).map_err(|_| bad());
        }
        if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return i64::from_str_radix(digits, 8).map(|n| Operand::Integer(sign * n)).map_err(|_| bad());
        }
        if let Ok(number) = plain.trim_start_matches('+').parse() {
            return Ok(Operand::Integer(number));
        }
        // Rust's parser would also read names such as `inf`.
        if !digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')) {
            return Err(bad());
        }
        plain.parse().map(Operand::Float).map_err(|_| bad())
    }

    fn unexpected(&self, kind: &TokenKind, context: &str) -> TemplateError {
        let what = match kind {
            TokenKind::Bad(c) => format!("bad character U+{:04X} '{c}'", *c as u32),
            TokenKind::Close => "\"}}\"".to_owned(),
            TokenKind::Dot => "<.>".to_owned(),
            TokenKind::Field(name) => format!("<.{name}>"),
            TokenKind::Variable(text) | TokenKind::Identifier(text) | TokenKind::Number(text) => format!("<{text}>"),
            TokenKind::String(text) => format!("{text:?}"),
            TokenKind::Assign => "\"=\"".to_owned(),
            TokenKind::Comma => "\",\"".to_owned(),
            TokenKind::LeftParen => "\"(\"".to_owned(),
            TokenKind::RightParen => "\")\"".to_owned(),
            TokenKind::Pipe => "\"|\"".to_owned(),
            TokenKind::Open | TokenKind::Text(_) | TokenKind::Character => "text".to_owned(),
        };
        self.error(format!("unexpected {what} in {context}"))
    }
}

/// Whether the operand is a value that nothing can be piped into.
fn is_constant(operand: &Operand) -> bool {
    match operand {
        Operand::Data(fields) => fields.is_empty(),
        Operand::String(_) | Operand::Integer(_) | Operand::Float(_) | Operand::Bool(_) | Operand::Nil => true,
        Operand::Variable(..) | Operand::Function(_) | Operand::Parenthesis(..) => false,
    }
}
