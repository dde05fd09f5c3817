//! One at a time for each job, wherever it is found out whether it needs a task, and given one.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::id::JobId;

/// A lock for each job that is being looked at; forgotten with the last who holds it or waits for it.
#[derive(Default)]
pub(super) struct Claims(Mutex<HashMap<JobId, Entry>>);

#[derive(Default)]
struct Entry {
    lock: Arc<AsyncMutex<()>>,
    people: usize,
}

/// The right to look at a job and to give it a task, over when dropped.
pub(super) struct Claim {
    // In this order: the next one is let in before the entry may be forgotten.
    _turn: OwnedMutexGuard<()>,
    _ticket: Ticket,
}

/// Being counted among those who hold a job's lock or wait for it.
struct Ticket {
    claims: Arc<Claims>,
    id: JobId,
}

impl Claims {
    /// Waits for the job's turn.
    pub(super) async fn claim(self: &Arc<Self>, id: JobId) -> Claim {
        let lock = {
            let mut all = self.0.lock();
            let entry = all.entry(id).or_default();
            entry.people += 1;
            Arc::clone(&entry.lock)
        };
        let ticket = Ticket { claims: Arc::clone(self), id };
        Claim { _turn: lock.lock_owned().await, _ticket: ticket }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut all = self.claims.0.lock();
        if let Some(entry) = all.get_mut(&self.id) {
            entry.people -= 1;
            if entry.people == 0 {
                all.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_job_is_one_holders_at_a_time_and_forgotten_with_the_last() {
        let claims = Arc::new(Claims::default());
        let (one, other) = ("job000000000001".parse().expect("an id"), "job000000000002".parse().expect("an id"));
        let held = claims.claim(one).await;
        assert!(timeout(Duration::from_millis(20), claims.claim(one)).await.is_err(), "a second holder");
        drop(claims.claim(other).await);
        drop(held);
        drop(claims.claim(one).await);
        assert!(claims.0.lock().is_empty());
    }
}
