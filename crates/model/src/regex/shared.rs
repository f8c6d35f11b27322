//! Compiled expressions, each kept once for as long as somebody has it, and the newest for a while longer.
//!
//! A compiled expression takes ten thousand bytes and more, and a thousand rules of one kind have the same few. Compiling one takes
//! longer than all else that is done to read a rule, and whoever reads rules one by one has none of them for long.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use super::{Compiled, RegexError};

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Known {
    by_pattern: HashMap<Box<str>, Weak<Compiled>>,
    /// How many patterns there may be before those that nobody has any more are looked for: twice as many as were left the last
    /// time, so that looking costs little for each that came.
    n_max: usize,
    /// The newest small ones, which stay though nobody has them.
    newest: VecDeque<Arc<Compiled>>,
}

/// So many small ones may stay that nobody has.
const NEWEST_MAX: usize = 16;

/// Even so many forgotten patterns are not worth a look.
const N_MIN: usize = 64;

/// The compiled `pattern`: the one that somebody has, or what `compile` makes of it.
pub(super) fn compiled(
    pattern: &str,
    compile: impl FnOnce() -> Result<Compiled, RegexError>,
) -> Result<Arc<Compiled>, RegexError> {
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(compiled) = known().by_pattern.get(pattern).and_then(Weak::upgrade) {
        return Ok(compiled);
    }
    // Compiling takes its time, so nobody waits for it. Of two who compile the same at once, one is remembered.
    let compiled = Arc::new(compile()?);
    known().insert(pattern, &compiled);
    Ok(compiled)
}

impl Known {
    fn insert(&mut self, pattern: &str, compiled: &Arc<Compiled>) {
        if self.by_pattern.len() >= self.n_max {
            self.by_pattern.retain(|_, compiled| compiled.strong_count() > 0);
            self.n_max = (2 * self.by_pattern.len()).max(N_MIN);
        }
        self.by_pattern.insert(pattern.into(), Arc::downgrade(compiled));
        if compiled.is_small() {
            self.newest.truncate(NEWEST_MAX - 1);
            self.newest.push_front(Arc::clone(compiled));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::AnchoredRegex;
    use super::*;

    #[test]
    fn an_expression_is_compiled_once_while_somebody_has_it() {
        let first = AnchoredRegex::new("shared-(once)+").unwrap();
        let second = AnchoredRegex::new("shared-(once)+").unwrap();
        assert!(Arc::ptr_eq(&first.0, &second.0));
        let other = AnchoredRegex::new("shared-(twice)+").unwrap();
        assert!(!Arc::ptr_eq(&first.0, &other.0));
    }

    #[test]
    fn the_newest_small_ones_stay() {
        let kept = |pattern: &str| {
            let mut known = Known::default();
            known.insert(pattern, &Arc::new(Compiled::new(pattern).unwrap()));
            known.by_pattern[pattern].upgrade().is_some()
        };
        assert!(kept("5..") && kept("(a|b)+c"));
        assert!(!kept("(x.{20}){40}"), "a large one goes with the last that has it");
    }

    #[test]
    fn what_nobody_has_any_more_is_forgotten() {
        let mut known = Known::default();
        let held = AnchoredRegex::new("held").unwrap();
        known.insert("held", &held.0);
        for number in 0..10 * N_MIN {
            known.insert(&number.to_string(), &AnchoredRegex::new(&number.to_string()).unwrap().0);
        }
        assert!(known.by_pattern.len() <= 2 * N_MIN, "{}", known.by_pattern.len());
        assert!(known.by_pattern["held"].upgrade().is_some());
    }
}
