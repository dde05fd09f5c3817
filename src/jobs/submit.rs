//! The one POST, and what is done when nobody knows whether it arrived.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use super::Unwritten;
use super::row::{Failure, JobRow, Status};
use super::run::{Left, Run, stamp};
use crate::fal::{self, Charge, EndpointId, Handle, Key, Links, Reached, RequestId, Window};
use crate::id::ForeignId;
use crate::metrics;
use crate::pocketbase::filter::{Comparison, Filter, Query};

/// When FAL's history is looked at after a submit whose answer was lost; after that, at the user's next session.
const LOOKS: [Duration; 5] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(300)];
/// Clocks differ, and a request may wait on its way.
const BEFORE: SignedDuration = SignedDuration::from_secs(120);
const AFTER: SignedDuration = SignedDuration::from_secs(600);
/// After which nobody looks any more.
pub(super) const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// PocketBase is waited for this long before a job that FAL has is followed without its id in the row.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);
/// Lost jobs of one key that are told apart.
const MOST_LOST: u16 = 500;

/// Where a lost job stands among those that asked for the same.
struct Place {
    before: usize,
    of: usize,
}

impl Run {
    /// Writes that the job is on its way to FAL, and sends it: once, and never again.
    pub(super) async fn submit(&mut self, endpoint: &EndpointId) -> Result<Handle, Left> {
        let now = Timestamp::now();
        self.row.status = Status::Submitting;
        self.row.submitted_at = Some(now);
        self.row.key_fingerprint = self.key.fingerprint().to_string();
        let patch = json!({ "submitted_at": stamp(now), "key_fingerprint": self.row.key_fingerprint });
        if self.write(patch).await.is_err() || self.orphan {
            return Err(Left::Parked);
        }
        self.send(endpoint).await
    }

    /// The one POST of a job whose row says `submitting`, and of which nothing was sent.
    pub(super) async fn send(&mut self, endpoint: &EndpointId) -> Result<Handle, Left> {
        if self.cancel.is_cancelled() {
            return Err(self.end(Status::Cancelled, None, Charge::NOTHING).await);
        }
        let submitted = self.jobs.fal.submit(Key::of(&self.key), endpoint, &self.row.input()).await;
        let outcome = outcome(&submitted);
        metrics::SUBMITS.one([outcome]);
        tracing::info!(target: "audit", event = "job_submitted", job = %self.row.id, user = %self.row.user_id, outcome, "a job was sent to FAL");
        match submitted {
            Ok(handle) => self.accepted(handle).await,
            Err(not) => match not.reached {
                Reached::NotSent | Reached::Refused => Err(self.fail(Failure::of(&not.error)).await),
                Reached::Unknown { hint } => {
                    tracing::warn!(job = %self.row.id, error = &not.error as &dyn std::error::Error, "whether FAL got a job is not known");
                    self.lost(endpoint, hint).await
                }
            },
        }
    }

    /// What must not be forgotten: where the job is.
    async fn accepted(&mut self, handle: Handle) -> Result<Handle, Left> {
        self.row.status = Status::Queued;
        self.row.request_id = handle.request_id.to_string();
        self.row.status_url = handle.status_url.to_string();
        self.row.response_url = handle.response_url.to_string();
        self.row.cancel_url = handle.cancel_url.to_string();
        self.row.error = None;
        let patch = json!({
            "request_id": self.row.request_id,
            "status_url": self.row.status_url,
            "response_url": self.row.response_url,
            "cancel_url": self.row.cancel_url,
        });
        match timeout(WRITTEN_WITHIN, self.write(patch.clone())).await {
            Ok(Ok(())) => Ok(handle),
            Ok(Err(Unwritten::Refused)) => Err(self.disown().await),
            Ok(Err(Unwritten::Gone | Unwritten::Stopping)) => Err(Left::Parked),
            // FAL keeps a result for minutes, and PocketBase may be away for longer: until it is back this task knows.
            Err(_elapsed) => {
                self.owed = patch.as_object().cloned().unwrap_or_default();
                Ok(handle)
            }
        }
    }

    /// PocketBase has FAL's id in another job's row: this job is as lost as it was.
    async fn disown(&mut self) -> Left {
        tracing::error!(job = %self.row.id, request_id = self.row.request_id, "a request of FAL's belongs to another job already");
        for field in [&mut self.row.request_id, &mut self.row.status_url, &mut self.row.response_url, &mut self.row.cancel_url] {
            field.clear();
        }
        self.row.status = Status::Unknown;
        self.row.error = Some(Failure::not_known());
        let _written = self.write(json!({})).await;
        Left::Parked
    }

    async fn lost(&mut self, endpoint: &EndpointId, hint: Option<RequestId>) -> Result<Handle, Left> {
        if let Some(hint) = hint {
            let handle = self.jobs.fal.handle(endpoint, hint, Links::default());
            if self.jobs.fal.status(Key::of(&self.key), &handle).await.is_ok() {
                return self.accepted(handle).await;
            }
        }
        self.reconcile(endpoint).await
    }

