//! Our own endpoints, against a real PocketBase; laid out like `src/api`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod auth;
mod callers;
mod contract;
mod passing;
mod races;
mod seals;
mod stage;
mod status;
mod tokens;
mod upheaval;
