//! Operators between two numbers, or a number and a vector. For two vectors see `matching` and `set`.

use super::binary_histograms::{Combination, Operand, combine};
use super::invariant::is_worth_one_step;
use super::{Block, Cost, Evaluated, Evaluator, Scalars, Steps, absent, is_absent};
use crate::error::QueryError;
use crate::syntax::{Binary, BinaryOp, Expr};

/// What an operator makes of two floats: [`absent`] where it filters.
pub(super) type Element = fn(f64, f64) -> f64;

/// The operator on floats. A comparison without `bool` gives the left value where it holds.
pub(super) fn element(op: BinaryOp, return_bool: bool) -> Element {
    macro_rules! comparison {
        ($op:tt) => {
            if return_bool {
                |a, b| if a $op b { 1.0 } else { 0.0 }
            } else {
                |a, b| if a $op b { a } else { absent() }
            }
        };
    }
    match op {
        BinaryOp::Add => |a, b| a + b,
        BinaryOp::Sub => |a, b| a - b,
        BinaryOp::Mul => |a, b| a * b,
        BinaryOp::Div => |a, b| a / b,
        BinaryOp::Mod => |a, b| a % b,
        BinaryOp::Pow => f64::powf,
        BinaryOp::Atan2 => f64::atan2,
        BinaryOp::Equal => comparison!(==),
        BinaryOp::NotEqual => comparison!(!=),
        BinaryOp::Greater => comparison!(>),
        BinaryOp::Less => comparison!(<),
        BinaryOp::GreaterEqual => comparison!(>=),
        BinaryOp::LessEqual => comparison!(<=),
        // Only a histogram can be trimmed.
        BinaryOp::TrimUpper | BinaryOp::TrimLower => |_, _| absent(),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => unreachable!("set operators do not look at values"),
    }
}

/// The operator with a number on the left: a comparison gives the vector's value all the same.
fn swapped(op: BinaryOp) -> Element {
    match op {
        BinaryOp::Equal => |a, b| if a == b { b } else { absent() },
        BinaryOp::NotEqual => |a, b| if a != b { b } else { absent() },
        BinaryOp::Greater => |a, b| if a > b { b } else { absent() },
        BinaryOp::Less => |a, b| if a < b { b } else { absent() },
        BinaryOp::GreaterEqual => |a, b| if a >= b { b } else { absent() },
        BinaryOp::LessEqual => |a, b| if a <= b { b } else { absent() },
        other => element(other, false),
    }
}

/// Whether the result is another metric than the operands.
pub(super) fn changes_metric(op: BinaryOp) -> bool {
    use BinaryOp::{Add, Atan2, Div, Mod, Mul, Pow, Sub};
    matches!(op, Add | Sub | Mul | Div | Mod | Pow | Atan2)
}

