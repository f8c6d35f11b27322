//! Texts that become part of something else: host names in targets, names of files.

use std::net::Ipv6Addr;

use sha2::{Digest, Sha256};

/// The stem of a file name keeps at most this many bytes, so that with prefix and ending it stays below the 255 of every
/// file system.
const STEM_BYTES_MAX: usize = 160;

/// `text` as part of a file name: characters other than letters, digits, `_`, `-`, `.` and `:` become `_`, and a long text is cut.
///
/// Two texts may give the same stem; a caller that has nothing else to tell its files apart uses [`unique_file_stem`].
pub(crate) fn file_stem(text: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    text.chars().map(|c| if keep(c) { c } else { '_' }).take(STEM_BYTES_MAX).collect()
}

/// Like [`file_stem`], different for different texts: a stem that had to change ends in a digest of the text.
pub(crate) fn unique_file_stem(text: &str) -> String {
    let stem = file_stem(text);
    if stem == text { stem } else { format!("{stem}_{}", &sha256_hex(text)[..16]) }
}

/// The SHA-256 of `text` in lower-case hexadecimal.
pub(crate) fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `address` as it stands in front of a port: an IPv6 address gets its brackets, anything else stays.
pub(crate) fn bracketed(address: &str) -> String {
    let without_zone = address.split('%').next().unwrap_or(address);
    if without_zone.parse::<Ipv6Addr>().is_ok() { format!("[{address}]") } else { address.to_owned() }
}

/// The host in `host:port`, `[v6]:port` or `user@host:port/path`, in lower case.
pub(crate) fn host_of(target: &str) -> String {
    let authority = target.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
    let host = match host_and_port.split_once('[') {
        Some((_, inside)) => inside.split(']').next(),
        None => host_and_port.split(':').next(),
    };
    match host {
        Some(host) if !host.is_empty() => host.to_lowercase(),
        _ => target.split(':').next().unwrap_or_default().to_owned(),
    }
}

/// The parts of `scheme://authority/path` that configuration keeps apart. Query and fragment are dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UrlParts {
    /// In lower case.
    pub(crate) scheme: String,
    /// `host` or `host:port`, brackets kept.
    pub(crate) authority: String,
    /// Empty, or starting with a slash.
    pub(crate) path: String,
}

impl UrlParts {
    /// Splits `url`; the reason never quotes it, because it may hold a password.
    pub(crate) fn split(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return Err("its scheme is neither http nor https");
        }
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("it holds a user name or password");
        }
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        // What would be taken for a template, a quotation or a path by whoever writes the URL into something else.
        let is_odd_in_host = |c: char| "{}|\\^`<>\"".contains(c);
        if authority.contains(is_odd_in_host) {
            return Err("its host has characters that no host has");
        }
        if authority.is_empty() || authority.starts_with(':') || url.contains(is_odd) {
            return Err("it has no host, or characters no URL has");
        }
        let port = match authority.rsplit_once(']') {
            Some((_, after)) => after.strip_prefix(':').unwrap_or(after),
            None => authority.split_once(':').map_or("", |(_, port)| port),
        };
        if !port.is_empty() && port.parse::<u16>().is_err() {
            return Err("its port is not a number up to 65535");
        }
        Ok(UrlParts { scheme, authority: authority.to_owned(), path: path.to_owned() })
    }

    /// The host without port and brackets.
    pub(crate) fn host(&self) -> String {
        host_of(&self.authority)
    }

    /// The port, or the one the scheme implies.
    pub(crate) fn port(&self) -> u16 {
        let after_host = self.authority.rsplit_once(']').map_or(self.authority.as_str(), |(_, after)| after);
        let written = after_host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        written.unwrap_or(if self.scheme == "https" { 443 } else { 80 })
    }
}

/// `url` as URL libraries print it: host in lower case, no port that the scheme implies, a slash for an empty path. `None` if it
/// is not a URL.
pub(crate) fn normalised_url(url: &str) -> Option<String> {
    let UrlParts { scheme, authority, path } = UrlParts::split(url).ok()?;
    let authority = authority.to_lowercase();
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
    let path = if path.is_empty() { "/" } else { &path };
    Some(format!("{scheme}://{authority}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (target, host) in [
            ("a:80", "a"),
            ("A.b", "a.b"),
            ("[::1]:80", "::1"),
            ("u:p@h:1/x", "h"),
            ("[::1", "::1"),
            (":80", ""),
            ("", ""),
            ("/x", "/x"),
        ] {
            assert_eq!(host_of(target), host, "{target}");
        }
    }

    #[test]
    fn brackets() {
        for (address, expected) in [
            ("10.0.0.1", "10.0.0.1"),
            ("fe80::1", "[fe80::1]"),
            ("fe80::1%eth0", "[fe80::1%eth0]"),
            ("[fe80::1]", "[fe80::1]"),
            ("[::1]:9100", "[::1]:9100"),
            ("h:9100", "h:9100"),
        ] {
            assert_eq!(bracketed(address), expected, "{address}");
        }
    }

    #[test]
    fn urls() {
        let check = |url: &str, expected: Option<(&str, &str, &str, u16)>| {
            let parts = UrlParts::split(url).ok();
            let seen = parts.as_ref().map(|p| (p.scheme.as_str(), p.authority.as_str(), p.path.as_str(), p.port()));
            assert_eq!(seen, expected, "{url}");
        };
        check("http://a:9093/x/?q#f", Some(("http", "a:9093", "/x/", 9093)));
        check("HTTPS://[::1]", Some(("https", "[::1]", "", 443)));
        check("http://[::1]:1", Some(("http", "[::1]:1", "", 1)));
        for url in
            ["a:9093", "ftp://a", "http://", "http:///x", "http://u:p@h", "http://a b", "http://a:x", "http://a:99999"]
        {
            check(url, None);
        }
    }

    #[test]
    fn normal_urls() {
        for (url, expected) in [
            ("http://h:80/x/", Some("http://h/x/")),
            ("HTTPS://H:443", Some("https://h/")),
            ("http://h:443", Some("http://h:443/")),
            ("http://[::80]", Some("http://[::80]/")),
            ("h:80", None),
        ] {
            assert_eq!(normalised_url(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn file_names() {
        assert_eq!(file_stem("my group/x"), "my_group_x");
        assert_eq!(unique_file_stem("a-b_c.d"), "a-b_c.d");
        assert_ne!(unique_file_stem("a b"), unique_file_stem("a/b"));
        assert!(unique_file_stem(&"é".repeat(10_000)).len() < 200);
    }
}
