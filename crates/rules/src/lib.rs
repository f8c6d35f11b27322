//! Decides at each tick what to record and which alerts change state.
//!
//! A [`Group`] evaluates its rules in order, appends what they record, and answers which alerts to send. It keeps no time of its
//! own: whoever owns it says when a tick is and what time it is then. Sending alerts is left to others.

mod alert;
mod alerting;
mod group;
mod recording;
mod restore;
pub mod unit_test;
mod view;

pub use alert::{ActiveAlert, AlertState};
pub use group::{Evaluation, Group, GroupSource, RuleQuery, Tick};
pub use view::{GroupView, RuleAlerts, RuleHealth, RuleView};
