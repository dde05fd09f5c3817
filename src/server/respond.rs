//! One request: ours or PocketBase's?

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, ORIGIN, TRAILER};
use hyper::{Request, Response, StatusCode, Version};
use parking_lot::Mutex;

use super::batches;
use super::events::Events;
use super::line::{Line, Lines};
use super::watch::{Busy, Pulse};
use crate::address::Network;
use crate::app::App;
use crate::error::Error;
use crate::forward::{self, Caller, Passing, Waiting};
use crate::metrics::{self, Class, Traffic};
use crate::pocketbase::pipe::Portion;
use crate::pocketbase::pool::{self, Answer, Pool};
use crate::rates::Allowance;
use crate::reply::Reply;
use crate::trace::{Origin, X_REQUEST_ID};
use crate::{api, reply, wire};

/// What the requests of one connection share.
pub(super) struct Connection {
    pub(super) app: Arc<App>,
    pub(super) pool: Arc<Pool>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) lines: Arc<Lines>,
    pub(super) caller: Caller,
    pub(super) pulse: Arc<Pulse>,
    pub(super) waiting: Waiting,
    /// Requests that it may still make without being looked at.
    pub(super) allowance: Allowance,
    /// The stream of events that is the answer, for whoever passes it on in hyper's place.
    pub(super) events: Mutex<Option<Box<Events>>>,
}

/// Whose a request turned out to be.
enum Whose {
    /// Nobody's: it is refused unread.
    Nobodys,
    /// Ours; `api` counts it.
    Ours,
    /// PocketBase's.
    Theirs(Class, Option<Box<Line>>),
}

impl Connection {
    /// Boxed, so that both this and what waits for it are small, which the allocator has ready.
    fn forward<'a>(
        &'a self,
        request: Request<Incoming>,
        caller: &Caller,
        passing: Option<&Passing>,
    ) -> Pin<Box<dyn Future<Output = pool::Answered> + Send + 'a>> {
        Box::pin(forward::forward(request, caller, &self.pool, &self.app.config.pocketbase_url, &self.waiting, passing))
    }
}

/// Answers one request, whatever happens: a panic is a 500.
///
/// Not an `async fn`: it would hold the request twice.
pub(super) fn respond(
    request: Request<Incoming>,
    connection: Arc<Connection>,
) -> impl Future<Output = Result<Response<Outgoing>, Infallible>> {
    let begun = Instant::now();
    let busy = Busy::begin(&connection.pulse);
    let asker = Asker::of(request.headers());
    let stays = asker.stays && request.version() == Version::HTTP_11 && request.body().is_end_stream();
    async move {
        // A block, so that the future has no room for its result, too.
        {
            let mut whose = Whose::Nobodys;
            let answered =
                caught(pin!(answer(request, &connection, begun, &mut whose))).await.unwrap_or_else(|panic| Err(Error::panicked(&*panic)));
            let response = answered.unwrap_or_else(|error| asker.told(error, &connection).map(Content::Ours));
            let status = response.status().as_u16();
            match whose {
                Whose::Theirs(class, line) => {
                    connection.traffic.passed(class, status);
                    line.into_iter().for_each(|line| line.end(status));
                }
                Whose::Nobodys => connection.traffic.refused(status),
                Whose::Ours => {}
            }
            if let Some(response) = handed_over(response, stays, &connection, busy) {
                return Ok(response);
            }
        }
        // No answer: the connection is taken off hyper.
        std::future::pending().await
    }
}

/// The answer for hyper, or none if it is a stream of events that needs no hyper: then the connection has it. hyper keeps what it alone knows
/// how to write, and a connection that is not to go on after the answer, because its client wants so (`stays`) or we drain.
fn handed_over(response: Response<Content>, stays: bool, connection: &Connection, busy: Busy) -> Option<Response<Outgoing>> {
    if stays
        && !busy.pulse().is_worker_draining()
        && let Content::Theirs { answer, events: Some(_) } = response.body()
        && response.status() == StatusCode::OK
        && response.extensions().is_empty()
        && !response.headers().contains_key(TRAILER)
        && answer.came_after_upload()
    {
        let (head, content) = response.into_parts();
        if let Content::Theirs { answer, events: Some(counted) } = content {
            *connection.events.lock() = Some(Box::new(Events::new(&head.headers, *answer, busy, counted)));
        }
        return None;
    }
    Some(response.map(|content| Outgoing { content, busy }))
}

/// What an answer of our own to a request of PocketBase's repeats from it.
struct Asker {
    origin: Option<HeaderValue>,
    id: Option<HeaderValue>,
    /// Whether the connection may go on after the answer.
    stays: bool,
}

impl Asker {
    /// One look at each header is cheaper than two look-ups, and hardly any request needs it.
    fn of(headers: &HeaderMap) -> Self {
        let mut asker = Self { origin: None, id: None, stays: true };
        for (name, value) in headers {
            if name == ORIGIN {
                asker.origin.get_or_insert_with(|| value.clone());
            } else if name == X_REQUEST_ID {
                asker.id.get_or_insert_with(|| value.clone());
            } else if name == CONNECTION {
                asker.stays &= value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
            }
        }
        asker
    }

