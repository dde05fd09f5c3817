//! Whether PocketBase answers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::pool::dial;
use crate::config::PocketBaseUrl;

/// An answer is good for this long: a flood of status requests must not become a flood of health checks.
const FRESH: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What PocketBase's `GET /api/health` last said.
pub struct Health {
    url: PocketBaseUrl,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Health {
    /// Nothing is asked until somebody wants to know.
    pub fn new(url: PocketBaseUrl) -> Self {
        Self { url, last: Mutex::new(None) }
    }

    /// Whether PocketBase answered its health check within 2 s, now or less than a second ago.
    pub async fn is_up(&self) -> bool {
        if let Some((at, up)) = *self.last.lock()
            && at.elapsed() < FRESH
        {
            return up;
        }
        let up = answers(&self.url, "/api/health").await;
        *self.last.lock() = Some((Instant::now(), up));
        up
    }
}

/// Whether a server answers `GET path` with 200 within 2 s, on a connection of its own.
pub async fn answers(url: &PocketBaseUrl, path: &'static str) -> bool {
    match timeout(ANSWER_WITHIN, ask(url, path)).await {
        Ok(Ok(status)) => status == StatusCode::OK,
        Ok(Err(error)) => {
            tracing::debug!(%url, path, error = &*error, "a health check failed");
            false
        }
        Err(_) => false,
    }
}

async fn ask(url: &PocketBaseUrl, path: &'static str) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let stream = dial(url).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header(HOST, url.authority()).body(Empty::<Bytes>::new())?;
    tokio::select! {
        answer = sender.send_request(request) => Ok(answer?.status()),
        ended = connection => Err(ended.err().map_or_else(|| "closed without an answer".into(), Into::into)),
    }
}
