//! The text formats in which processes expose their metrics.
//!
//! [`MetricFamily`] is what a module of ours hands over to be exposed; [`write_text`] writes families in the text format.

mod family;

pub use family::{FamilySample, MetricFamily, MetricKind, TEXT_CONTENT_TYPE, write_text};
