//! One job's task, from wherever its row stands to its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::news::News;
use super::row::{Failure, JobRow, Status};
use super::slots::{Place, Slot};
use super::submit::is_too_old;
use super::{Jobs, Running, Unwritten};
use crate::fal::{self, Cancellation, Charge, EndpointId, Fetched, Handle, Key, Links, State, What};
use crate::pocketbase::filter::Moment;
use crate::vault::Opened;

/// A job and everything that its task needs. The key is the one that it was begun with, for as long as it takes.
pub(super) struct Run {
    pub(super) jobs: Arc<Jobs>,
    pub(super) row: JobRow,
    pub(super) key: Arc<Opened>,
    pub(super) view: watch::Sender<JobRow>,
    pub(super) cancel: CancellationToken,
    /// Whether an earlier task may have sent or stored something already.
    pub(super) taken_up: bool,
    /// Whether the row is gone, and the user with it. Money is settled all the same.
    pub(super) orphan: bool,
    /// When the row was last written, and what it then showed.
    pub(super) written: Instant,
    pub(super) shown: (Status, u32),
    /// Fields that PocketBase was not there for.
    pub(super) owed: Map<String, Value>,
}

/// Where a task's row comes from.
pub(super) enum Origin {
    /// It was made for this task. Where a slot was free it says `submitting` already, and nothing was sent.
    Begun(Option<Slot>),
    /// An earlier task may have done something already.
    TakenUp,
}

/// How a task leaves its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// It is over.
    Over,
    /// It waits for its user's next session, or for the next start.
    Parked,
}

/// Progress is written this often at most: each write costs PocketBase one, and many jobs are over by then.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// As often in a row as FAL may say that it does not know a request, or something of that kind: its answers can lag behind its submits.
const MOST_STRANGE: u32 = 10;
/// As often as a failed request's answer is asked for again: it may be the asking that failed.
const MOST_FAILED_FETCHES: u32 = 3;

impl Jobs {
    /// Gives a job its task, unless it has one.
    pub(super) fn start(self: &Arc<Self>, mut row: JobRow, key: Arc<Opened>, place: Place, origin: Origin, cancel: CancellationToken) {
        let id = row.id;
        let shown = (row.status, row.queue_position);
        row.moves_again();
        let (view, receiver) = watch::channel(row.clone());
        {
            let mut running = self.running.lock();
            // What says `submitting` has not been sent: it goes on to where a restart finds it at FAL.
            let is_sent_now = matches!(origin, Origin::Begun(Some(_)));
            if running.contains_key(&id) || self.stopping.is_cancelled() && !is_sent_now {
                return;
            }
            running.insert(id, Running { view: receiver, cancel: cancel.clone() });
        }
        // From here on the row says what was sent: what was thought of an earlier attempt to make it is over.
        self.unsent.take(id);
        let jobs = Arc::clone(self);
        let (taken_up, slot) = match origin {
            Origin::Begun(slot) => (false, slot),
            Origin::TakenUp => (true, None),
        };
        let (orphan, written, owed) = (false, Instant::now(), Map::new());
        let run = Run { jobs: Arc::clone(self), row, key, view, cancel, taken_up, orphan, written, shown, owed };
        self.tasks.spawn_on(
            crate::trace::carried(async move {
                let entry = Entry { jobs: Arc::clone(&jobs), id };
                run.go_on(place, slot).await;
                drop(entry);
            }),
            &self.runtime,
        );
    }
}

/// A job's place in the table of those in progress, left even by a panic.
struct Entry {
    jobs: Arc<Jobs>,
    id: crate::id::JobId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.jobs.running.lock().remove(&self.id);
    }
}

impl Run {
    async fn go_on(mut self, place: Place, slot: Option<Slot>) {
        let stopping = self.jobs.stopping.clone();
        let slot = tokio::select! {
            biased;
            slot = async { match slot { Some(slot) => slot, None => place.slot().await } } => slot,
            () = stopping.cancelled() => return,
            () = self.cancel.clone().cancelled_owned(), if self.row.submitted_at.is_none() => {
                self.end(Status::Cancelled, None, Charge::NOTHING).await;
                return;
            }
        };
        let id = self.row.id;
        let left = self.advance().await;
        drop(slot);
        tracing::info!(target: "audit", job = %id, user = %self.row.user_id, status = self.row.status.word(), cost = %self.row.cost_micros, ?left, "a job's task ended");
    }

