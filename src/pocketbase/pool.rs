//! Connections to PocketBase, kept between requests.

use std::future::{Future, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::Either;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::TrySendError;
use hyper::{Request, Response};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::body::{Progress, RequestBody};
use super::line::{Line, Second, Watched};
use super::outage::Outage;
use super::spare::Spare;
use crate::config::PocketBaseUrl;
use crate::metrics;

/// PocketBase closes idle connections at 5 minutes; ours go long before, so that the two never race.
const IDLE_LIMIT: Second = 60;
/// Idle connections kept; a burst's surplus is closed.
const IDLE_MAX: usize = 128;

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

impl Error {
    /// The kind in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Cut(_) => "cut",
            Self::Malformed(_) => "malformed",
            Self::TimedOut => "timed_out",
            Self::TooLong => "too_long",
            Self::Target => "target",
            Self::ClientBody(_) => "client_body",
        }
    }
}

/// Connections of one worker thread to PocketBase.
pub struct Pool {
    url: PocketBaseUrl,
    answer_within: Duration,
    outage: Arc<Outage>,
    /// Counts seconds, for all that needs no finer clock and no timer of its own.
    clock: Arc<AtomicU32>,
    /// Most recently used last.
    idle: Mutex<Vec<Idle>>,
    /// All connections, lent or not.
    watched: Mutex<Vec<Watched>>,
}

struct Idle {
    line: Line,
    since: Second,
}

impl Pool {
    /// An empty pool; `answer_within` bounds how long nothing may happen between a request and the head of its answer.
    pub fn new(url: PocketBaseUrl, answer_within: Duration, outage: Arc<Outage>) -> Self {
        let clock = Arc::new(AtomicU32::new(1));
        Self { url, answer_within, outage, clock, idle: Mutex::default(), watched: Mutex::default() }
    }

    /// Sends a request once, on a kept connection if there is one.
    ///
    /// There is one case in which a second attempt is safe: a kept connection that PocketBase closed at this very moment, before a byte of
    /// the answer to a safe method without a body. A connection that is refused is tried again for 2.5 s, since nothing was sent; not once
    /// PocketBase has been away for longer than that.
    ///
    /// Not an `async fn`, since what a client's connection keeps for its request would hold the request more than once.
    pub fn send(self: &Arc<Self>, request: Request<RequestBody>) -> impl Future<Output = Result<Response<Answer>, Error>> + use<'_> {
        let upload = request.body().progress();
        let Some(mut line) = self.checkout() else { return Either::Right(Box::pin(self.send_anew(request, upload))) };
        let spare = Spare::of(&request);
        let sent = Instant::now();
        let asked = line.ask(request);
        Either::Left(async move {
            match asked.await {
                Ok(response) => Ok(self.lend(line, sent, upload, response)),
                Err(error) => self.send_again(error, line, spare, upload).await,
            }
        })
    }

    /// Sends a request that a kept connection did not take, or repeats it if that is safe. Boxed, since it is rare and large.
    fn send_again(
        self: &Arc<Self>,
        mut error: TrySendError<Request<RequestBody>>,
        line: Line,
        spare: Option<Spare>,
        upload: Option<Arc<Progress>>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Answer>, Error>> + Send + '_>> {
        if let Some(unsent) = error.take_message() {
            return Box::pin(self.send(unsent));
        }
        let error = error.into_error();
        let repeatable = !line.is_overdue() && !line.has_heard() && was_cut(&error);
        match spare.filter(|_| repeatable).and_then(Spare::into_request) {
            Some(copy) => Box::pin(self.send_anew(copy, upload)),
            None => Box::pin(ready(Err(sort(&line, error)))),
        }
    }

    /// Sends a request on a new connection.
    async fn send_anew(self: &Arc<Self>, request: Request<RequestBody>, upload: Option<Arc<Progress>>) -> Result<Response<Answer>, Error> {
        let connected = timeout(self.answer_within, self.connect()).await;
        let mut line = connected.unwrap_or(Err(Error::TimedOut))?;
        let sent = Instant::now();
        match line.ask(request).await {
            Ok(response) => Ok(self.lend(line, sent, upload, response)),
            Err(error) if error.message().is_some() => Err(Error::Unreachable(io::ErrorKind::ConnectionReset.into())),
            Err(error) => Err(sort(&line, error.into_error())),
        }
    }

    fn lend(self: &Arc<Self>, line: Line, sent: Instant, upload: Option<Arc<Progress>>, response: Response<Incoming>) -> Response<Answer> {
        line.answered();
        let lent = Lent { line, upload, pool: Arc::clone(self) };
        response.map(|body| Answer::new(body, sent, lent))
    }

    fn checkout(&self) -> Option<Line> {
        let mut idle = self.idle.lock();
        while let Some(Idle { line, .. }) = idle.pop() {
            if !line.is_closed() {
                return Some(line);
            }
        }
        None
    }

    fn put_back(&self, line: Line) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX && !line.is_closed() {
            idle.push(Idle { line, since: self.clock.load(Ordering::Relaxed) });
        }
    }

    /// One second has passed, says the owner of the pool: closes connections that were idle too long, and cuts those whose answer is overdue.
    pub fn tick(&self) {
        let now = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
        self.idle.lock().retain(|idle| !idle.line.is_closed() && now - idle.since < IDLE_LIMIT);
        let limit = Second::try_from(self.answer_within.as_secs()).unwrap_or(Second::MAX);
        self.watched.lock().retain(|watched| watched.look(limit));
    }

    /// Connections that wait for a request.
    pub fn idle(&self) -> usize {
        self.idle.lock().len()
    }

    /// All connections, those that ended within the last second among them.
    pub fn open(&self) -> usize {
        self.watched.lock().len()
    }

    async fn connect(&self) -> Result<Line, Error> {
        let start = Instant::now();
        let patience = self.outage.patience(start);
        let mut pause = Duration::from_millis(20);
        loop {
            match Line::open(&self.url, &self.clock).await {
                Ok((line, watched)) => {
                    metrics::UPSTREAM_CONNECTS.one(["connected"]);
                    self.outage.succeeded(&self.url);
                    self.watched.lock().push(watched);
                    return Ok(line);
                }
                Err(error) => {
                    metrics::UPSTREAM_CONNECTS.one(["failed"]);
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
}

/// Whether the connection ended, as opposed to an answer that made no sense or a body that could not be read.
fn was_cut(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || !(error.is_user() || error.is_parse())
}

fn sort(line: &Line, error: hyper::Error) -> Error {
    if line.is_overdue() {
        Error::TimedOut
    } else if error.is_user() {
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
    sent: Instant,
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

    /// When the request was given to the connection that this answer came by.
    pub fn sent(&self) -> Instant {
        self.sent
    }

    fn new(body: Incoming, sent: Instant, lent: Lent) -> Self {
        let mut answer = Self { body, after_upload: lent.is_uploaded(), sent, lent: Some(lent) };
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
            lent.line.abandon();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, lent, .. } = &mut *self;
        let polled = match lent {
            Some(lent) => lent.line.poll_frame(body, cx),
            None => Pin::new(body).poll_frame(cx),
        };
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
