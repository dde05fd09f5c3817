//! A job as PocketBase keeps it.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::id::{ImageId, JobId, UserId};
use crate::money::MicroUsd;
use crate::pocketbase::rows::{Row, Table};
use crate::vault::Fingerprint;

/// Where a job stands; api.md names the states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waits for a slot.
    Created,
    /// May be on its way to FAL.
    Submitting,
    /// In FAL's queue.
    Queued,
    /// At work.
    Running,
    /// Its pictures are being stored.
    Storing,
    /// Done, stored and charged.
    Completed,
    /// Ended without pictures.
    Failed,
    /// Ended at its user's wish.
    Cancelled,
    /// Nobody knows whether FAL got it.
    Unknown,
    /// Waits for its user's key.
    AwaitingUnlock,
}

impl Status {
    /// Those that are not over.
    pub const UNFINISHED: [&'static str; 7] = ["created", "submitting", "queued", "running", "storing", "unknown", "awaiting_unlock"];

    /// All of them.
    pub const WORDS: [&'static str; 10] =
        ["created", "submitting", "queued", "running", "storing", "completed", "failed", "cancelled", "unknown", "awaiting_unlock"];

    /// Whether nothing will change any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The word of the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Submitting => "submitting",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Storing => "storing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::AwaitingUnlock => "awaiting_unlock",
        }
    }

    /// The state of this word.
    pub fn of(word: &str) -> Option<Self> {
        serde_json::from_value(Value::String(word.to_owned())).ok()
    }
}

/// A picture of a job that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its row.
    pub id: ImageId,
    /// Where it is: a path of PocketBase's, or FAL's address while it could not be stored.
    pub url: String,
    /// A small copy.
    pub thumbnail_url: String,
}

/// Why a job ended without pictures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// api.md's name of the kind.
    pub error: String,
    /// For a person.
    pub message: String,
    /// The HTTP status that a request which waits for the job is answered with.
    #[serde(default)]
    pub status: u16,
    /// What FAL said: its status, type and request id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fal: Option<Value>,
}

/// One row of `generations`.
#[derive(Clone, Debug, Deserialize)]
pub struct JobRow {
    /// Which.
    pub id: JobId,
    /// Whose.
    pub user_id: UserId,
    /// Where it stands.
    pub status: Status,
    /// The model's name as its user wrote it.
    pub model: String,
    /// What is to be seen.
    pub prompt: String,
    /// What is sent to FAL beside the prompt.
    #[serde(default, deserialize_with = "or_default")]
    pub parameters: Map<String, Value>,
    /// The folder that the pictures go to; empty for none.
    #[serde(default)]
    pub collection_id: String,
    /// How many are before it in FAL's queue.
    #[serde(default)]
    pub queue_position: u32,
    /// Rises with each write.
    #[serde(default)]
    pub seq: u64,
    /// FAL's id, once it is known.
    #[serde(default)]
    pub request_id: String,
    /// FAL's addresses for it.
    #[serde(default)]
    pub status_url: String,
    #[serde(default)]
    #[expect(missing_docs, reason = "said above")]
    pub response_url: String,
    #[serde(default)]
    #[expect(missing_docs, reason = "said above")]
    pub cancel_url: String,
    /// Of the key that it was begun with.
    #[serde(default)]
    pub key_fingerprint: String,
    /// Tells whether a repeated request is the same.
    #[serde(default)]
    pub body_hash: String,
    /// What it cost.
    #[serde(default)]
    pub cost_micros: MicroUsd,
    /// Whether that is our guess.
    #[serde(default)]
    pub estimated: bool,
    /// Its pictures.
    #[serde(default, deserialize_with = "or_default")]
    pub images: Vec<Link>,
    /// Parameters that were not sent.
    #[serde(default, deserialize_with = "or_default")]
    pub ignored_parameters: Vec<String>,
    /// FAL's id of the model.
    #[serde(default)]
    pub endpoint: String,
    /// Why it failed.
    #[serde(default, deserialize_with = "or_default")]
    pub error: Option<Failure>,
    /// When the row was made.
    #[serde(default, deserialize_with = "moment")]
    pub created: Option<Timestamp>,
    /// When it was about to be sent to FAL.
    #[serde(default, deserialize_with = "moment")]
    pub submitted_at: Option<Timestamp>,
    /// When it was over.
    #[serde(default, deserialize_with = "moment")]
    pub finished_at: Option<Timestamp>,
}

