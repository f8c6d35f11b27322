//! server
pub mod flags;
pub mod listen;
