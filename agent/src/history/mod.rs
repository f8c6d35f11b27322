//! The history for people: what a revision changed in words ([`words`]), and a world as texts that can be compared ([`texts`]).

pub(crate) mod texts;
pub(crate) mod words;
