//! Our own endpoints: everything below `/api/custom/`.

mod status;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, ORIGIN};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use uuid::Uuid;

use crate::app::App;
use crate::error::Error;
use crate::reply::{self, Reply};

/// The header that names a request in logs, here and at PocketBase.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Every endpoint, one a line: method, path, and who may call it (`open`: anybody).
async fn route(app: &App, method: &Method, path: &[&str]) -> Result<Reply, Error> {
    match (method, path) {
        (&Method::GET, ["status"]) => ok(&status::status(app).await), // open
        (&Method::GET, ["test"]) => ok(&status::test()),              // open
        _ => Err(Error::NoRoute),
    }
}

/// Answers a request below `/api/custom/`, whose decoded segments are given.
///
/// Every answer carries the request's id and PocketBase's CORS headers. `HEAD` is answered like `GET`, as PocketBase does.
pub async fn answer(app: &App, request: Request<Incoming>, segments: &[String]) -> Reply {
    let (parts, _body) = request.into_parts();
    let origins = &app.config.origins;
    let mut reply = if parts.method == Method::OPTIONS {
        reply::preflight(&parts.headers, origins)
    } else {
        let method = if parts.method == Method::HEAD { Method::GET } else { parts.method };
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let mut reply = route(app, &method, &path).await.unwrap_or_else(Error::into_reply);
        reply::allow_origin(&mut reply, parts.headers.get(ORIGIN), origins);
        reply
    };
    reply.headers_mut().insert(X_REQUEST_ID, request_id(parts.headers.get(X_REQUEST_ID)));
    reply
}

fn ok(value: &impl Serialize) -> Result<Reply, Error> {
    Ok(reply::json(StatusCode::OK, value))
}

/// The caller's own id if it is one that can stand in a log line, else a new one.
pub fn request_id(given: Option<&HeaderValue>) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=128).contains(&bytes.len()) && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    };
    given.filter(sane).cloned().unwrap_or_else(|| {
        HeaderValue::from_maybe_shared(Bytes::from(Uuid::new_v4().to_string())).expect("a UUID has only letters, digits and dashes")
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderMap;

    use super::*;

    #[test]
    fn a_callers_request_id_is_kept_only_if_it_can_stand_in_a_log_line() {
        for (given, kept) in [("abc-123_4.5:6", true), ("", false), ("a b", false), ("a\"b", false), (&"x".repeat(129), false)] {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(given).expect("a header value"));
            assert_eq!(request_id(headers.get(X_REQUEST_ID)) == given, kept, "{given}");
        }
    }
}
