//! How many jobs there may be, and how many of them may be in progress.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::id::UserId;

/// Jobs of one user that wait for a slot.
const MOST_WAITING: usize = 100;

/// Places for jobs, and slots for those in progress.
pub(super) struct Slots {
    all: Arc<Semaphore>,
    per_user: usize,
    users: Mutex<HashMap<UserId, Theirs>>,
}

struct Theirs {
    slots: Arc<Semaphore>,
    places: usize,
}

/// A job's place, free again when dropped.
pub(super) struct Place {
    slots: Arc<Slots>,
    theirs: Arc<Semaphore>,
    user: UserId,
}

/// A job may be in progress for as long as it has this.
pub(super) struct Slot {
    _theirs: OwnedSemaphorePermit,
    _any: OwnedSemaphorePermit,
}

impl Slots {
    pub(super) fn new(per_user: u16, all: u16) -> Arc<Self> {
        Arc::new(Self { all: Arc::new(Semaphore::new(all.into())), per_user: per_user.into(), users: Mutex::default() })
    }

    /// A place for a new job; none when the user has too many already.
    pub(super) fn take(self: &Arc<Self>, user: UserId) -> Option<Place> {
        self.place(user, self.per_user + MOST_WAITING)
    }

    /// A place for a job that was there before: it is never refused.
    pub(super) fn take_back(self: &Arc<Self>, user: UserId) -> Place {
        self.place(user, usize::MAX).expect("nobody has so many jobs")
    }

    fn place(self: &Arc<Self>, user: UserId, most: usize) -> Option<Place> {
        let mut users = self.users.lock();
        let theirs = users.entry(user).or_insert_with(|| Theirs { slots: Arc::new(Semaphore::new(self.per_user)), places: 0 });
        if theirs.places >= most {
            return None;
        }
        theirs.places += 1;
        Some(Place { slots: Arc::clone(self), theirs: Arc::clone(&theirs.slots), user })
    }
}

impl Place {
    /// A slot, if one is free and nobody waits for it.
    pub(super) fn slot_now(&self) -> Option<Slot> {
        let theirs = Arc::clone(&self.theirs).try_acquire_owned().ok()?;
        let any = Arc::clone(&self.slots.all).try_acquire_owned().ok()?;
        Some(Slot { _theirs: theirs, _any: any })
    }

    /// Waits for a slot: the user's own first, so that nobody's queue stands in another's way.
    pub(super) async fn slot(&self) -> Slot {
        const OPEN: &str = "the semaphores are never closed";
        let theirs = Arc::clone(&self.theirs).acquire_owned().await.expect(OPEN);
        let any = Arc::clone(&self.slots.all).acquire_owned().await.expect(OPEN);
        Slot { _theirs: theirs, _any: any }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self.slots.users.lock();
        if let Some(theirs) = users.get_mut(&self.user) {
            theirs.places -= 1;
            if theirs.places == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u8) -> UserId {
        format!("user{number:011}").parse().expect("an id")
    }

    #[tokio::test]
    async fn one_users_jobs_wait_for_each_other_and_not_for_a_strangers() {
        let slots = Slots::new(1, 2);
        let places: Vec<Place> = [1, 1, 2].into_iter().map(|number| slots.take(user(number)).expect("a place")).collect();
        let first = places[0].slot().await;
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), places[1].slot()).await.is_err(), "a second slot of one user");
        let _stranger = places[2].slot().await;
        drop(first);
        let _second = places[1].slot().await;
    }

    #[test]
    fn a_user_has_only_so_many_jobs_and_is_forgotten_with_the_last() {
        let slots = Slots::new(1, 1);
        let places: Vec<Place> = (0..=MOST_WAITING).map(|_| slots.take(user(1)).expect("a place")).collect();
        assert!(slots.take(user(1)).is_none() && slots.take(user(2)).is_some());
        let _back = slots.take_back(user(1));
        drop(places);
        drop(_back);
        assert!(slots.users.lock().is_empty());
    }
}
