//! Whether PocketBase answers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::line::dial;
use crate::config::PocketBaseUrl;

/// An answer is good for this long: a flood of status requests must not become a flood of health checks.
const FRESH: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What PocketBase's `GET /api/health` last said.
pub struct Health {
    url: PocketBaseUrl,
    /// Held while PocketBase is asked: whoever comes meanwhile waits for that answer.
    last: Mutex<Option<(Instant, bool)>>,
}

impl Health {
    /// Nothing is asked until somebody wants to know.
    pub fn new(url: PocketBaseUrl) -> Self {
        Self { url, last: Mutex::new(None) }
    }

    /// Whether PocketBase answered its health check within 2 s, now or less than a second ago.
    pub async fn is_up(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, up)) = *last
            && at.elapsed() < FRESH
        {
            return up;
        }
        let up = answers(&self.url, "/api/health").await;
        *last = Some((Instant::now(), up));
        up
    }
}

/// Whether a server answers `GET path` with 200 within 2 s, on a connection of its own.
pub async fn answers(url: &PocketBaseUrl, path: &'static str) -> bool {
    status(url, path).await == Some(StatusCode::OK)
}

/// What a server answers to `GET path` within 2 s, on a connection of its own.
pub async fn status(url: &PocketBaseUrl, path: &'static str) -> Option<StatusCode> {
    match timeout(ANSWER_WITHIN, ask(url, path)).await {
        Ok(Ok(status)) => Some(status),
        Ok(Err(error)) => {
            tracing::debug!(%url, path, error = &*error, "a health check failed");
            None
        }
        Err(_) => None,
    }
}

async fn ask(url: &PocketBaseUrl, path: &'static str) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let stream = dial(url).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header(HOST, url.authority()).body(Empty::<Bytes>::new())?;
    // The connection ends with its only answer, or with what kept that from coming.
    let answer = async move { sender.send_request(request).await.map(|answer| answer.status()) };
    let (status, _) = tokio::join!(answer, connection);
    Ok(status?)
}
