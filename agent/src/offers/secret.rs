//! The secret of an offer: made once, shown once, kept as a hash.

use relatum_config::Secret;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A new secret: 244 random bits as 64 hexadecimal digits.
pub(crate) fn make() -> Secret {
    Secret::new(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
}

/// What is kept of a secret. Secrets are random and long, so that nothing slower than a plain hash is needed.
pub(crate) fn hash(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `secret` has this hash; takes the same time whether and wherever it differs.
pub(crate) fn fits(secret: &str, expected: &str) -> bool {
    let found = hash(secret);
    let differing = found.bytes().zip(expected.bytes()).fold(0, |differing, (a, b)| differing | (a ^ b));
    found.len() == expected.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets() {
        let (one, other) = (make(), make());
        assert_eq!(one.expose().len(), 64);
        assert!(fits(one.expose(), &hash(one.expose())));
        assert!(!fits(other.expose(), &hash(one.expose())));
        assert!(!fits("", &hash(one.expose())) && !fits(one.expose(), ""));
    }
}
