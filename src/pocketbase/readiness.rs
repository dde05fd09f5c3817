//! Whether PocketBase has what the sidecar needs: our hooks in our version, and our collections.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Error;
use super::rows::Table;
use crate::id::CollectionId;

/// The version of `pb_hooks` that this sidecar works with.
pub const HOOKS_VERSION: u32 = 1;

/// As long as a refused connection is tried again.
const PATIENCE: Duration = Duration::from_millis(2500);

/// What was found when PocketBase was last looked at.
pub struct Readiness {
    state: RwLock<State>,
    born: Instant,
    /// Something was found.
    looked: Notify,
    /// Somebody should look again.
    pub(super) doubted: Notify,
}

#[derive(Clone, Default)]
enum State {
    #[default]
    NotLookedAt,
    /// Nothing works: no superuser, no hooks.
    Unusable(Arc<str>),
    Usable(Arc<Found>),
}

/// What our hooks say about PocketBase: answer of `GET /api/generatio/version`.
#[derive(Clone, Debug, Deserialize)]
pub struct Found {
    /// Of the hooks.
    pub version: u32,
    /// The name of the users collection that they guard.
    pub users_collection: String,
    /// Its id.
    pub users_collection_id: String,
    /// What differs from what is needed.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// Whether PocketBase takes the client's address from X-Real-IP.
    #[serde(default)]
    pub trusted_proxy: bool,
}

/// One difference.
#[derive(Clone, Debug, Deserialize)]
pub struct Problem {
    /// Where; empty when it is no collection's.
    #[serde(default)]
    pub collection: String,
    /// Which field, if it is one.
    #[serde(default)]
    pub field: String,
    /// What is there, what is needed, what to do.
    pub problem: String,
    /// Which step of a migration would mend it: collections, data or settings.
    #[serde(default)]
    pub step: String,
    /// Whether `generatio doctor --fix` can mend it.
    #[serde(default)]
    pub fixable: bool,
}

impl Problem {
    /// Whether endpoints that need this collection cannot work. A rule that was loosened is its administrator's decision, and a row that
    /// was added by hand keeps nobody from working with the others: doctor says so.
    pub fn is_blocking(&self) -> bool {
        !self.is_rule() && self.step != "data"
    }

    /// Whether a rule lets through what ours does not.
    pub fn is_rule(&self) -> bool {
        self.field.ends_with("Rule")
    }
}

impl Default for Readiness {
    /// Nobody has looked.
    fn default() -> Self {
        Self { state: RwLock::default(), born: Instant::now(), looked: Notify::default(), doubted: Notify::default() }
    }
}

impl Readiness {
    /// # Errors
    /// Says what is missing, when something is missing that work in this table needs.
    pub(super) fn require(&self, table: Table, name: &str) -> Result<(), Error> {
        self.require_all_of(name).inspect_err(|error| {
            tracing::debug!(?table, error = error as &dyn std::error::Error, "a call to PocketBase was not made");
        })
    }

    /// # Errors
    /// When several writes cannot be one transaction.
    pub(super) fn require_batch(&self) -> Result<(), Error> {
        self.require_all_of("settings.batch")
    }

    fn require_all_of(&self, name: &str) -> Result<(), Error> {
        let found = self.found()?;
        let stands_against = |problem: &&Problem| problem.is_blocking() && (problem.collection.is_empty() || problem.collection == name);
        found.problems.iter().find(stands_against).map_or(Ok(()), |problem| Err(Error::NotReady(problem.to_string().into())))
    }

    /// Waits for the first look, but not for long after the start: requests come before it is over.
    pub async fn first_look(&self) {
        if !self.is_new() {
            return;
        }
        let mut looked = pin!(self.looked.notified());
        looked.as_mut().enable();
        if self.is_new() {
            // Whoever asks next says what is not known.
            let _late = timeout(PATIENCE.saturating_sub(self.born.elapsed()), looked).await;
        }
    }

    fn is_new(&self) -> bool {
        matches!(&*self.state.read(), State::NotLookedAt)
    }

    /// Whether something was missing when PocketBase was last looked at.
    pub(super) fn lacks_something(&self) -> bool {
        matches!(&*self.state.read(), State::Usable(found) if found.problems.iter().any(Problem::is_blocking))
    }

    /// What was found.
    ///
    /// # Errors
    /// When nothing works, saying why.
    pub fn found(&self) -> Result<Arc<Found>, Error> {
        let words = match &*self.state.read() {
            State::Usable(found) => return Ok(Arc::clone(found)),
            State::Unusable(words) => Arc::clone(words),
            State::NotLookedAt => "it has not been reached yet".into(),
        };
        // Somebody waits for it: it may have been mended meanwhile.
        self.doubted.notify_one();
        Err(Error::NotReady(words))
    }

    /// The id of the users collection.
    ///
    /// # Errors
    /// As [`Self::found`].
    pub fn users_collection(&self) -> Result<CollectionId, Error> {
        let found = self.found()?;
        found.users_collection_id.parse().map_err(|_| Error::NotReady("the users collection has no usable id".into()))
    }

    /// Keeps what was found, and says so when it is news.
    pub(super) fn keep(&self, found: Found) {
        let mut state = self.state.write();
        let news = match &*state {
            State::Usable(before) => before.problems.len() != found.problems.len(),
            State::NotLookedAt | State::Unusable(_) => true,
        };
        if news {
            for problem in &found.problems {
                tracing::warn!(collection = problem.collection, field = problem.field, "PocketBase is not as it should be: {problem}");
            }
            tracing::info!(problems = found.problems.len(), "PocketBase is ready for our endpoints");
        }
        *state = State::Usable(Arc::new(found));
        drop(state);
        self.looked.notify_waiters();
    }

    /// Nothing works, and why; said when it is news.
    pub(super) fn lose(&self, error: &Error) {
        let words = if let Error::NotReady(words) = error { words.to_string() } else { error.to_string() };
        let mut state = self.state.write();
        let news = !matches!(&*state, State::Unusable(before) if **before == *words);
        if news {
            tracing::warn!("our endpoints cannot work: {words}");
        }
        *state = State::Unusable(words.into());
        drop(state);
        self.looked.notify_waiters();
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.collection.as_str(), self.field.as_str()) {
            ("", _) => write!(f, "{}", self.problem),
            (collection, "") => write!(f, "{collection}: {}", self.problem),
            (collection, field) => write!(f, "{collection}.{field}: {}", self.problem),
        }
    }
}