impl Evaluator<'_> {
    /// The value of `node` and of all operators along its left side.
    ///
    /// A chain `a + b + c` is as deep as it is long, so it is walked in a loop: the stack has to do with nesting only.
    pub(super) fn binary_chain(&mut self, node: &Binary, steps: Steps) -> Result<Evaluated, QueryError> {
        let held = self.budget.held();
        let mut chain = vec![node];
        let mut first = &*node.left;
        while let Expr::Binary(next) = first
            && !(steps.count > 1 && is_worth_one_step(first))
            && !self.shared.has(first)
        {
            chain.push(next);
            first = &next.left;
        }
        let outside = self.buckets_asked;
        self.buckets_asked = chain.iter().fold(outside, |around, node| around.beside(node.op));
        let value = self.operate_chain(first, &chain, steps, held);
        self.buckets_asked = outside;
        value
    }

    fn operate_chain(
        &mut self,
        first: &Expr,
        chain: &[&Binary],
        steps: Steps,
        held: Cost,
    ) -> Result<Evaluated, QueryError> {
        let mut value = self.eval(first, steps)?;
        for node in chain.iter().rev() {
            let right = self.eval(&node.right, steps)?;
            value = self.operate(node, value, right, steps)?;
            self.budget.settle(held.plus(value.cost()))?;
        }
        Ok(value)
    }

    fn operate(
        &mut self,
        node: &Binary,
        left: Evaluated,
        right: Evaluated,
        steps: Steps,
    ) -> Result<Evaluated, QueryError> {
        match (left, right) {
            (Evaluated::Scalar(left), Evaluated::Scalar(right)) => {
                self.between_numbers(node, left, right, steps).map(Evaluated::Scalar)
            }
            (Evaluated::Scalar(number), Evaluated::Vector(block)) => {
                self.with_number(node, block, &number, true).map(Evaluated::Vector)
            }
            (Evaluated::Vector(block), Evaluated::Scalar(number)) => {
                self.with_number(node, block, &number, false).map(Evaluated::Vector)
            }
            (Evaluated::Vector(left), Evaluated::Vector(right)) if node.op.is_set() => {
                self.set_operation(node, left, right, steps).map(Evaluated::Vector)
            }
            (Evaluated::Vector(left), Evaluated::Vector(right)) => {
                self.between_vectors(node, left, right, steps).map(Evaluated::Vector)
            }
            (Evaluated::Text(_), _) | (_, Evaluated::Text(_)) => unreachable!("texts have no operators"),
        }
    }

    fn between_numbers(
        &mut self,
        node: &Binary,
        left: Scalars,
        right: Scalars,
        steps: Steps,
    ) -> Result<Scalars, QueryError> {
        let f = element(node.op, true);
        Ok(match (left, right) {
            (Scalars::Constant(a), Scalars::Constant(b)) => Scalars::Constant(f(a, b)),
            (Scalars::Constant(a), right) => right.map(|b| f(a, b)),
            (left, Scalars::Constant(b)) => left.map(|a| f(a, b)),
            (left, right) => {
                self.budget.charge(steps.count)?;
                Scalars::Each((0..steps.count).map(|step| f(left.at(step), right.at(step))).collect())
            }
        })
    }

    fn with_number(
        &mut self,
        node: &Binary,
        mut block: Block,
        number: &Scalars,
        number_is_left: bool,
    ) -> Result<Block, QueryError> {
        if matches!(node.op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
            && block.rows.iter().any(|row| !row.floats.is_empty())
        {
            self.refuse_floats(node);
        }
        let f = if number_is_left && !node.return_bool { swapped(node.op) } else { element(node.op, node.return_bool) };
        for row in &mut block.rows {
            self.budget.step(row.slots())?;
            match (number, number_is_left) {
                (Scalars::Constant(number), true) => row.floats.map(|value| f(*number, value)),
                (Scalars::Constant(number), false) => row.floats.map(|value| f(value, *number)),
                (Scalars::Each(numbers), true) => row.floats.map_steps(|step, value| f(numbers[step], value)),
                (Scalars::Each(numbers), false) => row.floats.map_steps(|step, value| f(value, numbers[step])),
            }
            if !row.histograms.is_empty() {
                let annotations = &mut self.annotations;
                row.histograms.map(|step, histogram| {
                    let number = Operand::Float(number.at(step));
                    let (left, right) = if number_is_left {
                        (number, Operand::Histogram(&histogram))
                    } else {
                        (Operand::Histogram(&histogram), number)
                    };
                    let (combination, remark) = combine(node, left, right);
                    if let Some((severity, text)) = remark {
                        annotations.tell(severity, node.span, text);
                    }
                    match combination {
                        Combination::Histogram(histogram) => Some(histogram),
                        // A histogram and a number give a histogram or nothing.
                        Combination::Float(_) | Combination::Filtered | Combination::Refused => None,
                    }
                });
            }
            if changes_metric(node.op) || node.return_bool {
                self.forget_name(row);
            }
        }
        block.rows.retain(|row| !row.is_empty());
        if changes_metric(node.op) || node.return_bool {
            self.settle_names(&mut block)?;
        }
        Ok(block)
    }

    /// Says that the operator has no use for floats.
    pub(super) fn refuse_floats(&mut self, node: &Binary) {
        let op = node.op;
        let text = format!(
            "incompatible sample types encountered for binary operator {}: float {op} float",
            relatum_model::text::quote(op.as_str())
        );
        self.annotations.inform(node.span, text);
    }
}

/// Whether both slots have a value.
#[inline]
pub(super) fn both(a: f64, b: f64) -> bool {
    !is_absent(a) && !is_absent(b)
}
