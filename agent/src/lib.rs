//! The daemon: it makes the running server match the relations.
//!
//! State comes in through the control socket and the agent's own file, is kept in SQLite ([`store`]), and flows one way:
//! observe, desire, render, plan, check, apply, publish. What the server runs is only ever what was rendered to
//! disk. The meaning of a databag is left to `relations`, the meaning of a rendered file to `config` and `server`.

pub mod control;
pub mod log;
pub mod options;
pub mod store;
pub mod templates;
