//! What a peer's job may make us do: reach which addresses, and through whom.
//!
//! A job is a request that somebody else wrote and that we send from where we stand, which may be behind walls that its author is in
//! front of.

use std::net::{IpAddr, Ipv4Addr};

use relatum_config::Network;
use serde_json::{Map, Value};

use super::check::JobFault;
use super::expand::set;
use crate::text::host_of;

/// The option that lets jobs use a proxy.
pub const ALLOW_PROXY_URL: &str = "allow_proxy_url";

/// The option that lists what jobs may not reach.
pub const DENIED_TARGETS: &str = "denied_targets";

/// The key of a rendered job by which the server refuses to connect, whatever a name leads to.
pub const DENIED_NETWORKS: &str = "denied_networks";

/// What operators allow; by default no proxy, and every address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Whether a job may say through which proxy it is scraped.
    pub allow_proxy_url: bool,
    /// What no job may reach.
    pub denied: DeniedTargets,
}

impl Permissions {
    /// What the charm allows: everything.
    pub fn of_charm() -> Self {
        Permissions { allow_proxy_url: true, denied: DeniedTargets::default() }
    }

    /// The keys of `job`, wherever they are in it, that name a proxy although that is not allowed, or a host that is denied.
    pub(super) fn faults(&self, job: &Map<String, Value>, free_keys: &[&str]) -> Vec<JobFault> {
        let mut faults = Vec::new();
        for (key, value) in job.iter().filter(|(key, _)| !free_keys.contains(&key.as_str())) {
            self.look(key, key, value, &mut faults);
        }
        faults
    }

    /// Has `job` say what only whoever connects can see to: where names lead to, and redirects.
    pub(super) fn bind(&self, job: &mut Map<String, Value>) {
        if self.denied.is_empty() {
            return;
        }
        // Or a target that may be reached would lead to one that may not.
        set(job, "follow_redirects", Value::from(false));
        let networks: Vec<String> = self.denied.networks().map(|network| network.to_string()).collect();
        if !networks.is_empty() {
            set(job, DENIED_NETWORKS, networks.into());
        }
    }

    fn look(&self, path: &str, key: &str, value: &Value, faults: &mut Vec<JobFault>) {
        let is_proxy = key == "proxy_url" || key == "proxy_from_environment";
        match value {
            Value::Object(entries) => {
                entries.iter().for_each(|(key, value)| self.look(&format!("{path}.{key}"), key, value, faults));
            }
            Value::Array(items) => {
                let item = |(at, item): (usize, &Value)| self.look(&format!("{path}[{at}]"), "", item, faults);
                items.iter().enumerate().for_each(item);
            }
            Value::String(text) if text.is_empty() => {}
            Value::String(_) | Value::Bool(true) if is_proxy && !self.allow_proxy_url => {
                let message = format!("{key} is not allowed: a relation may not choose through whom we reach a target");
                let hint = format!("{ALLOW_PROXY_URL}=true allows it to all relations");
                faults.push(JobFault { path: path.to_owned(), message, hint: Some(hint) });
            }
            Value::String(url) if key.ends_with("_url") => {
                let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                faults.extend(self.denied.fault(rest).map(|fault| JobFault { path: path.to_owned(), ..fault }));
            }
            _ => {}
        }
    }
}

/// Networks and names that no job may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeniedTargets {
    entries: Vec<Denied>,
}

/// One entry, and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Denied {
    text: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// One address or many.
    Network(Network),
    /// A name in lower case.
    Name(String),
    /// All names below one, which begins with a dot.
    Below(String),
}

impl DeniedTargets {
    /// Reads a list of networks (`10.0.0.0/8`), addresses and names (`*.` in front takes all names below), separated by commas.
    pub fn parse(list: &str) -> Result<Self, String> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(Denied::parse).collect::<Result<_, _>>().map(|entries| DeniedTargets { entries })
    }

    /// The same of a list in which some entries cannot be read: the others count, because a slip must not open what they close.
    pub fn parse_fit(list: &str) -> Self {
        let entries = list.split(',').map(str::trim).filter_map(|entry| Denied::parse(entry).ok()).collect();
        DeniedTargets { entries }
    }

    /// Whether everything may be reached.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The networks and addresses among the entries, for whoever connects: only then is known where a name leads to.
    pub fn networks(&self) -> impl Iterator<Item = Network> {
        self.entries.iter().filter_map(|entry| match entry.what {
            What::Network(network) => Some(network),
            _ => None,
        })
    }

    /// The entry that forbids to reach `target`, `host` or `host:port`.
    ///
    /// A host that is no name is compared as the address that it means to whoever connects, however it is written; a name as it is
    /// written, because what it leads to is not known here: see [`DeniedTargets::networks`].
    pub fn entry(&self, target: &str) -> Option<&str> {
        if self.entries.is_empty() {
            return None;
        }
        let host = host_of(target);
        let host = host.split('%').next().unwrap_or_default().trim_end_matches('.');
        let address = address(host);
        let is_meant = |entry: &&Denied| match (&entry.what, address) {
            (What::Network(network), Some(address)) => network.contains(address),
            (What::Name(name), None) => name == host,
            (What::Below(name), None) => host.ends_with(name),
            _ => false,
        };
        self.entries.iter().find(is_meant).map(|entry| entry.text.as_str())
    }

    /// The same as a fault.
    pub(super) fn fault(&self, target: &str) -> Option<JobFault> {
        let entry = self.entry(target)?;
        let message = "the operator does not allow to reach this address".to_owned();
        Some(JobFault { path: String::new(), message, hint: Some(format!("{entry} is among {DENIED_TARGETS}")) })
    }
}

