//! Users' FAL keys: stored under a password, opened into a session, sealed anew when a password changes.
//!
//! Whatever reads a seal and writes another holds its user's lock meanwhile, and reads it again before it writes: what is stored always
//! opens with the password of the last call that was answered with success.

mod guard;
mod known;
mod open;
mod passing;
mod seal;
mod stale;

use std::sync::Arc;

use crate::fal::{Client, EndpointId};
use crate::pocketbase;
use crate::pocketbase::admin::Admin;
use crate::pocketbase::callers::{Callers, Stranger};
use crate::rates::Exceeded;
use crate::sessions::{self, CannotUnlock, Derivations, Limits, Sessions, Unlocking, UserLocks};
use crate::vault::Method;
pub use guard::Witness;
pub use known::KeyStatus;
pub use open::Opening;
pub use passing::{Following, PasswordChange};
pub use seal::Verified;
use stale::Stale;

/// Everything that has to do with users' FAL keys.
pub struct Keys {
    /// Open sessions.
    pub sessions: Sessions<Witness>,
    admin: Arc<Admin>,
    callers: Arc<Callers>,
    unlocking: Unlocking,
    locks: UserLocks,
    stale: Stale,
    known: known::Known,
    fal: Arc<Client>,
    /// Any model of FAL's: its price is asked for to see whether FAL knows a key.
    probe: EndpointId,
    method: Method,
    lifetime: std::time::Duration,
}

/// Why something could not be done with a user's key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user has stored none.
    #[error("no key is stored")]
    NoKey,
    /// What is stored is no seal that we know.
    #[error("what is stored is not a seal")]
    Malformed,
    /// The password does not open the seal.
    #[error("the password does not open the seal")]
    WrongPassword,
    /// FAL does not know the key.
    #[error("FAL rejected the key")]
    KeyRejected,
    /// Too many passwords: wrong ones lately, or at once.
    #[error(transparent)]
    Throttled(#[from] Exceeded),
    /// Too many wait for a derivation, or for this user's seal.
    #[error(transparent)]
    Busy(#[from] sessions::Busy),
    /// The seal was changed from elsewhere at this very moment: nothing was written.
    #[error("the stored seal was changed meanwhile")]
    Restless,
    /// PocketBase does not take the user's token any more.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] pocketbase::Error),
}

impl From<CannotUnlock> for Error {
    fn from(cannot: CannotUnlock) -> Self {
        match cannot {
            CannotUnlock::Throttled(throttled) => Self::Throttled(throttled),
            CannotUnlock::Busy(busy) => Self::Busy(busy),
            CannotUnlock::Closed(crate::vault::CannotOpen::Refused) => Self::WrongPassword,
            CannotUnlock::Closed(crate::vault::CannotOpen::NotAKey) => Self::Malformed,
        }
    }
}

impl Keys {
    /// What the threads that derive keys have done and have before them.
    pub fn derivations(&self) -> sessions::Work {
        self.unlocking.derivations().work()
    }

    /// Whether a password could be looked at now, before anything is done for whoever brings one.
    ///
    /// # Errors
    /// When too many are waiting.
    pub fn check_room(&self) -> Result<(), Error> {
        Ok(self.unlocking.derivations().check_room()?)
    }

    /// With nobody's session open.
    pub fn new(
        (admin, callers): (Arc<Admin>, Arc<Callers>),
        fal: Arc<Client>,
        derivations: Arc<Derivations>,
        method: Method,
        limits: Limits,
    ) -> Self {
        Self {
            sessions: Sessions::new(limits),
            admin,
            callers,
            unlocking: Unlocking::new(derivations),
            locks: UserLocks::default(),
            stale: Stale::default(),
            known: known::Known::default(),
            fal,
            probe: "fal-ai/flux/schnell".parse().expect("FAL's own name of a model"),
            method,
            lifetime: limits.lifetime,
        }
    }
}
