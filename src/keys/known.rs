//! Whether users have stored a key, remembered for a moment: front ends ask before each page.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::id::UserId;

/// What is stored for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Whether there is a key.
    pub stored: bool,
    /// Whether it is known that the user's password does not open it.
    pub unusable: bool,
}

/// Answers of a moment ago. Whatever changes a user's record drops theirs.
#[derive(Default)]
pub(super) struct Known(Mutex<Table>);

#[derive(Default)]
struct Table {
    by_user: HashMap<UserId, (Instant, KeyStatus)>,
    /// Rises with whatever is dropped: an answer that was asked for before that is too old to keep.
    era: u64,
}

/// When PocketBase was asked.
#[derive(Clone, Copy)]
pub(super) struct Era(u64);

/// Not every change is told to us.
const FRESH: Duration = Duration::from_secs(30);
const MAX: usize = 20_000;

impl Known {
    pub(super) fn find(&self, user: UserId) -> Option<KeyStatus> {
        let table = self.0.lock();
        table.by_user.get(&user).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, status)| *status)
    }

    pub(super) fn era(&self) -> Era {
        Era(self.0.lock().era)
    }

    pub(super) fn keep(&self, user: UserId, status: KeyStatus, asked: Era) {
        let mut table = self.0.lock();
        if table.era != asked.0 {
            return;
        }
        if table.by_user.len() >= MAX {
            table.by_user.clear();
        }
        table.by_user.insert(user, (Instant::now(), status));
    }

    pub(super) fn forget(&self, user: UserId) {
        let mut table = self.0.lock();
        table.era += 1;
        table.by_user.remove(&user);
    }

    pub(super) fn forget_all(&self) {
        let mut table = self.0.lock();
        table.era += 1;
        table.by_user.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_overtaken_is_not_kept() {
        let (known, user) = (Known::default(), "abcdefghij01234".parse().expect("an id"));
        let status = KeyStatus { stored: true, unusable: false };
        let asked = known.era();
        known.forget(user);
        known.keep(user, status, asked);
        assert_eq!(known.find(user), None);
        known.keep(user, status, known.era());
        assert_eq!(known.find(user), Some(status));
        known.forget_all();
        assert_eq!(known.find(user), None);
    }
}
