//! PocketBase's realtime protocol, as far as the superuser's own subscription needs it.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{ACCEPT, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::Error;
use super::http::{Call, Http};
use super::pool::{self, Answer};
use crate::sse::{self, Event};

/// Longer than any event that we subscribe to: they carry an id.
const LONGEST: usize = 64 * 1024;

/// An open stream of events.
pub(super) struct Events {
    body: Box<Answer>,
    buffer: Vec<u8>,
}

/// What a changed row's event carries, asked for with `fields=id`.
#[derive(Deserialize)]
pub(super) struct Changed {
    pub(super) record: ChangedRecord,
}

#[derive(Deserialize)]
pub(super) struct ChangedRecord {
    pub(super) id: String,
}

impl Events {
    /// Connects. The first event names the client.
    pub(super) async fn open(http: &Http) -> Result<Self, Error> {
        let call = Call::new(Method::GET, "/api/realtime").header(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let response = http.open(call).await?;
        if response.status() != StatusCode::OK {
            return Err(Error::NotReady(format!("realtime events are answered {}", response.status()).into()));
        }
        Ok(Self { body: response.into_body(), buffer: Vec::new() })
    }

    /// The next event; none when PocketBase ended the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = sse::take(&mut self.buffer) {
                return Ok(Some(event));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let data: Bytes = frame?.into_data().unwrap_or_default();
            if self.buffer.len() + data.len() > LONGEST {
                return Err(pool::Error::TooLong.into());
            }
            self.buffer.extend_from_slice(&data);
        }
    }
}
