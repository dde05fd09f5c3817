//! What was asked of the simulator, for tests to count: a bounded log and counters that never forget.

use std::collections::{BTreeMap, HashMap, VecDeque};

use aws_lc_rs::digest;
use serde::Serialize;
use serde_json::Value;

/// Entries kept; older ones go.
const MOST_ENTRIES: usize = 10_000;
/// Distinct submits counted; later ones are in the log only.
const MOST_FINGERPRINTS: usize = 50_000;

/// One request and its answer.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// When it was answered, in simulated time.
    pub at: String,
    /// What kind of request, as in [`super::routes`].
    pub kind: &'static str,
    /// The HTTP method.
    pub method: String,
    /// The path under its prefix, without the query.
    pub path: String,
    /// The status; 0 where the connection was cut instead.
    pub status: u16,
    /// The id of the key that came with it; never its secret.
    pub key_id: Option<String>,
}

/// Every POST of one input to one endpoint with one key.
#[derive(Clone, Debug, Serialize)]
pub struct Submit {
    /// SHA-256 of key id, endpoint and input, shortened.
    pub fingerprint: String,
    /// Who.
    pub key_id: String,
    /// Where.
    pub endpoint: String,
    /// Its prompt, for people.
    pub prompt: Value,
    /// How often it was sent.
    pub posts: u64,
    /// How often it became a job.
    pub accepted: u64,
}

/// The log and the counters.
#[derive(Debug, Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    counters: BTreeMap<&'static str, u64>,
    submits: Vec<Submit>,
    by_fingerprint: HashMap<String, usize>,
}

impl Journal {
    /// Notes an answered request.
    pub fn note(&mut self, entry: Entry) {
        self.count(entry.kind);
        if self.entries.len() == MOST_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Counts one more of a kind.
    pub fn count(&mut self, kind: &'static str) {
        *self.counters.entry(kind).or_default() += 1;
    }

    /// Notes a POST before anything is decided about it. Returns its fingerprint and how many there have now been.
    pub fn posted(&mut self, key_id: &str, endpoint: &str, input: &Value) -> (String, u64) {
        let fingerprint = fingerprint(key_id, endpoint, input);
        if !self.by_fingerprint.contains_key(&fingerprint) && self.submits.len() < MOST_FINGERPRINTS {
            self.by_fingerprint.insert(fingerprint.clone(), self.submits.len());
            self.submits.push(Submit {
                fingerprint: fingerprint.clone(),
                key_id: key_id.to_owned(),
                endpoint: endpoint.to_owned(),
                prompt: input.get("prompt").cloned().unwrap_or_default(),
                posts: 0,
                accepted: 0,
            });
        }
        let posts = self.submit(&fingerprint).map_or(1, |submit| {
            submit.posts += 1;
            submit.posts
        });
        (fingerprint, posts)
    }

    /// Notes that a POST became a job.
    pub fn accepted(&mut self, fingerprint: &str) {
        if let Some(submit) = self.submit(fingerprint) {
            submit.accepted += 1;
        }
    }

    fn submit(&mut self, fingerprint: &str) -> Option<&mut Submit> {
        self.submits.get_mut(*self.by_fingerprint.get(fingerprint)?)
    }

    /// The log, oldest first.
    pub fn entries(&self) -> &VecDeque<Entry> {
        &self.entries
    }

    /// How many of each kind.
    pub fn counters(&self) -> &BTreeMap<&'static str, u64> {
        &self.counters
    }

    /// Every distinct submit, in order of first sight.
    pub fn submits(&self) -> &[Submit] {
        &self.submits
    }
}

fn fingerprint(key_id: &str, endpoint: &str, input: &Value) -> String {
    hex(digest::digest(&digest::SHA256, format!("{key_id}\n{endpoint}\n{input}").as_bytes()).as_ref())[..16].to_owned()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
