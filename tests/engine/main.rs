//! The generation engine from end to end: the real sidecar, a real PocketBase with our hooks, and the simulator, each a process of its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod books;
mod cancelling;
mod clients;
mod faults;
mod input;
mod keys;
mod late;
mod limits;
mod logs;
mod metrics;
mod pictures;
mod realtime;
mod restored;
mod simulator;
#[path = "../support/mod.rs"]
mod support;
mod waiting;
mod world;
