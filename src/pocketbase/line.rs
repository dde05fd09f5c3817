//! One connection to PocketBase, as the request that it is lent to sees it.

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::body::RequestBody;
use crate::config::PocketBaseUrl;

/// One attempt. A host that drops packets must not use up more than the patience.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);

/// What is read ahead of a client that is slow to take it. More makes large bodies cheaper and slow readers dearer.
const BUFFER_MAX: usize = 64 * 1024;

/// Seconds of a pool's clock, which begins with 1.
pub(super) type Second = u32;

/// A connection lent to one request.
pub(super) struct Line {
    sender: SendRequest<RequestBody>,
    ear: Arc<Ear>,
}

/// What a connection, the pool and whoever uses it tell each other. All of it is read and written by one thread.
struct Ear {
    clock: Arc<AtomicU32>,
    /// Whether a byte of the current answer has arrived.
    heard: AtomicBool,
    /// Whether nobody wants the rest of it.
    abandoned: AtomicBool,
    /// Since when PocketBase has taken no byte of the request and owes the head of its answer. Zero if it owes none.
    owed_since: AtomicU32,
    /// Whether it owed the head for too long.
    overdue: AtomicBool,
    /// Wakes the connection's task.
    task: OnceLock<Waker>,
    /// Whether to remember that the connection was woken, instead of waking it.
    hushed: AtomicBool,
    woken: AtomicBool,
}

/// A connection as the pool's clock sees it, lent or not.
pub(super) struct Watched {
    ear: Arc<Ear>,
    task: AbortHandle,
}

impl Ear {
    fn new(clock: Arc<AtomicU32>) -> Self {
        let no = || AtomicBool::new(false);
        let (owed_since, task) = (AtomicU32::new(0), OnceLock::new());
        Self { clock, heard: no(), abandoned: no(), owed_since, overdue: no(), task, hushed: no(), woken: no() }
    }

    fn now(&self) -> Second {
        self.clock.load(Ordering::Relaxed)
    }

    /// Something of the request was taken: PocketBase has its whole time again.
    fn took(&self) {
        if self.owed_since.load(Ordering::Relaxed) != 0 {
            self.owed_since.store(self.now(), Ordering::Relaxed);
        }
    }
}

impl Wake for Ear {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.hushed.load(Ordering::Relaxed) {
            self.woken.store(true, Ordering::Relaxed);
        } else if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }
}

impl Watched {
    /// Whether there is still something to watch. A connection that owes the head of an answer for more than `limit` seconds is cut.
    pub(super) fn look(&self, limit: Second) -> bool {
        if self.task.is_finished() {
            return false;
        }
        let since = self.ear.owed_since.load(Ordering::Relaxed);
        if since != 0 && self.ear.now().saturating_sub(since) > limit {
            self.ear.overdue.store(true, Ordering::Relaxed);
            self.task.abort();
        }
        true
    }
}

impl Line {
    /// A new connection.
    pub(super) async fn open(url: &PocketBaseUrl, clock: &Arc<AtomicU32>) -> io::Result<(Self, Watched)> {
        let stream = dial(url).await?;
        let ear = Arc::new(Ear::new(Arc::clone(clock)));
        let io = TokioIo::new(Hearing { stream, ear: Arc::clone(&ear) });
        let (sender, mut connection) = http1::Builder::new().max_buf_size(BUFFER_MAX).handshake(io).await.map_err(io::Error::other)?;
        // It ends when the pool or the answer lets go of the sender, or when PocketBase closes. Its error reaches the request it serves.
        let (listening, waker) = (Arc::clone(&ear), Waker::from(Arc::clone(&ear)));
        let task = tokio::spawn(async move {
            let ended = poll_fn(|cx| {
                listening.task.get_or_init(|| cx.waker().clone());
                Pin::new(&mut connection).poll(&mut Context::from_waker(&waker))
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "a connection to PocketBase ended");
            }
        });
        let watched = Watched { ear: Arc::clone(&ear), task: task.abort_handle() };
        Ok((Self { sender, ear }, watched))
    }

    /// Sends a request. It comes back with the error if no byte of it was sent.
    ///
    /// Not an `async fn`: the request is large, and goes straight to where it is sent from.
    pub(super) fn ask(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        self.ear.heard.store(false, Ordering::Relaxed);
        self.ear.owed_since.store(self.ear.now(), Ordering::Relaxed);
        self.sender.try_send_request(request)
    }

    /// The head of the answer has come.
    pub(super) fn answered(&self) {
        self.ear.owed_since.store(0, Ordering::Relaxed);
    }

    /// Takes the next piece of an answer.
    ///
    /// hyper wakes a connection whenever a piece is taken, so that it reads the next one. After the last piece there is none, and the
    /// connection's task would look at everything and do nothing, for each small answer once: that wake is left out.
    pub(super) fn poll_frame(&self, body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.ear.hushed.store(true, Ordering::Relaxed);
        let polled = Pin::new(&mut *body).poll_frame(cx);
        self.ear.hushed.store(false, Ordering::Relaxed);
        if self.ear.woken.swap(false, Ordering::Relaxed) && !body.is_end_stream() {
            self.ear.wake_by_ref();
        }
        polled
    }

    /// Whether a byte came since the request.
    pub(super) fn has_heard(&self) -> bool {
        self.ear.heard.load(Ordering::Relaxed)
    }

    /// Whether it was cut because no answer came in time.
    pub(super) fn is_overdue(&self) -> bool {
        self.ear.overdue.load(Ordering::Relaxed)
    }

    /// Whether it can serve no more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Says that nobody wants the rest of the answer.
    pub(super) fn abandon(&self) {
        self.ear.abandoned.store(true, Ordering::Relaxed);
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

/// A connection that remembers whether a byte has arrived.
struct Hearing {
    stream: TcpStream,
    ear: Arc<Ear>,
}

impl Hearing {
    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        if written.is_ready() {
            self.ear.took();
        }
        written
    }
}

impl Drop for Hearing {
    /// An abandoned answer is cut off rather than let run out: PocketBase would go on offering what its socket holds, and hear that nobody
    /// takes it only after a minute of ever rarer attempts.
    fn drop(&mut self) {
        if self.ear.abandoned.load(Ordering::Relaxed)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "a connection to PocketBase could not be cut off");
        }
    }
}

impl AsyncRead for Hearing {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.ear.heard.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Hearing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(polled)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let [bytes] = bytes {
            return self.poll_write(cx, bytes);
        }
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
