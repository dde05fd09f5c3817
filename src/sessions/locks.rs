//! One at a time for each user, wherever a seal is read and another is written from it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::task::coop::unconstrained;

use super::Busy;
use crate::id::UserId;

/// Holders and waiters of one user. More of them are one user's flood.
const MAX_PER_USER: usize = 16;

/// A lock for each user who needs one right now; it is forgotten with the last who holds it or waits for it.
#[derive(Clone, Default)]
pub struct UserLocks(Arc<Mutex<HashMap<UserId, Entry>>>);

#[derive(Default)]
struct Entry {
    lock: Arc<AsyncMutex<()>>,
    people: usize,
}

/// The user's turn, over when dropped. Held across whatever must not be interleaved: reading the seal, deriving, writing.
pub struct UserGuard {
    // In this order: the next one is let in before the entry may be forgotten.
    _turn: OwnedMutexGuard<()>,
    _ticket: Ticket,
}

/// A place among those who wait, given up when dropped.
pub struct Queued {
    at_once: Option<OwnedMutexGuard<()>>,
    turn: Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>,
    ticket: Ticket,
}

impl Queued {
    /// Waits for the turn.
    pub async fn turn(self) -> UserGuard {
        let turn = match self.at_once {
            Some(turn) => turn,
            None => self.turn.await,
        };
        UserGuard { _turn: turn, _ticket: self.ticket }
    }
}

/// Being counted among an entry's people.
struct Ticket {
    locks: UserLocks,
    user: UserId,
}

impl UserLocks {
    /// Waits for the user's turn, in the order of asking.
    ///
    /// # Errors
    /// At once when too many wait for the same user.
    pub async fn lock(&self, user: UserId) -> Result<UserGuard, Busy> {
        let (lock, ticket) = self.join(user)?;
        Ok(UserGuard { _turn: lock.lock_owned().await, _ticket: ticket })
    }

    /// Takes a place among those who wait for the user's turn, at once and wherever it is called; the turn itself is waited for later, on
    /// any runtime.
    ///
    /// # Errors
    /// When too many wait for the same user.
    pub fn queue(&self, user: UserId) -> Result<Queued, Busy> {
        let (lock, ticket) = self.join(user)?;
        // Unconstrained, or a task that has done much already would be told to wait without having joined.
        let mut turn = Box::pin(unconstrained(lock.lock_owned()));
        let at_once = match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        };
        Ok(Queued { at_once, turn, ticket })
    }

    /// Users whose lock is held.
    pub fn held(&self) -> usize {
        self.0.lock().len()
    }

    fn join(&self, user: UserId) -> Result<(Arc<AsyncMutex<()>>, Ticket), Busy> {
        let mut entries = self.0.lock();
        let entry = entries.entry(user).or_default();
        if entry.people >= MAX_PER_USER {
            return Err(Busy);
        }
        entry.people += 1;
        Ok((Arc::clone(&entry.lock), Ticket { locks: self.clone(), user }))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut entries = self.locks.0.lock();
        if let Some(entry) = entries.get_mut(&self.user) {
            entry.people -= 1;
            if entry.people == 0 {
                entries.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn user(number: u8) -> UserId {
        format!("user{number:011}").parse().unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_user_takes_turns_and_nobody_is_remembered_afterwards() {
        let (locks, inside) = (UserLocks::default(), Arc::new(AtomicUsize::new(0)));
        let turns = (0..MAX_PER_USER).map(|_| {
            let (locks, inside) = (locks.clone(), Arc::clone(&inside));
            tokio::spawn(async move {
                let _guard = locks.lock(user(1)).await.unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                inside.fetch_sub(1, Ordering::SeqCst);
            })
        });
        for turn in turns.collect::<Vec<_>>() {
            turn.await.unwrap();
        }
        assert_eq!(locks.held(), 0);
    }

    #[tokio::test]
    async fn another_user_does_not_wait() {
        let locks = UserLocks::default();
        let _one = locks.lock(user(1)).await.unwrap();
        let _other = locks.lock(user(2)).await.unwrap();
        assert_eq!(locks.held(), 2);
    }

    #[tokio::test]
    async fn whoever_queues_has_a_place_before_those_who_ask_later() {
        let locks = UserLocks::default();
        let guard = locks.lock(user(1)).await.unwrap();
        let queued = locks.queue(user(1)).unwrap();
        let mut later = Box::pin(locks.lock(user(1)));
        drop(guard);
        assert!(later.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "the turn is the first one's");
        let first = tokio::spawn(queued.turn()).await.unwrap();
        drop(first);
        later.await.unwrap();
        drop(locks.queue(user(1)).unwrap());
        assert_eq!(locks.held(), 0);
    }

    #[tokio::test]
    async fn a_flood_of_one_user_is_refused_and_whoever_gives_up_is_forgotten() {
        let locks = UserLocks::default();
        let guard = locks.lock(user(1)).await.unwrap();
        let waiting: Vec<_> = (1..MAX_PER_USER).map(|_| locks.join(user(1)).unwrap()).collect();
        assert_eq!(locks.lock(user(1)).await.err(), Some(Busy));
        drop(waiting);
        drop(guard);
        assert_eq!(locks.held(), 0);
    }
}
