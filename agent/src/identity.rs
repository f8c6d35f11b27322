//! Who we are towards others over TLS: our private key, and what we asked an authority to sign.
//!
//! Kept in one file of the data directory that nobody else can read. The key never leaves it but for the file that the server reads it
//! from; databags get the requests alone.

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use relatum_config::Secret;
use relatum_relations::endpoints::APPLICATION;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The file in the data directory.
pub const FILE_NAME: &str = "identity.json";

/// The version of the file that is written here.
const VERSION: u32 = 1;

/// Our key, and the requests made with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The private key, PKCS#8 in PEM.
    pub key: Secret,
    /// The oldest first. More than one only while the answer to the newest is not there yet.
    pub requests: Vec<Request>,
}

/// One request for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The request, PEM. Its text is what an answer is found by.
    pub csr: String,
    /// The hosts and addresses that it is for.
    pub names: Vec<String>,
    /// When it was made, milliseconds since 1970.
    pub made_at_ms: i64,
}

/// What a pass wants to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wish {
    /// Nothing.
    #[default]
    Keep,
    /// One more request, for these names, beside the one that is answered.
    Request {
        /// Hosts and addresses.
        names: Vec<String>,
        /// The request to keep: its text.
        keep: Option<String>,
    },
    /// No request but this one.
    Only(String),
    /// No key and no request.
    Forget,
}

/// Why a wish was not carried out.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not one of ours.
    #[error("cannot understand {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// The file is from the future.
    #[error("cannot use {}: it has version {found}, and {VERSION} is known", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No key or request can be made.
    #[error("cannot make a request for a certificate")]
    Make(#[from] rcgen::Error),
}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    key: String,
    requests: Vec<Request>,
}

/// What the file at `path` says; `None` if there is none.
pub fn read(path: &Path) -> Result<Option<Identity>, IdentityError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|source| IdentityError::Read { path: path.to_owned(), source })?,
    };
    let written: Written =
        serde_json::from_str(&text).map_err(|source| IdentityError::Parse { path: path.to_owned(), source })?;
    if written.version != VERSION {
        return Err(IdentityError::Version { path: path.to_owned(), found: written.version });
    }
    Ok(Some(Identity { key: Secret::new(written.key), requests: written.requests }))
}

/// Makes the file at `path` what `wish` says; true if it is another one now.
pub fn carry_out(path: &Path, wish: &Wish, at_ms: i64) -> Result<bool, IdentityError> {
    if *wish == Wish::Keep {
        return Ok(false);
    }
    let known = read(path)?;
    let wanted = match (wish, known.clone()) {
        (Wish::Keep | Wish::Forget, _) | (Wish::Only(_), None) => None,
        (Wish::Only(csr), Some(mut known)) => {
            known.requests.retain(|request| request.csr == *csr);
            Some(known)
        }
        (Wish::Request { names, keep }, known) => {
            let mut identity = match known {
                Some(known) => known,
                None => Identity { key: Secret::new(KeyPair::generate()?.serialize_pem()), requests: Vec::new() },
            };
            identity.requests.retain(|request| keep.as_ref() == Some(&request.csr));
            let csr = signing_request(&identity.key, names)?;
            identity.requests.push(Request { csr, names: names.clone(), made_at_ms: at_ms });
            Some(identity)
        }
    };
    if wanted == known {
        return Ok(false);
    }
    let failed = |source| IdentityError::Write { path: path.to_owned(), source };
    match wanted {
        None => fs::remove_file(path).map_err(failed)?,
        Some(wanted) => write(path, &wanted).map_err(failed)?,
    }
    Ok(true)
}

fn write(path: &Path, identity: &Identity) -> io::Result<()> {
    let key = identity.key.expose().to_owned();
    let written = Written { version: VERSION, key, requests: identity.requests.clone() };
    let text = serde_json::to_vec_pretty(&written).expect("texts are JSON");
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&unfinished)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// A request for the certificate of a server with these names.
fn signing_request(key: &Secret, names: &[String]) -> Result<String, rcgen::Error> {
    let key = KeyPair::from_pem(key.expose())?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, APPLICATION);
    for name in names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(Ia5String::try_from(name.as_str())?),
        });
    }
    params.serialize_request(&key)?.pem()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_and_its_requests_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        assert_eq!(read(&path).unwrap(), None);
        assert!(!carry_out(&path, &Wish::Keep, 1).unwrap());
        assert!(!carry_out(&path, &Wish::Forget, 1).unwrap());
        let names = vec!["site.example".to_owned(), "10.0.0.1".to_owned()];
        assert!(carry_out(&path, &Wish::Request { names: names.clone(), keep: None }, 1).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let first = read(&path).unwrap().unwrap();
        assert!(first.requests[0].csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        assert!(!format!("{first:?}").contains("PRIVATE"));
        // The second one has the same key, and another text although it says the same.
        let keep = Some(first.requests[0].csr.clone());
        assert!(carry_out(&path, &Wish::Request { names: names.clone(), keep }, 2).unwrap());
        let second = read(&path).unwrap().unwrap();
        assert_eq!((second.requests.len(), &second.key), (2, &first.key));
        assert_ne!(second.requests[0].csr, second.requests[1].csr);
        assert!(carry_out(&path, &Wish::Only(second.requests[1].csr.clone()), 3).unwrap());
        assert_eq!(read(&path).unwrap().unwrap().requests, second.requests[1..]);
        assert!(carry_out(&path, &Wish::Forget, 4).unwrap());
        assert!(!path.exists());
        fs::write(&path, "{").unwrap();
        assert!(carry_out(&path, &Wish::Forget, 4).unwrap_err().to_string().starts_with("cannot understand "));
        fs::write(&path, r#"{"version": 2, "key": "", "requests": []}"#).unwrap();
        assert!(read(&path).unwrap_err().to_string().ends_with("it has version 2, and 1 is known"));
    }
}
