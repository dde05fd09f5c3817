//! `generatio doctor`, before real PocketBases: well ones, ones that are broken in one way each, and what it mends.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod broken;
mod clinic;
mod fix;
mod well;
