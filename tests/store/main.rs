//! The collections, rules, hooks and routes in PocketBase, without the sidecar: on every release that we stand behind.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod attack;
mod books;
mod folders;
mod former;
mod migrations;
mod natively;
mod schema;
mod store;
mod superuser;
mod users;
