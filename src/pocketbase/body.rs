//! The body of a request to PocketBase, and how far it has come.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, SizeHint};

/// The body of a request to PocketBase.
pub enum RequestBody {
    /// None at all.
    Empty,
    /// Whatever arrives, as it arrives.
    Stream(Stream),
}

/// A body whose progress can be seen from outside.
pub struct Stream {
    body: UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>,
    progress: Arc<Progress>,
}

/// How far a body has been taken.
#[derive(Default)]
pub(super) struct Progress {
    finished: AtomicBool,
}

impl Progress {
    /// Whether nothing of the body is left.
    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }
}

impl RequestBody {
    /// A body that is read only as PocketBase takes it.
    pub fn stream(body: UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Stream(Stream { body, progress: Arc::default() })
    }

    /// Whether there is none at all.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Empty => None,
            Self::Stream(stream) => Some(Arc::clone(&stream.progress)),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Self::Stream(Stream { body, progress }) = &mut *self else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        if polled.is_ready() {
            progress.finished.store(matches!(polled, Poll::Ready(None)) || body.is_end_stream(), Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(stream) => stream.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(stream) => stream.body.size_hint(),
        }
    }
}
