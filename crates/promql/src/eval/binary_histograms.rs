//! Operators of which at least one side is a native histogram.

use std::sync::Arc;

use relatum_model::histogram::CounterReset;
use relatum_model::text::quote;

use super::binary::element;
use super::is_absent;
use crate::annotation::{Severity, texts};
use crate::histogram::{FloatHistogram, Incompatible, add, divide, is_equal, scale, subtract, trim};
use crate::syntax::{Binary, BinaryOp};

/// One side of an operator.
#[derive(Clone, Copy)]
pub(super) enum Operand<'a> {
    Float(f64),
    Histogram(&'a Arc<FloatHistogram>),
}

impl Operand<'_> {
    fn kind(self) -> &'static str {
        match self {
            Operand::Float(_) => "float",
            Operand::Histogram(_) => "histogram",
        }
    }
}

/// What an operator makes of two values.
pub(super) enum Combination {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
    /// The comparison does not hold.
    Filtered,
    /// The two cannot be combined: as if they had not met.
    Refused,
}

/// What is to be said of two values beside what an operator made of them.
pub(super) type Remark = (Severity, String);

/// Applies the operator, whatever the sides are. A comparison gives the left value where it holds.
pub(super) fn combine(node: &Binary, left: Operand<'_>, right: Operand<'_>) -> (Combination, Option<Remark>) {
    use Operand::{Float, Histogram};
    let changed = |histogram: &FloatHistogram, f: &dyn Fn(&mut FloatHistogram)| {
        let mut histogram = histogram.clone();
        f(&mut histogram);
        histogram.compact();
        (Combination::Histogram(Arc::new(histogram)), None)
    };
    match (left, node.op, right) {
        (Float(_), BinaryOp::TrimUpper | BinaryOp::TrimLower, Float(_)) => {}
        (Float(a), op, Float(b)) => {
            let value = element(op, false)(a, b);
            return (if is_absent(value) { Combination::Filtered } else { Combination::Float(value) }, None);
        }
        (Histogram(histogram), BinaryOp::Mul, Float(factor)) | (Float(factor), BinaryOp::Mul, Histogram(histogram)) => {
            return changed(histogram, &|histogram| scale(histogram, factor));
        }
        (Histogram(histogram), BinaryOp::Div, Float(divisor)) => {
            return changed(histogram, &|histogram| divide(histogram, divisor));
        }
        (Histogram(histogram), op @ (BinaryOp::TrimUpper | BinaryOp::TrimLower), Float(limit)) => {
            return (Combination::Histogram(Arc::new(trim(histogram, limit, op == BinaryOp::TrimUpper))), None);
        }
        (Histogram(a), BinaryOp::Add, Histogram(b)) => return sum(node, add(a, b), "addition"),
        (Histogram(a), BinaryOp::Sub, Histogram(b)) => {
            let difference = subtract(a, b).map(|(mut histogram, combined)| {
                histogram.counter_reset = CounterReset::Gauge;
                (histogram, combined)
            });
            return sum(node, difference, "subtraction");
        }
        (Histogram(a), op @ (BinaryOp::Equal | BinaryOp::NotEqual), Histogram(b)) => {
            let holds = is_equal(a, b) == (op == BinaryOp::Equal);
            return (if holds { Combination::Histogram(Arc::clone(a)) } else { Combination::Filtered }, None);
        }
        _ => {}
    }
    let op = node.op;
    let text = format!(
        "incompatible sample types encountered for binary operator {}: {} {op} {}",
        quote(op.as_str()),
        left.kind(),
        right.kind()
    );
    (Combination::Refused, Some((Severity::Info, text)))
}

fn sum(
    node: &Binary,
    result: Result<(FloatHistogram, crate::histogram::Combined), Incompatible>,
    operation: &str,
) -> (Combination, Option<Remark>) {
    let Ok((histogram, combined)) = result else {
        let text = format!("incompatible bucket layout encountered for binary operator {}", node.op);
        return (Combination::Refused, Some((Severity::Warning, text)));
    };
    if combined.collides {
        return (Combination::Refused, Some((Severity::Warning, texts::collision(operation))));
    }
    let remark = combined.is_reconciled.then(|| (Severity::Info, texts::reconciled(operation)));
    (Combination::Histogram(Arc::new(histogram)), remark)
}
