//! How Go's `fmt` writes numbers and fills `Printf` formats.

use super::eval::Value;

/// The widest field of a format; wider ones would only waste memory.
const WIDTH_MAX: usize = 1000;

/// `%g`: with the shortest digits that read back the same, or `digits` significant ones.
pub(super) fn float_g(value: f64, digits: Option<usize>) -> String {
    if let Some(text) = not_finite(value) {
        return text;
    }
    let scientific = match digits {
        Some(digits) => format!("{:.*e}", digits.max(1) - 1, value),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = scientific.split_once('e').expect("{:e} always has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    // Trailing zeros say nothing.
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let exponent_end = match digits {
        Some(digits) => digits.max(1) as i32,
        // Go decides as if six digits had been asked for.
        None => 6,
    };
    if exponent < -4 || exponent >= exponent_end {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let all_digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    if exponent < 0 {
        return format!("{sign}0.{}{all_digits}", "0".repeat((-exponent - 1) as usize));
    }
    let whole = exponent as usize + 1;
    if all_digits.len() <= whole {
        format!("{sign}{all_digits}{}", "0".repeat(whole - all_digits.len()))
    } else {
        format!("{sign}{}.{}", &all_digits[..whole], &all_digits[whole..])
    }
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
pub(super) fn sprintf(format: &str, arguments: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut arguments_left = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "+-# 0".contains(*c)) {
            match flag {
                '+' => spec.plus = true,
                '-' => spec.left = true,
                '0' => spec.zeros = true,
                ' ' => spec.space = true,
                // Only changes notations that no template needs.
                _ => {}
            }
        }
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut number = None;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                let digit = digit as usize - '0' as usize;
                number = Some((number.unwrap_or(0) * 10 + digit).min(WIDTH_MAX));
            }
            number
        };
        spec.width = number(&mut chars).unwrap_or(0);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(number(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match arguments_left.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(argument) => out.push_str(&spec.fill(verb, argument)),
            },
        }
    }
    let extra: Vec<String> = arguments_left.map(|value| format!("{}={value}", value.type_name())).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// What stands between `%` and the verb.
#[derive(Default)]
struct Spec {
    plus: bool,
    left: bool,
    zeros: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
}

impl Spec {
    fn fill(&self, verb: char, value: &Value<'_>) -> String {
        let precision = self.precision;
        let text = match (verb, value) {
            ('v', Value::Float(v)) => self.signed(float_g(*v, precision)),
            ('v', Value::String(text)) | ('s', Value::String(text)) => self.cut(text),
            ('v', value) => value.to_string(),
            ('q', Value::String(text)) => relatum_model::text::quote(text),
            ('t', Value::Bool(value)) => value.to_string(),
            ('d', Value::Integer(v)) => self.signed(v.to_string()),
            ('x', Value::Integer(v)) => format!("{v:x}"),
            ('X', Value::Integer(v)) => format!("{v:X}"),
            ('o', Value::Integer(v)) => format!("{v:o}"),
            ('b', Value::Integer(v)) => format!("{v:b}"),
            ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('f' | 'F', Value::Float(v)) => {
                self.signed(not_finite(*v).unwrap_or_else(|| format!("{v:.*}", precision.unwrap_or(6))))
            }
            ('g' | 'G', Value::Float(v)) => self.signed(float_g(*v, precision)),
            ('e' | 'E', Value::Float(v)) => self.signed(not_finite(*v).unwrap_or_else(|| {
                let text = format!("{v:.*e}", precision.unwrap_or(6));
                let (digits, exponent) = text.split_once('e').expect("{:e} always has an exponent");
                let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
                format!("{digits}e{sign}{exponent:0>2}")
            })),
            ('s', Value::Labels(labels)) => Value::Labels(labels).to_string(),
            (verb, value) => return format!("%!{verb}({}={value})", value.type_name()),
        };
        self.pad(text, !matches!(verb, 's' | 'q' | 't'))
    }

    fn signed(&self, text: String) -> String {
        match (text.starts_with(['-', '+']), self.plus, self.space) {
            (false, true, _) => format!("+{text}"),
            (false, false, true) => format!(" {text}"),
            _ => text,
        }
    }

    fn cut(&self, text: &str) -> String {
        match self.precision {
            Some(characters) => text.chars().take(characters).collect(),
            None => text.to_owned(),
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
        if self.zeros && is_number && !text.ends_with("Inf") && text != "NaN" {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+', ' '])));
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        format!("{}{text}", " ".repeat(missing))
    }
}
