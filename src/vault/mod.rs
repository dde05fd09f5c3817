//! Sealing FAL keys under passwords and opening them again: no I/O, no clock, nothing kept.
//!
//! A key is [`Opened`] or [`Sealed`]. [`open`] leads from the second to the first and [`seal`] back; both derive a key from the password
//! first, which takes tens of milliseconds of work on purpose, so neither is ever called on a thread that answers requests. The bytes are
//! published in `tests/vectors`, with an independent implementation beside them.

mod cipher;
mod envelope;
mod key;
mod prf;
mod secret;
#[cfg(test)]
mod tests;

pub use envelope::{Iterations, Malformed, Method, OutOfBounds, Sealed};
pub use key::{Fingerprint, NewPassword, NotAFingerprint, NotAKey, Opened, Password, Unfit};

#[cfg(test)]
pub(crate) use secret::graveyard;

use crate::id::{CollectionId, UserId};

/// Whose key it is. A seal of today's format opens for nobody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The collection of the user.
    pub collection: CollectionId,
    /// The user.
    pub user: UserId,
}

/// Why a seal stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// The password is wrong, or the seal was changed or moved to another user: nobody can tell which.
    #[error("the password does not open the seal")]
    Refused,
    /// The password opened it, and what is in it cannot be a FAL key. Only the former extension could seal such a thing.
    #[error("the seal holds no FAL key")]
    NotAKey,
}

/// Opens a seal: one derivation, as long as its iterations say.
///
/// # Errors
/// When the seal stays closed.
pub fn open(sealed: &Sealed, password: &Password, owner: &Owner) -> Result<Opened, CannotOpen> {
    let key = cipher::derive(password, &sealed.salt, sealed.method.iterations());
    let opened = cipher::decrypt(&key, sealed, owner);
    cipher::scrub();
    opened
}

/// Seals a key with a fresh salt and nonce: one derivation.
pub fn seal(opened: &Opened, password: &NewPassword, owner: &Owner, method: Method) -> Sealed {
    let (salt, nonce) = cipher::fresh();
    let key = cipher::derive(password.password(), &salt, method.iterations());
    let sealed = cipher::encrypt(&key, opened, owner, method, salt, nonce);
    cipher::scrub();
    sealed
}
