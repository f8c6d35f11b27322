//! Sums that keep what rounding would lose.

/// A sum with Neumaier's compensation, bit for bit as Prometheus adds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sum {
    pub(crate) value: f64,
    pub(crate) lost: f64,
}

impl Sum {
    /// A sum that starts with `value`.
    #[inline]
    pub(crate) fn of(value: f64) -> Self {
        Sum { value, lost: 0.0 }
    }

    /// The sum with `value` added.
    #[inline]
    pub(crate) fn plus(self, value: f64) -> Self {
        let total = self.value + value;
        let lost = if total.is_infinite() {
            0.0
        } else if self.value.abs() >= value.abs() {
            self.lost + ((self.value - total) + value)
        } else {
            self.lost + ((value - total) + self.value)
        };
        Sum { value: total, lost }
    }

    /// The number.
    #[inline]
    pub(crate) fn total(self) -> f64 {
        if self.value.is_infinite() { self.value } else { self.value + self.lost }
    }
}

/// A mean that adds up as long as the sum is finite, and goes on value by value when it is not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mean {
    // The sum, or the mean once `is_incremental`.
    sum: Sum,
    count: f64,
    is_incremental: bool,
}

impl Mean {
    /// The mean of one value.
    #[inline]
    pub(crate) fn of(value: f64) -> Self {
        Mean { sum: Sum::of(value), count: 1.0, is_incremental: false }
    }

    /// The mean with one more value.
    #[inline]
    pub(crate) fn plus(mut self, value: f64) -> Self {
        self.count += 1.0;
        if !self.is_incremental {
            let sum = self.sum.plus(value);
            if !sum.value.is_infinite() {
                return Mean { sum, ..self };
            }
            self.is_incremental = true;
            let counted = self.count - 1.0;
            self.sum = Sum { value: self.sum.value / counted, lost: self.sum.lost / counted };
        }
        let part = (self.count - 1.0) / self.count;
        self.sum = Sum { value: part * self.sum.value, lost: part * self.sum.lost }.plus(value / self.count);
        self
    }

    /// The number.
    #[inline]
    pub(crate) fn total(self) -> f64 {
        if self.is_incremental {
            self.sum.value + self.sum.lost
        } else {
            self.sum.value / self.count + self.sum.lost / self.count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost() {
        let sum = [1e100, 1.0, -1e100].into_iter().fold(Sum::default(), Sum::plus);
        assert_eq!(sum.total(), 1.0);
        let mean = [f64::MAX, f64::MAX].into_iter().fold(Mean::of(f64::MAX), Mean::plus);
        assert!((mean.total() / f64::MAX - 1.0).abs() < 1e-12);
        assert_eq!(Sum::of(f64::INFINITY).plus(1.0).total(), f64::INFINITY);
    }
}
