//! The history for people: the command that made a revision ([`command`]), what it changed in words ([`words`]), and a world as texts
//! that can be compared ([`texts`]).

pub(crate) mod command;
pub(crate) mod texts;
pub(crate) mod words;
