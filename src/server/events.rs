//! A stream of events on its way to a client.
//!
//! A stream lasts for hours, most of them silent, and there are thousands of them. hyper, made for one request after another, would keep two
//! buffers and much state for each, and go through them for each event: the connection is taken off it before it hears of the answer, and
//! given back after the end.

use std::fmt::Write;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::{Buf, BytesMut};
use hyper::body::Body;
use hyper::header::{DATE, HeaderMap};
use tokio::io::AsyncWrite;

use super::batches;
use super::socket::Socket;
use super::watch::Busy;
use crate::metrics;
use crate::pocketbase::pool::{self, Answer};

/// From so many bytes on what has come is written before more is taken.
const WORTH_A_WRITE: usize = 16 * 1024;
/// What a chunk takes beside its data: 16 digits and two line breaks.
const LONGEST_FRAME: usize = 20;

/// Why a stream ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the client is gone")]
    Client(#[source] io::Error),
    #[error(transparent)]
    PocketBase(pool::Error),
}

/// A stream of events, in chunks.
pub(super) struct Events {
    answer: Answer,
    /// What the client has not taken yet.
    unwritten: BytesMut,
    /// Whether nothing comes after that.
    is_over: bool,
    busy: Busy,
    _counted: metrics::Stream,
}

impl Events {
    /// The stream whose head, with status 200, has these headers. The connection is in the phase of a stream from now on.
    pub(super) fn new(headers: &HeaderMap, answer: Answer, busy: Busy, counted: metrics::Stream) -> Self {
        busy.pulse().streams();
        Self { answer, unwritten: head(headers), is_over: false, busy, _counted: counted }
    }

    /// Passes on what comes, to the end of the stream, or until we drain, since nothing else would end it.
    pub(super) fn poll(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            let more = self.gather(cx).map_err(Error::PocketBase)?;
            while !self.unwritten.is_empty() {
                match Pin::new(&mut *socket).poll_write(cx, &self.unwritten) {
                    Poll::Pending => return socket.poll_gone(cx).map(|error| Err(Error::Client(error))),
                    Poll::Ready(written) => self.unwritten.advance(written.map_err(Error::Client)?),
                }
            }
            // Memory of an event is not kept for the next, which may be an hour away.
            self.unwritten = BytesMut::new();
            if self.is_over {
                return Poll::Ready(Ok(()));
            }
            if !more {
                return socket.poll_gone(cx).map(|error| Err(Error::Client(error)));
            }
        }
    }

    /// Takes what has come, up to about as much as is worth one write; whether there may be more.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, pool::Error> {
        while !self.is_over && self.unwritten.len() < WORTH_A_WRITE {
            if self.busy.pulse().is_draining(cx) {
                self.end();
                break;
            }
            let polled = Pin::new(&mut self.answer).poll_frame(cx)?;
            self.busy.pulse().upstream_silent(polled.is_pending());
            match polled {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) => self.end(),
                Poll::Ready(Some(frame)) => {
                    batches::passed();
                    if let Some(bytes) = frame.data_ref() {
                        self.chunk(bytes);
                    }
                }
            }
        }
        Ok(true)
    }

    fn chunk(&mut self, bytes: &[u8]) {
        self.unwritten.reserve(bytes.len() + LONGEST_FRAME);
        // Writing to memory does not fail.
        let _ = write!(self.unwritten, "{:x}\r\n", bytes.len());
        self.unwritten.extend_from_slice(bytes);
        self.unwritten.extend_from_slice(b"\r\n");
    }

    fn end(&mut self) {
        self.is_over = true;
        self.unwritten.extend_from_slice(b"0\r\n\r\n");
    }
}

fn head(headers: &HeaderMap) -> BytesMut {
    let mut head = BytesMut::with_capacity(512);
    head.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    if !headers.contains_key(DATE) {
        head.extend_from_slice(format!("date: {}\r\n", httpdate::fmt_http_date(SystemTime::now())).as_bytes());
    }
    head.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    head
}
