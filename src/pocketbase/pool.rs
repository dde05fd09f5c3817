//! Connections to PocketBase, kept between requests.

use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::body::{Progress, RequestBody};
use super::outage::Outage;
use crate::config::PocketBaseUrl;

/// PocketBase closes idle connections at 5 minutes; ours go long before, so that the two never race.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Idle connections kept; a burst's surplus is closed.
const IDLE_MAX: usize = 128;
/// One attempt. A host that drops packets must not use up more than the patience.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);

/// What is read ahead of a client that is slow to take it. More makes large bodies cheaper and slow readers dearer.
const BUFFER_MAX: usize = 64 * 1024;

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
    /// The answer to a call of our own was longer than any that makes sense.
    #[error("PocketBase's answer was too long")]
    TooLong,
    /// A call of our own had a path that is none.
    #[error("the path of a call to PocketBase could not be read")]
    Target,
    /// The client's body ended early or was malformed.
    #[error("the body of the request was not received whole")]
    ClientBody(#[source] hyper::Error),
}

/// Connections of one worker thread to PocketBase.
pub struct Pool {
    url: PocketBaseUrl,
    answer_within: Duration,
    outage: Arc<Outage>,
    /// Most recently used last.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    line: Line,
    since: Instant,
}

/// A connection lent to one request.
struct Line {
    sender: SendRequest<RequestBody>,
    ear: Arc<Ear>,
}

/// What a connection and whoever uses it tell each other.
#[derive(Default)]
struct Ear {
    /// Whether a byte of the current answer has arrived.
    heard: AtomicBool,
    /// Whether nobody wants the rest of it.
    abandoned: AtomicBool,
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
    /// An empty pool; `answer_within` bounds how long nothing may happen between a request and the head of its answer.
    pub fn new(url: PocketBaseUrl, answer_within: Duration, outage: Arc<Outage>) -> Self {
        Self { url, answer_within, outage, idle: Mutex::default() }
    }

    /// Sends a request once, on a kept connection if there is one.
    ///
    /// `spare` is a copy for the one case in which a second attempt is safe: a kept connection that PocketBase closed at this very
    /// moment, before a byte of the answer. Callers give one only for safe methods without a body. A connection that is refused is
    /// tried again for 2.5 s, since nothing was sent; not once PocketBase has been away for longer than that.
    pub async fn send(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        spare: Option<Request<RequestBody>>,
    ) -> Result<Response<Answer>, Error> {
        let upload = request.body().progress();
        let frames = || upload.as_ref().map_or(0, |upload| upload.frames());
        let mut exchange = pin!(self.send_patiently(request, spare));
        let (response, line) = loop {
            let before = frames();
            match timeout(self.answer_within, exchange.as_mut()).await {
                Ok(outcome) => break outcome?,
                Err(_) if frames() != before => {}
                Err(_) => return Err(Error::TimedOut),
            }
        };
        let lent = Lent { line, upload, pool: Arc::clone(self) };
        Ok(response.map(|body| Answer::new(body, lent)))
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
        let mut idle = self.idle.lock();
        while let Some(Idle { line, .. }) = idle.pop() {
            if !line.sender.is_closed() {
                return Some(line);
            }
        }
        None
    }

    fn put_back(&self, line: Line) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX && !line.sender.is_closed() {
            idle.push(Idle { line, since: Instant::now() });
        }
    }

    /// Closes connections that were idle too long; the owner of the pool calls it every second or so.
    pub fn sweep(&self, now: Instant) {
        self.idle.lock().retain(|idle| !idle.line.sender.is_closed() && now.duration_since(idle.since) < IDLE_LIMIT);
    }

    async fn connect(&self) -> Result<Line, Error> {
        let start = Instant::now();
        let patience = self.outage.patience(start);
        let mut pause = Duration::from_millis(20);
        loop {
            match self.connect_once().await {
                Ok(line) => {
                    self.outage.succeeded(&self.url);
                    return Ok(line);
                }
                Err(error) => {
                    self.outage.failed(Instant::now(), &self.url, &error);
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
        let ear = Arc::<Ear>::default();
        let io = TokioIo::new(Hearing { stream, ear: Arc::clone(&ear) });
        let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER_MAX).handshake(io).await.map_err(io::Error::other)?;
        // It ends when the pool or the answer lets go of the sender, or when PocketBase closes. Its error reaches the request it serves.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PocketBase ended");
            }
        });
        Ok(Line { sender, ear })
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
        self.ear.heard.store(false, Ordering::Relaxed);
        match self.sender.try_send_request(request).await {
            Ok(response) => Attempt::Answered(response, self),
            Err(mut error) => match error.take_message() {
                Some(request) => Attempt::Unsent(request),
                None => Attempt::Failed { error: error.into_error(), heard: self.ear.heard.load(Ordering::Relaxed) },
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
    after_upload: bool,
    lent: Option<Lent>,
}

/// A connection and where it belongs.
struct Lent {
    line: Line,
    upload: Option<Arc<Progress>>,
    pool: Arc<Pool>,
}

impl Lent {
    /// An answer may come before the end of an upload. A connection that still carries one is no use to the next request.
    fn give_back(self) {
        if self.is_uploaded() {
            self.pool.put_back(self.line);
        }
    }

    fn is_uploaded(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.is_finished())
    }
}

impl Answer {
    /// Whether the request had been sent whole when the answer began.
    pub fn came_after_upload(&self) -> bool {
        self.after_upload
    }

    fn new(body: Incoming, lent: Lent) -> Self {
        let mut answer = Self { body, after_upload: lent.is_uploaded(), lent: Some(lent) };
        if answer.body.is_end_stream() {
            answer.give_back();
        }
        answer
    }

    fn give_back(&mut self) {
        if let Some(lent) = self.lent.take() {
            lent.give_back();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(lent) = &self.lent {
            lent.line.ear.abandoned.store(true, Ordering::Relaxed);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let ended = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => self.body.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if ended {
            self.give_back();
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
    ear: Arc<Ear>,
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
