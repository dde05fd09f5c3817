//! Who may use which key right now: open sessions, and the guarded way to open one.
//!
//! [`Unlocking`] is that way: it refuses whoever was wrong too often ([`attempts`]), and does the work that a password costs on threads of
//! its own ([`derivation`]). What it opens goes into the table, [`Sessions`]. Everything that reads a seal and writes another holds the
//! user's lock meanwhile, from [`UserLocks`]. All of it is in memory alone and goes with the process.

mod attempts;
mod derivation;
mod locks;
mod session_id;
mod table;
mod unlock;

pub use attempts::{Attempt, Attempts};
pub use derivation::{Derivations, Work};
pub use locks::{Queued, UserGuard, UserLocks};
pub use session_id::{NotASessionId, SessionId};
pub use table::{Ending, Limits, NotYours, Session, Sessions, Statistics};
pub use unlock::{CannotUnlock, Unlocking};

/// There is no room to wait in: whoever asks should come again in a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many are waiting already")]
pub struct Busy;
