//! Jobs whose users were told that nothing was begun, though PocketBase may have made the row: they are not begun later.

use std::collections::HashSet;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;

use super::row::{Failure, JobRow, Status};
use super::run::stamp;
use super::{Jobs, Unwritten};
use crate::id::JobId;

/// Those that are remembered. Each is the outcome of one failed request while PocketBase was away.
const MOST: usize = 10_000;

/// Ids of rows that may be there, and should not.
#[derive(Default)]
pub(super) struct Withdrawn(Mutex<HashSet<JobId>>);

impl Withdrawn {
    pub(super) fn add(&self, id: JobId) {
        let mut all = self.0.lock();
        if all.len() < MOST {
            all.insert(id);
        }
    }

    pub(super) fn has(&self, row: &JobRow) -> bool {
        row.submitted_at.is_none() && self.0.lock().contains(&row.id)
    }
}

impl Jobs {
    /// Ends a job that its user asked for anew, or gave up.
    pub(super) async fn withdraw(&self, row: &JobRow) {
        let now = stamp(Timestamp::now());
        let end = json!({ "status": Status::Failed, "seq": row.seq + 1, "error": Failure::withdrawn(), "finished_at": now });
        let written: Result<(), Unwritten> = self.persist(row.id, &end).await;
        if written.is_ok() {
            self.withdrawn.0.lock().remove(&row.id);
            tracing::info!(job = %row.id, user = %row.user_id, "a job whose user was told that it was not begun is not begun");
        }
    }
}
