//! Where a limiter keeps how much of each key's share is used up: a table of fixed size, without locks and without keys.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use governor::nanos::Nanos;
use governor::state::StateStore;

/// 128 KiB.
const SLOTS: u64 = 16 * 1024;

/// For each slot, until when its share is used up, in nanoseconds since the start.
///
/// A key has two slots, and of the two the emptier one counts: a key is held back for others only if each of its slots is also a slot of
/// somebody who has used up their share. With a hundred of those that is one key in about seven thousand. Nothing is ever forgotten to make
/// room, so that no flood of new keys lets an offender go. Which slots a key has is decided by a secret of the process.
pub(super) struct Sketch(Box<[AtomicU64]>);

/// A key's two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slots(u32, u32);

/// Finds the slots of keys.
#[derive(Default)]
pub(super) struct Places(RandomState);

impl Places {
    pub(super) fn of(&self, key: &impl Hash) -> Slots {
        let hash = self.0.hash_one(key);
        Slots((hash % SLOTS) as u32, ((hash >> 32) % SLOTS) as u32)
    }
}

impl Sketch {
    pub(super) fn new() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl StateStore for Sketch {
    type Key = Slots;

    /// Both slots are raised to what the emptier one became. Between the two writes another thread may let one more of the same key through.
    fn measure_and_replace<T, F, E>(&self, key: &Slots, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (one, other) = (&self.0[key.0 as usize], &self.0[key.1 as usize]);
        loop {
            let (used_of_one, used_of_other) = (one.load(Ordering::Relaxed), other.load(Ordering::Relaxed));
            let (emptier, fuller, used) =
                if used_of_one <= used_of_other { (one, other, used_of_one) } else { (other, one, used_of_other) };
            let (outcome, after) = decide((used > 0).then(|| used.into()))?;
            if emptier.compare_exchange_weak(used, after.into(), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                fuller.fetch_max(after.into(), Ordering::Relaxed);
                return Ok(outcome);
            }
        }
    }
}
