//! The functions: what they take and what they give.

use ValueType::{Matrix, Scalar, String, Vector};

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number.
    Scalar,
    /// One text.
    String,
    /// An instant vector: one value for each of several series.
    Vector,
    /// A range vector: several values for each of several series.
    Matrix,
}

impl ValueType {
    /// The name in messages to users.
    pub fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// The name in the HTTP API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

/// What a function takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The function's name.
    pub name: &'static str,
    /// The types of the arguments; the last one holds for all that follow.
    pub args: &'static [ValueType],
    /// How many arguments there must be.
    pub args_min: usize,
    /// How many there may be; `None` for any number.
    pub args_max: Option<usize>,
    /// The type of the result.
    pub returns: ValueType,
    /// Whether the function must be switched on.
    pub is_experimental: bool,
}

impl Signature {
    /// Whether the number of arguments is not fixed.
    pub fn is_variadic(&self) -> bool {
        self.args_max != Some(self.args_min)
    }

    const fn with_count(mut self, args_min: usize, args_max: Option<usize>) -> Self {
        self.args_min = args_min;
        self.args_max = args_max;
        self
    }

    const fn experimental(mut self) -> Self {
        self.is_experimental = true;
        self
    }
}

/// The function called `name`.
pub fn function(name: &str) -> Option<&'static Signature> {
    FUNCTIONS.binary_search_by(|signature| signature.name.cmp(name)).ok().map(|at| &FUNCTIONS[at])
}

/// All functions, sorted by name.
pub fn functions() -> &'static [Signature] {
    &FUNCTIONS
}

const fn of(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Signature {
    Signature { name, args, args_min: args.len(), args_max: Some(args.len()), returns, is_experimental: false }
}

// Sorted by name; `function` searches it.
static FUNCTIONS: [Signature; 90] = [
    of("abs", &[Vector], Vector),
    of("absent", &[Vector], Vector),
    of("absent_over_time", &[Matrix], Vector),
    of("acos", &[Vector], Vector),
    of("acosh", &[Vector], Vector),
    of("asin", &[Vector], Vector),
    of("asinh", &[Vector], Vector),
    of("atan", &[Vector], Vector),
    of("atanh", &[Vector], Vector),
    of("avg_over_time", &[Matrix], Vector),
    of("ceil", &[Vector], Vector),
    of("changes", &[Matrix], Vector),
    of("clamp", &[Vector, Scalar, Scalar], Vector),
    of("clamp_max", &[Vector, Scalar], Vector),
    of("clamp_min", &[Vector, Scalar], Vector),
    of("cos", &[Vector], Vector),
    of("cosh", &[Vector], Vector),
    of("count_over_time", &[Matrix], Vector),
    of("day_of_month", &[Vector], Vector).with_count(0, Some(1)),
    of("day_of_week", &[Vector], Vector).with_count(0, Some(1)),
    of("day_of_year", &[Vector], Vector).with_count(0, Some(1)),
    of("days_in_month", &[Vector], Vector).with_count(0, Some(1)),
    of("deg", &[Vector], Vector),
    of("delta", &[Matrix], Vector),
    of("deriv", &[Matrix], Vector),
    of("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Vector).experimental(),
    of("end", &[], Scalar).experimental(),
    of("exp", &[Vector], Vector),
    of("first_over_time", &[Matrix], Vector),
    of("floor", &[Vector], Vector),
    of("histogram_avg", &[Vector], Vector),
    of("histogram_count", &[Vector], Vector),
    of("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    of("histogram_quantile", &[Scalar, Vector], Vector),
    of("histogram_quantiles", &[Vector, String, Scalar, Scalar], Vector).with_count(3, Some(12)).experimental(),
    of("histogram_stddev", &[Vector], Vector),
    of("histogram_stdvar", &[Vector], Vector),
    of("histogram_sum", &[Vector], Vector),
    of("hour", &[Vector], Vector).with_count(0, Some(1)),
    of("idelta", &[Matrix], Vector),
    of("increase", &[Matrix], Vector),
    of("info", &[Vector, Vector], Vector).with_count(1, Some(2)).experimental(),
    of("irate", &[Matrix], Vector),
    of("label_join", &[Vector, String, String, String], Vector).with_count(3, None),
    of("label_replace", &[Vector, String, String, String, String], Vector),
    of("last_over_time", &[Matrix], Vector),
    of("ln", &[Vector], Vector),
    of("log10", &[Vector], Vector),
    of("log2", &[Vector], Vector),
    of("mad_over_time", &[Matrix], Vector).experimental(),
    of("max_of", &[Scalar, Scalar], Scalar).experimental(),
    of("max_over_time", &[Matrix], Vector),
    of("min_of", &[Scalar, Scalar], Scalar).experimental(),
    of("min_over_time", &[Matrix], Vector),
    of("minute", &[Vector], Vector).with_count(0, Some(1)),
    of("month", &[Vector], Vector).with_count(0, Some(1)),
    of("pi", &[], Scalar),
    of("predict_linear", &[Matrix, Scalar], Vector),
    of("present_over_time", &[Matrix], Vector),
    of("quantile_over_time", &[Scalar, Matrix], Vector),
    of("rad", &[Vector], Vector),
    of("range", &[], Scalar).experimental(),
    of("rate", &[Matrix], Vector),
    of("resets", &[Matrix], Vector),
    of("round", &[Vector, Scalar], Vector).with_count(1, Some(2)),
    of("scalar", &[Vector], Scalar),
    of("sgn", &[Vector], Vector),
    of("sin", &[Vector], Vector),
    of("sinh", &[Vector], Vector),
    of("sort", &[Vector], Vector),
    of("sort_by_label", &[Vector, String], Vector).with_count(1, None).experimental(),
    of("sort_by_label_desc", &[Vector, String], Vector).with_count(1, None).experimental(),
    of("sort_desc", &[Vector], Vector),
    of("sqrt", &[Vector], Vector),
    of("start", &[], Scalar).experimental(),
    of("start_timestamp", &[Vector], Vector).experimental(),
    of("stddev_over_time", &[Matrix], Vector),
    of("stdvar_over_time", &[Matrix], Vector),
    of("step", &[], Scalar).experimental(),
    of("sum_over_time", &[Matrix], Vector),
    of("tan", &[Vector], Vector),
    of("tanh", &[Vector], Vector),
    of("time", &[], Scalar),
    of("timestamp", &[Vector], Vector),
    of("ts_of_first_over_time", &[Matrix], Vector).experimental(),
    of("ts_of_last_over_time", &[Matrix], Vector).experimental(),
    of("ts_of_max_over_time", &[Matrix], Vector).experimental(),
    of("ts_of_min_over_time", &[Matrix], Vector).experimental(),
    of("vector", &[Scalar], Vector),
    of("year", &[Vector], Vector).with_count(0, Some(1)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found() {
        for signature in functions() {
            assert_eq!(function(signature.name), Some(signature));
        }
        assert_eq!(function("no_such_function"), None);
    }
}
