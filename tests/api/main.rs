//! Our own endpoints, against a real PocketBase; laid out like `src/api`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod stage;

mod asks;
mod auth;
mod callers;
mod collections;
mod collisions;
mod contract;
mod gallery;
mod images;
mod limits;
mod models;
mod openapi;
mod passing;
mod preferences;
mod races;
mod seals;
mod status;
mod tokens;
mod upheaval;
mod whole_life;
