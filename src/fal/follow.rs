//! Following a job: how it stands, what it gave, and cancelling it.

use reqwest::RequestBuilder;
use serde_json::Value;

use super::Client;
use super::call::{Bounds, LARGE, SMALL, ask};
use super::error::{Error, What};
use super::key::Key;
use super::output::Output;
use super::urls::Handle;

/// How a job stands. FAL has these three states only: a failed or cancelled job is `Completed` too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits.
    Queued {
        /// How many wait before it; it may jump either way.
        position: Option<u32>,
    },
    /// It runs.
    Running,
    /// It has ended.
    Completed {
        /// FAL's words, where it did not end well. The result says more.
        error: Option<String>,
    },
}

/// What asking for a result gave.
#[derive(Debug)]
pub enum Fetched {
    /// There is none yet, even if the job is said to have ended. Ask again.
    Pending,
    /// The model's output.
    Done(Box<Output>),
    /// The model's or FAL's error is the result. Where the job was said to have ended well and this is [`Error::Unavailable`], it may be a
    /// failure of the asking instead: asking again is free.
    Failed(Error),
}

/// What asking to cancel gave. None of them says how the job ends: its status does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// FAL will try; the job may complete, and bill, all the same.
    Requested,
    /// It has ended already.
    TooLate,
    /// FAL does not know it, or no more.
    NotFound,
}

impl State {
    /// One state, as an event of FAL's stream has it.
    pub(super) fn read(json: &[u8]) -> Result<Self, Error> {
        let body = serde_json::from_slice(json).map_err(|_| Error::Malformed { what: What::Status, why: "it is not JSON" })?;
        Self::of(&body)
    }

    fn of(body: &Value) -> Result<Self, Error> {
        let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        match body["status"].as_str() {
            Some("IN_QUEUE") => Ok(Self::Queued { position: body["queue_position"].as_u64().and_then(|place| place.try_into().ok()) }),
            Some("IN_PROGRESS") => Ok(Self::Running),
            Some("COMPLETED") => Ok(Self::Completed { error: text("error").or_else(|| text("error_type")) }),
            Some(_) => Err(Error::Malformed { what: What::Status, why: "it names a state that FAL does not have" }),
            None => Err(Error::Malformed { what: What::Status, why: "it names no state" }),
        }
    }
}

impl Client {
    /// How a job stands.
    ///
    /// # Errors
    /// Also when FAL names a state that is none of the three. [`Error::NotFound`] may pass in a job's first moments.
    pub async fn status(&self, key: Key<'_>, job: &Handle) -> Result<State, Error> {
        let bounds = Bounds { what: What::Status, time: self.settings.timeouts.follow, size: SMALL };
        let (_, body) = ask(json(self.follower.get(job.status_url.clone())), key, bounds).await?.success(What::Status)?;
        State::of(&body)
    }

    /// What a job gave. It can be asked for again, for as long as FAL keeps it: an hour, or six minutes (facts: fal.md 1.5).
    ///
    /// # Errors
    /// When nothing was learnt about the result. [`Error::NotFound`] means that FAL keeps it no longer.
    pub async fn result(&self, key: Key<'_>, job: &Handle) -> Result<Fetched, Error> {
        let bounds = Bounds { what: What::Result, time: self.settings.timeouts.result, size: LARGE };
        let answer = ask(json(self.follower.get(job.response_url.clone())), key, bounds).await?;
        if answer.status.as_u16() == 202 {
            return Ok(Fetched::Pending);
        }
        if !answer.status.is_success() {
            return fetched(answer.refusal());
        }
        let (headers, body) = answer.success(What::Result)?;
        Ok(Fetched::Done(Box::new(Output::read(&headers, body)?)))
    }

    /// Asks FAL to cancel a job. Asking twice does no harm.
    ///
    /// # Errors
    /// When FAL did not say.
    pub async fn cancel(&self, key: Key<'_>, job: &Handle) -> Result<Cancellation, Error> {
        let bounds = Bounds { what: What::Cancel, time: self.settings.timeouts.follow, size: SMALL };
        let answer = ask(json(self.follower.put(job.cancel_url.clone())), key, bounds).await?;
        match answer.status.as_u16() {
            200..=299 => Ok(Cancellation::Requested),
            400 => Ok(Cancellation::TooLate),
            404 => Ok(Cancellation::NotFound),
            _ => Err(answer.refusal()),
        }
    }
}

fn json(request: RequestBuilder) -> RequestBuilder {
    request.header(http::header::ACCEPT, "application/json")
}

/// Whether a refusal is the job's own end, or says only that asking went wrong.
fn fetched(error: Error) -> Result<Fetched, Error> {
    let is_the_end = match &error {
        Error::Refused(said) if said.status == 400 && is_pending(&said.message) => return Ok(Fetched::Pending),
        Error::ContentPolicy(_) | Error::Invalid(_) | Error::Cancelled(_) => true,
        Error::NotFound(said) | Error::Refused(said) | Error::TookTooLong(said) | Error::Unavailable(said) => said.is_about_the_request(),
        Error::KeyRejected(_) | Error::Forbidden(_) | Error::Locked { .. } | Error::RateLimited { .. } => false,
        Error::TimedOut(_) | Error::Unreachable { .. } | Error::Cut { .. } => false,
        Error::Malformed { .. } | Error::TooLarge { .. } | Error::Untrusted { .. } => false,
    };
    if is_the_end { Ok(Fetched::Failed(error)) } else { Err(error) }
}

/// FAL has no code for it, only these words (facts: fal.md 1.5).
fn is_pending(message: &str) -> bool {
    message.to_ascii_lowercase().contains("in progress")
}

/// A member that may be missing or of another type, which is then as good as missing.
pub(super) fn member<T: serde::de::DeserializeOwned>(body: &mut Value, name: &str) -> Option<T> {
    body.get_mut(name).map(Value::take).and_then(|value| serde_json::from_value(value).ok())
}
