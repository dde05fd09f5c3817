//! Sessions end when their user may not have them any more.

use std::collections::HashSet;
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Error, Keys};
use crate::id::{CollectionId, UserId};
use crate::pocketbase::Change;
use crate::pocketbase::callers::User;

/// A token of the user's that was made for us when their session was opened. PocketBase takes it until the user's password or address
/// changes or the user is deleted (`facts/store.md` I).
pub struct Witness {
    collection: CollectionId,
    token: HeaderValue,
}

/// Not every end of a token is told to us.
const EXAMINE_EVERY: Duration = Duration::from_secs(300);

/// After which a witness that could not be asked is asked again.
const DOUBT: Duration = Duration::from_secs(3);
/// For clocks that differ, a witness lives longer than its session.
const LONGER: Duration = Duration::from_secs(3600);

impl Keys {
    pub(super) async fn witness(&self, user: &User) -> Result<Witness, Error> {
        let token = self.admin.impersonate(user.id, self.lifetime + LONGER).await?;
        Ok(Witness { collection: user.collection.clone(), token })
    }

    /// Ends the user's sessions whose witness is not taken any more. Where PocketBase cannot be asked they stay: it will be asked again.
    /// Says whether all were asked.
    pub(super) async fn examine(&self, user: UserId) -> bool {
        let mut asked = true;
        for witness in self.sessions.witnesses(user) {
            match self.callers.is_alive(&witness.collection, &witness.token).await {
                Ok(true) => {}
                // The user's password or address changed, or the user is gone.
                Ok(false) => drop(self.sessions.end_witnessed(user, &witness)),
                Err(error) => {
                    asked = false;
                    tracing::debug!(%user, error = &error as &dyn std::error::Error, "a session's witness was not asked");
                }
            }
        }
        asked
    }

    /// Gives back those whose witnesses could not all be asked.
    async fn examine_these(&self, users: impl IntoIterator<Item = UserId>) -> HashSet<UserId> {
        let mut doubtful = HashSet::new();
        for user in users {
            if !self.examine(user).await {
                doubtful.insert(user);
            }
        }
        doubtful
    }

    /// Looks after sessions for as long as the sidecar runs: ends those of users who changed, and sweeps out what expired.
    pub async fn guard(&self, mut changes: Receiver<Change>, sweep_every: Duration) {
        let mut sweep = Instant::now() + sweep_every;
        let mut examine = Instant::now() + EXAMINE_EVERY;
        let mut doubtful = HashSet::new();
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(Change::User(user)) => {
                        self.known.forget(user);
                        doubtful.extend(self.examine_these([user]).await);
                    }
                    // Events may have been missed.
                    Ok(Change::Ready) | Err(RecvError::Lagged(_)) => {
                        self.known.forget_all();
                        doubtful = self.examine_these(self.sessions.users()).await;
                    }
                    // PocketBase cannot be asked at this moment.
                    Ok(Change::Anything) => self.known.forget_all(),
                    Err(RecvError::Closed) => return,
                },
                () = sleep_until(sweep) => {
                    let swept = self.sessions.sweep(std::time::Instant::now());
                    tracing::debug!(sessions = swept, "ended sessions were swept");
                    sweep = Instant::now() + sweep_every;
                }
                () = sleep(DOUBT), if !doubtful.is_empty() => doubtful = self.examine_these(std::mem::take(&mut doubtful)).await,
                () = sleep_until(examine) => {
                    doubtful = self.examine_these(self.sessions.users()).await;
                    examine = Instant::now() + EXAMINE_EVERY;
                }
            }
        }
    }
}
