//! Aggregations: which rows belong together, and which aggregation has them.

use relatum_model::text::format_value_short;

use super::groups::Grouping;
use super::{Block, Evaluator, Scalars, Steps, execution};
use crate::annotation::texts;
use crate::error::QueryError;
use crate::syntax::{Aggregate, AggregateOp, Expr};

impl Evaluator<'_> {
    pub(super) fn aggregate(&mut self, node: &Aggregate, steps: Steps) -> Result<Block, QueryError> {
        if let (AggregateOp::CountValues, Some(param)) = (node.op, &node.param) {
            return self.count_values(node, param, steps);
        }
        let param = match &node.param {
            Some(param) => Some((self.scalars(param, steps)?, param.without_parens())),
            None => None,
        };
        let rows_wanted = match (node.op, &param) {
            _ if node.without || !node.grouping.is_empty() => None,
            (AggregateOp::Group, _) => Some(1),
            (AggregateOp::Limitk, Some((k, _))) => Some(k.iter(steps.count).fold(1.0, f64::max) as usize),
            _ => None,
        };
        let block = match self.shared_value(node.expr.without_parens(), steps)? {
            Some(value) => value.into_vector(),
            None => match rows_wanted.filter(|_| self.stops_early(&node.expr)) {
                Some(rows) => self.at_most(&node.expr, rows, steps)?,
                None => match self.fold_streaming(node, steps)? {
                    Some(folded) => return Ok(folded),
                    None => self.vector(&node.expr, steps)?,
                },
            },
        };
        let grouping = Grouping::new(node, &block.rows);
        let has_histograms = block.rows.iter().any(|row| !row.histograms.is_empty());
        match (node.op, param) {
            (AggregateOp::Quantile, Some((q, expr))) => {
                self.check_quantiles(&q, expr, steps);
                if has_histograms {
                    self.annotations.inform(node.expr.span(), texts::ignored_in_aggregation(node.op));
                }
                self.fold_quantile(block, &grouping, &q, steps)
            }
            (AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk, Some((k, _))) => {
                let bounds = Bounds::of(&k, steps);
                if bounds.max < 1.0 {
                    return Ok(Block::default());
                }
                bounds.check_counts()?;
                if has_histograms && node.op != AggregateOp::Limitk {
                    self.annotations.inform(node.span, texts::ignored_in_aggregation(node.op));
                }
                self.pick_some(node.op, block, &grouping, &k, steps)
            }
            (AggregateOp::LimitRatio, Some((ratio, expr))) => {
                let bounds = Bounds::of(&ratio, steps);
                if bounds.max == 0.0 && bounds.min == 0.0 {
                    return Ok(Block::default());
                }
                if bounds.has_nan {
                    return Err(execution("Ratio value is NaN"));
                }
                for (value, limit, is_outside) in
                    [(bounds.max, 1.0, bounds.max > 1.0), (bounds.min, -1.0, bounds.min < -1.0)]
                {
                    if is_outside {
                        let (value, limit) = (format_value_short(value), format_value_short(limit));
                        let text = format!("ratio value should be between -1 and 1, got {value}, capping to {limit}");
                        self.annotations.warn(expr.span(), text);
                    }
                }
                self.pick_ratio(block, &grouping, &ratio, steps)
            }
            _ if !has_histograms => self.fold(node.op, &block, &grouping, steps),
            (AggregateOp::Sum | AggregateOp::Avg, _) => {
                let folded = self.fold(node.op, &block, &grouping, steps)?;
                let is_mean = node.op == AggregateOp::Avg;
                self.fold_histograms(is_mean, &block.rows, &grouping, folded, node.expr.span())
            }
            (AggregateOp::Count | AggregateOp::Group, _) => self.fold(node.op, &block, &grouping, steps),
            _ => {
                self.annotations.inform(node.expr.span(), texts::ignored_in_aggregation(node.op));
                self.fold(node.op, &block, &grouping, steps)
            }
        }
    }

    fn check_quantiles(&mut self, q: &Scalars, expr: &Expr, steps: Steps) {
        let bounds = Bounds::of(q, steps);
        let mut warn = |value: f64| self.warn_of_quantile(value, expr);
        if bounds.has_nan {
            warn(f64::NAN);
        }
        if bounds.max > 1.0 {
            warn(bounds.max);
        }
        if bounds.min < 0.0 {
            warn(bounds.min);
        }
    }

    /// Says that `q` is no quantile.
    pub(super) fn warn_of_quantile(&mut self, q: f64, expr: &Expr) {
        let text = format!("quantile value should be between 0 and 1, got {}", format_value_short(q));
        self.annotations.warn(expr.without_parens().span(), text);
    }
}

/// What the values of a parameter lie between; NaN if one of them is.
struct Bounds {
    min: f64,
    max: f64,
    has_nan: bool,
}

impl Bounds {
    fn of(values: &Scalars, steps: Steps) -> Self {
        let mut bounds = Bounds { min: f64::INFINITY, max: f64::NEG_INFINITY, has_nan: false };
        for value in values.iter(if matches!(values, Scalars::Constant(_)) { 1 } else { steps.count }) {
            bounds.has_nan |= value.is_nan();
            bounds.min = crate::functions::math::min(bounds.min, value);
            bounds.max = crate::functions::math::max(bounds.max, value);
        }
        bounds
    }

    /// Whether the values are numbers of elements.
    fn check_counts(&self) -> Result<(), QueryError> {
        if self.has_nan {
            return Err(execution("Parameter value is NaN"));
        }
        if self.min <= i64::MIN as f64 {
            return Err(execution(format!("Scalar value {} underflows int64", format_value_short(self.min))));
        }
        // The largest int64 is not a float; the nearest one is too large.
        if self.max >= i64::MAX as f64 {
            return Err(execution(format!("Scalar value {} overflows int64", format_value_short(self.max))));
        }
        Ok(())
    }
}