    async fn advance(&mut self) -> Left {
        let Ok(endpoint) = self.row.endpoint.parse::<EndpointId>() else {
            tracing::error!(job = %self.row.id, "a job's row names no endpoint of FAL's");
            return Left::Parked;
        };
        let found = match (self.row.request_id.parse(), self.row.submitted_at) {
            (Ok(id), _) => {
                let links = Links {
                    status: Some(&self.row.status_url),
                    response: Some(&self.row.response_url),
                    cancel: Some(&self.row.cancel_url),
                };
                Ok(self.jobs.fal.handle(&endpoint, id, links))
            }
            (Err(_), None) => self.submit(&endpoint).await,
            (Err(_), Some(_)) if !self.taken_up => self.send(&endpoint).await,
            (Err(_), Some(_)) => self.reconcile(&endpoint).await,
        };
        match found {
            Ok(handle) => self.follow(&endpoint, &handle).await,
            Err(left) => left,
        }
    }

    /// From FAL's queue to the end.
    async fn follow(&mut self, endpoint: &EndpointId, handle: &Handle) -> Left {
        let (jobs, key) = (Arc::clone(&self.jobs), Arc::clone(&self.key));
        let mut states = pin!(jobs.fal.states(Key::of(&key), handle));
        let mut news = News::of(states.as_mut());
        let (mut strange, mut failed) = (0, 0);
        let mut asked_to_cancel = false;
        loop {
            if self.cancel.is_cancelled() && !asked_to_cancel {
                asked_to_cancel = self.ask_to_cancel(handle).await;
            }
            let (cancel, stopping) = (self.cancel.clone(), self.jobs.stopping.clone());
            // Where FAL could not be asked to cancel, it is asked at the usual pace.
            let cancelling = cancel.is_cancelled();
            let said = tokio::select! {
                said = news.next() => said,
                () = cancel.cancelled(), if !cancelling => continue,
                () = stopping.cancelled() => return Left::Parked,
                () = sleep(self.until_shown()), if self.is_ahead() => {
                    self.show().await;
                    continue;
                }
            };
            match self.learn(said, handle).await {
                Ok(None) => strange = 0,
                Ok(Some(Fetched::Done(output))) => return self.deliver(endpoint, *output).await,
                Ok(Some(Fetched::Failed(fal::Error::Unavailable(_)))) if failed < MOST_FAILED_FETCHES => failed += 1,
                Ok(Some(Fetched::Failed(error))) => return self.ended_badly(endpoint, &error).await,
                Ok(Some(Fetched::Pending)) => {}
                Err(error @ (fal::Error::KeyRejected(_) | fal::Error::Locked { .. } | fal::Error::Forbidden(_))) => {
                    return self.park_without_key(&error).await;
                }
                Err(error) if is_strange(&error) && strange >= MOST_STRANGE => return self.give_up(Failure::lost(&error)).await,
                Err(error) => {
                    strange += u32::from(is_strange(&error));
                    tracing::debug!(job = %self.row.id, error = &error as &dyn std::error::Error, "FAL did not say how a job is doing");
                }
            }
            if is_too_old(&self.row, Timestamp::now()) {
                return self.give_up(Failure::forgotten()).await;
            }
        }
    }

    /// What is to be made of a state that FAL said, or says when it is asked; the result, once there is one.
    async fn learn(&mut self, said: Option<State>, handle: &Handle) -> Result<Option<Fetched>, fal::Error> {
        let key = Arc::clone(&self.key);
        let key = Key::of(&key);
        let state = match said {
            Some(state) => state,
            None => match self.jobs.fal.status(key, handle).await {
                // A state that FAL did not use to have may still have a result.
                Err(fal::Error::Malformed { what: What::Status, .. }) => return self.jobs.fal.result(key, handle).await.map(Some),
                state => state?,
            },
        };
        match state {
            State::Queued { position } => self.progress(Status::Queued, position.unwrap_or(0)).await,
            State::Running => self.progress(Status::Running, 0).await,
            State::Completed { .. } => return self.jobs.fal.result(key, handle).await.map(Some),
        }
        Ok(None)
    }

    /// Says whether FAL was asked.
    async fn ask_to_cancel(&self, handle: &Handle) -> bool {
        match self.jobs.fal.cancel(Key::of(&self.key), handle).await {
            Ok(Cancellation::Requested | Cancellation::TooLate | Cancellation::NotFound) => true,
            Err(error) => {
                tracing::warn!(job = %self.row.id, error = &error as &dyn std::error::Error, "FAL was not asked to cancel a job");
                !error.is_passing()
            }
        }
    }

