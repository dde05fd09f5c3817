//! Connections to PocketBase, kept between requests.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::config::PocketBaseUrl;

/// PocketBase closes idle connections at 5 minutes; ours go long before, so that the two never race.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Idle connections kept; a burst's surplus is closed.
const IDLE_MAX: usize = 128;
/// PocketBase restarts itself in one to three seconds (hooks changed, backup restored): wait that long before giving up.
const CONNECT_PATIENCE: Duration = Duration::from_millis(2500);
/// One attempt. A host that drops packets must not use up more than the patience.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);

/// Why a request did not get an answer from PocketBase.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made: nothing was sent.
    #[error("PocketBase cannot be reached")]
    Unreachable(#[source] io::Error),
    /// The connection ended before an answer: whether the request was carried out is not known.
    #[error("PocketBase closed the connection before it answered")]
    Cut(#[source] hyper::Error),
    /// The answer was not HTTP that we understand.
    #[error("PocketBase sent a malformed answer")]
    Malformed(#[source] hyper::Error),
    /// No answer within the upstream time-out.
    #[error("PocketBase did not answer in time")]
    TimedOut,
    /// The client's body ended early or was malformed.
    #[error("the body of the request was not received whole")]
    ClientBody(#[source] hyper::Error),
}

/// The body of a request to PocketBase.
pub enum RequestBody {
    /// None at all.
    Empty,
    /// Whatever arrives, as it arrives.
    Stream(UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

/// Connections of one worker thread to PocketBase.
pub struct Pool {
    url: PocketBaseUrl,
    answer_within: Duration,
    state: Mutex<State>,
}

struct State {
    /// Most recently used last.
    idle: Vec<Idle>,
    /// Since when no connection could be made.
    down_since: Option<Instant>,
}

struct Idle {
    line: Line,
    since: Instant,
}

/// A connection lent to one request.
struct Line {
    sender: SendRequest<RequestBody>,
    /// Whether a byte of the current answer has arrived.
    heard: Arc<AtomicBool>,
}

/// What came of handing a request to a connection.
enum Attempt {
    Answered(Response<Incoming>, Line),
    /// The request comes back: no byte of it was sent.
    Unsent(Request<RequestBody>),
    Failed {
        error: hyper::Error,
        heard: bool,
    },
}

impl Pool {
    /// An empty pool; `answer_within` bounds the wait for the head of an answer.
    pub fn new(url: PocketBaseUrl, answer_within: Duration) -> Self {
        Self { url, answer_within, state: Mutex::new(State { idle: Vec::new(), down_since: None }) }
    }

    /// Sends a request once, on a kept connection if there is one.
    ///
    /// `spare` is a copy for the one case in which a second attempt is safe: a kept connection that PocketBase closed at this very
    /// moment, before a byte of the answer. Callers give one only for safe methods without a body. A connection that is refused is
    /// tried again for up to 3 s, since nothing was sent; not once PocketBase has been away for longer than that.
    pub async fn send(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        spare: Option<Request<RequestBody>>,
    ) -> Result<Response<Answer>, Error> {
        match timeout(self.answer_within, self.send_patiently(request, spare)).await {
            Ok(Ok((response, line))) => Ok(response.map(|body| Answer::new(body, line, Arc::clone(self)))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::TimedOut),
        }
    }

    async fn send_patiently(
        &self,
        mut request: Request<RequestBody>,
        spare: Option<Request<RequestBody>>,
    ) -> Result<(Response<Incoming>, Line), Error> {
        while let Some(line) = self.checkout() {
            match line.send(request).await {
                Attempt::Answered(response, line) => return Ok((response, line)),
                Attempt::Unsent(back) => request = back,
                Attempt::Failed { error, heard } => match spare {
                    Some(copy) if !heard && was_cut(&error) => {
                        request = copy;
                        break;
                    }
                    Some(_) | None => return Err(sort(error)),
                },
            }
        }
        match self.connect().await?.send(request).await {
            Attempt::Answered(response, line) => Ok((response, line)),
            Attempt::Unsent(_) => Err(Error::Unreachable(io::ErrorKind::ConnectionReset.into())),
            Attempt::Failed { error, .. } => Err(sort(error)),
        }
    }

    fn checkout(&self) -> Option<Line> {
        let mut state = self.state.lock();
        while let Some(Idle { line, .. }) = state.idle.pop() {
            if !line.sender.is_closed() {
                return Some(line);
            }
        }
        None
    }

    fn put_back(&self, line: Line) {
        let mut state = self.state.lock();
        if state.idle.len() < IDLE_MAX && !line.sender.is_closed() {
            state.idle.push(Idle { line, since: Instant::now() });
        }
    }

    /// Closes connections that were idle too long; the owner of the pool calls it every second or so.
    pub fn sweep(&self, now: Instant) {
        self.state.lock().idle.retain(|idle| !idle.line.sender.is_closed() && now.duration_since(idle.since) < IDLE_LIMIT);
    }

    async fn connect(&self) -> Result<Line, Error> {
        let start = Instant::now();
        let patience = match self.state.lock().down_since {
            Some(since) if since.elapsed() > CONNECT_PATIENCE => Duration::ZERO,
            Some(_) | None => CONNECT_PATIENCE,
        };
        let mut pause = Duration::from_millis(20);
        loop {
            match self.connect_once().await {
                Ok(line) => {
                    self.state.lock().down_since = None;
                    return Ok(line);
                }
                Err(error) => {
                    self.state.lock().down_since.get_or_insert(start);
                    if start.elapsed() + pause > patience {
                        return Err(Error::Unreachable(error));
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    async fn connect_once(&self) -> io::Result<Line> {
        let stream = dial(&self.url).await?;
        let heard = Arc::new(AtomicBool::new(false));
        let io = TokioIo::new(Hearing { stream, heard: Arc::clone(&heard) });
        let (sender, connection) = http1::Builder::new().handshake(io).await.map_err(io::Error::other)?;
        // It ends when the pool or the answer lets go of the sender, or when PocketBase closes. Its error reaches the request it serves.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PocketBase ended");
            }
        });
        Ok(Line { sender, heard })
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

impl Line {
    async fn send(mut self, request: Request<RequestBody>) -> Attempt {
        self.heard.store(false, Ordering::Relaxed);
        match self.sender.try_send_request(request).await {
            Ok(response) => Attempt::Answered(response, self),
            Err(mut error) => match error.take_message() {
                Some(request) => Attempt::Unsent(request),
                None => Attempt::Failed { error: error.into_error(), heard: self.heard.load(Ordering::Relaxed) },
            },
        }
    }
}

/// Whether the connection ended, as opposed to an answer that made no sense or a body that could not be read.
fn was_cut(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || !(error.is_user() || error.is_parse())
}

fn sort(error: hyper::Error) -> Error {
    if error.is_user() {
        Error::ClientBody(error)
    } else if error.is_parse() {
        Error::Malformed(error)
    } else {
        Error::Cut(error)
    }
}

/// The body of an answer. Read to its end it gives the connection back; dropped before, it closes it, so that PocketBase learns that
/// nobody listens any more.
pub struct Answer {
    body: Incoming,
    lent: Option<(Line, Arc<Pool>)>,
}

impl Answer {
    fn new(body: Incoming, line: Line, pool: Arc<Pool>) -> Self {
        let mut answer = Self { body, lent: Some((line, pool)) };
        answer.give_back_if_finished();
        answer
    }

    fn give_back_if_finished(&mut self) {
        if self.body.is_end_stream()
            && let Some((line, pool)) = self.lent.take()
        {
            pool.put_back(line);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) => self.give_back_if_finished(),
            Poll::Ready(None) => {
                if let Some((line, pool)) = self.lent.take() {
                    pool.put_back(line);
                }
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
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

/// A connection that remembers whether a byte has arrived.
struct Hearing {
    stream: TcpStream,
    heard: Arc<AtomicBool>,
}

impl AsyncRead for Hearing {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Hearing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
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
