//! Our own endpoints, against a real PocketBase; laid out like `src/api`.

#[path = "../support/mod.rs"]
mod support;

mod contract;
mod status;
