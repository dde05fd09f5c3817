//! The simulator, asked over real sockets with a clock that stands still until a test moves it.
//! One module for each of its parts; `docs/simulator.md` names the test that holds each row of its conformance table.

#![expect(clippy::unwrap_used, reason = "what is not there is a failed test")]

mod billing;
mod command;
mod documentation;
mod faults;
mod load;
mod media;
mod pictures;
mod platform;
mod queue;
mod refusals;
mod rest;
mod run;
mod scheduling;
mod support;
mod webhooks;
