//! How Go's `fmt` writes numbers and fills `Printf` formats.

use relatum_model::text::{format_value_rounded, format_value_short};

use super::value::Value;

/// The widest field of a format; wider ones would only waste memory.
const WIDTH_MAX: usize = 1000;

/// `%g`: with the shortest digits that read back the same, or `digits` significant ones.
pub(super) fn float_g(value: f64, digits: Option<usize>) -> String {
    digits.map_or_else(|| format_value_short(value), |digits| format_value_rounded(value, digits))
}

fn not_finite(value: f64) -> Option<String> {
    if value.is_nan() {
        Some("NaN".to_owned())
    } else if value.is_infinite() {
        Some(if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned())
    } else {
        None
    }
}

/// Fills `format` as `Sprintf` does. Verbs that do not fit their argument leave Go's marks in the text.
pub(super) fn sprintf(format: &str, arguments: &[Value]) -> String {
    let mut printer = Printer { chars: format.chars().peekable(), arguments, at: 0, was_reordered: false };
    let mut out = String::new();
    while let Some(c) = printer.chars.next() {
        if c == '%' { printer.directive(&mut out) } else { out.push(c) }
    }
    let extra = arguments.get(printer.at..).unwrap_or_default();
    if !printer.was_reordered && !extra.is_empty() {
        let shown = |value: &Value| match value {
            Value::Nil => "<nil>".to_owned(),
            value => format!("{}={value}", value.type_name()),
        };
        let extra: Vec<String> = extra.iter().map(shown).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

struct Printer<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    arguments: &'a [Value],
    /// The argument that is next.
    at: usize,
    /// Whether `[n]` chose an argument, after which none is one too many.
    was_reordered: bool,
}

impl Printer<'_> {
    /// What follows a `%`.
    fn directive(&mut self, out: &mut String) {
        let mut spec = Spec::default();
        while let Some(flag) = self.chars.next_if(|c| "+-# 0".contains(*c)) {
            match flag {
                '+' => spec.plus = true,
                '-' => spec.left = true,
                '0' => spec.zeros = true,
                ' ' => spec.space = true,
                _ => spec.sharp = true,
            }
        }
        let mut is_good = self.argument_number();
        match self.number_or_star() {
            Ok(Some(width)) => {
                spec.left |= width < 0;
                spec.width = usize::try_from(width.unsigned_abs()).unwrap_or(WIDTH_MAX).min(WIDTH_MAX);
            }
            Ok(None) => {}
            Err(()) => out.push_str("%!(BADWIDTH)"),
        }
        if self.chars.next_if_eq(&'.').is_some() {
            is_good &= self.argument_number();
            match self.number_or_star() {
                Ok(precision) => {
                    let precision = precision.unwrap_or(0);
                    spec.precision = usize::try_from(precision).ok().map(|precision| precision.min(WIDTH_MAX));
                }
                Err(()) => out.push_str("%!(BADPREC)"),
            }
        }
        is_good &= self.argument_number();
        match self.chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) if !is_good => out.push_str(&format!("%!{verb}(BADINDEX)")),
            Some(verb) => match self.arguments.get(self.at) {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(argument) => {
                    self.at += 1;
                    out.push_str(&spec.fill(verb, argument));
                }
            },
        }
    }

    /// `[n]`: the argument to take next; false if there is no such one.
    fn argument_number(&mut self) -> bool {
        if self.chars.next_if_eq(&'[').is_none() {
            return true;
        }
        self.was_reordered = true;
        let mut digits = String::new();
        while let Some(digit) = self.chars.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        let is_number = self.chars.peek() == Some(&']');
        // What is no number is skipped up to the bracket.
        let is_closed = is_number || self.chars.clone().any(|c| c == ']');
        while is_closed && self.chars.next().is_some_and(|c| c != ']') {}
        match digits.parse::<usize>() {
            Ok(number) if is_number && (1..=self.arguments.len()).contains(&number) => {
                self.at = number - 1;
                true
            }
            _ => false,
        }
    }

    /// A number in the format, or the argument that `*` stands for; an error if that is no number.
    fn number_or_star(&mut self) -> Result<Option<i64>, ()> {
        if self.chars.next_if_eq(&'*').is_some() {
            let argument = self.arguments.get(self.at);
            self.at += 1;
            return match argument {
                Some(Value::Integer(number)) if number.unsigned_abs() <= 1_000_000 => Ok(Some(*number)),
                _ => Err(()),
            };
        }
        let mut number = None;
        while let Some(digit) = self.chars.next_if(char::is_ascii_digit) {
            let digit = i64::from(u32::from(digit) - u32::from('0'));
            number = Some((number.unwrap_or(0) * 10 + digit).min(WIDTH_MAX as i64));
        }
        Ok(number)
    }
}

