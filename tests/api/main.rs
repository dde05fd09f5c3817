//! Our own endpoints, against a real PocketBase; laid out like `src/api`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod collections;
mod contract;
mod gallery;
mod images;
mod models;
mod openapi;
mod preferences;
mod races;
mod status;
