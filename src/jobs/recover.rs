//! Taking up what an earlier task left: at the start, when PocketBase returns, and when a user's key is there again.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::json;

use super::row::{Failure, JobRow, Status};
use super::run::stamp;
use super::submit::is_too_old;
use super::{Jobs, Unwritten};
use crate::id::{JobId, UserId};
use crate::pocketbase::filter::{Comparison, Filter, Query};

/// Rows in one look. More unfinished jobs than this are taken up in the next.
const PAGE: u16 = 500;

impl Jobs {
    /// Takes up all unfinished jobs that no task has: those whose user's key is there go on, the others say that they wait.
    pub(super) async fn recover(self: &Arc<Self>) {
        let mut after = None;
        loop {
            let mut filter = Filter::all().and_any("status", &Status::UNFINISHED);
            if let Some(id) = after {
                filter = filter.and("id", Comparison::Above, id);
            }
            let rows: Vec<JobRow> = match self.admin.list(&Query::new(filter, "id", PAGE)).await {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "unfinished jobs could not be looked for");
                    return;
                }
            };
            after = rows.last().map(|row| row.id);
            let full = rows.len() == usize::from(PAGE);
            for row in rows {
                self.take_up(row).await;
            }
            if !full {
                break;
            }
        }
        self.late.find(&self.admin).await;
    }

    /// A user's key is there (again): their jobs go on.
    pub async fn resume(self: &Arc<Self>, user: UserId) {
        let filter = Filter::all().and("user_id", Comparison::Is, user).and_any("status", &Status::UNFINISHED);
        match self.admin.list::<JobRow>(&Query::new(filter, "created,id", PAGE)).await {
            Ok(rows) => {
                for row in rows {
                    self.take_up(row).await;
                }
            }
            Err(error) => {
                tracing::warn!(%user, error = &error as &dyn std::error::Error, "a user's unfinished jobs could not be looked for")
            }
        }
    }

    /// The same, without keeping anybody waiting.
    pub fn resume_later(self: &Arc<Self>, user: UserId) {
        let jobs = Arc::clone(self);
        self.tasks.spawn_on(async move { jobs.resume(user).await }, &self.runtime);
    }

    /// Lists grow old while they are gone through, and a list's `created` may be another task's `completed` by now.
    async fn take_up(self: &Arc<Self>, row: JobRow) {
        let waits = matches!(row.status, Status::AwaitingUnlock | Status::Unknown) && row.error.is_some();
        let keyless = self.keys.sessions.key_of(row.user_id, Instant::now()).is_none();
        if keyless && waits && !is_too_old(&row, Timestamp::now()) {
            return;
        }
        let _claim = self.claims.claim(row.id).await;
        self.take_up_claimed(row.id).await;
    }

    /// Gives an unfinished job its task, unless it has one. Whoever calls holds the job's claim.
    pub(super) async fn take_up_claimed(self: &Arc<Self>, id: JobId) {
        if self.running.lock().contains_key(&id) {
            return;
        }
        let mut row = match self.admin.get::<JobRow>(id).await {
            Ok(Some(row)) if !row.status.is_over() => row,
            Ok(Some(_) | None) => return,
            Err(error) => {
                return tracing::warn!(job = %id, error = &error as &dyn std::error::Error, "an unfinished job could not be looked at");
            }
        };
        if self.withdrawn.has(&row) {
            return self.withdraw(&row).await;
        }
        let key = self.keys.sessions.key_of(row.user_id, Instant::now());
        let untouched = row.submitted_at.is_none();
        match key {
            // What was never submitted can be submitted with any key of its user.
            Some(key) if untouched || row.is_of(key.fingerprint()) => {
                tracing::info!(job = %row.id, user = %row.user_id, status = row.status.word(), "an unfinished job is taken up");
                let place = self.slots.take_back(row.user_id);
                row.error = row.error.filter(|_| row.status == Status::Unknown);
                self.start(row, key, place, true);
            }
            Some(_) => self.leave(row, Failure::other_key()).await,
            None => self.leave(row, Failure::waits()).await,
        }
    }

    /// Says in the row that nothing happens before its user comes with the key.
    async fn leave(&self, mut row: JobRow, reason: Failure) {
        let lost = row.request_id.is_empty() && row.submitted_at.is_some();
        let status = if lost { Status::Unknown } else { Status::AwaitingUnlock };
        if lost && is_too_old(&row, Timestamp::now()) {
            row.seq += 1;
            let end = json!({
                "status": Status::Failed, "seq": row.seq, "error": Failure::never_known(), "finished_at": stamp(Timestamp::now()),
            });
            let _written: Result<(), Unwritten> = self.persist(row.id, &end).await;
            return;
        }
        let reason = if lost { Failure::not_known() } else { reason };
        let is_said = row.error.is_some_and(|said| said == reason || said == Failure::key_rejected());
        if row.status == status && is_said {
            return;
        }
        let patch = json!({ "status": status, "seq": row.seq + 1, "queue_position": 0, "error": reason });
        if self.persist(row.id, &patch).await.is_ok() {
            tracing::info!(job = %row.id, user = %row.user_id, status = status.word(), "a job waits for its user's key");
        }
    }
}