    /// The answer in place of PocketBase's; what the log says of it names the request.
    fn told(&self, error: Error, connection: &Connection) -> Reply {
        let id = api::request_id(self.id.as_ref());
        if let Error::PocketBase(error) = &error {
            metrics::UPSTREAM_ERRORS.one(["passed", error.kind()]);
        }
        let closes = error.ends_connection();
        let mut reply = Origin::new(id.clone(), &HeaderMap::new()).span().in_scope(|| error.into_reply());
        reply::allow_origin(&mut reply, self.origin.as_ref(), &connection.app.config.origins);
        reply.headers_mut().insert(X_REQUEST_ID, id);
        if closes {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

#[expect(clippy::manual_async_fn, reason = "an async fn would hold the request twice")]
fn answer<'a>(
    mut request: Request<Incoming>,
    connection: &'a Arc<Connection>,
    begun: Instant,
    whose: &'a mut Whose,
) -> impl Future<Output = Result<Response<Content>, Error>> + use<'a> {
    async move {
        wire::check(&request)?;
        let named;
        let caller = if connection.caller.is_trusted_proxy() {
            named = connection.caller.named_by_proxy(request.headers(), &connection.app.config.trusted_proxies);
            if !named.is_exempt() {
                connection.app.rates.requests.check(&Network::from(named.address))?;
            }
            &named
        } else {
            connection.app.rates.requests.spend(&connection.allowance)?;
            &connection.caller
        };
        if let Some(segments) = wire::custom_path(request.uri().path()) {
            *whose = Whose::Ours;
            return Ok(Box::pin(api::answer(&connection.app, request, segments, caller.address)).await.map(Content::Ours));
        }
        let line = connection.lines.begin(&mut request, caller.address, begun);
        *whose = Whose::Theirs(Class::of(request.uri().path()), line.map(Box::new));
        if request.uri().path() == "*" {
            return Ok(reply::empty().map(Content::Ours));
        }
        let response = match Passing::notice(&request, &connection.app, caller.address) {
            None => forward::finish(connection.forward(request, caller, None).await?),
            Some(passing) => Box::pin(changing_password(request, caller.clone(), passing, connection)).await?,
        };
        connection.traffic.added(response.body().sent().saturating_duration_since(begun));
        let events = forward::is_event_stream(&response).then(|| connection.traffic.stream());
        Ok(response.map(|answer| Content::Theirs { answer, events }))
    }
}

/// What is logged of it names the request, which gets an id if it has none.
///
/// Carried to its end whether or not the client waits for it: PocketBase does what it was asked either way, and we follow.
async fn changing_password(
    mut request: Request<Incoming>,
    caller: Caller,
    passing: Passing,
    connection: &Arc<Connection>,
) -> Result<Response<Box<Answer>>, Error> {
    let connection = Arc::clone(connection);
    let id = api::request_id(request.headers().get(X_REQUEST_ID));
    let origin = Origin::new(id.clone(), request.headers());
    request.headers_mut().insert(X_REQUEST_ID, id);
    let carried = tokio::spawn(origin.working(async move {
        let response = forward::finish(connection.forward(request, &caller, Some(&passing)).await?);
        passing.settle(&connection.app, response.status()).await;
        Ok(response)
    }));
    match carried.await {
        Ok(answered) => answered,
        Err(error) => Err(error.try_into_panic().map_or_else(|error| Error::Panic(error.to_string()), |panic| Error::panicked(&*panic))),
    }
}

/// The body of an answer. The connection counts as busy for as long as it exists.
pub(super) struct Outgoing {
    content: Content,
    busy: Busy,
}

enum Content {
    /// Our own words.
    Ours(Full<Bytes>),
    /// PocketBase's, as they come; a stream of events, which is counted, ends when we drain, since nothing else would end it.
    Theirs { answer: Box<Answer>, events: Option<metrics::Stream> },
}

impl Body for Outgoing {
    type Data = Portion;
    type Error = pool::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Portion>, pool::Error>>> {
        let this = &mut *self;
        match &mut this.content {
            Content::Ours(body) => {
                Pin::new(body).poll_frame(cx).map_ok(|frame| frame.map_data(Portion::Here)).map_err(|never| match never {})
            }
            Content::Theirs { answer, events } => {
                if events.is_some() && this.busy.pulse().is_worker_draining() {
                    return Poll::Ready(None);
                }
                // hyper drops what it has not written when it hears of an error: it does so when the client has taken all that came before.
                if answer.is_broken() && this.busy.pulse().is_write_blocked() {
                    this.busy.pulse().upstream_silent(false);
                    return Poll::Pending;
                }
                let polled = answer.poll_portion(cx);
                if events.is_some() && polled.is_ready() {
                    batches::passed();
                }
                this.busy.pulse().upstream_silent(polled.is_pending());
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Ours(body) => body.is_end_stream(),
            Content::Theirs { answer, .. } => answer.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Ours(body) => body.size_hint(),
            Content::Theirs { answer, .. } => answer.size_hint(),
        }
    }
}

/// Runs a future to its end or to its panic.
async fn caught<F: Future>(mut future: Pin<&mut F>) -> Result<F::Output, Box<dyn Any + Send>> {
    std::future::poll_fn(|cx| match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_value() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let panic = runtime.block_on(caught(pin!(async { panic!("the cause") }))).expect_err("a panic");
        assert!(matches!(Error::panicked(&*panic), Error::Panic(text) if text == "the cause"));
    }
}
