//! kill -9 between any two effects: what was paid for is never lost, never paid twice, and never charged twice.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod blow;
mod books;
mod lost;
mod matrix;
mod moment;
mod moments;
mod relay;
mod world;
