//! Lists that many jobs or rules write the same, each kept once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// So many lists are compared with a new one: what is alike stands close together.
const NEWEST_MAX: usize = 16;

/// The newest lists of one kind, for as long as somebody has them.
#[derive(Debug)]
pub(crate) struct Newest<T>(Mutex<VecDeque<Weak<[T]>>>);

impl<T: PartialEq> Newest<T> {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Newest(Mutex::new(VecDeque::new()))
    }

    /// One of the newest lists if it is equal to `list`, or else `list`, which is the newest one then.
    pub(crate) fn share(&self, list: Vec<T>) -> Arc<[T]> {
        if list.is_empty() {
            return Arc::default();
        }
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.retain(|known| known.strong_count() > 0);
        if let Some(known) = newest.iter().filter_map(Weak::upgrade).find(|known| **known == list[..]) {
            return known;
        }
        let list: Arc<[T]> = list.into();
        newest.truncate(NEWEST_MAX - 1);
        newest.push_front(Arc::downgrade(&list));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_are_one_while_somebody_has_it() {
        let newest = Newest::new();
        let first = newest.share(vec!["a", "b"]);
        let others = [newest.share(vec!["a"]), newest.share(vec!["b", "a"]), newest.share(vec![])];
        assert_eq!(others.each_ref().map(|other| other.len()), [1, 2, 0]);
        assert!(Arc::ptr_eq(&first, &newest.share(vec!["a", "b"])));
        let weak = Arc::downgrade(&first);
        drop(first);
        assert_eq!(weak.strong_count(), 0, "nobody has it");
        assert_eq!(*newest.share(vec!["a", "b"]), ["a", "b"]);
    }

    #[test]
    fn so_many_are_looked_at_and_no_more() {
        let newest = Newest::new();
        let held: Vec<Arc<[usize]>> = (0..=NEWEST_MAX).map(|n| newest.share(vec![n])).collect();
        assert!(Arc::ptr_eq(&held[1], &newest.share(vec![1])));
        assert!(!Arc::ptr_eq(&held[0], &newest.share(vec![0])), "the oldest is not looked at any more");
        assert_eq!(newest.0.lock().unwrap().len(), NEWEST_MAX);
    }
}
