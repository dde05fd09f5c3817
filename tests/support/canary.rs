//! Secrets that tests plant, and the places where none of them may be found.
//!
//! Whatever a test sends or is given under a name that secrets have is planted by the clients of the harness, for all tests of the same
//! process. Whoever stops a program looks for all of it in what that program has left behind.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aho_corasick::AhoCorasick;
use serde_json::Value;

static PLANTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Shorter texts stand in logs for reasons of their own.
const SHORTEST: usize = 8;

/// Under these names secrets are sent. The last is one only where we are asked: PocketBase is sent seals by that name.
const SENT: [&str; 6] = ["password", "passwordConfirm", "oldPassword", "old_password", "new_password", "fal_token"];
/// Under these they are given.
const GIVEN: [&str; 2] = ["token", "session_id"];

fn planted() -> MutexGuard<'static, BTreeSet<String>> {
    PLANTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A secret from now on.
pub fn plant(secret: &str) {
    if secret.len() >= SHORTEST {
        planted().insert(secret.to_owned());
    }
}

/// Plants what the body of a request holds, at any depth.
pub fn plant_sent(path: &str, body: &Value) {
    plant_from(body, if path.contains("/api/custom/") { &SENT } else { &SENT[..5] });
}

/// Plants what an answer holds.
pub fn plant_given(answer: &Value) {
    plant_from(answer, &GIVEN);
}

fn plant_from(body: &Value, names: &[&str]) {
    match body {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str() {
                    Some(secret) if names.contains(&name.as_str()) => {
                        plant(secret);
                        // What stands before the colon of a FAL key is no secret of its own.
                        secret.split_once(':').into_iter().for_each(|(_, rest)| plant(rest));
                    }
                    Some(_) => {}
                    None => plant_from(value, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| plant_from(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Fails if any secret stands there.
#[track_caller]
pub fn assert_kept(place: &str, bytes: &[u8]) {
    let secrets: Vec<String> = planted().iter().cloned().collect();
    let Some(found) = AhoCorasick::new(&secrets).expect("texts that can be looked for").find(bytes) else { return };
    let from = found.start().saturating_sub(300);
    let around = String::from_utf8_lossy(&bytes[from..(found.end() + 100).min(bytes.len())]).into_owned();
    panic!("{:?} stands in {place}: ...{around}...", secrets[found.pattern().as_usize()]);
}

/// The same for an answer that refuses something.
#[track_caller]
pub fn assert_kept_in_refusal(status: u16, answer: &str) {
    if status >= 400 {
        let found = planted().iter().find(|secret| answer.contains(secret.as_str())).cloned();
        assert!(found.is_none(), "{found:?} was answered: {answer}");
    }
}
