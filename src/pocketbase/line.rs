//! One connection to PocketBase.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::pipe::{Pipe, Piped};
use crate::config::PocketBaseUrl;

/// One attempt. A host that drops packets must not use up more than the patience.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);

/// What is read at once at first: enough for most answers, which are copied off the stack, so that a connection that waits holds no buffer.
const FIRST_READ: usize = 16 * 1024;

/// What is read at once of an answer that keeps coming, at most: it is held until the client has taken it.
const LONGEST_READ: usize = 128 * 1024;

/// Seconds of a pool's clock, which begins with 1.
pub(super) type Second = u32;

/// A connection. Whoever drops it closes it.
pub(super) struct Line {
    stream: TcpStream,
    debt: Arc<Debt>,
    /// How much to read at once.
    appetite: usize,
    /// Whether a byte has come since the last request.
    heard: bool,
    /// Whether it has answered a request.
    pub(super) is_used: bool,
}

/// What PocketBase owes: the head of an answer.
struct Debt {
    clock: Arc<AtomicU32>,
    /// For how many seconds it may.
    limit: Second,
    /// Since when it has taken no byte of the request and owes the head. Zero if it owes none.
    since: AtomicU32,
    /// Who waits for it.
    creditor: AtomicWaker,
}

/// A connection as the pool's clock sees it, lent or not.
pub(super) struct Watched(Weak<Debt>);

impl Watched {
    /// Whether there is still something to watch. Who has waited for the head of an answer for too long is woken.
    pub(super) fn look(&self) -> bool {
        let Some(debt) = self.0.upgrade() else { return false };
        if debt.is_overdue() {
            debt.creditor.wake();
        }
        true
    }
}

impl Debt {
    fn now(&self) -> Second {
        self.clock.load(Ordering::Relaxed)
    }

    fn is_overdue(&self) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        since != 0 && self.now().saturating_sub(since) > self.limit
    }
}

impl Line {
    /// A new connection, on which the head of an answer may be owed for `limit` seconds of this clock.
    pub(super) fn new(stream: TcpStream, clock: Arc<AtomicU32>, limit: Second) -> (Self, Watched) {
        let debt = Arc::new(Debt { clock, limit, since: AtomicU32::new(0), creditor: AtomicWaker::new() });
        let watched = Watched(Arc::downgrade(&debt));
        (Self { stream, debt, appetite: FIRST_READ, heard: false, is_used: false }, watched)
    }

    /// Whether nothing came while nobody asked: neither the end of the connection nor a byte, as far as the event loop has heard. `surely`
    /// asks the kernel, too.
    pub(super) fn is_quiet(&self, surely: bool) -> bool {
        let nothing = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        self.stream.try_read(&mut [0]).is_err_and(nothing)
            && (!surely || SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]).is_err_and(nothing))
    }

    /// A request begins: PocketBase owes the head of its answer from now on.
    pub(super) fn begin(&mut self) {
        self.heard = false;
        self.appetite = FIRST_READ;
        self.debt.since.store(self.debt.now(), Ordering::Relaxed);
    }

    /// The head of the answer has come, or will not.
    pub(super) fn end(&mut self, is_answered: bool) {
        self.is_used |= is_answered;
        self.debt.since.store(0, Ordering::Relaxed);
        self.debt.creditor.take();
    }

    /// Whether the head is owed for too long. If not, the task is woken when it is.
    pub(super) fn is_overdue(&self, cx: &Context<'_>) -> bool {
        self.debt.creditor.register(cx.waker());
        self.debt.is_overdue()
    }

    /// Whether a byte came since the request.
    pub(super) fn has_heard(&self) -> bool {
        self.heard
    }

    /// What has come, at most `left` bytes of it if that is known; nothing at the end of the connection.
    pub(super) fn poll_read(&mut self, left: Option<u64>, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let left = left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
        let most = self.appetite.min(left);
        let bytes = if most <= FIRST_READ {
            let mut scratch = [MaybeUninit::uninit(); FIRST_READ];
            let mut buffer = ReadBuf::uninit(&mut scratch[..most]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            Bytes::copy_from_slice(buffer.filled())
        } else {
            ready!(self.stream.poll_read_ready(cx))?;
            let mut buffer = BytesMut::with_capacity(most);
            ready!(pin!(self.stream.read_buf(&mut buffer)).poll(cx))?;
            buffer.freeze()
        };
        self.heard |= !bytes.is_empty();
        let next = if bytes.len() == most { most * 8 } else { bytes.len().next_power_of_two() };
        self.appetite = next.clamp(FIRST_READ, LONGEST_READ);
        Poll::Ready(Ok(bytes))
    }

    /// Moves what has come into this empty pipe, at most `left` bytes of it. Nothing at the end of the connection.
    pub(super) fn poll_fill(&mut self, pipe: &Arc<Pipe>, left: u64, cx: &mut Context<'_>) -> Poll<io::Result<Option<Piped>>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_io(Interest::READABLE, || pipe.fill(&self.stream, left)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                filled => return Poll::Ready(filled.map(|moved| (moved > 0).then(|| Piped::all(pipe)))),
            }
        }
    }

    /// Writes some of it.
    pub(super) fn poll_write(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(polled)
    }

    /// Writes some of them.
    pub(super) fn poll_write_vectored(&mut self, bytes: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.note(polled)
    }

    /// What PocketBase takes of a request gives it its whole time again.
    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        if written.is_ready() && self.debt.since.load(Ordering::Relaxed) != 0 {
            self.debt.since.store(self.debt.now(), Ordering::Relaxed);
        }
        written
    }

    /// Cuts an answer off that nobody wants the rest of, rather than letting it run out: PocketBase would go on offering what its socket
    /// holds, and hear that nobody takes it only after a minute of ever rarer attempts.
    pub(super) fn abandon(self) {
        if let Err(error) = self.stream.set_zero_linger() {
            tracing::debug!(%error, "a connection to PocketBase could not be cut off");
        }
    }
}

/// One TCP connection to PocketBase, within a second.
pub(super) async fn dial(url: &PocketBaseUrl) -> io::Result<TcpStream> {
    let stream = match url.host().parse::<IpAddr>() {
        Ok(address) => timeout(CONNECT_TIMEOUT, TcpStream::connect((address, url.port()))).await,
        Err(_) => timeout(CONNECT_TIMEOUT, TcpStream::connect((url.host(), url.port()))).await,
    }
    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
