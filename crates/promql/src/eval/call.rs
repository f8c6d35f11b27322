//! Function calls: which function it is, and what becomes of labels and steps around it.

use relatum_model::Labels;
use relatum_model::labels::METRIC_NAME;

use super::select::Take;
use super::{Block, Column, Evaluated, Evaluator, Row, Scalars, Steps, absent, is_absent};
use crate::error::QueryError;
use crate::functions::{clock, math};
use crate::histogram::{FloatHistogram, variance};
use crate::syntax::{Call, Edges, Expr};

impl Evaluator<'_> {
    pub(super) fn call(&mut self, call: &Call, steps: Steps) -> Result<Evaluated, QueryError> {
        let outside = self.buckets_asked;
        self.buckets_asked = outside.inside(call);
        let value = self.function(call, steps);
        self.buckets_asked = outside;
        value
    }

    fn function(&mut self, call: &Call, steps: Steps) -> Result<Evaluated, QueryError> {
        let name = call.function.name;
        let args = Args { call };
        match name {
            "time" => {
                self.budget.charge(steps.count)?;
                let seconds = (0..steps.count).map(|step| steps.at(step) as f64 / 1000.0).collect();
                return Ok(Evaluated::Scalar(Scalars::Each(seconds)));
            }
            "pi" => return Ok(constant(std::f64::consts::PI)),
            "start" => return Ok(constant(self.bounds_ms.0 as f64 / 1000.0)),
            "end" => return Ok(constant(self.bounds_ms.1 as f64 / 1000.0)),
            "range" => return Ok(constant((self.bounds_ms.1 - self.bounds_ms.0) as f64 / 1000.0)),
            "step" => {
                let is_instant = self.bounds_ms.0 == self.bounds_ms.1;
                return Ok(constant(if is_instant { 0.0 } else { self.durations.step_ms as f64 / 1000.0 }));
            }
            "max_of" | "min_of" => {
                let (a, b) = (self.scalars(args.at(0), steps)?, self.scalars(args.at(1), steps)?);
                let f = if name == "max_of" { math::max } else { math::min };
                self.budget.charge(steps.count)?;
                return Ok(Evaluated::Scalar(Scalars::Each(
                    (0..steps.count).map(|step| f(a.at(step), b.at(step))).collect(),
                )));
            }
            "scalar" => return self.scalar(args.at(0), steps),
            _ => {}
        }
        self.vector_function(name, args, steps).map(Evaluated::Vector)
    }

    fn vector_function(&mut self, name: &'static str, args: Args<'_>, steps: Steps) -> Result<Block, QueryError> {
        if let Some(f) = math::of_one(name) {
            let block = self.vector(args.at(0), steps)?;
            return self.map(block, |_, value| f(value));
        }
        if let Some(part) = clock::part(name) {
            let block = match args.get(0) {
                Some(arg) => self.vector(arg, steps)?,
                None => {
                    let now = moments(steps);
                    self.budget.charge(steps.count)?;
                    Block { rows: vec![Row::of_floats(Labels::empty(), now)] }
                }
            };
            return self.map(block, |_, value| part(clock::whole_seconds(value)));
        }
        match name {
            "vector" => {
                let scalars = self.scalars(args.at(0), steps)?;
                self.budget.charge(steps.count)?;
                let floats = Column::from_values(0, scalars.iter(steps.count).collect());
                Ok(Block { rows: vec![Row::of_floats(Labels::empty(), floats)] })
            }
            "absent" => self.absent(args.at(0), steps),
            "absent_over_time" => {
                let found = self.steps_with_samples(args.at(0), steps)?;
                let mut floats = Column::default();
                for (step, _) in found.iter().enumerate().filter(|(_, found)| !**found) {
                    floats.push(step, 1.0);
                }
                let labels = labels_if_absent(args.at(0));
                let rows = if floats.slots() == 0 { Vec::new() } else { vec![Row::of_floats(labels, floats)] };
                Ok(Block { rows })
            }
            "timestamp" => {
                if let Expr::Selector(selector) = args.at(0) {
                    let mut block = self.newest_samples(selector, steps, Take::Time)?;
                    return self.rename(&mut block).map(|()| block);
                }
                let mut block = self.vector(args.at(0), steps)?;
                for row in &mut block.rows {
                    let mut present: Vec<usize> = row.steps().collect();
                    present.sort_unstable();
                    let mut floats = Column::default();
                    for step in present {
                        floats.push(step, steps.at(step) as f64 / 1000.0);
                    }
                    *row = row.with_values(floats, super::HistogramColumn::default());
                }
                self.rename(&mut block).map(|()| block)
            }
            "clamp" => {
                let block = self.vector(args.at(0), steps)?;
                let (low, high) = (self.scalars(args.at(1), steps)?, self.scalars(args.at(2), steps)?);
                self.clamp(block, &low, &high)
            }
            "clamp_min" => {
                let block = self.vector(args.at(0), steps)?;
                let low = self.scalars(args.at(1), steps)?;
                self.clamp(block, &low, &Scalars::Constant(f64::INFINITY))
            }
            "clamp_max" => {
                let block = self.vector(args.at(0), steps)?;
                let high = self.scalars(args.at(1), steps)?;
                self.clamp(block, &Scalars::Constant(f64::NEG_INFINITY), &high)
            }
            "round" => {
                let block = self.vector(args.at(0), steps)?;
                let to_nearest = match args.get(1) {
                    Some(arg) => self.scalars(arg, steps)?,
                    None => Scalars::Constant(1.0),
                };
                self.map(block, |step, value| math::round(value, to_nearest.at(step)))
            }
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => self.sort(name, args, steps),
            "label_replace" => self.label_replace(args, steps),
            "label_join" => self.label_join(args, steps),
            "info" => self.info(args.at(0), args.get(1), steps),
            "histogram_quantile" => {
                let q = self.scalars(args.at(0), steps)?;
                let block = self.vector(args.at(1), steps)?;
                self.histogram_quantile(&[(args.at(0), q)], None, block, args.at(1), steps)
            }
            "histogram_quantiles" => {
                let label = args.text(1);
                let block = self.vector(args.at(0), steps)?;
                let mut quantiles = Vec::new();
                for arg in &args.call.args[2..] {
                    let arg = arg.without_parens();
                    quantiles.push((arg, self.scalars(arg, steps)?));
                }
                self.histogram_quantile(&quantiles, Some(label), block, args.at(0), steps)
            }
            "histogram_fraction" => {
                let (low, high) = (self.scalars(args.at(0), steps)?, self.scalars(args.at(1), steps)?);
                let block = self.vector(args.at(2), steps)?;
                self.histogram_fraction(&low, &high, block, args.at(2), steps)
            }
            "histogram_avg" | "histogram_count" | "histogram_sum" | "histogram_stddev" | "histogram_stdvar" => {
                let block = self.vector(args.at(0), steps)?;
                self.map_histograms(block, |histogram| match name {
                    "histogram_avg" => histogram.sum / histogram.count,
                    "histogram_count" => histogram.count,
                    "histogram_sum" => histogram.sum,
                    "histogram_stdvar" => variance(histogram),
                    _ => variance(histogram).sqrt(),
                })
            }
            "start_timestamp" => match args.at(0) {
                Expr::Selector(selector) if self.settings.start_timestamps => {
                    let mut block = self.newest_samples(selector, steps, Take::Start)?;
                    self.rename(&mut block).map(|()| block)
                }
                // What was calculated does not know when it began.
                other => self.vector(other, steps).map(|_| Block::default()),
            },
            _ => self.range_function(name, args, steps),
        }
    }

    /// Applies `f` to every float, and leaves histograms out; the result is another metric.
    fn map(&mut self, mut block: Block, f: impl Fn(usize, f64) -> f64) -> Result<Block, QueryError> {
        for row in &mut block.rows {
            self.budget.step(row.slots())?;
            row.floats.map_steps(&f);
        }
        without_histograms(&mut block);
        self.rename(&mut block)?;
        Ok(block)
    }

    /// Makes a float of every histogram, and leaves floats out; the result is another metric.
    fn map_histograms(&mut self, mut block: Block, f: impl Fn(&FloatHistogram) -> f64) -> Result<Block, QueryError> {
        block.rows.retain(|row| !row.histograms.is_empty());
        for row in &mut block.rows {
            self.budget.step(row.slots())?;
            let mut floats = Column::default();
            for (step, histogram) in row.histograms.iter() {
                floats.push(step, f(histogram));
            }
            *row = row.with_values(floats, super::HistogramColumn::default());
        }
        self.rename(&mut block)?;
        Ok(block)
    }

    /// Takes the names from all rows.
    fn rename(&mut self, block: &mut Block) -> Result<(), QueryError> {
        for row in &mut block.rows {
            self.forget_name(row);
        }
        self.settle_names(block)
    }

    fn scalar(&mut self, arg: &Expr, steps: Steps) -> Result<Evaluated, QueryError> {
        // Two are too many.
        let block = self.at_most(arg, 2, steps)?;
        self.budget.charge(steps.count)?;
        // Absent until found, NaN when found again.
        let mut values = vec![absent(); steps.count];
        for row in &block.rows {
            for (step, value) in row.floats.iter() {
                values[step] = if is_absent(values[step]) { value } else { f64::NAN };
            }
        }
        let number = |value| if is_absent(value) { f64::NAN } else { value };
        Ok(Evaluated::Scalar(Scalars::Each(values.into_iter().map(number).collect())))
    }

    fn absent(&mut self, arg: &Expr, steps: Steps) -> Result<Block, QueryError> {
        let block = self.at_most(arg, 1, steps)?;
        self.budget.charge(steps.count)?;
        let mut found = vec![false; steps.count];
        for row in &block.rows {
            for step in row.steps() {
                found[step] = true;
            }
        }
        let mut floats = Column::default();
        for (step, _) in found.iter().enumerate().filter(|(_, found)| !**found) {
            floats.push(step, 1.0);
        }
        let labels = labels_if_absent(arg);
        let rows = if floats.slots() == 0 { Vec::new() } else { vec![Row::of_floats(labels, floats)] };
        Ok(Block { rows })
    }

    fn clamp(&mut self, block: Block, low: &Scalars, high: &Scalars) -> Result<Block, QueryError> {
        let mut block = self.map(block, |step, value| {
            let (low, high) = (low.at(step), high.at(step));
            if high < low { absent() } else { math::max(low, math::min(high, value)) }
        })?;
        block.rows.retain(|row| !row.floats.is_empty());
        Ok(block)
    }
}