    /// Shown at once to whoever waits here, and written now and then for whoever watches the row.
    async fn progress(&mut self, status: Status, position: u32) {
        if (self.row.status, self.row.queue_position) != (status, position) {
            if self.row.status != status {
                self.tell(status);
            }
            self.row.status = status;
            self.row.queue_position = position;
            self.view.send_replace(self.row.clone());
        }
        if self.is_ahead() && self.until_shown().is_zero() {
            self.show().await;
        }
    }

    /// Whether the row does not show what is known.
    fn is_ahead(&self) -> bool {
        (self.shown != (self.row.status, self.row.queue_position) || !self.owed.is_empty()) && !self.orphan
    }

    fn until_shown(&self) -> Duration {
        PROGRESS_EVERY.saturating_sub(self.written.elapsed())
    }

    /// Once: what was not written now is written with the next change.
    async fn show(&mut self) {
        let (status, position) = (self.row.status, self.row.queue_position);
        self.written = Instant::now();
        self.shown = (status, position);
        self.row.seq += 1;
        let mut patch = json!({ "status": status, "queue_position": position, "seq": self.row.seq, "error": self.row.error });
        self.add_owed(&mut patch);
        match self.jobs.admin.update(crate::pocketbase::rows::Table::Generations, self.row.id, &patch).await {
            Ok(()) => self.owed.clear(),
            Err(error) => {
                tracing::debug!(job = %self.row.id, error = &error as &dyn std::error::Error, "a job's progress was not written");
            }
        }
    }

    /// Writes a transition, however long that takes.
    pub(super) async fn write(&mut self, mut patch: Value) -> Result<(), Unwritten> {
        self.row.seq += 1;
        self.written = Instant::now();
        if self.shown.0 != self.row.status {
            self.tell(self.row.status);
        }
        self.shown = (self.row.status, self.row.queue_position);
        patch["seq"] = self.row.seq.into();
        patch["status"] = json!(self.row.status);
        patch["error"] = json!(self.row.error);
        self.add_owed(&mut patch);
        self.view.send_replace(self.row.clone());
        if self.orphan {
            return Ok(());
        }
        match self.jobs.persist(self.row.id, &patch).await {
            Ok(()) => self.owed.clear(),
            Err(Unwritten::Gone) => self.orphan = true,
            Err(unwritten) => return Err(unwritten),
        }
        Ok(())
    }

    /// Says in the log where the job stands now.
    pub(super) fn tell(&self, status: Status) {
        tracing::info!(job = %self.row.id, user = %self.row.user_id, status = status.word(), fal_request_id = self.row.request_id, "a job is {}", status.word());
    }

    /// What could not be written before goes with whatever is written next.
    pub(super) fn add_owed(&self, patch: &mut Value) {
        for (field, value) in &self.owed {
            patch[field] = value.clone();
        }
    }

    async fn ended_badly(&mut self, endpoint: &EndpointId, error: &fal::Error) -> Left {
        let charge = self.charge_for_failure(endpoint, error.said().and_then(|said| said.units)).await;
        if matches!(error, fal::Error::Cancelled(_)) {
            return self.end(Status::Cancelled, None, charge).await;
        }
        self.end(Status::Failed, Some(Failure::of(error)), charge).await
    }

    /// FAL has nothing for the job any more. An earlier task may have had it, and have stored it, and then it is charged.
    async fn give_up(&mut self, failure: Failure) -> Left {
        if self.taken_up {
            match self.kept().await {
                Ok(Some((charge, links))) => return self.settle(Status::Completed, charge, links).await,
                Ok(None) => {}
                Err(_) => return Left::Parked,
            }
        }
        self.fail(failure).await
    }

    pub(super) async fn fail(&mut self, failure: Failure) -> Left {
        self.end(Status::Failed, Some(failure), Charge::NOTHING).await
    }

    /// The end of a job without pictures.
    pub(super) async fn end(&mut self, status: Status, failure: Option<Failure>, charge: Charge) -> Left {
        self.row.error = failure;
        self.settle(status, charge, Vec::new()).await
    }

    /// FAL does not take the key, or its account is locked: what was paid for is fetched at a session for which that is over.
    async fn park_without_key(&mut self, error: &fal::Error) -> Left {
        self.row.status = Status::AwaitingUnlock;
        self.row.error = Some(Failure::of(error));
        let _written = self.write(json!({})).await;
        Left::Parked
    }
}

/// Whether asking again will hardly give another answer.
fn is_strange(error: &fal::Error) -> bool {
    !error.is_passing() || matches!(error, fal::Error::Malformed { what: What::Result, .. })
}

/// As PocketBase keeps it.
pub(super) fn stamp(now: Timestamp) -> String {
    Moment(now).to_string()
}
