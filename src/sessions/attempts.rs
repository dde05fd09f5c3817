//! How often somebody may be wrong: counted per user and per address, before anything is derived.
//!
//! A right password costs nothing, so the limiters that only count calls do not fit: an attempt holds a place while nobody knows yet
//! whether it is right, and gives it back when it was. Whoever finds all places held waits for one.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::address::Network;
use crate::id::UserId;
use crate::rates::{Exceeded, Limit};

/// In which wrong attempts are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// How many of them are looked at; the next is refused unread.
const WRONG_IN_WINDOW: usize = 4;
/// When every place is held by attempts that may yet turn out right.
const IN_A_MOMENT: Duration = Duration::from_secs(1);
/// How many of one address wait for such a place, and for how long at most.
const MOST_WAITING: usize = 28;
const PATIENCE: Duration = Duration::from_secs(10);
/// Users, and addresses, that are remembered at once.
const MAX_REMEMBERED: usize = 10_000;

/// Who was wrong lately.
#[derive(Default)]
pub struct Attempts {
    tables: Mutex<Tables>,
    /// Told whenever the outcome of an attempt is known.
    settled: Notify,
}

#[derive(Default)]
struct Tables {
    users: Table<UserId>,
    addresses: Table<Network>,
}

/// Counts by whatever is counted.
struct Table<K>(HashMap<K, Count>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

#[derive(Default)]
struct Count {
    /// When the wrong ones began, the oldest first.
    wrong: Vec<Instant>,
    /// Attempts that nobody knows the outcome of.
    open: usize,
    /// Those who wait until it is known.
    waiting: usize,
}

/// One attempt that was let through. It counts as wrong unless [`Attempt::forgive`] says otherwise: whoever hangs up in the middle has
/// cost as much as whoever was wrong.
#[must_use = "an attempt that is dropped was wrong"]
pub struct Attempt<'a> {
    attempts: &'a Attempts,
    user: UserId,
    address: Network,
    began: Instant,
    forgiven: bool,
}

/// A place among those of an address who wait.
struct Waiting<'a> {
    attempts: &'a Attempts,
    address: Network,
}

impl Attempts {
    /// Lets an attempt through, after those before it where they could make it one too many. `now` is the time of asking.
    ///
    /// # Errors
    /// When the user or the address was wrong four times in the last minute, or too many wait.
    pub async fn in_turn(&self, user: UserId, address: IpAddr, now: Instant) -> Result<Attempt<'_>, Exceeded> {
        self.within(PATIENCE, user, address, now).await
    }

    async fn within(&self, patience: Duration, user: UserId, address: IpAddr, now: Instant) -> Result<Attempt<'_>, Exceeded> {
        let (asked, mut at, mut place) = (tokio::time::Instant::now(), now, None);
        loop {
            let mut settled = pin!(self.settled.notified());
            settled.as_mut().enable();
            match self.begin(user, address, at) {
                Err(exceeded) if exceeded.limit == Limit::UnlocksAtOnce => {
                    if place.is_none() {
                        place = Some(self.wait(address.into()).ok_or(exceeded)?);
                    }
                    timeout_at(asked + patience, settled).await.map_err(|_| exceeded)?;
                    at = now + asked.elapsed();
                }
                decided => return decided,
            }
        }
    }

    /// Lets an attempt through.
    ///
    /// # Errors
    /// When the user or the address was wrong four times in the last minute, or is about to be.
    pub fn begin(&self, user: UserId, address: IpAddr, now: Instant) -> Result<Attempt<'_>, Exceeded> {
        let address = Network::from(address);
        let mut tables = self.tables.lock();
        if let Some(exceeded) = tables.users.refusal(&user, now).or(tables.addresses.refusal(&address, now)) {
            return Err(exceeded);
        }
        tables.users.begin(user, now);
        tables.addresses.begin(address, now);
        Ok(Attempt { attempts: self, user, address, began: now, forgiven: false })
    }

    /// None when too many of the address wait already.
    fn wait(&self, address: Network) -> Option<Waiting<'_>> {
        let mut tables = self.tables.lock();
        let count = tables.addresses.0.entry(address).or_default();
        if count.waiting >= MOST_WAITING {
            return None;
        }
        count.waiting += 1;
        Some(Waiting { attempts: self, address })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.attempts.tables.lock().addresses.leave(&self.address);
    }
}

impl Attempt<'_> {
    /// It was right, or nobody could look at it.
    pub fn forgive(mut self) {
        self.forgiven = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let wrong = (!self.forgiven).then_some(self.began);
        {
            let mut tables = self.attempts.tables.lock();
            tables.users.end(&self.user, wrong);
            tables.addresses.end(&self.address, wrong);
        }
        self.attempts.settled.notify_waiters();
    }
}

impl<K: Copy + Eq + Hash> Table<K> {
    /// Why whoever comes now is not let through, and until when; `None` if they are.
    fn refusal(&mut self, key: &K, now: Instant) -> Option<Exceeded> {
        let count = self.0.get_mut(key)?;
        count.forget(now);
        if count.wrong.len() + count.open < WRONG_IN_WINDOW {
            return None;
        }
        let oldest = count.wrong.first().filter(|_| count.wrong.len() >= WRONG_IN_WINDOW);
        Some(oldest.map_or(Exceeded { limit: Limit::UnlocksAtOnce, retry_after: IN_A_MOMENT }, |at| {
            let retry_after = WINDOW.saturating_sub(now.saturating_duration_since(*at));
            Exceeded { limit: Limit::WrongPasswords, retry_after }
        }))
    }

    fn begin(&mut self, key: K, now: Instant) {
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(&key) {
            self.make_room(now);
        }
        self.0.entry(key).or_default().open += 1;
    }

    fn end(&mut self, key: &K, wrong: Option<Instant>) {
        let Some(count) = self.0.get_mut(key) else { return };
        count.open = count.open.saturating_sub(1);
        if let Some(at) = wrong {
            let place = count.wrong.partition_point(|other| *other <= at);
            count.wrong.insert(place, at);
        }
        if count.is_over() {
            self.0.remove(key);
        }
    }

    fn leave(&mut self, key: &K) {
        let Some(count) = self.0.get_mut(key) else { return };
        count.waiting = count.waiting.saturating_sub(1);
        if count.is_over() {
            self.0.remove(key);
        }
    }

    /// Forgets what is over, and if nothing is, whoever was wrong the longest ago.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, count| {
            count.forget(now);
            !count.is_over()
        });
        if self.0.len() >= MAX_REMEMBERED {
            let settled = self.0.iter().filter(|(_, count)| count.open + count.waiting == 0);
            let oldest = settled.min_by_key(|(_, count)| count.wrong.last().copied()).map(|(key, _)| *key);
            oldest.map(|key| self.0.remove(&key));
        }
    }
}

impl Count {
    fn forget(&mut self, now: Instant) {
        self.wrong.retain(|at| now.saturating_duration_since(*at) < WINDOW);
    }

    fn is_over(&self) -> bool {
        self.wrong.is_empty() && self.open + self.waiting == 0
    }
}

#[cfg(test)]
#[path = "attempts_tests.rs"]
mod tests;
