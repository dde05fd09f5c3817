//! A job's states as FAL says them by itself, on its status stream (facts: fal.md 1.4).

use futures_util::stream::{self, Stream};
use http::header::{ACCEPT, CONTENT_TYPE};
use reqwest::Response;

use super::Client;
use super::call::{Bounds, SMALL, read};
use super::error::{Error, What};
use super::follow::State;
use super::key::Key;
use super::urls::Handle;
use crate::sse;

/// An open stream, and what of it is not a whole event yet.
struct Open {
    response: Response,
    buffer: Vec<u8>,
}

impl Client {
    /// The states of a job, each as soon as FAL says it. The stream is a convenience: it ends where FAL ends it, refuses it, falls silent
    /// or says what makes no sense, and [`Client::status`] then says how the job stands and what is wrong.
    pub fn states<'a>(&'a self, key: Key<'a>, job: &'a Handle) -> impl Stream<Item = State> + Send + 'a {
        stream::unfold(None, move |open| async move {
            match self.next_state(key, job, open).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::debug!(request_id = %job.request_id, error = &error as &dyn std::error::Error, "FAL says no more by itself of how a job stands");
                    None
                }
            }
        })
    }

    async fn next_state(&self, key: Key<'_>, job: &Handle, open: Option<Open>) -> Result<Option<(State, Option<Open>)>, Error> {
        let Open { mut response, mut buffer } = match open {
            Some(open) => open,
            None => Open { response: self.listen(key, job).await?, buffer: Vec::new() },
        };
        loop {
            while let Some(event) = sse::take(&mut buffer) {
                if !event.data.is_empty() {
                    let state = State::read(event.data.as_bytes())?;
                    return Ok(Some((state, Some(Open { response, buffer }))));
                }
            }
            let part = response.chunk().await.map_err(|error| Error::transport(What::Status, error))?;
            let Some(part) = part else { return Ok(None) };
            if buffer.len() + part.len() > SMALL {
                return Err(Error::TooLarge { what: What::Status, limit: SMALL });
            }
            buffer.extend_from_slice(&part);
        }
    }

    async fn listen(&self, key: Key<'_>, job: &Handle) -> Result<Response, Error> {
        let request =
            self.listener.get(job.stream_url()).header(ACCEPT, "text/event-stream").header(http::header::AUTHORIZATION, key.header());
        let response = request.send().await.map_err(|error| Error::transport(What::Status, error))?;
        if !response.status().is_success() {
            let bounds = Bounds { what: What::Status, time: self.settings.timeouts.follow, size: SMALL };
            return Err(read(response, bounds).await?.refusal());
        }
        let is_stream = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if is_stream { Ok(response) } else { Err(Error::Malformed { what: What::Status, why: "it is no stream of events" }) }
    }
}
