//! Taking up what an earlier task left: at the start, when PocketBase returns, and when a user's key is there again.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::row::{Failure, JobRow, Status};
use super::run::{Origin, stamp};
use super::submit::is_too_old;
use super::unsent::Fate;
use super::{Jobs, Unwritten};
use crate::id::{JobId, UserId};
use crate::pocketbase::filter::{Comparison, Filter, Query};
use crate::vault::Opened;

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
                self.take_up(row.id, &CancellationToken::new()).await;
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
                    self.take_up(row.id, &CancellationToken::new()).await;
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
        self.tasks.spawn_on(crate::trace::carried(async move { jobs.resume(user).await }), &self.runtime);
    }

    /// Gives a job its task if it is unfinished and has none.
    ///
    /// Its row is read here, in its turn: one that was listed before may have been submitted, and ended, since.
    pub(super) async fn take_up(self: &Arc<Self>, id: JobId, cancel: &CancellationToken) {
        let _turn = self.turns.take(id).await;
        if self.running.lock().contains_key(&id) {
            return;
        }
        let mut row = match self.admin.get::<JobRow>(id).await {
            Ok(Some(row)) if !row.status.is_over() => row,
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(job = %id, error = &error as &dyn std::error::Error, "an unfinished job could not be looked at");
                return;
            }
        };
        if self.unsent.fate(id) == Some(Fate::Withdrawn) {
            return self.withdraw(&row).await;
        }
        match self.keys.sessions.key_of(row.user_id, Instant::now()) {
            Some(key) => {
                if let Some(row) = self.go_on(row, key, cancel) {
                    self.leave(row, Failure::other_key()).await;
                }
            }
            None => {
                if self.unsent.fate(id).is_some() {
                    row.was_not_sent();
                }
                self.leave(row, Failure::waits()).await;
            }
        }
    }

    /// Gives an unfinished job its task, unless it has one; gives it back if this is not its key. To be called in the job's turn.
    pub(super) fn go_on(self: &Arc<Self>, mut row: JobRow, key: Arc<Opened>, cancel: &CancellationToken) -> Option<JobRow> {
        if row.status.is_over() || self.running.lock().contains_key(&row.id) {
            return None;
        }
        if self.unsent.take(row.id).is_some() {
            row.was_not_sent();
        }
        // What was never submitted can be submitted with any key of its user.
        if row.submitted_at.is_some() && !row.is_of(key.fingerprint()) {
            return Some(row);
        }
        tracing::info!(job = %row.id, user = %row.user_id, status = row.status.word(), "an unfinished job is taken up");
        let place = self.slots.take_back(row.user_id);
        self.start(row, key, place, Origin::TakenUp, cancel.clone());
        None
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
        let submitted_at = row.submitted_at.map(stamp).unwrap_or_default();
        let patch = json!({ "status": status, "seq": row.seq + 1, "queue_position": 0, "error": reason, "submitted_at": submitted_at });
        if self.persist(row.id, &patch).await.is_ok() {
            tracing::info!(job = %row.id, user = %row.user_id, status = status.word(), "a job waits for its user's key");
        }
    }
}
