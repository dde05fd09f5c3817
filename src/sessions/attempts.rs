//! How often somebody may be wrong: counted per user and per address, before anything is derived.
//!
//! A right password costs nothing, so the limiters that only count calls do not fit: an attempt holds a place while nobody knows yet
//! whether it is right, and gives it back when it was.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::id::UserId;

/// In which wrong attempts are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// How many of them are looked at; the next is refused unread.
const WRONG_IN_WINDOW: usize = 4;
/// When every place is held by attempts that may yet turn out right.
const IN_A_MOMENT: Duration = Duration::from_secs(1);
/// Users, and addresses, that are remembered at once.
const MAX_REMEMBERED: usize = 10_000;

/// Too many wrong attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many wrong attempts")]
pub struct Throttled {
    /// When the next one will be looked at.
    pub retry_after: Duration,
}

/// Who was wrong lately.
#[derive(Default)]
pub struct Attempts(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    users: Table<UserId>,
    addresses: Table<IpAddr>,
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
}

/// One attempt that was let through. It counts as wrong unless [`Attempt::forgive`] says otherwise: whoever hangs up in the middle has
/// cost as much as whoever was wrong.
#[must_use = "an attempt that is dropped was wrong"]
pub struct Attempt<'a> {
    attempts: &'a Attempts,
    user: UserId,
    address: IpAddr,
    began: Instant,
    forgiven: bool,
}

impl Attempts {
    /// Lets an attempt through.
    ///
    /// # Errors
    /// When the user or the address was wrong four times in the last minute, or is about to be.
    pub fn begin(&self, user: UserId, address: IpAddr, now: Instant) -> Result<Attempt<'_>, Throttled> {
        let address = neighbourhood(address);
        let mut tables = self.0.lock();
        let wait = tables.users.wait(&user, now).max(tables.addresses.wait(&address, now));
        if let Some(retry_after) = wait {
            return Err(Throttled { retry_after });
        }
        tables.users.begin(user, now);
        tables.addresses.begin(address, now);
        Ok(Attempt { attempts: self, user, address, began: now, forgiven: false })
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
        let mut tables = self.attempts.0.lock();
        tables.users.end(&self.user, wrong);
        tables.addresses.end(&self.address, wrong);
    }
}

impl<K: Copy + Eq + Hash> Table<K> {
    /// How long whoever comes now has to wait; `None` if they need not.
    fn wait(&mut self, key: &K, now: Instant) -> Option<Duration> {
        let count = self.0.get_mut(key)?;
        count.forget(now);
        if count.wrong.len() + count.open < WRONG_IN_WINDOW {
            return None;
        }
        let oldest = count.wrong.first().filter(|_| count.open == 0);
        Some(oldest.map_or(IN_A_MOMENT, |at| WINDOW.saturating_sub(now.saturating_duration_since(*at))))
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
        if count.wrong.is_empty() && count.open == 0 {
            self.0.remove(key);
        }
    }

    /// Forgets what is over, and if nothing is, whoever was wrong the longest ago.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, count| {
            count.forget(now);
            count.open > 0 || !count.wrong.is_empty()
        });
        if self.0.len() >= MAX_REMEMBERED {
            let settled = self.0.iter().filter(|(_, count)| count.open == 0);
            let oldest = settled.min_by_key(|(_, count)| count.wrong.last().copied()).map(|(key, _)| *key);
            oldest.map(|key| self.0.remove(&key));
        }
    }
}

impl Count {
    fn forget(&mut self, now: Instant) {
        self.wrong.retain(|at| now.saturating_duration_since(*at) < WINDOW);
    }
}

/// What counts as one address: an IPv4 address, however it is written, or an IPv6 /64, since whoever holds one address of it holds all.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: usize) -> UserId {
        format!("user{number:011}").parse().unwrap()
    }

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    fn wrong(attempts: &Attempts, user: UserId, address: IpAddr, now: Instant) -> Result<(), Throttled> {
        attempts.begin(user, address, now).map(drop)
    }

    #[test]
    fn the_fifth_wrong_attempt_in_a_minute_is_refused_for_a_user_and_says_when_to_come_again() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for second in 0..4 {
            assert!(wrong(&attempts, user(1), address(u32::try_from(second).unwrap()), start + Duration::from_secs(second)).is_ok());
        }
        let now = start + Duration::from_secs(10);
        assert_eq!(wrong(&attempts, user(1), address(99), now), Err(Throttled { retry_after: Duration::from_secs(50) }));
        assert!(wrong(&attempts, user(2), address(99), now).is_ok(), "another user from the same address");
        assert!(wrong(&attempts, user(1), address(99), start + Duration::from_secs(59)).is_err());
        assert!(wrong(&attempts, user(1), address(99), start + Duration::from_secs(60)).is_ok(), "the first is over");
        assert!(wrong(&attempts, user(1), address(99), start + Duration::from_secs(60)).is_err(), "the second is not");
    }

    #[test]
    fn the_fifth_wrong_attempt_in_a_minute_is_refused_for_an_address() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let network = |end: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, end]);
        for number in 0..4 {
            assert!(wrong(&attempts, user(number.into()), network(number), now).is_ok());
        }
        assert!(wrong(&attempts, user(5), network(77), now).is_err(), "the same /64");
        assert!(wrong(&attempts, user(5), IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1]), now).is_ok());
        for number in 10..14 {
            assert!(wrong(&attempts, user(number), IpAddr::from([192, 0, 2, 1]), now).is_ok());
        }
        assert!(wrong(&attempts, user(15), "::ffff:192.0.2.1".parse().unwrap(), now).is_err(), "the same address in other clothes");
    }

    #[test]
    fn a_refused_attempt_does_not_make_the_wait_longer() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for _ in 0..4 {
            assert!(wrong(&attempts, user(1), address(1), start).is_ok());
        }
        for second in 0..60 {
            assert!(wrong(&attempts, user(1), address(1), start + Duration::from_secs(second)).is_err());
        }
        assert!(wrong(&attempts, user(1), address(1), start + WINDOW).is_ok());
    }

    #[test]
    fn right_attempts_use_nothing_up() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..100 {
            attempts.begin(user(1), address(1), now).unwrap().forgive();
        }
        assert!(attempts.0.lock().users.0.is_empty() && attempts.0.lock().addresses.0.is_empty());
    }

    #[test]
    fn attempts_at_the_same_time_cannot_be_wrong_more_often() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let mut open: Vec<_> = (0..4).map(|_| attempts.begin(user(1), address(1), now).unwrap()).collect();
        assert_eq!(wrong(&attempts, user(1), address(2), now), Err(Throttled { retry_after: IN_A_MOMENT }));
        open.remove(0).forgive();
        assert!(wrong(&attempts, user(1), address(2), now).is_ok(), "one of them was right");
        drop(open);
        assert_eq!(wrong(&attempts, user(1), address(3), now), Err(Throttled { retry_after: WINDOW }));
    }

    #[test]
    fn the_tables_do_not_grow_beyond_their_bound() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for number in 0..MAX_REMEMBERED + 500 {
            let now = start + Duration::from_millis(u64::try_from(number).unwrap());
            assert!(wrong(&attempts, user(number), address(u32::try_from(number).unwrap()), now).is_ok());
        }
        let tables = attempts.0.lock();
        assert!(tables.users.0.len() <= MAX_REMEMBERED && tables.addresses.0.len() <= MAX_REMEMBERED);
        assert!(!tables.users.0.contains_key(&user(0)) && tables.users.0.contains_key(&user(MAX_REMEMBERED + 499)));
    }
}