impl Denied {
    fn parse(text: &str) -> Result<Self, String> {
        let lower = text.to_lowercase();
        let unfit = |reason: &str| Err(format!("{text:?} {reason}"));
        let what = match lower.split_once('/') {
            Some(_) => match lower.parse() {
                Ok(network) => What::Network(network),
                Err(reason) => return unfit(reason),
            },
            None => match (address(lower.trim_matches(['[', ']'])), lower.strip_prefix('*')) {
                (Some(address), _) => What::Network(address.into()),
                (None, Some(below)) if is_name(below.strip_prefix('.').unwrap_or_default()) => {
                    What::Below(below.to_owned())
                }
                (None, None) if is_name(&lower) => What::Name(lower.trim_end_matches('.').to_owned()),
                _ => return unfit("is neither a network, an address nor a name"),
            },
        };
        Ok(Denied { text: text.to_owned(), what })
    }
}

fn is_name(text: &str) -> bool {
    let is_fit = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && !text.starts_with('.') && text.chars().all(is_fit)
}

/// The address that `host` means to whoever connects: resolvers take `127.1`, `0x7f.1` and `2130706433` for one, too.
fn address(host: &str) -> Option<IpAddr> {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)),
        Ok(address) => Some(address),
        Err(_) => short_address(host).map(IpAddr::V4),
    }
}

fn short_address(host: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| {
        let (digits, radix) = match part.strip_prefix("0x") {
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (&part[1..], 8),
            None => (part, 10),
        };
        u32::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))
    };
    let parts: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) {
        return None;
    }
    let last_bits = 32 - 8 * first.len() as u32;
    if u64::from(*last) >= 1u64 << last_bits {
        return None;
    }
    let head = first.iter().enumerate().fold(0, |all, (at, part)| all | part << (24 - 8 * at));
    Some(Ipv4Addr::from_bits(head | last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, target: &str, expected: Option<&str>) {
        let denied = DeniedTargets::parse(list).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(denied.entry(target), expected, "{target} in {list}");
    }

    #[test]
    fn addresses() {
        check("", "127.0.0.1:80", None);
        check("127.0.0.0/8, 10.1.0.0/16", "10.1.2.3:9100", Some("10.1.0.0/16"));
        check("127.0.0.0/8, 10.1.0.0/16", "10.2.2.3:9100", None);
        check("169.254.169.254", "169.254.169.254", Some("169.254.169.254"));
        check("0.0.0.0/0", "1.2.3.4:1", Some("0.0.0.0/0"));
        check("0.0.0.0/0", "[fe80::1]:1", None);
        check("::/0", "[fe80::1]:1", Some("::/0"));
        check("fe80::/10", "[fe80::1%eth0]:1", Some("fe80::/10"));
        check("::1", "[::1]:9100", Some("::1"));
        check("[::1]", "[::1]:9100", Some("[::1]"));
        // The same address in other words.
        for host in ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "[::ffff:127.0.0.1]", "127.0.0.1.", "0x7f000001"] {
            check("127.0.0.0/8", &format!("{host}:80"), Some("127.0.0.0/8"));
        }
        check("127.0.0.0/8", "127.1.1.1.1:80", None);
        check("127.0.0.0/8", "user@127.0.0.1:80", Some("127.0.0.0/8"));
    }

    #[test]
    fn what_can_be_read_of_a_list_counts() {
        let denied = DeniedTargets::parse_fit("10.0.0.0/33, 127.0.0.0/8,, a b");
        assert_eq!(denied.entry("127.0.0.1"), Some("127.0.0.0/8"));
        assert_eq!(denied.entry("10.0.0.1"), None);
    }

    #[test]
    fn names() {
        check("metadata.internal", "Metadata.Internal.:80", Some("metadata.internal"));
        check("metadata.internal", "a.metadata.internal", None);
        check("*.internal", "a.b.internal:1", Some("*.internal"));
        check("*.internal", "internal:1", None);
        check("localhost,*.internal", "localhost:9100", Some("localhost"));
        for list in ["10.0.0.0/33", "10.0.0/8", "::/129", "a b", "*x", "*.", "http://h", "a/b", "*"] {
            assert!(DeniedTargets::parse(list).is_err(), "{list}");
        }
    }
}
