//! The body of an answer, as it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes};
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};

use super::exchange::Error;
use super::framing::{Framing, Piece};
use super::head::AnswerHead;
use super::line::Line;
use super::pipe::{Pipe, Piped, Portion};
use super::pool::Pool;
use super::sending::{Sending, Stopped};

/// From how many bytes on, as far as that is known, what is left of a body is worth a pipe.
const PIPED_FROM: u64 = 256 * 1024;

/// The body of an answer. Read to its end it gives the connection back; dropped before, it closes it, so that PocketBase learns that
/// nobody listens any more.
pub struct Answer {
    /// What has come and was not taken yet.
    arrived: Bytes,
    framing: Framing,
    /// What the rest of a large body goes through.
    pipe: Option<Arc<Pipe>>,
    /// Whether it is still to be decided if there is one.
    may_pipe: bool,
    sent: Instant,
    after_upload: bool,
    /// The connection, until it is no longer needed.
    lent: Option<Lent>,
    /// Why the rest will not come.
    broken: Option<Error>,
}

/// A connection and where it belongs.
struct Lent {
    line: Line,
    pool: Arc<Pool>,
    keeps_alive: bool,
    /// What is left of the request: an answer may come before it is sent whole.
    sending: Option<Box<Sending>>,
}

impl Answer {
    /// The answer to a request that was given to `line` at `sent`.
    pub(super) fn new(
        (head, arrived): (AnswerHead, Bytes),
        sent: Instant,
        line: Line,
        pool: Arc<Pool>,
        sending: Sending,
    ) -> Response<Box<Self>> {
        let AnswerHead { status, reason, headers, framing, keeps_alive } = head;
        let sending = (!sending.is_done()).then(|| Box::new(sending));
        let after_upload = sending.is_none();
        let lent = Some(Lent { line, pool, keeps_alive, sending });
        // Boxed, since it passes through many hands.
        let mut answer = Box::new(Self { arrived, framing, pipe: None, may_pipe: true, sent, after_upload, lent, broken: None });
        answer.let_go();
        let mut response = Response::new(answer);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if let Some(reason) = reason {
            response.extensions_mut().insert(reason);
        }
        response
    }

    /// Whether the request had been sent whole when the answer began.
    pub fn came_after_upload(&self) -> bool {
        self.after_upload
    }

    /// Whether the next frame is the error that ends it.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// When the request was given to the connection that this answer came by.
    pub fn sent(&self) -> Instant {
        self.sent
    }

    /// Lets the connection go once all has come: back to the pool if it can serve another request.
    fn let_go(&mut self) {
        let all_here = self.framing.left().is_some_and(|left| left <= self.arrived.len() as u64);
        if all_here
            && let Some(lent) = self.lent.take()
            && lent.keeps_alive
            && lent.sending.is_none()
            // Bytes that nobody asked for make it useless.
            && self.framing.left() == Some(self.arrived.len() as u64)
        {
            lent.pool.put_back(lent.line);
        }
    }

    /// The next frame, of which there are several kinds: this is for whoever can write what is in a pipe. `poll_frame` is for all others.
    pub fn poll_portion(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Portion>, Error>>> {
        match self.poll_pipe(cx) {
            Some(polled) => polled.map(|piped| Some(Ok(Frame::data(Portion::Piped(piped))))),
            None => Pin::new(self).poll_frame(cx).map_ok(|frame| frame.map_data(Portion::Here)),
        }
    }

    /// What is left of a large body, through a pipe. None if it does not go that way, or not now: what a pipe holds has to leave it first.
    fn poll_pipe(&mut self, cx: &mut Context<'_>) -> Option<Poll<Piped>> {
        let Framing::Length(left @ 1..) = &mut self.framing else { return None };
        let lent = self.lent.as_mut().filter(|lent| lent.sending.is_none() && self.arrived.is_empty() && self.broken.is_none())?;
        if std::mem::take(&mut self.may_pipe) && *left >= PIPED_FROM {
            self.pipe = Pipe::open();
        }
        let pipe = self.pipe.as_ref().filter(|pipe| pipe.is_empty())?;
        match lent.line.poll_fill(pipe, *left, cx) {
            Poll::Pending => Some(Poll::Pending),
            Poll::Ready(Ok(Some(piped))) => {
                *left -= piped.remaining() as u64;
                self.let_go();
                Some(Poll::Ready(piped))
            }
            // A read sees that, too.
            Poll::Ready(Ok(None) | Err(_)) => {
                self.pipe = None;
                None
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Error>> {
        loop {
            if let Some(piece) = self.framing.take(&mut self.arrived).map_err(Error::Malformed)? {
                return Poll::Ready(Ok(piece));
            }
            let Some(lent) = &mut self.lent else { return Poll::Ready(Err(Error::early_end())) };
            lent.poll_sending(cx)?;
            // All of it was taken. What held it is given back now and not with the next read, which may be an hour away.
            self.arrived = Bytes::new();
            self.arrived = ready!(lent.line.poll_read(self.framing.left(), cx)).map_err(Error::Cut)?;
            if self.arrived.is_empty() {
                let ends = matches!(self.framing, Framing::UntilClose);
                self.lent = None;
                return Poll::Ready(if ends { Ok(Piece::End) } else { Err(Error::early_end()) });
            }
        }
    }
}

impl Lent {
    /// Goes on with the request. Where PocketBase takes no more of it, its answer may still come.
    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        match sending.poll(&mut self.line, cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.sending = None,
            Poll::Ready(Err(Stopped::Body(error))) => return Err(Error::ClientBody(error)),
            Poll::Ready(Err(Stopped::Line(_))) => {
                self.sending = None;
                self.keeps_alive = false;
            }
        }
        Ok(())
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(lent) = self.lent.take() {
            lent.line.abandon();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let piece = ready!(self.poll_piece(cx));
        self.let_go();
        Poll::Ready(match piece {
            Ok(Piece::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Piece::End) => None,
            Err(error) => {
                // hyper drops what it has not written when it hears of an error, be it the head: it tries to write all of that before it asks again.
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.framing.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.framing.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
