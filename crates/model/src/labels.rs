//! Label sets: the identity of a series.
//!
//! A set is one immutable, reference-counted text: every name and value, sorted by name, each behind its own length. One
//! allocation holds the whole set however many labels it has; cloning, comparing for equality and hashing never look inside.

mod running;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use crate::text::{is_legacy_label_name, is_legacy_metric_name, quote};

pub use self::running::RunningLabels;

/// The label that holds the name of a metric.
pub const METRIC_NAME: &str = "__name__";
/// The label that holds the name of the scrape job.
pub const JOB: &str = "job";
/// The label that holds the address a sample was scraped from.
pub const INSTANCE: &str = "instance";
/// The label that holds the name of an alert.
pub const ALERT_NAME: &str = "alertname";

/// An immutable set of labels, sorted by name, without empty values and without repeated names.
///
/// An empty value is the same as no label, as everywhere in Prometheus. The order of sets is Prometheus' order: pairwise by
/// name, then value, and a prefix comes before what it is a prefix of.
#[derive(Clone, Eq)]
pub struct Labels(Arc<str>);

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        // Most sets that are compared are the same one, which needs no look at hundreds of bytes.
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        Labels(Arc::from(""))
    }

    /// Builds a set from pairs in any order; of a repeated name the last value counts, empty values are left out.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }

    /// Builds a set from pairs that are sorted by name already, without repeated names and empty values.
    ///
    /// Returns `None` if they are not, so that a decoder can refuse or repair what it was sent.
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        // Room for most sets at once.
        let mut text = String::with_capacity(256);
        let mut previous: Option<&str> = None;
        for (name, value) in pairs {
            if value.is_empty() || previous.is_some_and(|p| p >= name) {
                return None;
            }
            push_field(&mut text, name);
            push_field(&mut text, value);
            previous = Some(name);
        }
        Some(Labels(Arc::from(text)))
    }

    /// Rebuilds a set from [`Labels::encoded`]. `None` if the text is not one, for instance because it was damaged on disk.
    pub fn from_encoded(text: &str) -> Option<Self> {
        let mut rest = text;
        let mut previous: Option<&str> = None;
        while !rest.is_empty() {
            let (name, after_name) = checked_field(rest)?;
            let (value, after_value) = checked_field(after_name)?;
            if value.is_empty() || previous.is_some_and(|p| p >= name) {
                return None;
            }
            previous = Some(name);
            rest = after_value;
        }
        Some(Labels(Arc::from(text)))
    }

    /// The labels of `sets`, one behind the other; `None` if that does not sort them by name. `text` is room to work in.
    pub fn concat<'a>(sets: impl IntoIterator<Item = &'a Labels>, text: &mut String) -> Option<Self> {
        text.clear();
        let mut previous: Option<&str> = None;
        for set in sets {
            if let Some((first, _)) = set.iter().next()
                && previous.is_some_and(|p| p >= first)
            {
                return None;
            }
            text.push_str(&set.0);
            previous = set.iter().last().map(|(name, _)| name).or(previous);
        }
        Some(Labels(Arc::from(text.as_str())))
    }

    /// The whole set as one text, equal for equal sets: a key to hash, compare and store.
    pub fn encoded(&self) -> &str {
        &self.0
    }

    /// The value of `name`; `None` if the set does not have it.
    pub fn get(&self, name: &str) -> Option<&str> {
        // Sorted, so a larger name ends the search; sets are small, so a walk beats an index.
        for (n, v) in self {
            match n.cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => return Some(v),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The value of `name`, or `""`: how matchers and relabelling see a missing label.
    pub fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// The metric's name, if the set has one.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels as `(name, value)`, sorted by name.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.0 }
    }

    /// A builder that starts with these labels.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// The labels as `(name, encoded)`, sorted by name. The second parts of some of them, one behind the other, are what
    /// [`Labels::encoded`] gives of a set of those labels alone.
    pub fn pieces(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = self.encoded();
        std::iter::from_fn(move || {
            let whole = Some(rest).filter(|rest| !rest.is_empty())?;
            let (name, behind) = field(whole);
            (_, rest) = field(behind);
            Some((name, &whole[..whole.len() - rest.len()]))
        })
    }

    /// The labels for which `keep(name)` holds.
    pub fn filtered(&self, keep: impl FnMut(&str) -> bool) -> Labels {
        let mut text = String::with_capacity(self.0.len());
        self.encode_filtered(keep, &mut text);
        Labels(Arc::from(text))
    }

    /// Appends to `text` what [`Labels::encoded`] gives of the labels for which `keep(name)` holds.
    pub fn encode_filtered(&self, mut keep: impl FnMut(&str) -> bool, text: &mut String) {
        let whole = self.encoded();
        // Neighbours that stay are copied at once.
        let (mut from, mut at) = (0, 0);
        while at < whole.len() {
            let (name, behind) = field(&whole[at..]);
            let (_, rest) = field(behind);
            let end = whole.len() - rest.len();
            if !keep(name) {
                text.push_str(&whole[from..at]);
                from = end;
            }
            at = end;
        }
        text.push_str(&whole[from..]);
    }

    /// The labels for which `keep(name)` holds, with `others`, which are sorted by name, in place of those they share a name
    /// with; an empty value takes a label away. `text` is room to work in.
    pub fn overlaid(&self, mut keep: impl FnMut(&str) -> bool, others: &[(&str, &str)], text: &mut String) -> Labels {
        fn push(text: &mut String, (name, value): (&str, &str)) {
            if !value.is_empty() {
                push_field(text, name);
                push_field(text, value);
            }
        }
        text.clear();
        let mut others = others.iter().copied().peekable();
        for (name, piece) in self.pieces() {
            while let Some(other) = others.next_if(|other| other.0 < name) {
                push(text, other);
            }
            match others.next_if(|other| other.0 == name) {
                Some(other) => push(text, other),
                None if keep(name) => text.push_str(piece),
                None => {}
            }
        }
        others.for_each(|other| push(text, other));
        Labels(Arc::from(text.as_str()))
    }

    /// These labels without the metric's name.
    pub fn without_metric_name(&self) -> Labels {
        if self.metric_name().is_none() { self.clone() } else { self.filtered(|name| name != METRIC_NAME) }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Labels::empty()
    }
}

