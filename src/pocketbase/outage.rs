//! Whether PocketBase can be reached, and how long it is worth waiting for it.

use std::io;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::PocketBaseUrl;

/// PocketBase restarts itself in one to three seconds (hooks changed, backup restored): most restarts are only a pause, and a 503 comes within 3 s.
const PATIENCE: Duration = Duration::from_millis(2500);

/// Whether PocketBase can be reached, as all workers know it.
#[derive(Default)]
pub struct Outage {
    failures: Mutex<Option<Failures>>,
}

#[derive(Clone, Copy)]
struct Failures {
    first: Instant,
    last: Instant,
}

impl Outage {
    /// No connection could be made.
    pub(super) fn failed(&self, now: Instant, url: &PocketBaseUrl, error: &io::Error) {
        let mut failures = self.failures.lock();
        if failures.is_none() {
            tracing::warn!(%url, %error, "PocketBase cannot be reached");
        }
        *failures = Some(Failures { first: Self::recent(*failures, now).map_or(now, |failures| failures.first), last: now });
    }

    /// A connection was made.
    pub(super) fn succeeded(&self, url: &PocketBaseUrl) {
        if self.failures.lock().take().is_some() {
            tracing::info!(%url, "PocketBase can be reached again");
        }
    }

    /// For how long a refused connection is worth another attempt: all who ask during one outage share the patience of the first.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        let failures = Self::recent(*self.failures.lock(), now);
        failures.map_or(PATIENCE, |failures| PATIENCE.saturating_sub(now - failures.first))
    }

    /// What failed long ago, with nobody asking since, says nothing about now.
    fn recent(failures: Option<Failures>, now: Instant) -> Option<Failures> {
        failures.filter(|failures| now.duration_since(failures.last) < PATIENCE)
    }
}
