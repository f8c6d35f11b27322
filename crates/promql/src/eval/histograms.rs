//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`, of native histograms and of classic ones.

use std::collections::{HashMap, HashSet};

use relatum_model::Labels;
use relatum_model::text::{format_value_short, quote};

use super::window::HISTOGRAM_WORK;
use super::{Block, Column, Evaluator, HistogramColumn, Row, Scalars, Steps, absent};
use crate::annotation::texts;
use crate::error::QueryError;
use crate::functions::buckets;
use crate::histogram::{QuantileNote, fraction, quantile};
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
            let mut warned: HashSet<u64> = HashSet::new();
            for q in q.iter(if matches!(q, Scalars::Constant(_)) { 1 } else { steps.count }) {
                if !(0.0..=1.0).contains(&q) && warned.insert(q.to_bits()) {
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
                    let q = q.at(step);
                    self.budget.step(HISTOGRAM_WORK + columns.len())?;
                    let Some(value) = self.quantile_of(histogram, q, (step, steps), arg, &mut scratch) else {
                        continue;
                    };
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
                    let mut row = histogram.row(floats);
                    self.forget_name(&mut row);
                    if let Some(label) = label {
                        self.budget.step(labels_of_q.len())?;
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

    fn quantile_of(
        &mut self,
        histogram: &Histogram,
        q: f64,
        (step, steps): (usize, Steps),
        arg: &Expr,
        scratch: &mut Vec<buckets::Bucket>,
    ) -> Option<f64> {
        let span = arg.without_parens().span();
        match &histogram.counts {
            Counts::Native(column) => {
                let (value, note) = quantile(q, column.get(step)?);
                if let Some(note) = note {
                    let text = match note {
                        QuantileNote::IsNan => "input to histogram_quantile has NaN observations, result is NaN",
                        QuantileNote::IsSkewed => {
                            "input to histogram_quantile has NaN observations, result is skewed higher"
                        }
                    };
                    let text = self.about(text, &histogram.labels);
                    self.annotations.inform(span, text);
                }
                Some(value)
            }
            Counts::Classic(columns) => {
                if !fill(columns, step, scratch) {
                    return None;
                }
                let (value, repair) = buckets::quantile(q, scratch, steps.at(step));
                if let Some(repair) = repair {
                    let text = self.about(
                        "input to histogram_quantile needed to be fixed for monotonicity (see \
                         https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
                        &histogram.labels,
                    );
                    self.annotations.inform_of_repair(span, text, repair);
                }
                Some(value)
            }
        }
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
                self.budget.step(HISTOGRAM_WORK)?;
                let (low, high) = (low.at(step), high.at(step));
                match &histogram.counts {
                    Counts::Native(column) => {
                        let Some(native) = column.get(step) else { continue };
                        let (value, note) = fraction(low, high, native);
                        if note.is_some() {
                            let text = self.about(
                                "input to histogram_fraction has NaN observations, which are excluded from all fractions",
                                &histogram.labels,
                            );
                            self.annotations.inform(arg.without_parens().span(), text);
                        }
                        floats.push(step, value);
                    }
                    Counts::Classic(columns) => {
                        if fill(columns, step, &mut scratch) {
                            floats.push(step, buckets::fraction(low, high, &mut scratch));
                        }
                    }
                }
            }
            let mut row = histogram.row(floats);
            self.forget_name(&mut row);
            rows.push(row);
        }
        let mut block = Block { rows };
        self.settle_names(&mut block)?;
        Ok(block)
    }

    /// The histograms of a vector: the native ones, then the classic ones, which are its rows by labels without `le`.
    fn histograms(&mut self, block: Block, arg: &Expr) -> Vec<Histogram> {
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let (mut natives, mut classics): (Vec<Histogram>, Vec<Histogram>) = (Vec::new(), Vec::new());
        for row in block.rows {
            if !row.histograms.is_empty() {
                let (labels, counts) = (row.labels.clone(), Counts::Native(row.histograms));
                natives.push(Histogram { labels, drop_name: row.drop_name, counts });
            }
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
                classics.push(Histogram { labels, drop_name: row.drop_name, counts: Counts::Classic(Vec::new()) });
                classics.len() - 1
            });
            if let Counts::Classic(columns) = &mut classics[at].counts {
                columns.push((bound, row.floats));
            }
        }
        for histogram in &mut classics {
            if let Counts::Classic(columns) = &mut histogram.counts {
                columns.sort_by(|a, b| a.0.total_cmp(&b.0));
            }
        }
        for native in &mut natives {
            if let Some(at) = places.get(&native.labels)
                && separate(native, &mut classics[*at])
            {
                let text = self.about(texts::mixed_classic_and_native(), &native.labels);
                self.annotations.warn(arg.without_parens().span(), text);
            }
        }
        natives.append(&mut classics);
        natives
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

/// A histogram over all steps.
struct Histogram {
    labels: Labels,
    drop_name: bool,
    counts: Counts,
}

enum Counts {
    Native(HistogramColumn),
    /// The buckets with their bounds, sorted by those.
    Classic(Vec<(f64, Column)>),
}

impl Histogram {
    fn row(&self, floats: Column) -> Row {
        Row { drop_name: self.drop_name, ..Row::of_floats(self.labels.clone(), floats) }
    }
}

/// Takes away both a native and a classic histogram at steps where they have the same labels; `true` if there are any.
fn separate(native: &mut Histogram, classic: &mut Histogram) -> bool {
    let (Counts::Native(column), Counts::Classic(buckets)) = (&mut native.counts, &mut classic.counts) else {
        return false;
    };
    let mut has_met = false;
    column.map(|step, histogram| {
        let is_met = buckets.iter().any(|(_, bucket)| bucket.get(step).is_some());
        if is_met {
            has_met = true;
            for (_, bucket) in buckets.iter_mut() {
                bucket.map_steps(|at, value| if at == step { absent() } else { value });
            }
        }
        (!is_met).then_some(histogram)
    });
    has_met
}

/// Puts the buckets at `step` into `buckets`; `false` if there are none.
fn fill(columns: &[(f64, Column)], step: usize, buckets: &mut Vec<buckets::Bucket>) -> bool {
    buckets.clear();
    for (bound, column) in columns {
        if let Some(count) = column.get(step) {
            buckets.push(buckets::Bucket { bound: *bound, count });
        }
    }
    !buckets.is_empty()
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
    let text = format_value_short(value);
    let is_whole = !text.contains(['.', 'e']) && value.is_finite();
    if is_whole { text + ".0" } else { text }
}
