//! PocketBase, as a server that we call.

pub mod body;
pub mod health;
pub mod outage;
pub mod pool;
