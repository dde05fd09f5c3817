//! Seals that are known not to open with their user's password.

use std::collections::HashMap;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::id::UserId;

/// Remembers, until the seal changes, that the last password PocketBase took did not open it.
#[derive(Default)]
pub(super) struct Stale(Mutex<HashMap<UserId, [u8; 32]>>);

/// Users remembered; it is advice, and a restart forgets it too.
const MAX: usize = 10_000;

impl Stale {
    pub(super) fn mark(&self, user: UserId, seal: &str) {
        let mut marked = self.0.lock();
        if marked.len() >= MAX && !marked.contains_key(&user) {
            marked.clear();
        }
        marked.insert(user, Sha256::digest(seal).into());
    }

    pub(super) fn is_stale(&self, user: UserId, seal: &str) -> bool {
        self.0.lock().get(&user).is_some_and(|marked| *marked == <[u8; 32]>::from(Sha256::digest(seal)))
    }

    pub(super) fn clear(&self, user: UserId) {
        self.0.lock().remove(&user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_holds_until_the_seal_changes() {
        let (stale, user) = (Stale::default(), "abcdefghij01234".parse().expect("an id"));
        stale.mark(user, "one");
        assert!(stale.is_stale(user, "one") && !stale.is_stale(user, "another"));
        stale.clear(user);
        assert!(!stale.is_stale(user, "one"));
    }
}