impl Row for JobRow {
    const TABLE: Table = Table::Generations;
    const FIELDS: &'static str = "id,user_id,status,model,prompt,parameters,collection_id,queue_position,seq,request_id,status_url,\
        response_url,cancel_url,key_fingerprint,body_hash,cost_micros,estimated,images,ignored_parameters,endpoint,error,created,\
        submitted_at,finished_at";
}

impl JobRow {
    /// Whether it was begun with this key.
    pub fn is_of(&self, key: Fingerprint) -> bool {
        self.key_fingerprint == key.to_string()
    }

    /// It has a task again: it waits for nobody, and what kept it is over.
    pub(super) fn moves_again(&mut self) {
        if self.status == Status::AwaitingUnlock {
            self.status = match (self.request_id.is_empty(), self.submitted_at) {
                (false, _) => Status::Queued,
                (true, None) => Status::Created,
                (true, Some(_)) => Status::Unknown,
            };
        }
        self.error = None;
    }

    /// It says that it may have been sent, and was not.
    pub(super) fn was_not_sent(&mut self) {
        if self.request_id.is_empty() {
            (self.status, self.submitted_at) = (Status::Created, None);
        }
    }

    /// What FAL is sent.
    pub fn input(&self) -> Map<String, Value> {
        let mut input = self.parameters.clone();
        input.insert("prompt".into(), Value::String(self.prompt.clone()));
        input
    }
}

/// PocketBase keeps an unset json field as `null`.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `2026-11-20 09:08:07.065Z`, or nothing.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_word_and_the_unfinished_ones_are_listed() {
        let all =
            ["created", "submitting", "queued", "running", "storing", "completed", "failed", "cancelled", "unknown", "awaiting_unlock"];
        for word in all {
            let status = Status::of(word).expect(word);
            assert_eq!(status.word(), word);
            assert_eq!(!status.is_over(), Status::UNFINISHED.contains(&word), "{word}");
        }
        assert_eq!(Status::of("done"), None);
    }

    #[test]
    fn a_row_with_nothing_but_what_every_job_has_can_be_read() {
        let row: JobRow = serde_json::from_str(
            r#"{"id":"abcdefghij01234","user_id":"abcdefghij01234","status":"created","model":"m","prompt":"p","parameters":null,
                "images":null,"error":null,"submitted_at":"","created":"2026-11-21 02:02:09.028Z","queue_position":0}"#,
        )
        .expect("a row");
        assert!(row.parameters.is_empty() && row.submitted_at.is_none() && row.created.is_some());
        assert_eq!(row.input()["prompt"], "p");
    }

    #[test]
    fn a_job_that_is_taken_up_waits_for_nobody_and_has_no_error() {
        let left = |request_id: &str, submitted_at: &str| -> JobRow {
            serde_json::from_value(serde_json::json!({
                "id": "abcdefghij01234", "user_id": "abcdefghij01234", "status": "awaiting_unlock", "model": "m", "prompt": "p",
                "request_id": request_id, "submitted_at": submitted_at, "error": { "error": "external_error", "message": "no" },
            }))
            .expect("a row")
        };
        let at = "2026-11-21 02:02:09.028Z";
        for (request_id, submitted_at, status) in [("", "", Status::Created), ("", at, Status::Unknown), ("r", at, Status::Queued)] {
            let mut row = left(request_id, submitted_at);
            row.moves_again();
            assert_eq!((row.status, row.error), (status, None), "{request_id} {submitted_at}");
        }
    }
}
