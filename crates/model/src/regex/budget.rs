//! What compiling the expressions of one query may take. Each of them is bounded by itself, but a query may have thousands.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::{Compiled, RegexError};

/// What the automata of the expressions of one query may take together, in bytes. Compiling so much takes a second or two.
pub const QUERY_COMPILED_BYTES_MAX: usize = 32 << 20;

/// Bounds what is compiled for one query, and stops with it.
pub struct CompileBudget {
    bytes: usize,
    /// Those that were counted, by their addresses: whoever reads a query has them to its end.
    counted: HashSet<usize>,
    goes_on: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl CompileBudget {
    /// A budget that nobody stops.
    pub fn new() -> Self {
        CompileBudget { bytes: 0, counted: HashSet::new(), goes_on: None }
    }

    /// A budget for as long as `goes_on` holds, which is asked before each expression. After that expressions are refused.
    pub fn while_holds(goes_on: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        CompileBudget { goes_on: Some(Box::new(goes_on)), ..CompileBudget::new() }
    }

    /// Whether the next expression may be compiled.
    pub(super) fn admit(&self) -> Result<(), RegexError> {
        if self.goes_on.as_ref().is_some_and(|goes_on| !goes_on()) {
            return Err(RegexError { message: "nobody waits for the expression any more".to_owned() });
        }
        Ok(())
    }

    /// Counts an expression, unless it was counted before.
    pub(super) fn count(&mut self, compiled: &Arc<Compiled>) -> Result<(), RegexError> {
        if compiled.automaton_bytes == 0 || !self.counted.insert(Arc::as_ptr(compiled).addr()) {
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(compiled.automaton_bytes);
        if self.bytes > QUERY_COMPILED_BYTES_MAX {
            let message = format!(
                "the regular expressions of a query may take {QUERY_COMPILED_BYTES_MAX} bytes together when they are compiled, and \
                 these take more"
            );
            return Err(RegexError { message });
        }
        Ok(())
    }
}

impl Default for CompileBudget {
    fn default() -> Self {
        CompileBudget::new()
    }
}

impl fmt::Debug for CompileBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompileBudget").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::AnchoredRegex;
    use super::*;

    #[test]
    fn the_sum_is_bounded() {
        let mut budget = CompileBudget::new();
        let large = |n: usize| format!(r"large{n}\pL{{60}}");
        let mut held = Vec::new();
        let refused = (0..1000).find_map(|n| match AnchoredRegex::new_within(&large(n), &mut budget) {
            Ok(regex) => {
                held.push(regex);
                None
            }
            Err(error) => Some(error),
        });
        assert!(refused.expect("there is a bound").message.contains("33554432 bytes together"));
        assert!(held.len() >= 3, "{} expressions", held.len());
        // One that is written again is the same, and what needs no automaton takes none.
        let mut budget = CompileBudget::new();
        for _ in 0..100 {
            AnchoredRegex::new_within(&large(0), &mut budget).unwrap();
        }
        for n in 0..3000 {
            AnchoredRegex::new_within(&format!("web-{n}.*|db-{n}").replace('|', "x"), &mut budget).unwrap();
            AnchoredRegex::new_within(&format!("web-{n}|db-{n}"), &mut budget).unwrap();
        }
        // Of usual ones there may be many.
        for n in 0..1000 {
            held.push(AnchoredRegex::new_within(&format!("(web|db)-{n}[a-z]+"), &mut budget).unwrap());
        }
    }

    #[test]
    fn nothing_is_compiled_for_who_left() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let mut budget = CompileBudget::while_holds(move || counter.fetch_add(1, Ordering::Relaxed) < 2);
        let mut compile = |pattern: &str| AnchoredRegex::new_within(pattern, &mut budget).is_ok();
        assert!(compile("left-(a|b)+") && compile("left-(a|c)+"));
        assert!(!compile("left-(a|d)+"));
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