/// What stands between `%` and the verb.
#[derive(Default)]
struct Spec {
    plus: bool,
    left: bool,
    zeros: bool,
    space: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

impl Spec {
    fn fill(&self, verb: char, value: &Value) -> String {
        match (verb, value) {
            ('T', value) => return self.pad(value.type_name().to_owned(), false),
            ('v', Value::Nil) => return self.pad("<nil>".to_owned(), false),
            (verb, Value::Nil) => return format!("%!{verb}(<nil>)"),
            // Verbs reach into maps.
            (verb, Value::Labels(labels)) => {
                let part = |text: &str| self.fill(verb, &Value::string(text));
                let pairs: Vec<String> =
                    labels.iter().map(|(name, value)| format!("{}:{}", part(name), part(value))).collect();
                return format!("map[{}]", pairs.join(" "));
            }
            _ => {}
        }
        let text = match value {
            Value::Integer(number) => self.integer(verb, *number),
            Value::Float(number) => self.float(verb, *number),
            Value::String(text) => self.text(verb, text),
            Value::Bool(value) if matches!(verb, 't' | 'v') => Some(value.to_string()),
            Value::Bool(_) => None,
            other if matches!(verb, 's' | 'v') => Some(other.to_string()),
            _ => None,
        };
        match text {
            Some(text) => {
                let is_number =
                    matches!(value, Value::Integer(_) | Value::Float(_)) && !matches!(verb, 'c' | 'q' | 'U');
                self.pad(text, is_number)
            }
            None => format!("%!{verb}({}={value})", value.type_name()),
        }
    }

    fn integer(&self, verb: char, number: i64) -> Option<String> {
        let digits = match verb {
            'd' | 'v' => number.unsigned_abs().to_string(),
            'x' => format!("{:x}", number.unsigned_abs()),
            'X' => format!("{:X}", number.unsigned_abs()),
            'o' | 'O' => format!("{:o}", number.unsigned_abs()),
            'b' => format!("{:b}", number.unsigned_abs()),
            'c' => return Some(character(number).to_string()),
            'q' => return Some(quoted(character(number))),
            'U' => return Some(format!("U+{number:04X}")),
            _ => return None,
        };
        let mut digits = match self.precision {
            Some(0) if number == 0 => String::new(),
            Some(precision) => format!("{}{digits}", "0".repeat(precision.saturating_sub(digits.len()))),
            None => digits,
        };
        let prefix = match verb {
            'x' if self.sharp => "0x",
            'X' if self.sharp => "0X",
            'b' if self.sharp => "0b",
            'o' if self.sharp => "0",
            'O' => "0o",
            _ => "",
        };
        digits.insert_str(0, prefix);
        Some(self.signed(if number < 0 { format!("-{digits}") } else { digits }, verb))
    }

    fn float(&self, verb: char, number: f64) -> Option<String> {
        let text = match (verb, not_finite(number)) {
            ('v' | 'g' | 'G' | 'f' | 'F' | 'e' | 'E', Some(text)) => text,
            ('v' | 'g', None) => float_g(number, self.precision),
            ('G', None) => float_g(number, self.precision).to_uppercase(),
            ('f' | 'F', None) => format!("{number:.*}", self.precision.unwrap_or(6)),
            ('e' | 'E', None) => {
                let text = format!("{number:.*e}", self.precision.unwrap_or(6));
                let (digits, exponent) = text.split_once('e').expect("{:e} always has an exponent");
                let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
                format!("{digits}{verb}{sign}{exponent:0>2}")
            }
            _ => return None,
        };
        Some(self.signed(text, verb))
    }

    fn text(&self, verb: char, text: &str) -> Option<String> {
        let cut = || match self.precision {
            Some(characters) => text.chars().take(characters).collect(),
            None => text.to_owned(),
        };
        let hex = |upper: bool| {
            let digits = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
            let bytes = &text.as_bytes()[..self.precision.unwrap_or(text.len()).min(text.len())];
            bytes.iter().map(digits).collect::<Vec<_>>().join(if self.space { " " } else { "" })
        };
        match verb {
            'v' if self.sharp => Some(relatum_model::text::quote(text)),
            's' | 'v' => Some(cut()),
            'q' => Some(relatum_model::text::quote(&cut())),
            'x' => Some(hex(false)),
            'X' => Some(hex(true)),
            _ => None,
        }
    }

    /// With its sign, as the flags want it. For `v` a plus asks for names of fields, which numbers have none of.
    fn signed(&self, text: String, verb: char) -> String {
        match (text.starts_with(['-', '+']), self.plus && verb != 'v', self.space) {
            (false, true, _) => format!("+{text}"),
            (false, false, true) => format!(" {text}"),
            _ => text,
        }
    }

    fn pad(&self, text: String, is_number: bool) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if missing == 0 {
            return text;
        }
        if self.left {
            return format!("{text}{}", " ".repeat(missing));
        }
        let is_finite = !text.ends_with("Inf") && text != "NaN";
        if self.zeros && (!is_number || (is_finite && self.precision.is_none_or(|_| text.contains(['.', 'e'])))) {
            let sign = if is_number { usize::from(text.starts_with(['-', '+', ' '])) } else { 0 };
            let (sign, digits) = text.split_at(sign);
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        format!("{}{text}", " ".repeat(missing))
    }
}

/// Between single quotes, as Go writes a character.
fn quoted(c: char) -> String {
    let text = relatum_model::text::quote(&c.to_string());
    let inner = &text[1..text.len() - 1];
    match c {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        _ => format!("'{inner}'"),
    }
}

fn character(number: i64) -> char {
    u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}
