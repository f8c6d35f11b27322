//! Who follows the log, and from which segment on it is still needed.
//!
//! A follower is known by the position it was given last: it will come back with exactly that one. One that stays away for
//! [`FORGOTTEN_AFTER_MS`] no longer holds anything back.

use std::sync::{Mutex, MutexGuard, PoisonError};

use relatum_model::storage::Position;

/// How long a follower may stay away before the log forgets it. Long enough for a receiver that is restarted by hand.
const FORGOTTEN_AFTER_MS: i64 = 3_600_000;
/// How many followers are remembered; those that came longest ago make room.
const FOLLOWERS_MAX: usize = 64;

/// The followers of one log.
#[derive(Debug, Default)]
pub(crate) struct Followers(Mutex<Vec<Follower>>);

#[derive(Debug)]
struct Follower {
    position: Position,
    segment: u64,
    seen_ms: i64,
}

impl Followers {
    /// Remembers that whoever was at `from` is now at `next`, which lies in `segment`.
    pub(crate) fn moved(&self, from: &Position, next: &Position, segment: u64, now_ms: i64) {
        let mut followers = self.followers();
        followers.retain(|follower| follower.position != *from && follower.position != *next);
        if followers.len() == FOLLOWERS_MAX {
            followers.remove(0);
        }
        followers.push(Follower { position: next.clone(), segment, seen_ms: now_ms });
    }

    /// The first segment that somebody still needs; `None` if nobody follows.
    pub(crate) fn oldest_segment(&self, now_ms: i64) -> Option<u64> {
        let mut followers = self.followers();
        followers.retain(|follower| now_ms.saturating_sub(follower.seen_ms) < FORGOTTEN_AFTER_MS);
        followers.iter().map(|follower| follower.segment).min()
    }

    fn followers(&self) -> MutexGuard<'_, Vec<Follower>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_follower_decides_until_it_is_forgotten() {
        let followers = Followers::default();
        let at = |text: &str| Position(text.to_owned());
        assert_eq!(followers.oldest_segment(0), None);
        followers.moved(&at(""), &at("3:1"), 3, 0);
        followers.moved(&at(""), &at("7:1"), 7, 0);
        assert_eq!(followers.oldest_segment(0), Some(3));
        followers.moved(&at("3:1"), &at("8:1"), 8, 10);
        assert_eq!(followers.oldest_segment(10), Some(7));
        assert_eq!(followers.oldest_segment(FORGOTTEN_AFTER_MS), Some(8));
        for n in 0..100 {
            followers.moved(&at(""), &at(&format!("{n}:1")), 100 + n, 20);
        }
        assert_eq!(followers.oldest_segment(20), Some(136), "the number of followers is bounded");
    }
}
