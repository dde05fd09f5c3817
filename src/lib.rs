//! Generatio, a sidecar for PocketBase: a reverse proxy that passes everything through unread, and answers `/api/custom/*` itself.
//!
//! A request comes in at [`server`], which refuses what two HTTP parsers could read differently ([`wire`]) and asks whose it is: ours goes
//! to [`api`], all others to [`forward`], which borrows a connection from [`pocketbase::pool`]. Whatever fails becomes an answer in
//! [`error`]. FAL keys are sealed and opened by [`vault`] and lent while a session is open by [`sessions`]; [`keys`] has all that is done
//! with them. How often anybody may come is counted in [`rates`]. [`fal`] asks FAL for pictures, [`jobs`] sees them through. Each of them counts
//! what it does in [`metrics`], which [`monitor`] shows on a port of its own. Beside all that stands [`simulator`], a FAL for one machine,
//! which knows nothing of the rest. Modules import downward only, in the order below; `tests/architecture.rs` holds them to it.

pub mod commands;
pub mod server;

pub mod monitor;

pub mod api;
pub mod forward;

pub mod error;

pub mod app;

pub mod jobs;

pub mod keys;

pub mod fal;
pub mod pocketbase;
pub mod sessions;

pub mod rates;
pub mod reply;
pub mod trace;
pub mod vault;
pub mod wire;

pub mod address;
pub mod config;
pub mod id;
pub mod metrics;
pub mod money;
pub mod sse;

pub mod simulator;
