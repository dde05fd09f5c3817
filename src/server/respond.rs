//! One request: ours or PocketBase's?

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Request, Response};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::watch::{Busy, Pulse};
use crate::address::Network;
use crate::app::App;
use crate::error::Error;
use crate::forward::{self, Caller, Passing, Waiting};
use crate::pocketbase::pool::{Answer, Pool};
use crate::rates::Allowance;
use crate::{api, reply, wire};

/// What the requests of one connection share.
pub(super) struct Connection {
    app: Arc<App>,
    pool: Arc<Pool>,
    caller: Caller,
    pulse: Arc<Pulse>,
    waiting: Waiting,
    /// Requests that it may still make without being looked at.
    allowance: Allowance,
    shutdown: CancellationToken,
}

impl Connection {
    pub(super) fn new(app: Arc<App>, pool: Arc<Pool>, caller: Caller, pulse: Arc<Pulse>, shutdown: CancellationToken) -> Self {
        let owed = Arc::clone(&pulse);
        let waiting: Waiting = Arc::new(move |waits| owed.body_owed(waits));
        let allowance =
            if caller.is_exempt() { Allowance::unlimited() } else { app.rates.requests.allowance(&Network::from(caller.address)) };
        Self { app, pool, caller, pulse, waiting, allowance, shutdown }
    }
}

impl Connection {
    async fn forward(&self, request: Request<Incoming>, caller: &Caller, passing: Option<&Passing>) -> Result<Response<Answer>, Error> {
        forward::forward(request, caller, &self.pool, &self.app.config.pocketbase_url, &self.waiting, passing).await
    }
}

/// Answers one request, whatever happens: a panic is a 500.
pub(super) async fn respond(request: Request<Incoming>, connection: Arc<Connection>) -> Result<Response<Outgoing>, Infallible> {
    let busy = Busy::begin(&connection.pulse);
    let asker = Asker::of(request.headers());
    let answered = caught(pin!(answer(request, &connection))).await.unwrap_or_else(|panic| Err(Error::panicked(&*panic)));
    let response = answered.unwrap_or_else(|error| {
        let closes = error.ends_connection();
        let mut reply = error.into_reply();
        reply::allow_origin(&mut reply, asker.origin.as_ref(), &connection.app.config.origins);
        reply.headers_mut().insert(api::X_REQUEST_ID, api::request_id(asker.id.as_ref()));
        if closes {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply.map(Content::Ours)
    });
    Ok(response.map(|content| Outgoing { content, busy }))
}

/// What an answer of our own to a request of PocketBase's repeats from it.
struct Asker {
    origin: Option<HeaderValue>,
    id: Option<HeaderValue>,
}

impl Asker {
    /// One look at each header is cheaper than two look-ups, and hardly any request needs it.
    fn of(headers: &HeaderMap) -> Self {
        let mut asker = Self { origin: None, id: None };
        for (name, value) in headers {
            if name == ORIGIN {
                asker.origin.get_or_insert_with(|| value.clone());
            } else if name == api::X_REQUEST_ID {
                asker.id.get_or_insert_with(|| value.clone());
            }
        }
        asker
    }
}

async fn answer(request: Request<Incoming>, connection: &Arc<Connection>) -> Result<Response<Content>, Error> {
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
        return Ok(api::answer(&connection.app, request, segments, caller.address).await.map(Content::Ours));
    }
    if request.uri().path() == "*" {
        return Ok(reply::empty().map(Content::Ours));
    }
    let response = match Passing::notice(&request, &connection.app, caller.address) {
        None => connection.forward(request, caller, None).await?,
        Some(passing) => changing_password(request, caller.clone(), passing, connection).await?,
    };
    let until = forward::is_event_stream(&response).then(|| Box::pin(connection.shutdown.clone().cancelled_owned()));
    Ok(response.map(|answer| Content::Theirs { answer, until }))
}

/// Carried to its end whether or not the client waits for it: PocketBase does what it was asked either way, and we follow.
async fn changing_password(
    request: Request<Incoming>,
    caller: Caller,
    passing: Passing,
    connection: &Arc<Connection>,
) -> Result<Response<Answer>, Error> {
    let connection = Arc::clone(connection);
    let carried = tokio::spawn(async move {
        let response = connection.forward(request, &caller, Some(&passing)).await?;
        passing.settle(&connection.app, response.status()).await;
        Ok(response)
    });
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
    /// PocketBase's, as they come; an event stream ends when we shut down, since nothing else would end it.
    Theirs { answer: Answer, until: Option<Pin<Box<WaitForCancellationFutureOwned>>> },
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        match &mut this.content {
            Content::Ours(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Content::Theirs { answer, until } => {
                if let Some(until) = until
                    && until.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(None);
                }
                let polled = Pin::new(answer).poll_frame(cx);
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
