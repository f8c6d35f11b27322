//! Users and their passwords: bcrypt, asked as rarely as possible.
//!
//! One check takes a tenth of a second by design. So what was found is remembered, as a digest and never as a password: for every
//! user the one that was right, and the last few that were wrong. Checks run one at a time: a flood of guesses takes one core at
//! most, and whoever was let in before does not wait for it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use relatum_config::Secret;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// Of so many wrong passwords it is remembered that they are wrong.
const WRONG_MAX: usize = 100;

/// Checked for a user who does not exist, so that the time of an answer does not tell who does. The digest of no known password.
const NOBODY: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

/// What is known of passwords.
#[derive(Debug)]
pub(crate) struct Users {
    known: Mutex<Known>,
    turn: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Known {
    right: HashMap<String, [u8; 32]>,
    wrong: VecDeque<[u8; 32]>,
}

impl Default for Users {
    fn default() -> Self {
        Users { known: Mutex::default(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Users {
    /// Whether `password` is that of `user` according to `users`.
    pub(crate) async fn is_right(&self, users: &BTreeMap<String, Secret>, user: &str, password: &str) -> bool {
        let hash = users.get(user).map(|hash| hash.expose());
        let digest = digest(user, hash.unwrap_or(NOBODY), password);
        if let Some(verdict) = self.verdict(user, &digest) {
            return verdict;
        }
        let turn = Arc::clone(&self.turn).acquire_owned().await.expect("the semaphore is never closed");
        // Many may have waited with the same question.
        if let Some(verdict) = self.verdict(user, &digest) {
            return verdict;
        }
        let (text, password) = (hash.unwrap_or(NOBODY).to_owned(), password.to_owned());
        let checked = tokio::task::spawn_blocking(move || {
            // Held to the end also when nobody waits for the answer any more.
            let _turn = turn;
            bcrypt::verify(&password, &text).unwrap_or(false)
        });
        let is_right = checked.await.unwrap_or(false) && hash.is_some();
        let mut known = self.known.lock().expect("nothing panics while it remembers");
        if is_right {
            known.right.insert(user.to_owned(), digest);
        } else {
            known.wrong.truncate(WRONG_MAX - 1);
            known.wrong.push_front(digest);
        }
        is_right
    }

    /// Forgets users who are gone.
    pub(crate) fn keep_only(&self, users: &BTreeMap<String, Secret>) {
        let mut known = self.known.lock().expect("nothing panics while it remembers");
        known.right.retain(|user, _| users.contains_key(user));
    }

    fn verdict(&self, user: &str, digest: &[u8; 32]) -> Option<bool> {
        let known = self.known.lock().expect("nothing panics while it remembers");
        if known.right.get(user) == Some(digest) {
            return Some(true);
        }
        known.wrong.contains(digest).then_some(false)
    }
}

/// Names the question and the hash it was asked with, so that a new hash makes it a new question. Digests may be compared in any
/// way: nobody can choose one to come closer to another.
fn digest(user: &str, hash: &str, password: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in [user, hash, password] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}
