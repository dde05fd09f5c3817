//! A client's connection as hyper reads and writes it.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::watch::Pulse;
use crate::pocketbase::pipe::Pipe;

/// The head and the body of a small answer are written as one piece: the kernel takes longer to look at two than we to copy them.
const GATHERED: usize = 1024;

/// What is kept of what a client sends during a stream of events. If there is more, it is noticed only by a write that it has gone.
const MOST_UNREAD: usize = 16 * 1024;

/// A client's connection that keeps its pulse.
pub(super) struct Socket {
    stream: TcpStream,
    pulse: Arc<Pulse>,
    /// What was read and is hyper's to use.
    unread: BytesMut,
    shut: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, pulse: Arc<Pulse>) -> Self {
        Self { stream, pulse, unread: BytesMut::new(), shut: false }
    }

    /// The same connection, whose next bytes are these. They are copied: hyper's buffer is much larger.
    pub(super) fn rewound(mut self, unread: &[u8]) -> Self {
        if !unread.is_empty() {
            self.unread = [unread, &self.unread].concat().as_slice().into();
        }
        self
    }

    /// Whether there is something to read, be it the end.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unread.is_empty() { self.stream.poll_read_ready(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Waits for the client to go, and keeps what it sends meanwhile.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        while self.unread.len() < MOST_UNREAD {
            let mut scratch = [MaybeUninit::uninit(); 4096];
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Err(error) => return Poll::Ready(error),
                Ok(()) if buffer.filled().is_empty() => return Poll::Ready(io::ErrorKind::UnexpectedEof.into()),
                Ok(()) => self.unread.extend_from_slice(buffer.filled()),
            }
        }
        Poll::Pending
    }

    /// Writes some of what is in a pipe.
    fn poll_pour(&self, pipe: &Pipe, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let polled = loop {
            match self.stream.poll_write_ready(cx) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
            match self.stream.try_io(Interest::WRITABLE, || pipe.pour(&self.stream, most)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => break Poll::Ready(written),
            }
        };
        self.note(polled, |_| pipe.pour(&self.stream, most))
    }

    /// What became of a write. `again` writes past the event loop.
    fn note(&self, polled: Poll<io::Result<usize>>, again: impl FnOnce(SockRef<'_>) -> io::Result<usize>) -> Poll<io::Result<usize>> {
        let polled = if polled.is_pending() && self.pulse.doubts_block() {
            match again(SockRef::from(&self.stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                written => Poll::Ready(written),
            }
        } else {
            polled
        };
        self.pulse.wrote(polled.is_ready());
        polled
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = if self.unread.is_empty() {
            Pin::new(&mut self.stream).poll_read(cx, buffer)
        } else {
            let length = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(length));
            Poll::Ready(Ok(()))
        };
        if polled.is_ready() {
            self.pulse.heard();
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(pipe) = Pipe::behind(bytes) {
            return self.poll_pour(&pipe, bytes.len(), cx);
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(polled, |socket| socket.send(bytes))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // Up to what is in a pipe, or that alone.
        let bytes = match bytes.iter().position(|part| Pipe::behind(part).is_some()) {
            Some(0) => return self.poll_write(cx, &bytes[0]),
            Some(piped) => &bytes[..piped],
            None => bytes,
        };
        let length: usize = bytes.iter().map(|part| part.len()).sum();
        if length > GATHERED {
            let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
            return self.note(polled, |socket| socket.send_vectored(bytes));
        }
        let (mut gathered, mut end) = ([0; GATHERED], 0);
        for part in bytes {
            gathered[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        self.poll_write(cx, &gathered[..length])
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says that nothing more comes, then reads on for a while and forgets it: closing a connection on which bytes are still arriving resets
    /// it, and a client whose upload was refused would lose the refusal (RFC 9112 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.shut = true;
            self.pulse.linger();
        }
        loop {
            let mut scratch = [MaybeUninit::uninit(); 4096];
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                // It has closed its side too, or is gone.
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}
