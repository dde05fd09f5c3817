//! Our own endpoints, against a real PocketBase; laid out like `src/api`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod callers;
mod contract;
mod status;
mod upheaval;
