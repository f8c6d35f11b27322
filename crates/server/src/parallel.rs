//! Plain functions over many values, on all cores.

use std::num::NonZeroUsize;
use std::panic;
use std::thread;

/// Fewer values than this are not worth a thread.
const MIN_PER_THREAD: usize = 16;

/// `work` of each of `items`, in their order.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let n_cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let n_threads = n_cores.min(items.len() / MIN_PER_THREAD);
    if n_threads < 2 {
        return items.iter().map(work).collect();
    }
    let do_part = &|part: &[T]| part.iter().map(&work).collect::<Vec<R>>();
    thread::scope(|scope| {
        let (own, others) = items.split_at(items.len() / n_threads);
        let others: Vec<_> = others
            .chunks(others.len().div_ceil(n_threads - 1))
            .map(|part| scope.spawn(move || do_part(part)))
            .collect();
        let mut done = do_part(own);
        for part in others {
            done.extend(part.join().unwrap_or_else(|cause| panic::resume_unwind(cause)));
        }
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order() {
        for count in [0, 1, 31, 32, 33, 1000] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(map(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }
}
