//! What we need to know of a certificate: until when it is valid, and for which names.
//!
//! The TLS library checks certificates, but tells neither. So here the few parts are read by hand: a certificate is a tree of DER
//! elements, each with a tag, a length and a content ([RFC 5280](https://www.rfc-editor.org/rfc/rfc5280), section 4.1).

use std::net::{Ipv4Addr, Ipv6Addr};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

/// Some bytes are no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("cannot read the certificate: {0}")]
pub struct X509Error(&'static str);

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// From when it is valid, milliseconds since 1970.
    pub not_before_ms: i64,
    /// Until when, milliseconds since 1970.
    pub not_after_ms: i64,
    /// The alternative names of its subject: hosts, addresses, mail addresses and URIs, as text.
    pub names: Vec<String>,
}

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17
const SUBJECT_ALTERNATIVE_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

impl Certificate {
    /// Reads the first certificate of a text.
    pub fn read_pem(pem: &str) -> Result<Self, X509Error> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| X509Error("it is not PEM"))?;
        Certificate::read(&der)
    }

    /// Reads a certificate's bytes.
    pub fn read(der: &[u8]) -> Result<Self, X509Error> {
        let mut certificate = Reader(Reader(der).expect(SEQUENCE)?);
        let mut signed = Reader(certificate.expect(SEQUENCE)?);
        signed.optional(VERSION)?;
        // Serial number, algorithm and issuer.
        for _ in 0..3 {
            signed.element()?;
        }
        let mut validity = Reader(signed.expect(SEQUENCE)?);
        let (not_before_ms, not_after_ms) = (time_ms(validity.element()?)?, time_ms(validity.element()?)?);
        // Subject and key; what follows may be unique ids, which nobody uses, and the extensions.
        for _ in 0..2 {
            signed.element()?;
        }
        let mut names = Vec::new();
        while !signed.0.is_empty() {
            let (tag, content) = signed.element()?;
            if tag == EXTENSIONS {
                let mut extensions = Reader(Reader(content).expect(SEQUENCE)?);
                while !extensions.0.is_empty() {
                    let mut extension = Reader(extensions.expect(SEQUENCE)?);
                    let id = extension.expect(OBJECT_IDENTIFIER)?;
                    extension.optional(BOOLEAN)?;
                    if id == SUBJECT_ALTERNATIVE_NAME {
                        names = alternative_names(extension.expect(OCTET_STRING)?)?;
                    }
                }
            }
        }
        Ok(Certificate { not_before_ms, not_after_ms, names })
    }
}

fn alternative_names(extension: &[u8]) -> Result<Vec<String>, X509Error> {
    const MAIL: u8 = 0x81;
    const HOST: u8 = 0x82;
    const URI: u8 = 0x86;
    const ADDRESS: u8 = 0x87;
    let mut list = Reader(Reader(extension).expect(SEQUENCE)?);
    let mut names = Vec::new();
    while !list.0.is_empty() {
        let (tag, content) = list.element()?;
        match tag {
            MAIL | HOST | URI => {
                let text = std::str::from_utf8(content).map_err(|_| X509Error("a name is not text"))?;
                names.push(text.to_owned());
            }
            ADDRESS => names.push(match (<[u8; 4]>::try_from(content), <[u8; 16]>::try_from(content)) {
                (Ok(v4), _) => Ipv4Addr::from(v4).to_string(),
                (_, Ok(v6)) => Ipv6Addr::from(v6).to_string(),
                _ => return Err(X509Error("an address has a wrong length")),
            }),
            // Names of directories and the like, which nobody asks for.
            _ => {}
        }
    }
    Ok(names)
}

/// `YYMMDDhhmmssZ`, or with a year of four digits.
fn time_ms((tag, content): (u8, &[u8])) -> Result<i64, X509Error> {
    let bad = X509Error("a time is not one");
    let n_year_digits = match tag {
        UTC_TIME => 2,
        GENERALIZED_TIME => 4,
        _ => return Err(bad),
    };
    let text = std::str::from_utf8(content).map_err(|_| bad)?.strip_suffix('Z').ok_or(bad)?;
    if text.len() != n_year_digits + 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad);
    }
    let (year, rest) = text.split_at(n_year_digits);
    let part = |at: usize| rest[2 * at..2 * at + 2].parse::<i8>().map_err(|_| bad);
    let year: i16 = year.parse().map_err(|_| bad)?;
    let year = match n_year_digits {
        4 => year,
        _ if year < 50 => 2000 + year,
        _ => 1900 + year,
    };
    let time =
        jiff::civil::DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, 0).map_err(|_| bad)?;
    // Not by way of a time zone: certificates without an end say the last second of the year 9999.
    let since_1970 = time.duration_since(jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    i64::try_from(since_1970.as_millis()).map_err(|_| bad)
}

/// What is left of the contents of an element.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag and its content.
    fn element(&mut self) -> Result<(u8, &'a [u8]), X509Error> {
        let short = X509Error("it ends too early");
        let (&[tag, first], mut rest) = self.0.split_first_chunk().ok_or(short)?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            // Four bytes are more than any certificate needs.
            let n_bytes = usize::from(first & 0x7f);
            if !(1..=4).contains(&n_bytes) || rest.len() < n_bytes {
                return Err(X509Error("an element has a bad length"));
            }
            let (bytes, after) = rest.split_at(n_bytes);
            length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length).ok_or(short)?;
        self.0 = after;
        Ok((tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Result<&'a [u8], X509Error> {
        match self.element()? {
            (tag, content) if tag == wanted => Ok(content),
            _ => Err(X509Error("an element is not where it should be")),
        }
    }

    fn optional(&mut self, wanted: u8) -> Result<(), X509Error> {
        if self.0.first() == Some(&wanted) {
            self.element()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = include_str!("../../../transport/testdata/tls/client.pem");

    #[test]
    fn a_certificate_of_openssl() {
        let read = Certificate::read_pem(CLIENT).unwrap();
        assert!(read.not_before_ms < read.not_after_ms, "{read:?}");
        let server = Certificate::read_pem(include_str!("../../../transport/testdata/tls/server.pem")).unwrap();
        assert_eq!(server.names, ["exporter.test", "127.0.0.1"]);
    }

    #[test]
    fn times() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000001Z", Some(1000)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999_000)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799_000)),
            (UTC_TIME, "700101000001", None),
            (UTC_TIME, "701301000001Z", None),
            (UTC_TIME, "7001010000+1Z", None),
            (0x02, "700101000001Z", None),
        ] {
            assert_eq!(time_ms((tag, text.as_bytes())).ok(), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let der = CertificateDer::from_pem_slice(CLIENT.as_bytes()).unwrap();
        for end in 0..der.len() {
            assert!(Certificate::read(&der[..end]).is_err(), "{end} bytes");
        }
        for at in 0..der.len() {
            let mut broken = der.to_vec();
            broken[at] ^= 0xff;
            // Whatever it says, it ends.
            let _ = Certificate::read(&broken);
        }
        assert!(Certificate::read(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(Certificate::read_pem("").is_err());
    }
}
