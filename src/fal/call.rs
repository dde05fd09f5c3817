//! One request to FAL and one bounded answer, for everything but pictures.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use reqwest::RequestBuilder;
use serde_json::Value;

use super::error::{Error, What};
use super::key::Key;

/// A status, a submit, a price list: some kilobytes at most.
pub(super) const SMALL: usize = 1 << 20;
/// A page of the history, with everything that was asked for.
pub(super) const PAGE: usize = 16 << 20;
/// A result. Pictures inside it are never asked for, but if they come they are paid for.
pub(super) const LARGE: usize = 32 << 20;

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    what: What,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What is asked, and how long and how large the answer may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub what: What,
    pub time: Duration,
    pub size: usize,
}

/// Sends a request and reads its answer, whatever its status.
pub(super) async fn ask(request: RequestBuilder, key: Key<'_>, bounds: Bounds) -> Result<Answer, Error> {
    let request = request.header(header::AUTHORIZATION, key.header()).timeout(bounds.time);
    let answered = async {
        let response = request.send().await.map_err(|error| Error::transport(bounds.what, error))?;
        read(response, bounds).await
    };
    answered.await.map_err(|error| error.counted(bounds.what))
}

/// Reads an answer whose head has come.
pub(super) async fn read(mut response: reqwest::Response, bounds: Bounds) -> Result<Answer, Error> {
    let too_large = || Error::TooLarge { what: bounds.what, limit: bounds.size };
    let promised = response.content_length().unwrap_or(0);
    if promised > bounds.size as u64 {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(part) = response.chunk().await.map_err(|error| Error::transport(bounds.what, error))? {
        if body.len() + part.len() > bounds.size {
            return Err(too_large());
        }
        body.extend_from_slice(&part);
    }
    Ok(Answer { what: bounds.what, status: response.status(), headers: std::mem::take(response.headers_mut()), body: body.freeze() })
}

impl Answer {
    /// The body of a success; any other status is FAL's refusal.
    pub(super) fn success(self, what: What) -> Result<(HeaderMap, Value), Error> {
        if !self.status.is_success() {
            return Err(self.refusal());
        }
        let body = serde_json::from_slice(&self.body).map_err(|_| Error::Malformed { what, why: "it is not JSON" }.counted(what))?;
        Ok((self.headers, body))
    }

    /// What an answer that is not a success means.
    pub(super) fn refusal(&self) -> Error {
        Error::answered(self.status.as_u16(), &self.headers, &self.body).counted(self.what)
    }
}
