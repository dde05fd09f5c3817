//! A stream of events on its way to a client.
//!
//! A stream lasts for hours, most of them silent, and there are thousands of it. hyper, made for a request after another, would keep two
//! buffers and much state for each, and go through them for each event: it hands the connection over with the head of the answer, and
//! gets it back after the end.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::Body;
use hyper::header::{DATE, HeaderMap};
use tokio::io::AsyncWrite;

use super::batches;
use super::socket::Socket;
use super::watch::Busy;
use crate::metrics;
use crate::pocketbase::pool::{self, Answer};

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
    /// The stream whose head, with status 200, has these headers.
    pub(super) fn new(headers: &HeaderMap, answer: Answer, busy: Busy, counted: metrics::Stream) -> Self {
        busy.pulse().streams();
        Self { answer, unwritten: head(headers), is_over: false, busy, _counted: counted }
    }

    /// Passes on what comes, to the end of the stream, or until we drain, since nothing else would end it.
    pub(super) fn poll(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            if !self.unwritten.is_empty() {
                match Pin::new(&mut *socket).poll_write(cx, &self.unwritten) {
                    Poll::Pending => return socket.poll_gone(cx).map(|error| Err(Error::Client(error))),
                    Poll::Ready(written) => self.unwritten.advance(written.map_err(Error::Client)?),
                }
                if self.unwritten.is_empty() {
                    self.unwritten = BytesMut::new();
                }
                continue;
            }
            if self.is_over {
                return Poll::Ready(Ok(()));
            }
            if self.busy.pulse().is_draining(cx) {
                self.end();
                continue;
            }
            let polled = Pin::new(&mut self.answer).poll_frame(cx);
            self.busy.pulse().upstream_silent(polled.is_pending());
            match polled {
                Poll::Pending => return socket.poll_gone(cx).map(|error| Err(Error::Client(error))),
                Poll::Ready(None) => self.end(),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Error::PocketBase(error))),
                Poll::Ready(Some(Ok(frame))) => {
                    batches::passed();
                    if let Ok(bytes) = frame.into_data() {
                        self.pass(&bytes, socket, cx).map_err(Error::Client)?;
                    }
                }
            }
        }
    }

    fn end(&mut self) {
        self.is_over = true;
        self.unwritten.extend_from_slice(b"0\r\n\r\n");
    }

    /// One chunk.
    fn pass(&mut self, bytes: &Bytes, socket: &mut Socket, cx: &mut Context<'_>) -> io::Result<()> {
        let mut size = [0; 18];
        let unused = {
            let mut room = &mut size[..];
            write!(room, "{:x}\r\n", bytes.len())?;
            room.len()
        };
        let parts = [&size[..size.len() - unused], bytes, b"\r\n"];
        let mut written = match Pin::new(socket).poll_write_vectored(cx, &parts.map(IoSlice::new)) {
            Poll::Pending => 0,
            Poll::Ready(written) => written?,
        };
        for part in parts {
            let taken = written.min(part.len());
            written -= taken;
            self.unwritten.extend_from_slice(&part[taken..]);
        }
        Ok(())
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
