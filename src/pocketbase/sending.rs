//! A request on its way to PocketBase.

use std::future::Future;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame};
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName,
    MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
};
use hyper::{Method, Request};
use tokio::time::{Sleep, sleep};

use super::body::{RequestBody, Streaming};
use super::line::Line;

/// A client that asked first waits about this long before it sends its body all the same (RFC 9110, 10.1.1).
const INVITED_AFTER: Duration = Duration::from_secs(1);

/// What most heads fit in.
const USUAL_HEAD: usize = 512;

/// What is still to be written of a request: its head as bytes, and its body as it comes.
pub(super) struct Sending {
    /// The head, later what comes before a chunk; then a piece of the body, then what comes after a chunk.
    before: Vec<u8>,
    piece: Bytes,
    after: &'static [u8],
    /// How much of the three has been written.
    written: usize,
    /// Whether a byte was ever written.
    begun: bool,
    rest: Rest,
    /// Until PocketBase wants the body, if its sender asked first.
    held_back: Option<Pin<Box<Sleep>>>,
    /// Whether it may be sent twice: safe, and without a body that a first attempt would use up.
    pub(super) is_repeatable: bool,
    pub(super) asks_for_head: bool,
}

/// What is to come of a body.
enum Rest {
    Nothing,
    /// So many bytes.
    Plain(Streaming, u64),
    /// In chunks, then those of the trailers that were announced.
    Chunks(Streaming, Vec<HeaderName>),
}

/// Why a request cannot be written to its end.
pub(super) enum Stopped {
    /// The connection takes no more.
    Line(io::Error),
    /// The body ended early.
    Body(Box<dyn std::error::Error + Send + Sync>),
}

