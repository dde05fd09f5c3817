//! The generation engine: what was paid for is never lost, and never paid twice.
//!
//! A job is a row of `generations` and, while it is in progress, one task that owns it ([`run`]). Each transition is written before its
//! effect. What a crash leaves behind is taken up again at the next start or at the user's next session ([`recover`]).

mod failure;
mod late;
mod news;
mod order;
mod recover;
mod row;
mod run;
mod settle;
mod slots;
mod store;
mod submit;
mod turns;
mod unsent;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;
use crate::fal::{self, Catalogue};
use crate::id::{JobId, UserId};
use crate::keys::Keys;
use crate::metrics;
use crate::pocketbase::admin::Admin;
use crate::pocketbase::rows::Table;
use crate::pocketbase::{self, Change};
use crate::rates::{Limit, Limiter};
pub use order::{IdempotencyKey, Order, Prompt, Refusal};
pub use row::{Failure, JobRow, Link, Status};
use slots::Slots;
pub use store::thumbnail;

/// All jobs of this sidecar.
pub struct Jobs {
    admin: Arc<Admin>,
    fal: Arc<fal::Client>,
    keys: Arc<Keys>,
    /// What can be asked for.
    pub catalogue: Catalogue,
    slots: Arc<Slots>,
    pace: Limiter,
    running: Mutex<HashMap<JobId, Running>>,
    turns: turns::Turns,
    unsent: unsent::Unsent,
    late: late::Late,
    runtime: Handle,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// A job with a task.
#[derive(Clone)]
struct Running {
    view: watch::Receiver<JobRow>,
    cancel: CancellationToken,
}

/// What came of waiting for a job.
#[derive(Debug)]
pub enum Waited {
    /// It is over, or nothing will move it before its user's next session.
    Ended(Box<JobRow>),
    /// It goes on.
    TimedOut,
    /// The sidecar is going down; the job is taken up again.
    Stopping,
}

/// How long somebody who waits is kept waiting for news of a submit whose answer was lost.
const HOPE: Duration = Duration::from_secs(10);
/// Unfinished jobs without a task are looked at this often, if nothing else gives cause.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// Between attempts to write what must be written.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why a row was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unwritten {
    /// It is gone, and its user with it.
    Gone,
    /// The sidecar is going down.
    Stopping,
    /// PocketBase refuses it, and will again.
    Refused,
}

impl Jobs {
    /// An engine at rest.
    pub fn new(admin: Arc<Admin>, fal: Arc<fal::Client>, keys: Arc<Keys>, catalogue: Catalogue, config: &config::Jobs) -> Arc<Self> {
        Arc::new(Self {
            admin,
            fal,
            keys,
            catalogue,
            slots: Slots::new(config.jobs_per_user, config.jobs),
            pace: Limiter::per_minute(Limit::Jobs, config.jobs_per_minute),
            running: Mutex::default(),
            turns: turns::Turns::default(),
            unsent: unsent::Unsent::default(),
            late: late::Late::default(),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        })
    }