    /// Looks for the job in FAL's history: it is taken for ours only if nothing else can be.
    pub(super) async fn reconcile(&mut self, endpoint: &EndpointId) -> Result<Handle, Left> {
        if self.row.status != Status::Unknown || self.row.error.is_none() {
            self.row.status = Status::Unknown;
            self.row.error = Some(Failure::not_known());
            if self.write(json!({})).await.is_err() {
                return Err(Left::Parked);
            }
        }
        let stopping = self.jobs.stopping.clone();
        for pause in LOOKS {
            tokio::select! {
                () = sleep(pause) => {}
                () = stopping.cancelled() => return Err(Left::Parked),
            }
            match self.look(endpoint).await {
                Ok(Some(id)) => {
                    tracing::info!(job = %self.row.id, request_id = %id, "a lost job was found in FAL's history");
                    return self.accepted(self.jobs.fal.handle(endpoint, id, Links::default())).await;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(job = %self.row.id, error = &*error, "FAL's history could not be looked at");
                }
            }
        }
        if self.is_too_old() {
            return Err(self.fail(Failure::never_known()).await);
        }
        Err(Left::Parked)
    }

    fn is_too_old(&self) -> bool {
        is_too_old(&self.row, Timestamp::now())
    }

    async fn look(&self, endpoint: &EndpointId) -> Result<Option<RequestId>, Box<dyn std::error::Error + Send + Sync>> {
        let Some(at) = self.row.submitted_at else { return Ok(None) };
        let window = Window { start: at.saturating_sub(BEFORE)?, end: at.saturating_add(AFTER)?.min(Timestamp::now()) };
        let sent = self.row.input();
        // In this order: a job that is found meanwhile is then missing among the requests, not among the jobs.
        let Some(place) = self.place_among_the_lost(&sent).await? else { return Ok(None) };
        let history = self.jobs.fal.history(Key::of(&self.key), endpoint, window).await?;
        let mut found = Vec::new();
        for earlier in history.into_iter().filter(|earlier| earlier.asked_for(&sent)) {
            if !self.is_claimed(&earlier.request_id).await? {
                found.push(earlier);
            }
        }
        if found.len() > place.of {
            tracing::warn!(job = %self.row.id, found = found.len(), "more of FAL's requests than lost jobs ask for the same: none is taken");
            return Ok(None);
        }
        found.sort_by(|one, other| (one.sent_at, one.request_id.as_str()).cmp(&(other.sent_at, other.request_id.as_str())));
        Ok(found.into_iter().nth(place.before).map(|earlier| earlier.request_id))
    }

    /// Lost jobs that asked for the very same share what FAL's history has, in the order in which they were sent: to their users one is
    /// as good as the other. None while one of them may still be on its way.
    async fn place_among_the_lost(&self, sent: &Map<String, Value>) -> Result<Option<Place>, Box<dyn std::error::Error + Send + Sync>> {
        let lost = Filter::all().and_any("status", &["submitting", "unknown"]).and("request_id", Comparison::Is, "");
        let lost = lost.and("key_fingerprint", Comparison::Is, self.key.fingerprint());
        let rows: Vec<JobRow> = self.jobs.admin.list(&Query::new(lost, "id", MOST_LOST)).await?;
        if rows.len() >= usize::from(MOST_LOST) {
            return Ok(None);
        }
        let mut place = Place { before: 0, of: 1 };
        for row in rows.iter().filter(|row| row.id != self.row.id && row.endpoint == self.row.endpoint && row.input() == *sent) {
            if row.status == Status::Submitting {
                return Ok(None);
            }
            place.of += 1;
            place.before += usize::from((row.submitted_at, row.id.as_str()) < (self.row.submitted_at, self.row.id.as_str()));
        }
        Ok(Some(place))
    }

    async fn is_claimed(&self, id: &fal::RequestId) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let id: ForeignId = id.as_str().parse()?;
        let query = Query::new(Filter::all().and("request_id", Comparison::Is, id), "", 1);
        let claimed: Vec<JobRow> = self.jobs.admin.list(&query).await?;
        Ok(!claimed.is_empty())
    }
}

/// What came of a submit, in one word.
fn outcome(submitted: &Result<Handle, fal::NotSubmitted>) -> &'static str {
    match submitted.as_ref().map_err(|not| &not.reached) {
        Ok(_) => "accepted",
        Err(Reached::Refused) => "refused",
        Err(Reached::NotSent) => "not_sent",
        Err(Reached::Unknown { .. }) => "unknown",
    }
}

/// Whether nobody will find out any more what became of a submit.
pub(super) fn is_too_old(row: &JobRow, now: Timestamp) -> bool {
    row.submitted_at.is_some_and(|at| now.duration_since(at) > GIVE_UP_AFTER)
}

impl Key<'_> {
    /// The opened key for one call.
    pub(super) fn of(opened: &Arc<crate::vault::Opened>) -> Key<'_> {
        Key::new(opened.expose()).expect("an opened key is visible ASCII of at most 200 characters")
    }
}
