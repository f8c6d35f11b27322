//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction` of classic histograms.
//!
//! Histograms that are samples of their own will be looked for here first, beside the rows with a bucket label.

use std::collections::HashMap;

use relatum_model::Labels;
use relatum_model::text::quote;

use super::{Block, Column, Evaluator, Row, Scalars, Steps};
use crate::error::QueryError;
use crate::functions::buckets;
use crate::syntax::Expr;

impl Evaluator<'_> {
    pub(super) fn histogram_quantile(
        &mut self,
        quantiles: &[(&Expr, Scalars)],
        label: Option<&str>,
        block: Block,
        arg: &Expr,
        steps: Steps,
    ) -> Result<Block, QueryError> {
        for (expr, q) in quantiles {
            let mut warned: Vec<u64> = Vec::new();
            for q in q.iter(if matches!(q, Scalars::Constant(_)) { 1 } else { steps.count }) {
                if !(0.0..=1.0).contains(&q) && !warned.contains(&q.to_bits()) {
                    warned.push(q.to_bits());
                    self.warn_of_quantile(q, expr);
                }
            }
        }
        let histograms = self.histograms(block, arg);
        let mut rows = Vec::new();
        let mut scratch = Vec::new();
        for (_, q) in quantiles {
            let mut labels_of_q: Vec<(u64, String)> = Vec::new();
            for histogram in &histograms {
                self.budget.check()?;
                self.budget.charge(steps.count)?;
                let mut columns: Vec<(u64, Column)> = Vec::new();
                for step in 0..steps.count {
                    if !histogram.fill(step, &mut scratch) {
                        continue;
                    }
                    let q = q.at(step);
                    let (value, repair) = buckets::quantile(q, &mut scratch, steps.at(step));
                    if let Some(repair) = repair {
                        let text = self.about(
                            "input to histogram_quantile needed to be fixed for monotonicity (see \
                             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
                            &histogram.labels,
                        );
                        self.annotations.inform_of_repair(arg.without_parens().span(), text, repair);
                    }
                    // Only a label of its own tells quantiles apart that change from step to step.
                    let key = if label.is_some() { q.to_bits() } else { 0 };
                    match columns.iter_mut().find(|(found, _)| *found == key) {
                        Some((_, column)) => column.push(step, value),
                        None => {
                            let mut column = Column::default();
                            column.push(step, value);
                            columns.push((key, column));
                        }
                    }
                }
                for (key, floats) in columns {
                    let mut row = Row { labels: histogram.labels.clone(), drop_name: histogram.drop_name, floats };
                    self.forget_name(&mut row);
                    if let Some(label) = label {
                        if !labels_of_q.iter().any(|(found, _)| *found == key) {
                            labels_of_q.push((key, open_metrics_float(f64::from_bits(key))));
                        }
                        let (_, value) =
                            labels_of_q.iter().find(|(found, _)| *found == key).expect("it was just added");
                        let mut builder = row.labels.to_builder();
                        builder.set(label, value.as_str());
                        row.labels = builder.build();
                    }
                    rows.push(row);
                }
            }
        }
        let mut block = Block { rows };
        if label.is_some() && !steps.is_instant {
            block.merge_duplicates()?;
        } else {
            self.settle_names(&mut block)?;
        }
        Ok(block)
    }

    pub(super) fn histogram_fraction(
        &mut self,
        low: &Scalars,
        high: &Scalars,
        block: Block,
        arg: &Expr,
        steps: Steps,
    ) -> Result<Block, QueryError> {
        let mut rows = Vec::new();
        let mut scratch = Vec::new();
        for histogram in self.histograms(block, arg) {
            self.budget.check()?;
            self.budget.charge(steps.count)?;
            let mut floats = Column::default();
            for step in 0..steps.count {
                if histogram.fill(step, &mut scratch) {
                    floats.push(step, buckets::fraction(low.at(step), high.at(step), &mut scratch));
                }
            }
            let mut row = Row { labels: histogram.labels, drop_name: histogram.drop_name, floats };
            self.forget_name(&mut row);
            rows.push(row);
        }
        let mut block = Block { rows };
        self.settle_names(&mut block)?;
        Ok(block)
    }

    /// The classic histograms of a vector: its rows by labels without `le`.
    fn histograms(&mut self, block: Block, arg: &Expr) -> Vec<Histogram> {
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut histograms: Vec<Histogram> = Vec::new();
        for row in block.rows {
            if row.floats.is_empty() {
                continue;
            }
            let bound = row.labels.value("le");
            let Some(bound) = parse_bound(bound) else {
                let text = format!("bucket label \"le\" is missing or has a malformed value of {}", quote(bound));
                let text = self.about(&text, &row.labels);
                self.annotations.warn(arg.without_parens().span(), text);
                continue;
            };
            let labels = row.labels.filtered(|name| name != "le");
            let at = *places.entry(labels.clone()).or_insert_with(|| {
                histograms.push(Histogram { labels, drop_name: row.drop_name, buckets: Vec::new() });
                histograms.len() - 1
            });
            histograms[at].buckets.push((bound, row.floats));
        }
        for histogram in &mut histograms {
            histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        histograms
    }

    /// `text`, with the metric's name as far as it is still known.
    fn about(&self, text: &str, labels: &Labels) -> String {
        match labels.metric_name() {
            Some(name) if self.settings.delayed_name_removal => {
                format!("{text} for metric name {}", quote(name))
            }
            _ => text.to_owned(),
        }
    }
}

/// A classic histogram over all steps.
struct Histogram {
    labels: Labels,
    drop_name: bool,
    // Sorted by bound.
    buckets: Vec<(f64, Column)>,
}

impl Histogram {
    /// Puts the buckets at `step` into `buckets`; `false` if there are none.
    fn fill(&self, step: usize, buckets: &mut Vec<buckets::Bucket>) -> bool {
        buckets.clear();
        for (bound, column) in &self.buckets {
            if let Some(count) = column.get(step) {
                buckets.push(buckets::Bucket { bound: *bound, count });
            }
        }
        !buckets.is_empty()
    }
}

/// The bound of a bucket, as Go reads floats.
fn parse_bound(text: &str) -> Option<f64> {
    // Rust reads the same words for infinity; Go wants no sign before NaN, which is no bound anyway.
    text.parse().ok()
}

/// A float as a value of the label `quantile`.
fn open_metrics_float(value: f64) -> String {
    if value == 0.0 {
        return "0.0".to_owned();
    }
    let text = crate::annotation::go_float(value);
    let is_whole = !text.contains(['.', 'e']) && value.is_finite();
    if is_whole { text + ".0" } else { text }
}