/// The labels of a set, sorted by name.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (name, rest) = field(self.rest);
        let (value, rest) = field(rest);
        self.rest = rest;
        Some((name, value))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { order(self.0.as_bytes(), other.0.as_bytes()) }
    }
}

/// The order of two sets by their texts.
///
/// As if the pairs were compared one by one; but most sets that are sorted have most of their text in common, so that is skipped
/// as a whole.
fn order(a: &[u8], b: &[u8]) -> Ordering {
    let shared = shared_prefix(a, b);
    if shared == a.len() || shared == b.len() {
        return a.len().cmp(&b.len());
    }
    // The first field that differs begins at the same place in both.
    let mut at = 0;
    loop {
        let end = at + field_bytes(&a[at..]).end;
        if end > shared {
            return first_field(&a[at..]).cmp(first_field(&b[at..]));
        }
        at = end;
    }
}

/// How many bytes both begin with.
fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    let (a_blocks, _) = a.as_chunks::<16>();
    let (b_blocks, _) = b.as_chunks::<16>();
    let blocks = a_blocks.iter().zip(b_blocks).take_while(|(a, b)| a == b).count() * 16;
    blocks + a[blocks..].iter().zip(&b[blocks..]).take_while(|(a, b)| a == b).count()
}

/// Where in `bytes`, behind its length, the field lies that they begin with.
fn field_bytes(bytes: &[u8]) -> Range<usize> {
    let (mut length, mut shift, mut at) = (0, 0, 0);
    loop {
        let byte = bytes[at];
        length |= usize::from(byte & 0x3f) << shift;
        (shift, at) = (shift + 6, at + 1);
        if byte & 0x40 == 0 {
            return at..at + length;
        }
    }
}

