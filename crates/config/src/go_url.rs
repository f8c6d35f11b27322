//! What Go takes for a URL, which is nearly everything.

use relatum_model::text::quote;

/// The parts of a URL that checks ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// Before the colon; may be empty.
    pub(crate) scheme: &'a str,
    /// Host and port; may be empty.
    pub(crate) host: &'a str,
}

/// Splits `text` by the rules of Go's `url.Parse`; the error has its words.
pub(crate) fn parse(text: &str) -> Result<Parts<'_>, String> {
    let whole = text.split('#').next().unwrap_or("");
    split(text, whole).map_err(|reason| format!("parse {}: {reason}", quote(whole)))
}

fn split<'a>(text: &'a str, whole: &'a str) -> Result<Parts<'a>, String> {
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let (scheme, rest) = split_scheme(whole)?;
    let rest = rest.split('?').next().unwrap_or("");
    if !rest.starts_with('/') {
        let opaque = Parts { scheme, host: "" };
        if scheme.is_empty() && rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
        return if scheme.is_empty() { check_escapes(rest).map(|()| opaque) } else { Ok(opaque) };
    }
    let Some(authority) = rest.strip_prefix("//").filter(|_| !scheme.is_empty() || !rest.starts_with("///")) else {
        return check_escapes(rest).map(|()| Parts { scheme, host: "" });
    };
    let (authority, path) = authority.split_at(authority.find('/').unwrap_or(authority.len()));
    let host = match authority.rsplit_once('@') {
        Some((user, host)) => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
            if !user.chars().all(allowed) {
                return Err("net/url: invalid userinfo".to_owned());
            }
            check_escapes(user)?;
            host
        }
        None => authority,
    };
    check_host(host)?;
    check_escapes(path)?;
    Ok(Parts { scheme, host })
}

fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn check_host(host: &str) -> Result<(), String> {
    let port = if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        &host[end + 1..]
    } else {
        host.rfind(':').map_or("", |colon| &host[colon..])
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    if !is_port {
        return Err(format!("invalid port {} after host", quote(port)));
    }
    match host.chars().find(|c| matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}')) {
        // Go lets these two through for the sake of old programs.
        Some('"' | '<' | '>') | None => check_escapes(host),
        Some(c) => Err(format!("invalid character {} in host name", quote(&c.to_string()))),
    }
}

fn check_escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
        let bytes = text.as_bytes();
        if !is_hex(bytes.get(at + 1)) || !is_hex(bytes.get(at + 2)) {
            let shown = String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 3)]).into_owned();
            return Err(format!("invalid URL escape {}", quote(&shown)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_splits_them() {
        for (text, expected) in [
            ("http://me:p@host:80/p?q#f", Ok(("http", "host:80"))),
            ("", Ok(("", ""))),
            ("host", Ok(("", ""))),
            ("/path", Ok(("", ""))),
            ("//host/path", Ok(("", "host"))),
            ("mailto:x", Ok(("mailto", ""))),
            ("http://[::1]:80/", Ok(("http", "[::1]:80"))),
            ("www.puppetdb.com", Ok(("", ""))),
            (":x", Err("parse \":x\": missing protocol scheme")),
            ("1.2.3.4:80", Err("parse \"1.2.3.4:80\": first path segment in URL cannot contain colon")),
            ("http://h:a/", Err("parse \"http://h:a/\": invalid port \":a\" after host")),
            ("http://a b/", Err("parse \"http://a b/\": invalid character \" \" in host name")),
            ("http://h/%zz", Err("parse \"http://h/%zz\": invalid URL escape \"%zz\"")),
            ("http://[::1", Err("parse \"http://[::1\": missing ']' in host")),
            ("a\nb", Err("parse \"a\\nb\": net/url: invalid control character in URL")),
        ] {
            let parts = parse(text);
            let parts = parts.as_ref().map(|parts| (parts.scheme, parts.host)).map_err(String::as_str);
            assert_eq!(parts, expected, "input {text:?}");
        }
    }
}