/// The arguments of a call, which were checked by the parser.
#[derive(Clone, Copy)]
pub(super) struct Args<'c> {
    pub(super) call: &'c Call,
}

impl<'c> Args<'c> {
    pub(super) fn get(self, at: usize) -> Option<&'c Expr> {
        self.call.args.get(at).map(Expr::without_parens)
    }

    pub(super) fn at(self, at: usize) -> &'c Expr {
        self.get(at).expect("the parser checked the number of arguments")
    }

    pub(super) fn text(self, at: usize) -> &'c str {
        match self.at(at) {
            Expr::String(literal) => &literal.value,
            other => unreachable!("the parser checked the types of arguments, but here is {other} for a string"),
        }
    }

    /// The name of a label that a text among the arguments is; as an error the text if it is none.
    pub(super) fn label_name(self, at: usize) -> Result<&'c str, &'c str> {
        let text = self.text(at);
        let is_utf8 = matches!(self.at(at), Expr::String(literal) if literal.not_utf8.is_none());
        if text.is_empty() || !is_utf8 { Err(text) } else { Ok(text) }
    }

    /// How the range among the arguments treats its ends.
    pub(super) fn edges(self) -> Edges {
        let matrix = self.call.args.iter().find_map(|arg| match arg.without_parens() {
            Expr::Matrix(matrix) => Some(matrix.selector.edges),
            _ => None,
        });
        matrix.unwrap_or_default()
    }
}

/// Takes away all histograms, and the rows that have nothing else.
pub(super) fn without_histograms(block: &mut Block) {
    if block.rows.iter().any(|row| !row.histograms.is_empty()) {
        block.rows.iter_mut().for_each(|row| row.histograms.clear());
        block.rows.retain(|row| !row.floats.is_empty());
    }
}

/// The moments themselves, in seconds.
fn moments(steps: Steps) -> Column {
    // A moment before its second is over belongs to that second.
    Column::from_values(0, (0..steps.count).map(|step| (steps.at(step) / 1000) as f64).collect())
}

fn constant(value: f64) -> Evaluated {
    Evaluated::Scalar(Scalars::Constant(value))
}

/// The labels that an absent series would certainly have had.
fn labels_if_absent(arg: &Expr) -> Labels {
    let selector = match arg {
        Expr::Selector(selector) => selector,
        Expr::Matrix(matrix) => &matrix.selector,
        _ => return Labels::empty(),
    };
    let mut builder = Labels::empty().to_builder();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in selector.matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        if matcher.op() == relatum_model::MatchOp::Equal && !seen.contains(&matcher.name()) {
            builder.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            builder.remove(matcher.name());
        }
    }
    builder.build()
}
