//! Our own answers: their bodies, and the headers that all of them carry.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_TYPE,
    HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::config::AllowedOrigin;

/// An answer of our own.
pub type Reply = Response<Full<Bytes>>;

/// A time in our answers: RFC 3339, UTC, to the millisecond.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub jiff::Timestamp);

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}

/// The methods that PocketBase's preflight answer names.
const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE");
const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// A JSON answer with the security headers that PocketBase sends.
pub fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    // Only a map with keys that are not strings, or a Serialize that fails on its own, cannot be written. Ours are plain structs.
    raw(status, serde_json::to_vec(value).expect("plain structs can always be written as JSON").into())
}

/// The same with a body that is JSON already.
pub fn raw(status: StatusCode, json: Bytes) -> Reply {
    let mut reply = Response::new(Full::from(json));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    headers.insert(X_XSS_PROTECTION, HeaderValue::from_static("1; mode=block"));
    headers.insert(CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin"));
    reply
}

/// 200 and nothing else.
pub fn empty() -> Reply {
    Response::new(Full::default())
}

/// The answer to a preflight, as PocketBase gives it on every path.
pub fn preflight(request: &HeaderMap, allowed: &[AllowedOrigin]) -> Reply {
    let mut reply = empty();
    *reply.status_mut() = StatusCode::NO_CONTENT;
    allow_origin(&mut reply, request.get(ORIGIN), allowed);
    let headers = reply.headers_mut();
    if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Method"));
        headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        if let Some(wanted) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
    }
    reply
}

/// Lets a page of an allowed origin read the answer.
pub fn allow_origin(reply: &mut Reply, origin: Option<&HeaderValue>, allowed: &[AllowedOrigin]) {
    let headers = reply.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else { return };
    let granted = allowed.iter().find_map(|allowed| match allowed {
        AllowedOrigin::Any => Some(HeaderValue::from_static("*")),
        AllowedOrigin::Only(one) => (one == origin).then(|| one.clone()),
    });
    if let Some(granted) = granted {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, granted);
    }
}
