//! Passing a request to PocketBase, unread.

mod headers;
mod passing;
mod upload;

use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, Response, Uri, Version};

pub use headers::Caller;
pub use passing::Passing;

use crate::config::PocketBaseUrl;
use crate::pocketbase::body::RequestBody;
use crate::pocketbase::pool::{self, Answer, Pool};
use upload::Upload;
pub use upload::Waiting;

/// Passes one request to PocketBase and gives back its answer, whose body streams; `finish` makes it the client's.
///
/// Left alone: the bytes of the target and of both bodies, the status, and all headers but those that belong to one connection or tell
/// whose request it is. A body is only read as PocketBase takes it, and only sent as the client takes it. `waiting` is told while the
/// client owes us a byte of the body. What passes is shown to `passing`, where there is one.
pub fn forward<'a>(
    request: Request<Incoming>,
    caller: &Caller,
    pool: &'a Arc<Pool>,
    pocketbase: &PocketBaseUrl,
    waiting: &Waiting,
    passing: Option<&Passing>,
) -> impl Future<Output = pool::Answered> + use<'a> {
    pool.send(prepare(request, caller, pocketbase, waiting, passing), caller.lines())
}

/// What the client is to see of an answer.
pub fn finish(mut response: Response<Box<Answer>>) -> Response<Box<Answer>> {
    headers::prepare_response(response.headers_mut());
    if !response.body().came_after_upload() {
        // Nobody reads the rest of the upload: say so, as PocketBase does.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn prepare(
    request: Request<Incoming>,
    caller: &Caller,
    pocketbase: &PocketBaseUrl,
    waiting: &Waiting,
    passing: Option<&Passing>,
) -> Request<RequestBody> {
    let (mut parts, body) = request.into_parts();
    // From the parsed parts, never by joining strings: an upstream server is not in it and cannot get into it.
    parts.uri = parts.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
    headers::prepare_request(&mut parts.headers, caller);
    // Only a client of HTTP/1.0 may leave it out: see `wire`.
    if parts.version != Version::HTTP_11 && !parts.headers.contains_key(HOST) {
        parts.headers.insert(HOST, pocketbase.authority().clone());
    }
    parts.version = Version::HTTP_11;
    let body = match body.is_end_stream() {
        true => RequestBody::Empty,
        false => Upload::new(body, Arc::clone(waiting), passing.map(Passing::tee)).into_request_body(),
    };
    Request::from_parts(parts, body)
}

/// Whether the answer is a stream of events, which lasts until one side ends it.
pub fn is_event_stream<B: Body>(response: &Response<B>) -> bool {
    let endless = response.body().size_hint().exact().is_none();
    endless && response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}
