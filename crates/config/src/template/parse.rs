//! From tokens to nodes.

use std::collections::BTreeMap;

use super::functions::Function;
use super::lex::{Token, TokenKind};
use super::{Command, Node, Operand, Pipeline, Program, TemplateError, VARIABLES};

/// How deep parentheses and control structures may be nested: each level is a call.
const DEPTH_MAX: usize = 100;

/// Parses a whole text.
pub(super) fn parse(tokens: Vec<Token>) -> Result<Program, TemplateError> {
    let last_line = tokens.last().map_or(1, |token| token.line);
    let mut parser = Parser {
        tokens: tokens.into_iter().peekable(),
        line: 1,
        last_line,
        depth: 0,
        n_ranges: 0,
        variables: VARIABLES.map(str::to_owned).to_vec(),
        defined: BTreeMap::new(),
    };
    let (main, end) = parser.list(true)?;
    match end {
        End::OfText => Ok(Program { main, defined: parser.defined }),
        End::Closed => Err(parser.error("unexpected {{end}}")),
        End::Else { .. } => Err(parser.error("unexpected {{else}}")),
    }
}

/// What ended a list of nodes.
enum End {
    OfText,
    Closed,
    /// With what follows in `else if` and `else with`.
    Else {
        chained: Option<Control>,
    },
}

#[derive(Clone, Copy, PartialEq)]
enum Control {
    If,
    With,
    Range,
}

impl Control {
    fn name(self) -> &'static str {
        match self {
            Control::If => "if",
            Control::With => "with",
            Control::Range => "range",
        }
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    /// The line of the token that was taken last.
    line: u64,
    last_line: u64,
    depth: usize,
    /// How many loops are open, for `break`.
    n_ranges: usize,
    /// The names of the variables that can be used here.
    variables: Vec<String>,
    defined: BTreeMap<String, Vec<Node>>,
}

impl Parser {
    fn error(&self, message: impl Into<String>) -> TemplateError {
        TemplateError::invalid(self.line, message)
    }

    fn unfinished(&self) -> TemplateError {
        TemplateError::invalid(self.last_line, "unexpected EOF")
    }

    fn next(&mut self) -> Result<Token, TemplateError> {
        let token = self.tokens.next().ok_or_else(|| self.unfinished())?;
        self.line = token.line;
        Ok(token)
    }

    fn peek(&mut self) -> Option<&TokenKind> {
        self.tokens.peek().map(|token| &token.kind)
    }

