//! PocketBase, as a server that we call.

pub mod body;
pub mod health;
mod line;
pub mod outage;
pub mod pool;
mod spare;
