//! From tree back to text, for people to see: without comments, and with secrets hidden.

use std::collections::HashMap;

use super::{Node, Scalar, Value};

/// Writes `root` in block style, with `secrets` in place of the nodes that hold them. Comments are gone, because they may hold
/// what must not be shown, and aliases are written out.
pub(crate) fn emit(root: &Node, secrets: &HashMap<u32, String>) -> String {
    let mut out = String::new();
    match &*root.value {
        Value::Scalar(scalar) if scalar.is_null() => {}
        _ => write(&mut out, root, secrets, 0),
    }
    out
}

/// Writes `node` at the current place of the line, which `indent` levels belong to.
fn write(out: &mut String, node: &Node, secrets: &HashMap<u32, String>, indent: usize) {
    if let Some(shown) = secrets.get(&node.id).filter(|_| !node.is_null()) {
        out.push_str(shown);
        out.push('\n');
        return;
    }
    match &*node.value {
        Value::Scalar(scalar) => {
            out.push_str(&scalar_text(scalar));
            out.push('\n');
        }
        Value::Sequence(items) if items.is_empty() => out.push_str("[]\n"),
        Value::Mapping(pairs) if pairs.is_empty() => out.push_str("{}\n"),
        Value::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(&"  ".repeat(indent));
                }
                out.push_str("- ");
                write(out, item, secrets, indent + 1);
            }
        }
        Value::Mapping(pairs) => {
            for (index, (key, value)) in pairs.iter().enumerate() {
                if index > 0 {
                    out.push_str(&"  ".repeat(indent));
                }
                out.push_str(&key.scalar().map_or_else(|| "\"\"".to_owned(), scalar_text));
                out.push(':');
                let level = match &*value.value {
                    _ if secrets.contains_key(&value.id) => None,
                    // A sequence stands below its key, at the key's own indent.
                    Value::Sequence(items) if !items.is_empty() => Some(indent),
                    Value::Mapping(pairs) if !pairs.is_empty() => Some(indent + 1),
                    _ => None,
                };
                match level {
                    Some(level) => {
                        out.push('\n');
                        out.push_str(&"  ".repeat(level));
                    }
                    None => out.push(' '),
                }
                write(out, value, secrets, level.unwrap_or(indent + 1));
            }
        }
    }
}

/// A scalar on one line: as it was if it was plain, so that it keeps its type, else in double quotes.
fn scalar_text(scalar: &Scalar) -> String {
    let tag = scalar.tag.as_ref().map_or_else(String::new, |tag| format!("!!{tag} "));
    if scalar.is_null() {
        return "null".to_owned();
    }
    // A plain scalar of several lines was folded into one, and then reads back the same.
    if scalar.plain && !scalar.text.contains('\n') {
        return format!("{tag}{}", scalar.text);
    }
    let mut out = tag;
    out.push('"');
    for c in scalar.text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
