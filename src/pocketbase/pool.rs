//! Connections to PocketBase, kept between requests.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hyper::{Request, Response};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

pub use super::answer::Answer;
use super::body::RequestBody;
pub use super::exchange::Error;
use super::exchange::exchange;
use super::known::KnownHeads;
use super::line::{Line, Second, Watched, dial};
use super::outage::Outage;
use super::sending::Sending;
use crate::config::PocketBaseUrl;
use crate::metrics;

/// PocketBase closes idle connections at 5 minutes; ours go long before, so that the two never race.
const IDLE_LIMIT: Second = 60;
/// Idle connections kept; a burst's surplus is closed.
const IDLE_MAX: usize = 128;
/// A PocketBase that ends can cut a kept connection and a new one that it had not accepted yet; after that it refuses.
const ATTEMPTS: u32 = 3;

/// What came of a request: PocketBase's answer, whose body may still be on its way.
pub type Answered = Result<Response<Box<Answer>>, Error>;

/// Connections of one worker thread to PocketBase.
pub struct Pool {
    url: PocketBaseUrl,
    answer_within: Duration,
    outage: Arc<Outage>,
    /// Counts seconds, for all that needs no finer clock and no timer of its own.
    clock: Arc<AtomicU32>,
    known: Mutex<KnownHeads>,
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
        Self { url, answer_within, outage, clock, known: Mutex::default(), idle: Mutex::default(), watched: Mutex::default() }
    }

    /// Sends a request once, on a kept connection if there is one. `lines` stand in its head as they are, after its headers.
    ///
    /// There are two cases in which another attempt, on a new connection, is safe: nothing was sent; or it was a kept connection that
    /// PocketBase closed at this very moment, before a byte of the answer to a safe method without a body. There are three at most.
    /// A connection that is refused is tried again for 2.5 s, since nothing was sent; not once PocketBase has been away for longer.
    ///
    /// Not an `async fn`: it would hold the request twice.
    pub fn send<'a>(self: &'a Arc<Self>, request: Request<RequestBody>, lines: &str) -> impl Future<Output = Answered> + use<'a> {
        let (mut sending, mut room) = Sending::new(request, lines);
        async move {
            let mut line = match self.checkout(!sending.is_repeatable) {
                Some(line) => line,
                None => self.connect_in_time().await?,
            };
            let mut sent = Instant::now();
            let mut answered = exchange(&mut line, &mut sending, &mut room, &self.known).await;
            for _ in 1..ATTEMPTS {
                if !is_harmless(&answered, &line, &sending) {
                    break;
                }
                line = self.connect_in_time().await?;
                sending.rewind();
                sent = Instant::now();
                answered = exchange(&mut line, &mut sending, &mut room, &self.known).await;
            }
            match answered {
                Ok(head) => Ok(Answer::new(head, sent, line, Arc::clone(self), sending)),
                Err(Error::Cut(error)) if !sending.has_begun() => Err(Error::Unreachable(error)),
                Err(error) => Err(error),
            }
        }
    }

    /// A connection that nothing came on while it was kept. Before a request that cannot be sent twice the kernel is asked, too.
    fn checkout(&self, surely: bool) -> Option<Line> {
        let mut idle = self.idle.lock();
        std::iter::from_fn(|| idle.pop()).map(|Idle { line, .. }| line).find(|line| line.is_quiet(surely))
    }

    /// Keeps a connection for the next request.
    pub(super) fn put_back(&self, line: Line) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { line, since: self.clock.load(Ordering::Relaxed) });
        }
    }

    /// One second has passed, says the owner of the pool: closes connections that were idle too long, and wakes whoever waits for an answer
    /// that is overdue.
    pub fn tick(&self) {
        let now = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
        self.idle.lock().retain(|idle| now - idle.since < IDLE_LIMIT && idle.line.is_quiet(false));
        self.watched.lock().retain(Watched::look);
    }

    /// Connections that wait for a request.
    pub fn idle(&self) -> usize {
        self.idle.lock().len()
    }

    /// All connections, those that ended within the last second among them.
    pub fn open(&self) -> usize {
        self.watched.lock().len()
    }

    /// Boxed, since it is rare and large.
    fn connect_in_time(&self) -> Pin<Box<dyn Future<Output = Result<Line, Error>> + Send + '_>> {
        Box::pin(async { timeout(self.answer_within, self.connect()).await.unwrap_or(Err(Error::TimedOut)) })
    }

    async fn connect(&self) -> Result<Line, Error> {
        let start = Instant::now();
        let patience = self.outage.patience(start);
        let mut pause = Duration::from_millis(20);
        loop {
            match dial(&self.url).await {
                Ok(stream) => {
                    let limit = Second::try_from(self.answer_within.as_secs()).unwrap_or(Second::MAX);
                    let (line, watched) = Line::new(stream, Arc::clone(&self.clock), limit);
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

/// Whether an attempt that failed may be followed by another: nothing was sent, or nothing came back on a kept connection and it changes
/// nothing to ask twice.
fn is_harmless<T>(attempt: &Result<T, Error>, line: &Line, sending: &Sending) -> bool {
    matches!(attempt, Err(Error::Cut(_))) && (!sending.has_begun() || line.is_used && sending.is_repeatable && !line.has_heard())
}

#[cfg(test)]
mod tests {
    use hyper::Method;
    use tokio::net::TcpListener;

    use super::*;

    /// What becomes of a request on a new connection that its other end resets, before it is sent or after.
    async fn on_a_connection_that_is_reset(before: bool, method: Method) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound")).parse().expect("a URL");
        let stream = dial(&url).await.expect("it listens");
        let (other, _) = listener.accept().await.expect("it was dialled");
        let reset = async {
            if !before {
                other.readable().await.expect("the request comes");
            }
            other.set_zero_linger().expect("a socket");
            drop(other);
        };
        let (mut line, _watched) = Line::new(stream, Arc::new(AtomicU32::new(1)), 5);
        let request = Request::builder().method(method).uri("/x").body(RequestBody::Empty).expect("a request");
        let ((mut sending, mut room), known) = (Sending::new(request, ""), Mutex::default());
        let attempt = if before {
            reset.await;
            exchange(&mut line, &mut sending, &mut room, &known).await
        } else {
            tokio::join!(exchange(&mut line, &mut sending, &mut room, &known), reset).0
        };
        assert_eq!(sending.has_begun(), !before);
        is_harmless(&attempt, &line, &sending)
    }

    #[tokio::test]
    async fn what_was_not_sent_may_be_sent_again_and_what_was_sent_on_a_new_connection_may_not() {
        for method in [Method::GET, Method::POST] {
            assert!(on_a_connection_that_is_reset(true, method.clone()).await, "{method} was not sent");
            assert!(!on_a_connection_that_is_reset(false, method.clone()).await, "{method} was sent");
        }
    }
}