    /// The job as it is at this moment, if it is this user's.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn view(&self, user: UserId, id: JobId) -> Result<Option<JobRow>, pocketbase::Error> {
        let running = self.running.lock().get(&id).map(|running| running.view.borrow().clone());
        let row = match running {
            Some(row) => Some(row),
            None => self.admin.get::<JobRow>(id).await?,
        };
        Ok(row.filter(|row| row.user_id == user))
    }

    /// Waits until the job is over.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait(&self, user: UserId, id: JobId, within: Duration) -> Result<Option<Waited>, pocketbase::Error> {
        let running = self.running.lock().get(&id).cloned();
        if let Some(Running { view, .. }) = running {
            let waited = tokio::select! {
                ended = settled(view) => ended,
                () = sleep(within) => Some(Waited::TimedOut),
                () = self.stopping.cancelled() => Some(Waited::Stopping),
            };
            if let Some(waited) = waited {
                return Ok(Some(waited));
            }
        }
        Ok(self.view(user, id).await?.map(|row| Waited::Ended(Box::new(row))))
    }

    /// Asks for the end of a job, and waits a moment for it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn cancel(self: &Arc<Self>, user: UserId, id: JobId) -> Result<Option<JobRow>, pocketbase::Error> {
        let Some(row) = self.view(user, id).await? else { return Ok(None) };
        if row.status.is_over() {
            return Ok(Some(row));
        }
        if !self.running.lock().contains_key(&id) {
            self.take_up(id, &already_cancelled()).await;
        }
        let running = self.running.lock().get(&id).cloned();
        if let Some(running) = running {
            running.cancel.cancel();
            self.wait(user, id, Duration::from_secs(5)).await?;
        }
        self.view(user, id).await
    }

    /// Goes no further than the next safe point, and gives back when all tasks are there.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Looks after jobs for as long as the sidecar runs: takes up what an earlier one left, whenever PocketBase is there (again).
    pub async fn watch(self: &Arc<Self>, mut changes: tokio::sync::broadcast::Receiver<Change>) {
        let late = self.late.run(&self.admin, &self.fal);
        let taking_up = async {
            loop {
                match timeout(LOOK_AGAIN, changes.recv()).await {
                    // What was missed may have been that PocketBase is back; and a job that nobody heard of for too long has to end.
                    Ok(Ok(Change::Ready) | Err(RecvError::Lagged(_))) | Err(_) => self.recover().await,
                    Ok(Ok(Change::User(_) | Change::Anything)) => {}
                    Ok(Err(RecvError::Closed)) => return,
                }
            }
        };
        tokio::join!(late, taking_up);
    }

    /// Jobs in progress.
    pub fn count(&self) -> usize {
        self.running.lock().len()
    }

    /// The same by their states; states without a job are left out.
    pub fn count_by_status(&self) -> Vec<(Status, u64)> {
        let mut counts: Vec<(Status, u64)> = Vec::new();
        for running in self.running.lock().values() {
            let status = running.view.borrow().status;
            match counts.iter_mut().find(|(counted, _)| *counted == status) {
                Some((_, count)) => *count += 1,
                None => counts.push((status, 1)),
            }
        }
        counts
    }

    /// The catalogue's name of a model, for metrics; one that it does not have any more is `other`.
    fn model_word(&self, model: &str) -> metrics::Word {
        self.catalogue.find(model).map_or("other".into(), |model| model.name.clone().into())
    }

    /// Writes to a job's row until PocketBase has taken it.
    async fn persist(&self, id: JobId, patch: &Value) -> Result<(), Unwritten> {
        let mut pause = PAUSE;
        loop {
            match self.admin.update(Table::Generations, id, patch).await {
                Ok(()) => return Ok(()),
                Err(error) => self.settle_for(id, &error)?,
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.stopping.cancelled() => return Err(Unwritten::Stopping),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether another attempt may fare better.
    fn settle_for(&self, id: JobId, error: &pocketbase::Error) -> Result<(), Unwritten> {
        match error.refusal() {
            Some(refusal) if refusal.is_not_found() => {
                tracing::info!(job = %id, "the row of a job is gone");
                Err(Unwritten::Gone)
            }
            Some(refusal) if refusal.status.is_client_error() && refusal.status != hyper::StatusCode::TOO_MANY_REQUESTS => {
                tracing::error!(job = %id, error = error as &dyn std::error::Error, "PocketBase refuses what must be written of a job");
                Err(Unwritten::Refused)
            }
            Some(_) | None => {
                tracing::debug!(job = %id, error = error as &dyn std::error::Error, "a job's row is written again in a moment");
                Ok(())
            }
        }
    }
}

/// A job that is taken up with this goes nowhere but to its end.
fn already_cancelled() -> CancellationToken {
    let cancel = CancellationToken::new();
    cancel.cancel();
    cancel
}

/// Waits until nothing moves a job any more; none when its task ended without a word.
///
/// A job that is unknown may be found in a moment, and then its outcome is worth waiting for.
async fn settled(mut view: watch::Receiver<JobRow>) -> Option<Waited> {
    loop {
        let ends = |row: &JobRow| row.status.is_over() || matches!(row.status, Status::AwaitingUnlock | Status::Unknown);
        let row = view.wait_for(ends).await.ok()?.clone();
        let found = row.status == Status::Unknown
            && tokio::time::timeout(HOPE, view.wait_for(|row| row.status != Status::Unknown)).await.is_ok_and(|known| known.is_ok());
        if !found {
            return Some(Waited::Ended(Box::new(row)));
        }
    }
}
