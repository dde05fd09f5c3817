//! PocketBase, as a server that we call.

pub mod health;
pub mod pool;
