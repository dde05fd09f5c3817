//! PocketBase's realtime protocol, as far as the superuser's own subscription needs it.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{ACCEPT, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::Error;
use super::http::{Call, Http};
use super::pool::{self, Answer};

/// Longer than any event that we subscribe to: they carry an id.
const LONGEST: usize = 64 * 1024;

/// An open stream of events.
pub(super) struct Events {
    body: Answer,
    buffer: Vec<u8>,
}

/// One event: a topic, and its data as JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) topic: String,
    pub(super) data: String,
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
            if let Some(event) = take_event(&mut self.buffer) {
                return Ok(Some(event));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let data: Bytes = frame.map_err(pool::Error::Cut)?.into_data().unwrap_or_default();
            if self.buffer.len() + data.len() > LONGEST {
                return Err(pool::Error::TooLong.into());
            }
            self.buffer.extend_from_slice(&data);
        }
    }
}

/// Takes the first whole event out of what has arrived.
fn take_event(buffer: &mut Vec<u8>) -> Option<Event> {
    let end = buffer.windows(2).position(|two| two == b"\n\n")?;
    let text = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 2);
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned()).unwrap_or_default()
    };
    Some(Event { topic: field("event"), data: field("data") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_one_by_one_and_a_half_one_waits() {
        let mut buffer = b"id:1\nevent:PB_CONNECT\ndata:{\"clientId\":\"x\"}\n\nevent: a/*\ndata: {}\n\nid:3\nevent".to_vec();
        let event = |topic: &str, data: &str| Some(Event { topic: topic.into(), data: data.into() });
        assert_eq!(take_event(&mut buffer), event("PB_CONNECT", "{\"clientId\":\"x\"}"));
        assert_eq!(take_event(&mut buffer), event("a/*", "{}"));
        assert_eq!(take_event(&mut buffer), None);
        assert_eq!(buffer, b"id:3\nevent");
    }
}
