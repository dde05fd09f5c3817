//! Jobs whose rows PocketBase may have made though it did not say so: nothing of them was sent to FAL, whatever the rows say.

use std::collections::HashMap;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;

use super::row::{Failure, JobRow, Status};
use super::run::stamp;
use super::{Jobs, Unwritten};
use crate::id::JobId;

/// Those that are remembered. Each is the outcome of one failed request while PocketBase was away.
const MOST: usize = 10_000;

/// What is to become of a job that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its user was told that it was not begun: it is not begun later.
    Withdrawn,
    /// It has an idempotency key: the repeated request goes on with it.
    Expected,
}

/// Ids of rows that may be there.
#[derive(Default)]
pub(super) struct Unsent(Mutex<HashMap<JobId, Fate>>);

impl Unsent {
    pub(super) fn add(&self, id: JobId, fate: Fate) {
        let mut all = self.0.lock();
        if all.len() < MOST {
            all.insert(id, fate);
        }
    }

    pub(super) fn fate(&self, id: JobId) -> Option<Fate> {
        self.0.lock().get(&id).copied()
    }

    /// The job has a task from now on: its row says what was sent.
    pub(super) fn take(&self, id: JobId) -> Option<Fate> {
        self.0.lock().remove(&id)
    }
}

impl Jobs {
    /// Ends a job that its user asked for anew, or gave up.
    pub(super) async fn withdraw(&self, row: &JobRow) {
        let now = stamp(Timestamp::now());
        let end = json!({ "status": Status::Failed, "seq": row.seq + 1, "error": Failure::withdrawn(), "finished_at": now });
        let written: Result<(), Unwritten> = self.persist(row.id, &end).await;
        if written.is_ok() {
            self.unsent.take(row.id);
            tracing::info!(job = %row.id, user = %row.user_id, "a job whose user was told that it was not begun is not begun");
        }
    }
}
