//! A password change that passes on its way to PocketBase.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::seal::owner;
use super::{Error, Keys};
use crate::pocketbase::callers::User;
use crate::sessions::{Busy, Ending, Queued, UserGuard};
use crate::vault::{NewPassword, Password};

/// A change of a user's password that PocketBase has carried out.
pub struct PasswordChange {
    /// Whose.
    pub user: User,
    /// The one before, where the caller sent it. PocketBase has looked at it, unless the caller may manage users: then it may be wrong.
    pub old: Option<Password>,
    /// PocketBase takes this one now.
    pub new: Password,
    /// The caller's.
    pub address: IpAddr,
}

/// A change with its place among those who work on the user's seal.
pub struct Following {
    change: PasswordChange,
    place: Result<Queued, Busy>,
}

impl Keys {
    /// Ends the user's sessions, and takes a place before everybody who asks for their seal after this. Waits for nothing.
    pub fn begin_following(&self, change: PasswordChange) -> Following {
        let (user, address) = (change.user.id, change.address);
        let ended = self.sessions.end_user(user, Ending::PasswordChanged);
        tracing::info!(target: "audit", event = "password_changed", %user, %address, sessions = ended, "a user's password was changed");
        Following { place: self.locks.queue(user), change }
    }

    /// Seals the user's key under their new password, if the old one opens it. PocketBase has answered already: whatever goes wrong here
    /// fails nothing, and is said in the log and in token-status.
    pub async fn follow(&self, following: Following) {
        let Following { change: PasswordChange { user, old, new, address }, place } = following;
        // A password that was reset opens nothing.
        let Some(old) = old else { return };
        let resealed = match place {
            Ok(place) => self.reseal(&user, old, new, address, &place.turn().await).await,
            Err(busy) => Err(busy.into()),
        };
        match resealed {
            Ok(()) => {
                tracing::info!(target: "audit", event = "key_resealed", user = %user.id, "a FAL key was sealed under the user's new password")
            }
            Err(Error::NoKey) => {}
            Err(Error::WrongPassword) => {
                tracing::info!(target: "audit", event = "key_not_resealed", user = %user.id, "a FAL key stays under a password of its own: the user's former one did not open it");
            }
            Err(error) => {
                tracing::warn!(target: "audit", event = "key_not_resealed", user = %user.id, error = &error as &dyn std::error::Error, "a FAL key could not be sealed under the user's new password");
                self.give_up(&user).await;
            }
        }
    }

    /// Counted as any attempt: whoever may manage users could otherwise try as many passwords as they like.
    async fn reseal(&self, user: &User, old: Password, new: Password, address: IpAddr, guard: &UserGuard) -> Result<(), Error> {
        let sealed = self.sealed(user).await?;
        let key = self.unlocking.open(sealed.clone(), old, owner(user), address, Instant::now()).await?;
        self.replace(user, &sealed, Arc::new(key), NewPassword::that_opened(new), guard).await
    }

    /// What the user's new password does not open must be set up again.
    async fn give_up(&self, user: &User) {
        match self.text(user).await {
            Ok(text) if !text.is_empty() => {
                self.stale.mark(user.id, &text);
                self.known.forget(user.id);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "the user's seal could not be looked at"),
        }
    }

    /// PocketBase took this password and it did not open the seal: see [`Keys::status`].
    pub async fn login_did_not_open(&self, user: &User) {
        self.give_up(user).await;
    }
}
