//! The store seen from outside.

mod basics;
mod support;
