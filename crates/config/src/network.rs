//! Networks: the addresses that begin with the same bits.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address, and how many of its first bits count.
///
/// Networks of either kind take in addresses of either kind: version 4 is compared as its place in version 6, so that
/// `::ffff:127.0.0.1` is in `127.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        let bits = if self.address.is_ipv4() { self.bits + 96 } else { self.bits };
        let different = as_bits(self.address) ^ as_bits(address);
        different.checked_shr(128 - u32::from(bits)).is_none_or(|different| different == 0)
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Network { address, bits: bits_max(address) }
    }
}

/// Reads `10.0.0.0/8`, or an address, which is a network of one. The error tells what is wrong, without the text itself.
impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| "is no network")?;
        let Some(bits) = bits else { return Ok(address.into()) };
        match bits.parse() {
            Ok(bits) if bits <= bits_max(address) => Ok(Network { address, bits }),
            _ => Err("has a number of bits that no network of its kind has"),
        }
    }
}

/// With the number of bits, unless it is one address.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bits == bits_max(self.address) {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.bits),
        }
    }
}

fn bits_max(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn as_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, address: &str, expected: bool) {
        let read: Network = network.parse().unwrap_or_else(|reason| panic!("{network} {reason}"));
        assert_eq!(read.to_string(), network);
        assert_eq!(read.contains(address.parse().expect("an address")), expected, "{address} in {network}");
    }

    #[test]
    fn addresses() {
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.1.2.3", "10.1.2.3", true);
        check("10.1.2.3", "10.1.2.2", false);
        check("0.0.0.0/0", "1.2.3.4", true);
        check("0.0.0.0/0", "fe80::1", false);
        check("::/0", "1.2.3.4", true);
        check("fe80::/10", "febf::1", true);
        check("fe80::/10", "fec0::1", false);
        check("127.0.0.0/8", "::ffff:127.0.0.1", true);
        check("::1", "::1", true);
    }

    #[test]
    fn what_is_none() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "/8", "a", "[::1]"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
