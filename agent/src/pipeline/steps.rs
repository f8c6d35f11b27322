//! How long each step of a pass took, for the log.

use std::fmt;
use std::time::{Duration, Instant};

/// How many of the changed files a line names.
const NAMED_MAX: usize = 5;

/// Runs from step to step.
#[derive(Debug)]
pub(super) struct Steps {
    begun: Instant,
    took: Vec<(&'static str, Duration)>,
}

impl Steps {
    pub(super) fn begin() -> Self {
        Steps { begun: Instant::now(), took: Vec::new() }
    }

    /// Every step that is over, in order, with how long it took.
    pub(super) fn took(&self) -> &[(&'static str, Duration)] {
        &self.took
    }

    /// The step called `name` is over, and the next one begins.
    pub(super) fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        self.took.push((name, now - self.begun));
        self.begun = now;
    }
}

/// `observe 0.4 ms, desire 1.2 ms, …`
impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, took)) in self.took.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {:.1} ms", took.as_secs_f64() * 1000.0)?;
        }
        Ok(())
    }
}

/// What a pass changed, in so many words as fit into a line.
pub(super) fn changes(files: &[String]) -> String {
    match files {
        [] => "no file changed".to_owned(),
        few if few.len() <= NAMED_MAX => few.join(" "),
        many => format!("{} and {} more", many[..NAMED_MAX].join(" "), many.len() - NAMED_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_in_their_order() {
        let took = vec![("observe", Duration::from_micros(1240)), ("desire", Duration::from_millis(31))];
        assert_eq!(Steps { begun: Instant::now(), took }.to_string(), "observe 1.2 ms, desire 31.0 ms");
    }

    #[test]
    fn changes_fit_into_a_line() {
        let files = |count: usize| (0..count).map(|number| format!("f{number}")).collect::<Vec<_>>();
        assert_eq!(changes(&files(0)), "no file changed");
        assert_eq!(changes(&files(2)), "f0 f1");
        assert_eq!(changes(&files(5)), "f0 f1 f2 f3 f4");
        assert_eq!(changes(&files(7)), "f0 f1 f2 f3 f4 and 2 more");
    }
}
