//! JSON that is kept for long and read seldom.

use serde_json::Value;

/// A list of JSON values, kept as its text: that takes a tenth of what the values take, and what a thousand relations brought is
/// read only when one of them changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed(Box<str>);

impl Packed {
    /// Packs `values`. Equal lists, with their keys in the same order, are equal when packed.
    pub fn new(values: &[Value]) -> Self {
        Packed(serde_json::to_string(values).expect("JSON values are JSON").into())
    }

    /// The values again.
    pub fn values(&self) -> Vec<Value> {
        serde_json::from_str(&self.0).expect("what was written as JSON is JSON")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        &*self.0 == "[]"
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
        let packed = Packed::new(&values);
        assert_eq!(serde_json::to_string(&packed.values()).unwrap(), serde_json::to_string(&values).unwrap());
        assert!(!packed.is_empty() && Packed::new(&[]).is_empty());
    }

    #[test]
    fn every_number_comes_back_to_the_bit() {
        let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..10_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let Some(number) = serde_json::Number::from_f64(f64::from_bits(bits)) else { continue };
            let values = [Value::Number(number)];
            assert_eq!(Packed::new(&values).values(), values);
        }
    }
}
