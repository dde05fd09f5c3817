//! Storing a key, checking a password, changing it, and taking the key away.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::{Error, KeyStatus, Keys};
use crate::fal::{Key, Verdict};
use crate::pocketbase::admin::Repeat;
use crate::pocketbase::batch::Batch;
use crate::pocketbase::callers::User;
use crate::pocketbase::rows::{Table, UserRow};
use crate::sessions::{Ending, UserGuard};
use crate::vault::{NewPassword, Opened, Owner, Password, Sealed};

/// What is stored for a user.
pub(super) enum Stored {
    Nothing,
    Malformed,
    Sealed(Sealed),
}

/// Whether a password opens what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// There is nothing to open.
    NoKey,
    /// It does not open.
    Closed,
    /// It opens.
    Opens,
}

#[derive(Serialize)]
struct Seal<'a> {
    fal_token: &'a str,
}

impl Keys {
    /// Stores a key under a password in place of any other. FAL is asked first whether it knows the key, which costs nothing; the answer
    /// says whether FAL did, and is `false` when FAL could not be reached.
    ///
    /// Open sessions go on with the new key if the password opened the old seal too; otherwise they end.
    pub async fn setup(&self, user: &User, key: Opened, password: NewPassword) -> Result<bool, Error> {
        let verified = match self.check(&key).await {
            Verdict::Valid => true,
            Verdict::Unreachable => false,
            Verdict::Rejected => return Err(Error::KeyRejected),
        };
        let _guard = self.locks.lock(user.id).await?;
        let key = Arc::new(key);
        let stored = self.stored(user).await?;
        let event = if matches!(stored, Stored::Nothing) { "key_stored" } else { "key_replaced" };
        let same_password = match stored {
            Stored::Sealed(old) if self.sessions.has_session(user.id, Instant::now()) => {
                self.unlocking.derivations().open(old, password.password().clone(), owner(user)).await?.is_ok()
            }
            Stored::Sealed(_) | Stored::Nothing | Stored::Malformed => false,
        };
        let sealed = self.unlocking.derivations().seal(Arc::clone(&key), password, owner(user), self.method).await?;
        self.write(user, &sealed.to_string()).await?;
        self.stale.clear(user.id);
        if same_password {
            self.sessions.replace_key(user.id, &key);
        } else {
            self.sessions.end_user(user.id, Ending::KeyReplaced);
        }
        tracing::info!(target: "audit", event, user = %user.id, fingerprint = %key.fingerprint(), verified, "a FAL key was stored");
        Ok(verified)
    }

    async fn check(&self, key: &Opened) -> Verdict {
        match Key::new(key.expose()) {
            Ok(key) => self.fal.check_key(key, &self.probe).await.verdict,
            Err(_) => Verdict::Rejected,
        }
    }

    /// Whether a password opens the user's seal.
    pub async fn verify(&self, user: &User, password: Password, address: IpAddr) -> Result<Verified, Error> {
        let guard = self.locks.lock(user.id).await?;
        match self.open_seal(user, password, address, &guard).await {
            Ok(_) => {
                tracing::info!(target: "audit", event = "password_verified", user = %user.id, %address, "a password opens the user's seal");
                Ok(Verified::Opens)
            }
            Err(Error::NoKey) => Ok(Verified::NoKey),
            Err(Error::WrongPassword | Error::Malformed) => Ok(Verified::Closed),
            Err(error) => Err(error),
        }
    }

    /// Seals the user's key under another password. Sessions stay.
    pub async fn change_password(&self, user: &User, old: Password, new: NewPassword, address: IpAddr) -> Result<(), Error> {
        let guard = self.locks.lock(user.id).await?;
        let sealed = self.sealed(user).await?;
        let opened = self.unlocking.open(sealed.clone(), old, owner(user), address, Instant::now()).await.map_err(Error::from);
        let key = opened.inspect_err(|error| {
            if matches!(error, Error::WrongPassword) {
                tracing::info!(target: "audit", event = "wrong_password", user = %user.id, %address, "a password did not open a seal");
            }
        })?;
        self.replace(user, &sealed, Arc::new(key), new, &guard).await?;
        tracing::info!(target: "audit", event = "key_resealed", user = %user.id, %address, "a FAL key was sealed under a new password");
        Ok(())
    }

    /// Takes the user's key away and ends their sessions. Jobs that run have their own hold on it.
    pub async fn delete(&self, user: &User) -> Result<(), Error> {
        let _guard = self.locks.lock(user.id).await?;
        self.write(user, "").await?;
        self.stale.clear(user.id);
        let ended = self.sessions.end_user(user.id, Ending::KeyDeleted);
        tracing::info!(target: "audit", event = "key_deleted", user = %user.id, sessions = ended, "a FAL key was deleted");
        Ok(())
    }

    /// What is stored for a user, from memory if PocketBase said so a moment ago and nothing changed since.
    pub async fn status(&self, user: &User) -> Result<KeyStatus, Error> {
        if let Some(status) = self.known.find(user.id) {
            return Ok(status);
        }
        let asked = self.known.era();
        let text = self.text(user).await?;
        let stored = !text.is_empty();
        let unusable = stored && (self.stale.is_stale(user.id, &text) || text.parse::<Sealed>().is_err());
        let status = KeyStatus { stored, unusable };
        self.known.keep(user.id, status, asked);
        Ok(status)
    }

    /// Writes another seal of the same key, if the one it was opened from is still stored.
    pub(super) async fn replace(
        &self,
        user: &User,
        old: &Sealed,
        key: Arc<Opened>,
        password: NewPassword,
        _held: &UserGuard,
    ) -> Result<(), Error> {
        let sealed = self.unlocking.derivations().seal(key, password, owner(user), self.method).await?;
        match self.stored(user).await? {
            Stored::Sealed(current) if current == *old => {}
            Stored::Sealed(_) | Stored::Nothing | Stored::Malformed => return Err(Error::Restless),
        }
        self.write(user, &sealed.to_string()).await?;
        self.stale.clear(user.id);
        Ok(())
    }

    /// The user's seal.
    pub(super) async fn sealed(&self, user: &User) -> Result<Sealed, Error> {
        match self.stored(user).await? {
            Stored::Sealed(sealed) => Ok(sealed),
            Stored::Nothing => Err(Error::NoKey),
            Stored::Malformed => Err(Error::Malformed),
        }
    }

    pub(super) async fn stored(&self, user: &User) -> Result<Stored, Error> {
        let text = self.text(user).await?;
        Ok(match text.as_str() {
            "" => Stored::Nothing,
            text => text.parse().map_or(Stored::Malformed, Stored::Sealed),
        })
    }

    /// A user who is gone has stored nothing.
    pub(super) async fn text(&self, user: &User) -> Result<String, Error> {
        Ok(self.admin.get::<UserRow>(user.id).await?.map(|row| row.fal_token).unwrap_or_default())
    }

    /// In a batch, even of one: PocketBase's ordinary update reads the row before it takes the writer's place (`facts/store.md` 0.2).
    async fn write(&self, user: &User, text: &str) -> Result<(), Error> {
        let batch = Batch::default().update(&self.admin, Table::Users, user.id, &Seal { fal_token: text });
        let written = self.admin.batch(&batch, Repeat::Harmless).await;
        self.known.forget(user.id);
        written?;
        Ok(())
    }
}

pub(super) fn owner(user: &User) -> Owner {
    Owner { collection: user.collection.clone(), user: user.id }
}
