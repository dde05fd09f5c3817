//! A password change that passes on its way to PocketBase.

use std::sync::Arc;

use super::seal::owner;
use super::{Error, Keys};
use crate::pocketbase::callers::User;
use crate::vault::{NewPassword, Password};

/// A user's password before and after.
pub struct PasswordChange {
    /// Whose.
    pub user: User,
    /// PocketBase took this one.
    pub old: Password,
    /// And takes this one now.
    pub new: Password,
}

impl Keys {
    /// Seals the user's key under their new password, if the old one opens it. PocketBase has answered already: whatever goes wrong here
    /// fails nothing, and is said in the log and in token-status.
    pub async fn follow(&self, change: PasswordChange) {
        let PasswordChange { user, old, new } = change;
        match self.reseal(&user, old, new).await {
            Ok(()) => tracing::info!(target: "audit", user = %user.id, "a FAL key was sealed under the user's new password"),
            Err(Error::NoKey) => {}
            Err(Error::WrongPassword) => {
                tracing::info!(target: "audit", user = %user.id, "a FAL key stays under a password of its own: the user's former one did not open it");
            }
            Err(error) => {
                tracing::warn!(user = %user.id, error = &error as &dyn std::error::Error, "a FAL key could not be sealed under the user's new password");
                self.give_up(&user).await;
            }
        }
    }

    async fn reseal(&self, user: &User, old: Password, new: Password) -> Result<(), Error> {
        let guard = self.locks.lock(user.id).await?;
        let sealed = self.sealed(user).await?;
        // PocketBase took the old password: this is no attempt at guessing one.
        let opened = self.unlocking.derivations().open(sealed.clone(), old, owner(user)).await?;
        let key = opened.map_err(|_| Error::WrongPassword)?;
        self.replace(user, &sealed, Arc::new(key), NewPassword::that_opened(new), &guard).await
    }

    /// What the user's new password does not open must be set up again.
    async fn give_up(&self, user: &User) {
        match self.text(user).await {
            Ok(text) if !text.is_empty() => self.stale.mark(user.id, &text),
            Ok(_) => {}
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "the user's seal could not be looked at"),
        }
    }

    /// PocketBase took this password and it did not open the seal: see [`Keys::has_key`].
    pub async fn login_did_not_open(&self, user: &User) {
        self.give_up(user).await;
    }
}
