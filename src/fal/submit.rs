//! Asking for a job: one POST, never two, and the truth about whether it may have arrived.

use http::HeaderMap;
use serde_json::{Map, Value};

use super::call::{Answer, Bounds, SMALL, ask};
use super::error::{Error, What};
use super::key::Key;
use super::urls::{EndpointId, Handle, Links, RequestId};
use super::{Client, Said};

/// A submit that gave no job to follow.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct NotSubmitted {
    /// Whether a job may exist all the same.
    pub reached: Reached,
    /// What happened.
    #[source]
    pub error: Error,
}

/// How far a submit came that gave no job to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// No byte of it left this machine.
    NotSent,
    /// FAL said no, so there is no job.
    Refused,
    /// It was sent, or may have been: a job may run, and bill. It must not be sent again.
    Unknown {
        /// The id that the answer's head named, where only its body was lost. A hint for the history, no more.
        hint: Option<RequestId>,
    },
}

impl Client {
    /// Submits a job. FAL has no idempotency key, so this is exactly one POST, on a connection of its own.
    ///
    /// Two headers FAL offers are left out, and one is sent, all three for the user's money:
    ///
    /// - `x-app-fal-disable-fallback: true`, or FAL may silently run another model, at another price;
    /// - no `X-Fal-Store-IO: 0`: what FAL keeps is the only way to find a job whose answer was lost, and without it results live six minutes;
    /// - no `X-Fal-No-Retry`: FAL repeats only what failed on its side, which it does not bill.
    ///
    /// # Errors
    /// With what is known of the job.
    pub async fn submit(&self, key: Key<'_>, endpoint: &EndpointId, input: &Map<String, Value>) -> Result<Handle, NotSubmitted> {
        let request = self
            .submitter
            .post(self.settings.queue.at(endpoint.as_str()))
            .header("x-app-fal-disable-fallback", "true")
            .header(http::header::ACCEPT, "application/json")
            .json(input);
        let bounds = Bounds { what: What::Submit, time: self.settings.timeouts.submit, size: SMALL };
        let answer = ask(request, key, bounds).await.map_err(|error| NotSubmitted { reached: Reached::after(&error), error })?;
        let (request_id, body) = accepted(&answer)?;
        Ok(Handle::new(&self.settings.queue, endpoint, request_id, Links::read(&body)))
    }
}

/// The id of the job that an answer tells of.
fn accepted(answer: &Answer) -> Result<(RequestId, Value), NotSubmitted> {
    if !answer.status.is_success() {
        let error = answer.refusal();
        let reached = if refuses(answer.status.as_u16(), error.said()) { Reached::Refused } else { Reached::unknown(&answer.headers) };
        return Err(NotSubmitted { reached, error });
    }
    let malformed = |why| {
        let error = Error::Malformed { what: What::Submit, why };
        NotSubmitted { reached: Reached::unknown(&answer.headers), error }
    };
    let body: Value = serde_json::from_slice(&answer.body).map_err(|_| malformed("it is not JSON"))?;
    let request_id = body["request_id"].as_str().and_then(|id| id.parse().ok()).ok_or_else(|| malformed("it has no request_id"))?;
    Ok((request_id, body))
}

/// Whether an answer means that there is no job.
///
/// A 4xx does. A 5xx may come from a proxy in front of a FAL that has accepted, and so may a 408 or a 3xx; only 503 with a type of FAL's own
/// is FAL saying that it could not take the request (facts: fal.md 2).
fn refuses(status: u16, said: Option<&Said>) -> bool {
    match status {
        408 | 499 => false,
        400..=498 => true,
        503 => said.is_some_and(|said| said.kind.is_some()),
        _ => false,
    }
}

impl Reached {
    fn after(error: &Error) -> Self {
        if matches!(error, Error::Unreachable { .. }) { Self::NotSent } else { Self::Unknown { hint: None } }
    }

    fn unknown(headers: &HeaderMap) -> Self {
        let hint = headers.get("x-fal-request-id").and_then(|id| id.to_str().ok()?.parse().ok());
        Self::Unknown { hint }
    }
}
