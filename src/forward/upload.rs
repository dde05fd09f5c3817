//! The body of a request on its way to PocketBase.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep};

use super::passing::Tee;
use crate::pocketbase::body::RequestBody;

/// Told whether the client owes a byte of the body: called with `true` when it begins to, `false` when one came.
pub type Waiting = Arc<dyn Fn(bool) + Send + Sync>;

/// A client that asked first waits about this long before it sends its body all the same (RFC 9110 10.1.1).
const PATIENCE: Duration = Duration::from_secs(1);

/// A body that is read only when PocketBase takes it, and, if the client asked first, not before PocketBase said yes.
pub(super) struct Upload {
    body: Incoming,
    waiting: Waiting,
    /// Who is shown what passes.
    tee: Option<Tee>,
    gate: Option<(Arc<Gate>, Pin<Box<Sleep>>)>,
}

/// Closed until PocketBase answers `100 Continue`, or has kept silent for a second.
pub(super) struct Gate {
    open: AtomicBool,
    asleep: Mutex<Option<Waker>>,
}

impl Gate {
    /// Lets the body through.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
        if let Some(waker) = self.asleep.lock().take() {
            waker.wake();
        }
    }

    fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        if self.open.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        *self.asleep.lock() = Some(cx.waker().clone());
        if self.open.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Upload {
    pub(super) fn new(body: Incoming, waiting: Waiting, tee: Option<Tee>) -> Self {
        Self { body, waiting, tee, gate: None }
    }

    /// The same body behind a gate. hyper answers the client's expectation when the body is first read, so that the client hears
    /// `100 Continue` exactly when PocketBase said it, and a refusal instead when PocketBase refuses.
    pub(super) fn held_back(self) -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate { open: AtomicBool::new(false), asleep: Mutex::new(None) });
        (Self { gate: Some((Arc::clone(&gate), Box::pin(sleep(PATIENCE)))), ..self }, gate)
    }

    pub(super) fn into_request_body(self) -> RequestBody {
        RequestBody::stream(self.map_err(Into::into).boxed_unsync())
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some((gate, patience)) = &mut self.gate {
            if gate.poll_open(cx).is_pending() && patience.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.gate = None;
        }
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