impl Sending {
    /// A request of which nothing is written, with `further` lines in its head, and its map of headers, emptied for the answer's.
    ///
    /// A body whose length is known is sent with it, any other in chunks.
    pub(super) fn new(request: Request<RequestBody>, further: &str) -> (Self, HeaderMap) {
        let (mut head, body) = request.into_parts();
        let mut lines = Vec::with_capacity(USUAL_HEAD);
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        for part in [head.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
            lines.extend_from_slice(part.as_bytes());
        }
        for (name, value) in &head.headers {
            add_line(&mut lines, name, value.as_bytes());
        }
        lines.extend_from_slice(further.as_bytes());
        let is_repeatable = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS) && matches!(body, RequestBody::Empty);
        let (rest, held_back) = match body {
            RequestBody::Empty => (Rest::Nothing, None),
            RequestBody::Stream(body) => {
                let expects = head.headers.contains_key(EXPECT);
                (frame(&mut lines, &head.headers, body), expects.then(|| Box::pin(sleep(INVITED_AFTER))))
            }
        };
        lines.extend_from_slice(b"\r\n");
        head.headers.clear();
        let asks_for_head = head.method == Method::HEAD;
        let sending = Self {
            before: lines,
            piece: Bytes::new(),
            after: b"",
            written: 0,
            begun: false,
            rest,
            held_back,
            is_repeatable,
            asks_for_head,
        };
        (sending, head.headers)
    }

    /// Whether a byte was written.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether all is written.
    pub(super) fn is_done(&self) -> bool {
        self.is_out() && matches!(self.rest, Rest::Nothing)
    }

    /// Begins again, on another connection: only if it is repeatable, or nothing was written.
    pub(super) fn rewind(&mut self) {
        self.written = 0;
        self.begun = false;
    }

    /// PocketBase wants the body.
    pub(super) fn invite(&mut self) {
        self.held_back = None;
    }

    /// Writes what can be written. Ready when all is.
    pub(super) fn poll(&mut self, line: &mut Line, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        loop {
            let more = self.poll_body(cx).map_err(Stopped::Body)?;
            if self.is_out() {
                return more.map(Ok);
            }
            let written = if self.piece.is_empty() {
                line.poll_write(&self.before[self.written..], cx)
            } else {
                let mut pieces = [IoSlice::new(&self.before), IoSlice::new(&self.piece), IoSlice::new(self.after)];
                let mut pieces = &mut pieces[..];
                IoSlice::advance_slices(&mut pieces, self.written);
                line.poll_write_vectored(pieces, cx)
            };
            match ready!(written) {
                Ok(0) => return Poll::Ready(Err(Stopped::Line(io::ErrorKind::WriteZero.into()))),
                Ok(written) => self.written += written,
                Err(error) => return Poll::Ready(Err(Stopped::Line(error))),
            }
            self.begun = true;
        }
    }

    fn is_out(&self) -> bool {
        self.written == self.before.len() + self.piece.len() + self.after.len()
    }

    /// Takes the next piece of the body once the last one is written, and the first one already with the head: small requests are one
    /// write. Ready when there are no more pieces.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Box<dyn std::error::Error + Send + Sync>>> {
        loop {
            let may_take = self.is_out() || !self.begun && self.piece.is_empty();
            let body = match &mut self.rest {
                Rest::Nothing => return Poll::Ready(Ok(())),
                Rest::Plain(body, _) | Rest::Chunks(body, _) => body,
            };
            if !may_take {
                return Poll::Pending;
            }
            if let Some(patience) = &mut self.held_back {
                ready!(patience.as_mut().poll(cx));
                self.held_back = None;
            }
            let frame = ready!(Pin::new(body).poll_frame(cx)).transpose()?;
            if self.begun {
                self.before.clear();
                (self.piece, self.after, self.written) = (Bytes::new(), b"", 0);
            }
            self.take(frame)?;
        }
    }

    /// Prepares a frame for being written, or the end if there is none.
    fn take(&mut self, frame: Option<Frame<Bytes>>) -> Result<(), &'static str> {
        match (frame.map(Frame::into_data), &mut self.rest) {
            (Some(Ok(piece)), Rest::Chunks(..)) if piece.has_remaining() => {
                write!(self.before, "{:x}\r\n", piece.len()).expect("a vector takes whatever is written");
                (self.piece, self.after) = (piece, b"\r\n");
            }
            (Some(Ok(piece)), Rest::Plain(_, left)) => {
                *left = left.checked_sub(piece.len() as u64).ok_or("the body is longer than was said")?;
                self.piece = piece;
                if *left == 0 {
                    self.rest = Rest::Nothing;
                }
            }
            (Some(Err(_)) | None, Rest::Plain(_, 1..)) => return Err("the body is shorter than was said"),
            (Some(Ok(_)), Rest::Chunks(..) | Rest::Nothing) => {}
            (Some(Err(frame)), Rest::Chunks(_, announced)) => {
                self.before.extend_from_slice(b"0\r\n");
                for (name, value) in frame.trailers_ref().into_iter().flatten() {
                    if announced.contains(name) {
                        add_line(&mut self.before, name, value.as_bytes());
                    }
                }
                self.before.extend_from_slice(b"\r\n");
                self.rest = Rest::Nothing;
            }
            (None, Rest::Chunks(..)) => {
                self.before.extend_from_slice(b"0\r\n\r\n");
                self.rest = Rest::Nothing;
            }
            (Some(Err(_)) | None, Rest::Plain(_, 0) | Rest::Nothing) => self.rest = Rest::Nothing,
        }
        Ok(())
    }
}

/// Says how the body ends, where the headers do not.
fn frame(lines: &mut Vec<u8>, headers: &HeaderMap, body: Streaming) -> Rest {
    if let Some(length) = body.size_hint().exact() {
        if !headers.contains_key(CONTENT_LENGTH) {
            add_line(lines, &CONTENT_LENGTH, length.to_string().as_bytes());
        }
        return Rest::Plain(body, length);
    }
    add_line(lines, &TRANSFER_ENCODING, b"chunked");
    let announced = headers.get_all(TRAILER).iter().filter_map(|names| names.to_str().ok()).flat_map(|names| names.split(','));
    let announced = announced.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok());
    Rest::Chunks(body, announced.filter(may_be_trailer).collect())
}

/// RFC 9110, 6.5.1: nothing that says how a message is to be read, who sends it or where it goes.
fn may_be_trailer(name: &HeaderName) -> bool {
    const NONE: [HeaderName; 12] = [
        AUTHORIZATION,
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        HOST,
        MAX_FORWARDS,
        SET_COOKIE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
    ];
    !NONE.contains(name)
}

fn add_line(lines: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
        lines.extend_from_slice(part);
    }
}
