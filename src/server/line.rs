//! The line in the log that a request which passes may get.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use hyper::header::HeaderValue;
use hyper::{Method, Request, Uri};

use crate::api;
use crate::config::LogRequests;
use crate::trace::{Origin, X_REQUEST_ID};

/// Which requests of a connection get one.
pub(super) struct Lines {
    /// One in so many.
    one_in: Option<u32>,
    /// Requests since the last one that got one.
    since: AtomicU32,
}

/// What is said of a request once it is answered.
pub(super) struct Line {
    method: Method,
    uri: Uri,
    origin: Arc<Origin>,
    address: IpAddr,
    begun: Instant,
}

impl Lines {
    pub(super) fn new(which: LogRequests) -> Self {
        let one_in = match which {
            LogRequests::Off | LogRequests::Own => None,
            LogRequests::OneIn(many) => Some(many),
        };
        Self { one_in, since: AtomicU32::new(0) }
    }

    /// A line for this request, if it is to have one. So that it can be found in PocketBase too, it gets an id where it has none.
    pub(super) fn begin<B>(&self, request: &mut Request<B>, address: IpAddr, begun: Instant) -> Option<Line> {
        let one_in = self.one_in?;
        let since = self.since.load(Ordering::Relaxed);
        self.since.store((since + 1) % one_in, Ordering::Relaxed);
        (since == 0).then(|| Line::new(request, address, begun))
    }
}

impl Line {
    fn new<B>(request: &mut Request<B>, address: IpAddr, begun: Instant) -> Self {
        let id: HeaderValue = api::request_id(request.headers().get(X_REQUEST_ID));
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let origin = Origin::new(id.clone(), request.headers());
        request.headers_mut().insert(X_REQUEST_ID, id);
        Self { method, uri, origin, address, begun }
    }

    /// Says it: never the query, which may hold a token of a file's.
    pub(super) fn end(self, status: u16) {
        let Self { method, uri, origin, address, begun } = self;
        tracing::info!(
            target: "request",
            %method,
            path = uri.path(),
            status,
            duration_ms = api::milliseconds(begun.elapsed()),
            request_id = origin.id(),
            trace_id = origin.trace_id(),
            %address,
            "{method} {} was passed on and answered {status}",
            uri.path()
        );
    }
}
