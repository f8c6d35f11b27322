//! Texts that are kept for long and read seldom: packed, they take a fifth of the room, and reading one takes some microseconds.

use std::fmt;
use std::sync::Arc;

use lz4_flex::block;
use relatum_relations::bag::Databag;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Of shorter texts little is saved.
const WORTH_PACKING_BYTES: usize = 64;

/// What the first byte says of the others.
const PLAIN: u8 = 0;
const LZ4: u8 = 1;

/// What databags, requests and rendered files say again and again, so that a text is packed as what it alone says. It can be changed
/// freely: packed texts are only in memory.
const DICTIONARY: &[u8] = include_bytes!("packed/dictionary.txt");

/// A text; copies share it. Equal ones are equal when packed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PackedText(Arc<[u8]>);

impl PackedText {
    /// Packs `text`.
    pub fn new(text: &str) -> Self {
        if text.is_empty() {
            return PackedText::default();
        }
        if text.len() >= WORTH_PACKING_BYTES {
            let packed = block::compress_prepend_size_with_dict(text.as_bytes(), DICTIONARY);
            if packed.len() < text.len() {
                return PackedText([&[LZ4], &packed[..]].concat().into());
            }
        }
        PackedText([&[PLAIN], text.as_bytes()].concat().into())
    }

    /// Whether this is one copy of `other`, and not just the same text.
    pub fn is_shared_with(&self, other: &PackedText) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The text again.
    pub fn read(&self) -> String {
        let bytes = match self.0.split_first() {
            Some((&LZ4, packed)) => {
                block::decompress_size_prepended_with_dict(packed, DICTIONARY).expect("what was packed can be unpacked")
            }
            Some((_, plain)) => plain.to_vec(),
            None => Vec::new(),
        };
        String::from_utf8(bytes).expect("what was a text is one")
    }
}

impl From<&str> for PackedText {
    fn from(text: &str) -> Self {
        PackedText::new(text)
    }
}

impl From<String> for PackedText {
    fn from(text: String) -> Self {
        PackedText::new(&text)
    }
}

/// Shows how long it is: texts may hold passwords.
impl fmt::Debug for PackedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedText({} bytes)", self.0.len())
    }
}

/// What a databag says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackedBag(PackedText);

impl PackedBag {
    /// Packs `bag`.
    pub fn new(bag: &Databag) -> Self {
        if bag.is_empty() {
            return PackedBag::default();
        }
        PackedBag(PackedText::new(&serde_json::to_string(bag).expect("a map of strings is JSON")))
    }

    /// The bag again.
    pub fn read(&self) -> Databag {
        match self.is_empty() {
            true => Databag::new(),
            false => serde_json::from_str(&self.0.read()).expect("what was written as JSON is JSON"),
        }
    }

    /// What it says of the keys that `T` has, all of which may be missing: cheaper than the whole bag.
    pub fn pick<T: DeserializeOwned + Default>(&self) -> T {
        match self.is_empty() {
            true => T::default(),
            false => serde_json::from_str(&self.0.read()).expect("a map of strings can be read in part"),
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }
}

/// A list of JSON values. What a thousand relations brought is read only when one of them changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedList(PackedText);

impl PackedList {
    /// Packs `values`. Equal lists, with their keys in the same order, are equal when packed.
    pub fn new(values: &[Value]) -> Self {
        PackedList(PackedText::new(&serde_json::to_string(values).expect("JSON values are JSON")))
    }

    /// The values again.
    pub fn values(&self) -> Vec<Value> {
        serde_json::from_str(&self.0.read()).expect("what was written as JSON is JSON")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0 == PackedText::new("[]")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let values = vec![
            json!({"z": 1, "a": [null, true, "\u{0}\"\\ä"], "m": {"deep": {"deeper": []}}}),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(0.1),
            json!(8.98846567431158e307),
            json!(123_456_789.123_456_79),
        ];
        let packed = PackedList::new(&values);
        assert_eq!(serde_json::to_string(&packed.values()).unwrap(), serde_json::to_string(&values).unwrap());
        assert!(!packed.is_empty() && PackedList::new(&[]).is_empty());
    }

    #[test]
    fn texts_come_back_and_long_ones_are_smaller() {
        let long = "juju_model_uuid ".repeat(1000);
        for text in ["", "a", "ä{}", long.as_str()] {
            let packed = PackedText::new(text);
            assert_eq!(packed.read(), text);
            assert!(packed.0.len() <= text.len() + 1);
        }
        assert!(PackedText::new(&long).0.len() < long.len() / 10);
        let bag = r#"{"prometheus_scrape_unit_address":"10.7.0.6","prometheus_scrape_unit_name":"zinc/0"}"#;
        assert!(PackedText::new(bag).0.len() < bag.len() * 3 / 4, "what every databag says is in the dictionary");
        assert_eq!(PackedText::default(), PackedText::new(""));
    }

    #[test]
    fn bags_come_back() {
        for pairs in [vec![], vec![("a", "")], vec![("a", "\u{0}\""), ("b", "ä")]] {
            let bag: Databag = pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            let packed = PackedBag::new(&bag);
            assert_eq!(packed.read(), bag);
            assert_eq!(packed.is_empty(), bag.is_empty());
        }
    }

    #[test]
    fn every_number_comes_back_to_the_bit() {
        let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..10_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let Some(number) = serde_json::Number::from_f64(f64::from_bits(bits)) else { continue };
            let values = [Value::Number(number)];
            assert_eq!(PackedList::new(&values).values(), values);
        }
    }
}
