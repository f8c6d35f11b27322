//! Types, and other demands that the shape of a tree cannot express. Messages and their order are Prometheus'.

use relatum_model::labels::METRIC_NAME;
use relatum_model::text::quote;

use super::ast::{Aggregate, Binary, Call, Cardinality, Expr, Span, Subquery, Unary, VectorSelector};
use super::error::ParseError;
use super::functions::ValueType;
use super::operators::AggregateOp;

/// Checks `expr`, which was read from `text`, and completes what only types can tell: how vectors match.
pub(super) fn check(text: &str, expr: &mut Expr) -> Result<(), ParseError> {
    Checker { text }.expr(expr).map(|_| ())
}

struct Checker<'a> {
    text: &'a str,
}

impl Checker<'_> {
    fn expr(&self, expr: &mut Expr) -> Result<ValueType, ParseError> {
        match expr {
            Expr::Number(_) => Ok(ValueType::Scalar),
            Expr::String(_) => Ok(ValueType::String),
            Expr::Selector(node) => self.selector(node),
            Expr::Matrix(node) => self.selector(&node.selector).map(|_| ValueType::Matrix),
            Expr::Subquery(node) => self.subquery(node),
            Expr::Unary(node) => self.unary(node),
            Expr::Binary(node) => self.binary(node),
            Expr::Aggregate(node) => self.aggregate(node),
            Expr::Call(node) => self.call(node),
            Expr::Paren(node) => self.expr(&mut node.expr),
        }
    }

    fn selector(&self, node: &VectorSelector) -> Result<ValueType, ParseError> {
        if let Some(name) = &node.name {
            if let Some(other) = node.matchers.iter().find(|matcher| matcher.name() == METRIC_NAME) {
                let message = format!("metric name must not be set twice: {} or {}", quote(name), quote(other.value()));
                return Err(self.error(node.span, message));
            }
        } else if !node.may_match_all && node.matchers.iter().all(|matcher| matcher.matches_empty()) {
            // Most likely a slip, and a costly one.
            return Err(self.error(node.span, "vector selector must contain at least one non-empty matcher"));
        }
        Ok(ValueType::Vector)
    }

    fn subquery(&self, node: &mut Subquery) -> Result<ValueType, ParseError> {
        match self.expr(&mut node.expr)? {
            ValueType::Vector => Ok(ValueType::Matrix),
            other => {
                let message = format!("subquery is only allowed on instant vector, got {} instead", other.as_str());
                Err(self.error(node.span, message))
            }
        }
    }

    fn unary(&self, node: &mut Unary) -> Result<ValueType, ParseError> {
        match self.expr(&mut node.expr)? {
            found @ (ValueType::Scalar | ValueType::Vector) => Ok(found),
            found => {
                let message = format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got \"{}\"",
                    found.documented()
                );
                Err(self.error(node.span, message))
            }
        }
    }

    fn binary(&self, node: &mut Binary) -> Result<ValueType, ParseError> {
        use ValueType::{Scalar, Vector};
        let left = self.expr(&mut node.left)?;
        let right = self.expr(&mut node.right)?;
        let matching = node.matching.get_or_insert_default();
        if node.return_bool && !node.op.is_comparison() {
            return Err(self.error(node.op_span, "bool modifier can only be used on comparison operators"));
        }
        if node.op.is_comparison() && !node.return_bool && left == Scalar && right == Scalar {
            return Err(self.error(node.op_span, "comparisons between scalars must use BOOL modifier"));
        }
        if node.op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        if let Some(label) = matching.labels.iter().find(|label| matching.on && matching.include.contains(label)) {
            let message = format!("label {} must not occur in ON and GROUP clause at once", quote(label));
            return Err(self.error(node.op_span, message));
        }
        for (found, side) in [(left, &node.left), (right, &node.right)] {
            if found != Scalar && found != Vector {
                let message = "binary expression must contain only scalar and instant vector types";
                return Err(self.error(side.span(), message));
            }
        }
        let is_filled = matching.fill.left.is_some() || matching.fill.right.is_some();
        if left != Vector || right != Vector {
            if !matching.labels.is_empty() {
                return Err(self.error(node.span, "vector matching only allowed between instant vectors"));
            }
            if is_filled {
                return Err(self.error(node.span, "filling in missing series only allowed between instant vectors"));
            }
            if node.op.is_set() {
                let message = format!("set operator \"{}\" not allowed in binary scalar expression", node.op);
                return Err(self.error(node.span, message));
            }
            node.matching = None;
        } else if node.op.is_set() {
            if matching.cardinality != Cardinality::ManyToMany {
                return Err(self.error(node.span, format!("no grouping allowed for \"{}\" operation", node.op)));
            }
            if is_filled {
                return Err(self.error(node.span, "filling in missing series not allowed for set operators"));
            }
        }
        Ok(if left == Scalar && right == Scalar { Scalar } else { Vector })
    }

    fn aggregate(&self, node: &mut Aggregate) -> Result<ValueType, ParseError> {
        self.expect(&mut node.expr, ValueType::Vector, "aggregation expression")?;
        if let Some(param) = &mut node.param {
            let wanted = if node.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
            self.expect(param, wanted, "aggregation parameter")?;
        }
        Ok(ValueType::Vector)
    }

    fn expect(&self, expr: &mut Expr, wanted: ValueType, place: &str) -> Result<(), ParseError> {
        let found = self.expr(expr)?;
        if found == wanted {
            return Ok(());
        }
        let message = format!("expected type {} in {place}, got {}", wanted.documented(), found.documented());
        Err(self.error(expr.span(), message))
    }

    fn call(&self, node: &mut Call) -> Result<ValueType, ParseError> {
        let (function, n_args) = (node.function, node.args.len());
        let count_error = |bound: &str, wanted| {
            let message =
                format!("expected {bound}{wanted} argument(s) in call to \"{}\", got {n_args}", function.name);
            Err(self.error(node.span, message))
        };
        if !function.is_variadic() && n_args != function.args_min {
            return count_error("", function.args_min);
        }
        if n_args < function.args_min {
            return count_error("at least ", function.args_min);
        }
        if let Some(args_max) = function.args_max.filter(|args_max| n_args > *args_max) {
            return count_error("at most ", args_max);
        }
        if function.name == "info"
            && let Some(labels) = node.args.get_mut(1)
        {
            self.info_labels(node.span, labels)?;
        }
        for (at, arg) in node.args.iter_mut().enumerate() {
            let found = self.expr(arg)?;
            let wanted = function.args[at.min(function.args.len() - 1)];
            if found != wanted {
                let message = format!(
                    "expected type {} in call to function \"{}\", got {}",
                    wanted.documented(),
                    function.name,
                    found.documented()
                );
                return Err(self.error(arg.span(), message));
            }
        }
        Ok(function.returns)
    }

    /// The second argument of `info` looks like a selector, but says only which labels of the info metrics are wanted.
    fn info_labels(&self, call: Span, labels: &mut Expr) -> Result<(), ParseError> {
        let found = labels.value_type();
        if found != ValueType::Vector {
            let message = format!(
                "expected type {} in call to function \"info\", got {}",
                ValueType::Vector.documented(),
                found.documented()
            );
            return Err(self.error(call, message));
        }
        match labels {
            Expr::Selector(VectorSelector { name: Some(_), span, .. }) => {
                Err(self.error(*span, "expected label selectors only, got vector selector instead"))
            }
            Expr::Selector(selector) => {
                selector.may_match_all = true;
                Ok(())
            }
            other => Err(self.error(other.span(), "expected label selectors only")),
        }
    }

    fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, span, message)
    }
}
