//! The body of a request on its way to PocketBase.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::passing::Tee;
use crate::pocketbase::body::RequestBody;

/// Told whether the client owes a byte of the body: called with `true` when it begins to, `false` when one came.
pub type Waiting = Arc<dyn Fn(bool) + Send + Sync>;

/// A body that is read only when PocketBase takes it. hyper answers the expectation of a client that asked first when the body is first
/// read, so that the client hears `100 Continue` exactly when PocketBase said it, and a refusal instead when PocketBase refuses.
pub(super) struct Upload {
    body: Incoming,
    waiting: Waiting,
    /// Who is shown what passes.
    tee: Option<Tee>,
}

impl Upload {
    pub(super) fn new(body: Incoming, waiting: Waiting, tee: Option<Tee>) -> Self {
        Self { body, waiting, tee }
    }

    pub(super) fn into_request_body(self) -> RequestBody {
        RequestBody::Stream(self.map_err(Into::into).boxed_unsync())
    }
}

impl Drop for Upload {
    /// A body that nobody wants any more is owed by nobody.
    fn drop(&mut self) {
        (self.waiting)(false);
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        (self.waiting)(polled.is_pending());
        if let (Some(tee), Poll::Ready(Some(Ok(frame)))) = (&self.tee, &polled) {
            frame.data_ref().into_iter().for_each(|bytes| tee.keep(bytes));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
