//! The names and values of labels of a block: each text once, in order, found by its place.

use super::bytes::Cursor;
use super::layout::Damage;

/// Writes `symbols`, which are sorted and distinct: how many, where each one ends, then the texts.
pub(crate) fn encode<'a>(symbols: impl ExactSizeIterator<Item = &'a str> + Clone) -> Vec<u8> {
    let bytes: usize = symbols.clone().map(str::len).sum();
    let mut out = Vec::with_capacity(8 + 4 * symbols.len() + bytes);
    out.extend_from_slice(&(symbols.len() as u32).to_le_bytes());
    let mut end = 0u32;
    for symbol in symbols.clone() {
        // The largest label set is far smaller than the four gigabytes after which this would wrap; a reader would notice.
        end = end.wrapping_add(symbol.len() as u32);
        out.extend_from_slice(&end.to_le_bytes());
    }
    symbols.for_each(|symbol| out.extend_from_slice(symbol.as_bytes()));
    out
}

/// The symbols of a block on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Symbols<'a> {
    ends: &'a [u8],
    texts: &'a [u8],
}

impl<'a> Symbols<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Damage> {
        let mut cursor = Cursor::new(bytes);
        let n = cursor.u32()? as usize;
        let ends = cursor.bytes(n.checked_mul(4).ok_or(Damage("too many symbols"))?)?;
        Ok(Symbols { ends, texts: cursor.rest })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        (self.ends.len() / 4) as u32
    }

    /// The text of symbol `number`.
    pub(crate) fn get(&self, number: u32) -> Result<&'a str, Damage> {
        std::str::from_utf8(self.bytes(number)?).map_err(|_| Damage("a symbol is no text"))
    }

    /// The same, not known to be text: to look at many at once is several times as fast.
    pub(crate) fn bytes(&self, number: u32) -> Result<&'a [u8], Damage> {
        let at = number as usize * 4;
        let end = Cursor::at(self.ends, at)?.u32()?;
        let start = if number == 0 { 0 } else { Cursor::at(self.ends, at - 4)?.u32()? };
        self.texts.get(start as usize..end as usize).ok_or(Damage("a symbol lies behind the end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_by_place() {
        let texts = ["", "__name__", "job", "ä", "日本"];
        let bytes = encode(texts.iter().copied());
        let symbols = Symbols::decode(&bytes).unwrap();
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(symbols.get(number as u32), Ok(*text));
            assert_eq!(symbols.bytes(number as u32), Ok(text.as_bytes()));
        }
        assert!(symbols.get(5).is_err());
        assert!(Symbols::decode(&bytes[..7]).is_err());
        assert_eq!(Symbols::decode(&encode([].into_iter())).unwrap().len(), 0);
    }
}
