//! The client of FAL against the simulator in this process, and against listeners that hang up at any moment.

#![expect(clippy::unwrap_used, reason = "what is not there is a failed test")]

mod download;
mod keys;
mod life;
mod scenarios;
mod submit;
mod support;
mod tls;
