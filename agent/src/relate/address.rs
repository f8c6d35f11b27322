//! An address as a person types it: `host:port[/path]`, `[v6]:port[/path]` or `scheme://host[:port][/path]`.

use std::net::Ipv6Addr;

use crate::control::Failure;

/// Longer host names do not exist.
const HOST_BYTES_MAX: usize = 253;

/// A longer path is a mistake.
const PATH_BYTES_MAX: usize = 2048;

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `http` or `https`, if the text says so.
    pub scheme: Option<String>,
    /// `host:port`, the host in lower case, an IPv6 address in brackets.
    pub authority: String,
    /// The path, beginning with `/`; empty when there is none.
    pub path: String,
}

impl Address {
    /// Reads `text`. A bare word is refused: without a port it could be anything.
    pub fn parse(text: &str) -> Result<Address, Failure> {
        let refuse = |reason: &str| {
            Failure::usage(format!("{text:?} is not an address: {reason}"))
                .hint("write host:port, [v6]:port or scheme://host[:port][/path]")
        };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        if scheme.as_deref().is_some_and(|scheme| scheme != "http" && scheme != "https") {
            return Err(refuse("the scheme must be http or https"));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(refuse("a password has no place in it; use --basic-auth-file"));
        }
        if rest.contains(['?', '#']) {
            return Err(refuse("it has a query or a fragment"));
        }
        if path.len() > PATH_BYTES_MAX || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse("the path has a blank, is not ASCII or is too long"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| refuse("an IPv6 address needs brackets"))?;
        let port = match (port, scheme.as_deref()) {
            // Rust would take a sign.
            (Some(port), _) if port.starts_with('+') => return Err(refuse("the port is none")),
            (Some(port), _) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| refuse("the port is none"))?,
            (None, Some("https")) => 443,
            (None, Some(_)) => 80u16,
            (None, None) => return Err(refuse("it has no port")),
        };
        if !is_host(host) {
            return Err(refuse("the host is neither a name nor an address"));
        }
        // A path that only says "the root" says nothing.
        let path = if path == "/" { "" } else { path };
        Ok(Address { scheme, authority: format!("{}:{port}", host.to_ascii_lowercase()), path: path.to_owned() })
    }
}

/// Host, brackets included, and port, if there is one. `None` when a bare IPv6 address makes it unclear.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if authority.starts_with('[') {
        let end = authority.find(']')? + 1;
        let (host, rest) = authority.split_at(end);
        return if rest.is_empty() {
            Some((host, None))
        } else {
            rest.strip_prefix(':').map(|port| (host, Some(port)))
        };
    }
    match authority.split_once(':') {
        None => Some((authority, None)),
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inside.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    host.len() <= HOST_BYTES_MAX && host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(Option<&str>, &str, &str)>) {
        let read = Address::parse(text);
        let read = read.as_ref().ok().map(|read| (read.scheme.as_deref(), read.authority.as_str(), read.path.as_str()));
        assert_eq!(read, expected, "{text}");
    }

    #[test]
    fn addresses() {
        check("10.0.0.5:9100", Some((None, "10.0.0.5:9100", "")));
        check("Node.Example:9100/probe/x", Some((None, "node.example:9100", "/probe/x")));
        check("[fe80::1]:9100", Some((None, "[fe80::1]:9100", "")));
        check("https://a.example", Some((Some("https"), "a.example:443", "")));
        check("http://a.example/", Some((Some("http"), "a.example:80", "")));
        check("HTTP://[::1]/m", Some((Some("http"), "[::1]:80", "/m")));
        for text in [
            "",
            "word",
            "host:",
            ":9100",
            "host:0",
            "host:65536",
            "host:+1",
            "fe80::1:9100",
            "[fe80::1:9100",
            "[x]:1",
            "ftp://a:1",
            "http://",
            "http://u:p@a:1",
            "a b:1",
            "a:1/x y",
            "a:1/?q",
            "a..b:1",
            "host:9100:1",
            "ü:1",
            "a:1\n",
            "*:80",
        ] {
            check(text, None);
        }
    }
}
