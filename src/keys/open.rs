//! From a password to a session.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::seal::owner;
use super::{Error, Keys};
use crate::pocketbase::callers::User;
use crate::sessions::{SessionId, UserGuard};
use crate::vault::{NewPassword, Opened, Password, Sealed};

/// A session that was just opened.
pub struct Opening {
    /// What the front end shows to use it.
    pub session: SessionId,
    /// When it ends.
    pub expires: Timestamp,
}

impl Keys {
    /// Opens a session for whoever knows the password of the user's seal. `token` is what PocketBase knows the user by.
    ///
    /// The user's lock is held until the session is in the table: a key that is taken away or replaced meanwhile would not end it.
    pub async fn open_session(&self, user: &User, token: &str, password: Password, address: IpAddr) -> Result<Opening, Error> {
        let guard = self.locks.lock(user.id).await?;
        let key = self.open_seal(user, password, address, &guard).await?;
        let witness = Arc::new(self.witness(user).await?);
        // A witness of after a change of password would know nothing of it.
        self.callers.check_now(token, address).await?;
        let (session, expires) = self.sessions.open(user.id, key, witness, Instant::now(), Timestamp::now());
        // What changed while the witness was being made was not looked at for it.
        self.examine(user.id).await;
        tracing::info!(target: "audit", event = "session_opened", user = %user.id, %address, "a session was opened");
        Ok(Opening { session, expires })
    }

    /// Opens the user's seal, and seals it anew where it is weaker than today's.
    pub(super) async fn open_seal(
        &self,
        user: &User,
        password: Password,
        address: IpAddr,
        guard: &UserGuard,
    ) -> Result<Arc<Opened>, Error> {
        let sealed = self.sealed(user).await?;
        let opened = self.unlocking.open(sealed.clone(), password.clone(), owner(user), address, Instant::now()).await;
        let key = match opened.map_err(Error::from) {
            Ok(key) => key,
            Err(error) => {
                if matches!(error, Error::WrongPassword) {
                    tracing::info!(target: "audit", event = "wrong_password", user = %user.id, %address, "a password did not open a seal");
                }
                return Err(error);
            }
        };
        // Whatever was thought of it: somebody knows its password.
        self.stale.clear(user.id);
        self.known.forget(user.id);
        let key = Arc::new(key);
        if sealed.needs_resealing(self.method) {
            self.renew(user, &sealed, Arc::clone(&key), password, guard).await;
        }
        Ok(key)
    }

    /// That a seal cannot be renewed today keeps nobody from using it.
    async fn renew(&self, user: &User, old: &Sealed, key: Arc<Opened>, password: Password, guard: &UserGuard) {
        match self.replace(user, old, key, NewPassword::that_opened(password), guard).await {
            Ok(()) => tracing::info!(target: "audit", event = "key_resealed", user = %user.id, "a seal was renewed in today's format"),
            Err(error) => tracing::warn!(user = %user.id, error = &error as &dyn std::error::Error, "a seal could not be renewed"),
        }
    }
}
