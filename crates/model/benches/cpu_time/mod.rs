//! Time as the processor spent it: what other programs do beside a bench must not change its numbers.

use std::time::Duration;

/// How long this thread has run on a processor, to the few milliseconds between two looks of the kernel; so a span is measured over
/// many rounds.
pub(crate) fn now() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells what it schedules");
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the first number is the time on a processor"))
}

/// The mean of `n_rounds` of `round`.
pub(crate) fn mean(n_rounds: u32, mut round: impl FnMut()) -> Duration {
    let start = now();
    for _ in 0..n_rounds {
        round();
    }
    (now() - start) / n_rounds
}
