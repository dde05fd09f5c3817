//! One at a time decides what becomes of a job that has no task.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::id::JobId;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// Whoever begins a job, or takes one up, has its turn: a row that was read in it is as new as the job.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<JobId, Lock>>>);

/// A turn, over when dropped; while it is waited for, a place in the queue.
pub(super) struct Turn {
    turns: Turns,
    id: JobId,
    lock: Lock,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for those who came first.
    pub(super) async fn take(&self, id: JobId) -> Turn {
        let lock = Arc::clone(self.0.lock().entry(id).or_default());
        let mut turn = Turn { turns: self.clone(), id, lock, guard: None };
        turn.guard = Some(Arc::clone(&turn.lock).lock_owned().await);
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = self.turns.0.lock();
        self.guard = None;
        // The table's own, and this one.
        if Arc::strong_count(&self.lock) == 2 {
            all.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn one_jobs_turns_follow_each_other_and_nothing_is_remembered_afterwards() {
        let turns = Turns::default();
        let (one, other) = ("abcdefghij01234".parse().expect("an id"), "abcdefghij01235".parse().expect("an id"));
        let first = turns.take(one).await;
        assert!(timeout(Duration::from_millis(20), turns.take(one)).await.is_err(), "two turns at once");
        let _other = turns.take(other).await;
        drop(first);
        drop(timeout(Duration::from_secs(5), turns.take(one)).await.expect("the next turn"));
        assert_eq!(turns.0.lock().len(), 1, "only the other job's");
    }
}