/// The field that `bytes` begin with.
fn first_field(bytes: &[u8]) -> &[u8] {
    &bytes[field_bytes(bytes)]
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Prometheus' notation: `name{a="b", c="d"}`; names outside the legacy alphabet are quoted.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain_name = self.metric_name().filter(|name| is_legacy_metric_name(name));
        if let Some(name) = plain_name {
            f.write_str(name)?;
        }
        let mut separator = "{";
        for (name, value) in self {
            if name == METRIC_NAME && plain_name.is_some() {
                continue;
            }
            f.write_str(separator)?;
            separator = ", ";
            if name == METRIC_NAME {
                // A UTF-8 metric name stands quoted and alone inside the braces.
                f.write_str(&quote(value))?;
                continue;
            }
            if is_legacy_label_name(name) {
                f.write_str(name)?;
            } else {
                f.write_str(&quote(name))?;
            }
            write!(f, "={}", quote(value))?;
        }
        if separator == ", " {
            f.write_str("}")
        } else if plain_name.is_none() {
            f.write_str("{}")
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Collects labels in any order and builds a [`Labels`].
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    // Sorted by name, no repeats; may hold empty values until `build`.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// A builder without labels.
    pub fn new() -> Self {
        LabelsBuilder::default()
    }

    /// Sets `name` to `value`, replacing what it was. An empty value removes the label.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        match self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(&name)) {
            Ok(at) if value.is_empty() => {
                self.pairs.remove(at);
            }
            Ok(at) => self.pairs[at].1 = value,
            Err(_) if value.is_empty() => {}
            Err(at) => self.pairs.insert(at, (name, value)),
        }
        self
    }

    /// Removes `name`, if it is there.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        if let Ok(at) = self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            self.pairs.remove(at);
        }
        self
    }

    /// The value `name` has now; `""` if it has none.
    pub fn get(&self, name: &str) -> &str {
        match self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(at) => &self.pairs[at].1,
            Err(_) => "",
        }
    }

    /// The labels as they stand, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Keeps the labels for which `keep(name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) -> &mut Self {
        self.pairs.retain(|(n, v)| keep(n, v));
        self
    }

    /// The finished set.
    pub fn build(&self) -> Labels {
        let mut text = String::with_capacity(self.pairs.iter().map(|(n, v)| n.len() + v.len() + 4).sum());
        for (name, value) in &self.pairs {
            push_field(&mut text, name);
            push_field(&mut text, value);
        }
        Labels(Arc::from(text))
    }
}

// A field is its length in bytes, then its text. The length is written in groups of six bits, least significant first, with
// the seventh bit set on all but the last: every byte of it is ASCII, so the whole set stays one valid `str`.

fn push_field(text: &mut String, field: &str) {
    push_length(field.len(), |byte| text.push(char::from(byte)));
    text.push_str(field);
}

/// As [`push_field`], of what is not known to be text.
fn push_field_of(bytes: &mut Vec<u8>, field: &[u8]) {
    push_length(field.len(), |byte| bytes.push(byte));
    bytes.extend_from_slice(field);
}

#[inline]
fn push_length(mut length: usize, mut push: impl FnMut(u8)) {
    while length >= 0x40 {
        push((length & 0x3f) as u8 | 0x40);
        length >>= 6;
    }
    push(length as u8);
}

#[inline]
fn field(text: &str) -> (&str, &str) {
    // Nearly every name and value is short.
    if let Some(&length) = text.as_bytes().first()
        && length < 0x40
    {
        let (field, rest) = text.split_at(1 + usize::from(length));
        return (&field[1..], rest);
    }
    checked_field(text).expect("a label set is built from whole fields")
}