    fn deeper(&mut self) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.error("max expression depth exceeded")) } else { Ok(()) }
    }

    /// Nodes up to an `end`, an `else` or the end of the text; `is_top` says that templates can be defined here.
    fn list(&mut self, is_top: bool) -> Result<(Vec<Node>, End), TemplateError> {
        let mut nodes = Vec::new();
        while self.peek().is_some() {
            match self.next()?.kind {
                TokenKind::Text(text) => nodes.push(Node::Text(text)),
                TokenKind::Open => {
                    let keyword = match self.peek() {
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
                        "if" => nodes.push(self.control(Control::If)?),
                        "with" => nodes.push(self.control(Control::With)?),
                        "range" => nodes.push(self.control(Control::Range)?),
                        "break" | "continue" => nodes.push(self.jump(&keyword)?),
                        "define" if is_top => self.define()?,
                        "define" => return Err(self.error("unexpected {{define}}")),
                        "template" => nodes.push(self.template()?),
                        "block" => nodes.push(self.block()?),
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

    /// The rest of an `{{else`; of a chained one the control's name is next.
    fn otherwise(&mut self) -> Result<End, TemplateError> {
        self.next()?;
        let chained = match self.peek() {
            Some(TokenKind::Identifier(name)) if name == "if" => Some(Control::If),
            Some(TokenKind::Identifier(name)) if name == "with" => Some(Control::With),
            _ => None,
        };
        if chained.is_none() {
            self.close("else")?;
        }
        Ok(End::Else { chained })
    }

    /// A control structure from its name to its end.
    fn control(&mut self, control: Control) -> Result<Node, TemplateError> {
        self.deeper()?;
        self.next()?;
        let n_variables = self.variables.len();
        let head = self.pipeline(control.name(), &TokenKind::Close)?;
        self.n_ranges += usize::from(control == Control::Range);
        let (then, end) = self.list(false)?;
        self.n_ranges -= usize::from(control == Control::Range);
        let otherwise = match end {
            End::Closed => Vec::new(),
            End::Else { chained: Some(chained) } if chained == control => vec![self.control(chained)?],
            End::Else { chained: Some(chained) } => {
                return Err(self.error(format!("unexpected <{}> in else", chained.name())));
            }
            End::Else { chained: None } => match self.list(false)? {
                (otherwise, End::Closed) => otherwise,
                (_, End::Else { .. }) => return Err(self.error("expected end; found {{else}}")),
                (_, End::OfText) => return Err(self.unfinished()),
            },
            End::OfText => return Err(self.unfinished()),
        };
        self.variables.truncate(n_variables);
        self.depth -= 1;
        Ok(match control {
            Control::If => Node::If { condition: head, then, otherwise },
            Control::With => Node::With { subject: head, then, otherwise },
            Control::Range => Node::Range { over: head, each: then, otherwise },
        })
    }

    fn jump(&mut self, keyword: &str) -> Result<Node, TemplateError> {
        self.next()?;
        self.close(keyword)?;
        if self.n_ranges == 0 {
            return Err(self.error(format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
        }
        Ok(if keyword == "break" { Node::Break } else { Node::Continue })
    }

    fn define(&mut self) -> Result<(), TemplateError> {
        self.next()?;
        let name = self.name("define clause")?;
        self.close("define clause")?;
        let body = self.body("define clause")?;
        self.add(name, body)
    }

    /// `{{template "name"}}` and `{{template "name" data}}`.
    fn template(&mut self) -> Result<Node, TemplateError> {
        self.next()?;
        let name = self.name("template clause")?;
        let line = self.line;
        if self.peek() == Some(&TokenKind::Close) {
            self.next()?;
            return Ok(Node::Template { line, name, data: None });
        }
        let data = self.pipeline("template clause", &TokenKind::Close)?;
        Ok(Node::Template { line, name, data: Some(data) })
    }

    /// A template that is defined and used at the same place.
    fn block(&mut self) -> Result<Node, TemplateError> {
        self.next()?;
        let name = self.name("block clause")?;
        let line = self.line;
        let data = self.pipeline("block clause", &TokenKind::Close)?;
        let body = self.body("block clause")?;
        self.add(name.clone(), body)?;
        Ok(Node::Template { line, name, data: Some(data) })
    }

    fn name(&mut self, context: &str) -> Result<String, TemplateError> {
        match self.next()?.kind {
            TokenKind::String(name) => Ok(name),
            other => Err(self.unexpected(&other, context)),
        }
    }

    /// The body of a template of its own, which sees no variables from outside, up to its end.
    fn body(&mut self, context: &str) -> Result<Vec<Node>, TemplateError> {
        self.deeper()?;
        let variables = std::mem::replace(&mut self.variables, vec![String::new()]);
        let n_ranges = std::mem::take(&mut self.n_ranges);
        let (nodes, end) = self.list(false)?;
        (self.variables, self.n_ranges) = (variables, n_ranges);
        self.depth -= 1;
        match end {
            End::Closed => Ok(nodes),
            End::Else { .. } => Err(self.error(format!("unexpected {{{{else}}}} in {context}"))),
            End::OfText => Err(self.unfinished()),
        }
    }

    /// An empty template can be defined again, as one that is not there yet.
    fn add(&mut self, name: String, body: Vec<Node>) -> Result<(), TemplateError> {
        let is_empty =
            |nodes: &[Node]| nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()));
        match self.defined.get(&name) {
            Some(known) if !is_empty(known) => {
                if is_empty(&body) {
                    return Ok(());
                }
                return Err(self.error(format!("template: multiple definition of template \"{name}\"")));
            }
            _ => {}
        }
        self.defined.insert(name, body);
        Ok(())
    }

    /// Commands up to `end`, which is taken too.
    fn pipeline(&mut self, context: &str, end: &TokenKind) -> Result<Pipeline, TemplateError> {
        self.deeper()?;
        let (first, mut pipeline) = self.declarations(context)?;
        let mut first = first;
        loop {
            let command = self.command(first.take(), context)?;
            let stage = pipeline.commands.len() + 1;
            match (command, stage) {
                (None, 1) => return Err(self.error(format!("missing value for {context}"))),
                // Go does not mind a pipe behind the last command.
                (None, _) if self.peek() == Some(end) => {}
                (None, _) => return Err(self.error(format!("unexpected <|> in {context}"))),
                (Some(command), stage) => {
                    if stage > 1 && is_constant(&command.operands[0]) {
                        return Err(self.error(format!("non executable command in pipeline stage {stage}")));
                    }
                    pipeline.commands.push(command);
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
        pipeline.line = self.line;
        self.depth -= 1;
        Ok(pipeline)
    }

    /// `$a :=`, `$a =`, and for a `range` also `$a, $b :=`. A variable that is not followed by any of them is given back.
    fn declarations(&mut self, context: &str) -> Result<(Option<Token>, Pipeline), TemplateError> {
        let mut pipeline =
            Pipeline { line: self.line, variables: Vec::new(), is_assignment: false, commands: Vec::new() };
        loop {
            let Some(TokenKind::Variable(name)) = self.peek() else { return Ok((None, pipeline)) };
            let name = name[1..].to_owned();
            let token = self.next()?;
            let kind = self.peek().cloned();
            match kind {
                Some(TokenKind::Declare | TokenKind::Assign) => {
                    pipeline.is_assignment = kind == Some(TokenKind::Assign);
                    self.next()?;
                    self.variables.push(name.clone());
                    pipeline.variables.push(name);
                    return Ok((None, pipeline));
                }
                Some(TokenKind::Comma) => {
                    self.next()?;
                    self.variables.push(name.clone());
                    pipeline.variables.push(name);
                    if context != "range" || pipeline.variables.len() > 1 {
                        return Err(self.error(format!("too many declarations in {context}")));
                    }
                    if !matches!(self.peek(), Some(TokenKind::Variable(_) | TokenKind::Close | TokenKind::RightParen)) {
                        return Err(self.error("range can only initialize variables"));
                    }
                }
                _ => return Ok((Some(token), pipeline)),
            }
        }
    }

    /// Operands up to the end of the command, which is left; `None` if there are none. `first` was taken already.
    fn command(&mut self, first: Option<Token>, context: &str) -> Result<Option<Command>, TemplateError> {
        let mut operands = Vec::new();
        let mut line = self.line;
        if let Some(token) = first {
            operands.push(self.operand(token.kind, context)?);
        }
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
        let operand = match kind {
            TokenKind::String(text) => Operand::String(text),
            TokenKind::Number(text) => self.number(&text)?,
            TokenKind::Character(c) => Operand::Integer(i64::from(u32::from(c))),
            TokenKind::Dot => {
                let fields = self.fields();
                if fields.is_empty() {
                    return Ok(Operand::Dot(fields));
                }
                return Err(self.unexpected(&TokenKind::Dot, "operand"));
            }
            TokenKind::Field(name) => {
                let mut fields = vec![name];
                fields.extend(self.fields());
                Operand::Dot(fields)
            }
            TokenKind::Variable(name) => {
                let plain = &name[1..];
                if !self.variables.iter().any(|known| known == plain) {
                    return Err(self.error(format!("undefined variable \"{name}\"")));
                }
                Operand::Variable(plain.to_owned(), self.fields())
            }
            TokenKind::Identifier(name) => match name.as_str() {
                "true" => Operand::Bool(true),
                "false" => Operand::Bool(false),
                "nil" => Operand::Nil,
                "if" | "else" | "end" | "range" | "with" | "define" | "template" | "block" | "break" | "continue" => {
                    return Err(self.error(format!("unexpected <{name}> in {context}")));
                }
                _ => self.call_or_chain(&name)?,
            },
            TokenKind::LeftParen => {
                let inner = self.pipeline("parenthesized pipeline", &TokenKind::RightParen)?;
                Operand::Parenthesis(Box::new(inner), self.fields())
            }
            kind => return Err(self.unexpected(&kind, context)),
        };
        let has_field =
            self.tokens.peek().is_some_and(|token| !token.spaced && matches!(token.kind, TokenKind::Field(_)));
        if has_field {
            return Err(self.error("unexpected . after term"));
        }
        Ok(operand)
    }

    /// A function, or `function.a.b`: the fields of what it gives without arguments.
    fn call_or_chain(&mut self, name: &str) -> Result<Operand, TemplateError> {
        let function = self.function(name)?;
        let fields = self.fields();
        if fields.is_empty() {
            return Ok(Operand::Function(function));
        }
        let line = self.line;
        let command = Command { line, operands: vec![Operand::Function(function)] };
        let call = Pipeline { line, variables: Vec::new(), is_assignment: false, commands: vec![command] };
        Ok(Operand::Parenthesis(Box::new(call), fields))
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
        Function::named(name).ok_or_else(|| self.error(format!("function \"{name}\" not defined")))
    }

    fn number(&self, text: &str) -> Result<Operand, TemplateError> {
        let bad = || self.error(format!("bad number syntax: \"{text}\""));
        let plain = text.replace('_', "");
        let (sign, digits) = match plain.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", plain.strip_prefix('+').unwrap_or(&plain)),
        };
        let integer = |radix: u32, digits: &str| {
            i64::from_str_radix(&format!("{sign}{digits}"), radix).map(Operand::Integer).map_err(|_| bad())
        };
        let radix = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => 16,
            Some("0o") => 8,
            Some("0b") => 2,
            _ => 10,
        };
        // A second sign would be read by Rust.
        if digits.starts_with(['+', '-'])
            || digits.get(2..).is_some_and(|rest| radix != 10 && rest.starts_with(['+', '-']))
        {
            return Err(bad());
        }
        if radix != 10 {
            return integer(radix, &digits[2..]);
        }
        let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_decimal && digits.len() > 1 && digits.starts_with('0') {
            return integer(8, digits);
        }
        if is_decimal && let Ok(number) = integer(10, digits) {
            return Ok(number);
        }
        if is_decimal {
            return Ok(Operand::Overflow(text.to_owned()));
        }
        // Rust's parser would also read names such as `inf`.
        if !digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')) {
            return Err(bad());
        }
        match plain.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Operand::Float(number)),
            _ => Err(bad()),
        }
    }

    fn unexpected(&self, kind: &TokenKind, context: &str) -> TemplateError {
        let what = match kind {
            TokenKind::Bad(c) => format!("bad character U+{:04X} '{c}'", u32::from(*c)),
            TokenKind::Close => "\"}}\"".to_owned(),
            TokenKind::Dot => "<.>".to_owned(),
            TokenKind::Field(name) => format!("<.{name}>"),
            TokenKind::Variable(text) | TokenKind::Identifier(text) | TokenKind::Number(text) => format!("<{text}>"),
            TokenKind::String(text) => format!("{text:?}"),
            TokenKind::Character(c) => format!("\"'{c}'\""),
            TokenKind::Declare => "\":=\"".to_owned(),
            TokenKind::Assign => "\"=\"".to_owned(),
            TokenKind::Comma => "\",\"".to_owned(),
            TokenKind::LeftParen => "\"(\"".to_owned(),
            TokenKind::RightParen => "\")\"".to_owned(),
            TokenKind::Pipe => "\"|\"".to_owned(),
            TokenKind::Open | TokenKind::Text(_) => "text".to_owned(),
        };
        self.error(format!("unexpected {what} in {context}"))
    }
}

/// Whether the operand is a value that nothing can be piped into.
fn is_constant(operand: &Operand) -> bool {
    match operand {
        Operand::Dot(fields) => fields.is_empty(),
        Operand::String(_)
        | Operand::Integer(_)
        | Operand::Overflow(_)
        | Operand::Float(_)
        | Operand::Bool(_)
        | Operand::Nil => true,
        Operand::Variable(..) | Operand::Function(_) | Operand::Parenthesis(..) => false,
    }
}
