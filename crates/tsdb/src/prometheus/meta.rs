//! `meta.json` of a block, and the names of blocks.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use serde_json::{Value, json};

use super::Damage;

/// The name of a block: 48 bits of time and 80 of chance, in 26 letters and digits that sort by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ulid(u128);

impl Ulid {
    /// A new name.
    pub(super) fn new(now_ms: i64) -> Self {
        // The keys of hash tables come from the system's source of chance.
        let chance = || u128::from(RandomState::new().hash_one(now_ms));
        Ulid((now_ms.max(0) as u128) << 80 | (chance() << 64 | chance()) & ((1 << 80) - 1))
    }

    /// Whether a folder of this name can be a block.
    pub(super) fn is_one(name: &str) -> bool {
        name.len() == 26 && name.bytes().all(|byte| ALPHABET.contains(&byte))
    }
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl fmt::Display for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..26).rev().try_for_each(|at| {
            let letter = ALPHABET[(self.0 >> (5 * at)) as usize & 31];
            write!(f, "{}", char::from(letter))
        })
    }
}

/// What a block says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Meta {
    pub(super) min_ms: i64,
    /// The time of the last sample.
    pub(super) max_ms: i64,
    pub(super) floats: u64,
    pub(super) histograms: u64,
    pub(super) series: u64,
    pub(super) chunks: u64,
}

impl Meta {
    /// The samples of both kinds.
    pub(super) fn samples(&self) -> u64 {
        self.floats + self.histograms
    }

    /// The text of the file.
    pub(super) fn encode(&self, name: Ulid) -> String {
        let name = name.to_string();
        let meta = json!({
            "ulid": name,
            "minTime": self.min_ms,
            // The first moment behind the block.
            "maxTime": self.max_ms.saturating_add(1),
            "stats": {
                "numSamples": self.samples(),
                "numFloatSamples": self.floats,
                "numHistogramSamples": self.histograms,
                "numSeries": self.series,
                "numChunks": self.chunks,
            },
            "compaction": { "level": 1, "sources": [name] },
            "version": 1,
        });
        format!("{meta:#}\n")
    }
}

/// How many samples a block says it has; `None` if it does not say so.
pub(super) fn decode_samples(text: &[u8]) -> Result<Option<u64>, Damage> {
    let meta: Value = serde_json::from_slice(text).map_err(|_| Damage("it is no JSON"))?;
    if meta["version"] != 1 {
        return Err(Damage("unknown version of a block"));
    }
    Ok(meta["stats"]["numSamples"].as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let name = Ulid::new(1_700_000_000_000).to_string();
        assert!(Ulid::is_one(&name) && name.starts_with("01HF7YAT00"), "{name}");
        assert!(Ulid::new(0) != Ulid::new(0));
        assert!(!Ulid::is_one("chunks_head") && !Ulid::is_one("01HF7YAT00AAAAAAAAAAAAAAAi"));
    }

    #[test]
    fn texts() {
        let meta = Meta { min_ms: 1, max_ms: 9, floats: 3, histograms: 2, series: 1, chunks: 2 };
        let text = meta.encode(Ulid::new(0));
        assert_eq!(decode_samples(text.as_bytes()), Ok(Some(5)));
        assert!(text.contains(r#""maxTime": 10"#), "{text}");
        assert!(decode_samples(b"{\"version\":2}").is_err());
        assert!(decode_samples(b"x").is_err());
    }
}