fn checked_field(text: &str) -> Option<(&str, &str)> {
    let (mut length, mut shift) = (0usize, 0u32);
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x80 || shift > 54 {
            return None;
        }
        length |= usize::from(byte & 0x3f) << shift;
        shift += 6;
        if byte & 0x40 == 0 {
            let start = at + 1;
            let end = start.checked_add(length)?;
            return Some((text.get(start..end)?, &text[end..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], display: &str) {
        let labels = Labels::from_pairs(pairs.iter().copied());
        assert_eq!(labels.to_string(), display);
        assert_eq!(Labels::from_encoded(labels.encoded()).as_ref(), Some(&labels));
    }

    #[test]
    fn notation() {
        check(&[], "{}");
        check(&[("__name__", "up")], "up");
        check(&[("job", "a"), ("__name__", "up")], r#"up{job="a"}"#);
        check(&[("b", "2"), ("a", "1")], r#"{a="1", b="2"}"#);
        // An empty value is no label.
        check(&[("a", ""), ("b", "x")], r#"{b="x"}"#);
        check(&[("a", "1"), ("a", "2")], r#"{a="2"}"#);
        check(&[("__name__", "a.b"), ("c.d", "e\n\"")], r#"{"a.b", "c.d"="e\n\""}"#);
    }

    #[test]
    fn long_values_and_order() {
        for length in [63, 64, 65, 4095, 4096, 300_000] {
            let value = "é".repeat(length);
            let labels = Labels::from_pairs([("a", value.as_str()), ("b", "x")]);
            assert_eq!(labels.get("a"), Some(value.as_str()));
            assert_eq!(labels.get("b"), Some("x"));
        }
        let short = Labels::from_pairs([("a", "1")]);
        let long = Labels::from_pairs([("a", "1"), ("b", "1")]);
        assert!(short < long && long < Labels::from_pairs([("a", "2")]));
    }

    proptest! {
        #[test]
        fn sets_are_ordered_by_their_pairs(
            a in prop::collection::btree_map("[ab]{1,2}", prop_oneof!["[ab\u{e4}]{1,3}", "a{60,70}b?"], 0..6),
            b in prop::collection::btree_map("[ab]{1,2}", prop_oneof!["[ab\u{e4}]{1,3}", "a{60,70}b?"], 0..6),
        ) {
            let (left, right) = (Labels::from_pairs(a.clone()), Labels::from_pairs(b.clone()));
            prop_assert_eq!(left.cmp(&right), a.iter().cmp(b.iter()));
            prop_assert_eq!(left.iter().count(), a.len());
        }
    }

    proptest! {
        #[test]
        fn parts_of_sets_are_sets(
            labels in prop::collection::btree_map("[abc]{1,2}", prop_oneof!["[ab]{1,3}", "a{60,70}"], 0..6),
            others in prop::collection::btree_map("[abc]{1,2}", "[ab]{0,2}", 0..4),
            dropped in "[abc]{1,2}",
        ) {
            let set = Labels::from_pairs(labels.clone());
            let (keep, mut text) = (|name: &str| *name != *dropped, String::from("x"));
            let kept = set.filtered(keep);
            prop_assert!(kept.iter().eq(set.iter().filter(|(name, _)| keep(name))));
            set.encode_filtered(keep, &mut text);
            prop_assert_eq!(&text[1..], kept.encoded());
            let strung: String = set.pieces().filter(|(name, _)| keep(name)).map(|(_, piece)| piece).collect();
            prop_assert_eq!(&*strung, kept.encoded());
            let mut builder = kept.to_builder();
            others.iter().for_each(|(name, value)| { builder.set(name, value); });
            let others: Vec<(&str, &str)> = others.iter().map(|(name, value)| (&**name, &**value)).collect();
            prop_assert_eq!(set.overlaid(keep, &others, &mut text), builder.build());
        }
    }

    #[test]
    fn refuses_what_is_no_set() {
        assert_eq!(Labels::from_encoded("\u{5}ab"), None);
        assert_eq!(Labels::from_encoded("\u{1}b\u{1}x\u{1}a\u{1}x"), None);
        assert!(Labels::from_sorted([("b", "1"), ("a", "1")]).is_none());
        assert!(Labels::from_sorted([("a", "1"), ("a", "1")]).is_none());
    }
}
