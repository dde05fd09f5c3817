//! Our own endpoints: everything below `/api/custom/`.

mod auth;
mod collections;
mod extract;
mod financial;
mod generate;
mod images;
mod jobs;
mod openapi;
mod owned;
mod page;
mod pattern;
mod preferences;
mod status;
mod tokens;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde::Serialize;
use uuid::Uuid;

use crate::app::App;
use crate::config::LogRequests;
use crate::error::Error;
use crate::metrics;
use crate::reply::{self, Reply};
use crate::trace::{Origin, X_REQUEST_ID};
use extract::Request;

/// Every endpoint, one a line: method, path, and who may call it (`open`: anybody).
async fn route(mut request: Request<'_>, method: &Method, path: &[&str]) -> Result<Reply, Error> {
    let app = request.app;
    match (method, path) {
        (&Method::GET, ["status"]) => ok(&status::status(app).await), // open
        (&Method::GET, ["test"]) => ok(&status::test()),              // open
        (&Method::GET, ["openapi.json"]) => Ok(openapi::answer()),    // open

        (&Method::POST, ["tokens", "setup"]) => ok(&tokens::setup(app, request.user_here().await?, request.json().await?).await?),
        (&Method::POST, ["tokens", "verify"]) => ok(&tokens::verify(app, request.user_here().await?, request.json().await?).await?),
        (&Method::POST, ["tokens", "change-password"]) => {
            ok(&tokens::change_password(app, request.user_here().await?, request.json().await?).await?)
        }
        (&Method::DELETE, ["tokens"]) => ok(&tokens::delete(app, request.user_now().await?).await?),

        (&Method::POST, ["auth", "login"]) => auth::login(app, request.address, request.agent(), request.json().await?).await, // open
        (&Method::POST, ["auth", "create-session"]) => {
            ok(&auth::create_session(app, request.user_here().await?, request.json().await?).await?)
        }
        (&Method::DELETE, ["auth", "session"]) => ok(&auth::delete_session(app, &request.user().await?, request.session_id())?),
        (&Method::GET, ["auth", "token-status"]) => ok(&auth::token_status(app, request.user().await?).await?),

        (&Method::POST, ["generate", "image"]) => {
            generate::image(app, request.session().await?, request.wishes(), request.json().await?).await
        }
        (&Method::GET, ["generate", "models"]) => request.user().await.and_then(|_| ok(&app.jobs.catalogue)),
        (&Method::GET, ["jobs"]) => ok(&jobs::list(app, request.user().await?, request.query()?).await?),
        (&Method::GET, ["jobs", id]) => ok(&jobs::view(app, request.user().await?, id).await?),
        (&Method::POST, ["jobs", id, "cancel"]) => ok(&jobs::cancel(app, request.session().await?, id).await?),

        (&Method::POST, ["preferences", "get"]) => ok(&preferences::get(app, request.user().await?, request.json().await?).await?),
        (&Method::POST, ["preferences", "save"]) => ok(&preferences::save(app, request.user().await?, request.json().await?).await?),
        (&Method::GET, ["preferences", name @ ..]) if !name.is_empty() => {
            ok(&preferences::get_named(app, request.user().await?, name.join("/")).await?)
        }
        (&Method::POST, ["preferences", name @ ..]) if !name.is_empty() => {
            ok(&preferences::save_named(app, request.user().await?, name.join("/"), request.json().await?).await?)
        }

        (&Method::POST, ["collections", "create"]) => ok(&collections::create(app, request.user().await?, request.json().await?).await?),
        (&Method::GET, ["collections"]) => ok(&collections::list(app, request.user().await?, request.query()?).await?),
        (&Method::GET, ["collections", id]) => ok(&collections::view(app, request.user().await?, id).await?),
        (&Method::PATCH, ["collections", id]) => ok(&collections::change(app, request.user().await?, id, request.json().await?).await?),
        (&Method::POST, ["collections", id, "move"]) => {
            ok(&collections::put_under(app, request.user().await?, id, request.json().await?).await?)
        }
        (&Method::POST, ["collections", id, "add-images"]) => {
            ok(&collections::add_images(app, request.user().await?, id, request.json().await?).await?)
        }
        (&Method::GET, ["collections", id, "images"]) => {
            ok(&collections::list_images(app, request.user().await?, id, request.query()?).await?)
        }
        (&Method::DELETE, ["collections", id]) => ok(&collections::delete(app, request.user().await?, id).await?),
        (&Method::POST, ["collections", id, "restore"]) => ok(&collections::restore(app, request.user().await?, id).await?),

        (&Method::GET, ["images"]) => ok(&images::list(app, request.user().await?, request.query()?).await?),
        (&Method::GET, ["images", id]) => ok(&images::view(app, request.user().await?, id).await?),
        (&Method::DELETE, ["images", id]) => ok(&images::delete(app, request.user().await?, id).await?),
        (&Method::POST, ["images", id, "restore"]) => ok(&images::restore(app, request.user().await?, id).await?),

        (&Method::GET, ["financial", "stats"]) => ok(&financial::stats(app, request.user().await?).await?),
        _ => Err(Error::NotFound),
    }
}

/// Answers a request below `/api/custom/`, whose decoded segments are given; `address` is the caller's.
///
/// Every answer carries the request's id and PocketBase's CORS headers. `HEAD` is answered like `GET`, as PocketBase does. What was begun
/// is carried to its end, whether or not the client waits for it; there it is counted, and gets its line in the log.
pub async fn answer(app: &Arc<App>, request: hyper::Request<Incoming>, segments: Vec<String>, address: IpAddr) -> Reply {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let asked_from = parts.headers.get(ORIGIN).cloned();
    let id = request_id(parts.headers.get(X_REQUEST_ID));
    let origin = Origin::new(id.clone(), &parts.headers);
    let mut reply = if parts.method == Method::OPTIONS {
        let reply = reply::preflight(&parts.headers, &app.config.origins);
        note(app, &parts.method, "preflight", &reply, (&origin, address, begun));
        reply
    } else {
        let (work, working) = (Arc::clone(app), Arc::clone(&origin));
        let work = async move {
            let caught = AssertUnwindSafe(carry_out(&work, &parts, body, &segments, address)).catch_unwind().await;
            let reply = caught.unwrap_or_else(|panic| Err(Error::panicked(&*panic))).unwrap_or_else(Error::into_reply);
            note(&work, &parts.method, pattern::of(&segments), &reply, (&working, address, begun));
            reply
        };
        let carried = app.tasks.spawn_on(origin.working(work), &app.runtime).await;
        // What panics is caught within: it was cut off by the end of the sidecar.
        let mut reply = carried.unwrap_or_else(|error| Error::Panic(error.to_string()).into_reply());
        reply::allow_origin(&mut reply, asked_from.as_ref(), &app.config.origins);
        reply
    };
    reply.headers_mut().insert(X_REQUEST_ID, id);
    reply
}

async fn carry_out(app: &App, parts: &Parts, body: Incoming, segments: &[String], address: IpAddr) -> Result<Reply, Error> {
    let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    Box::pin(route(Request::new(app, parts, body, address), method, &path)).await
}

/// Counts a request that was answered, and says so in the log: never its query, its body or what it is allowed by.
fn note(app: &App, method: &Method, route: &'static str, reply: &Reply, (origin, address, begun): (&Origin, IpAddr, Instant)) {
    let status = reply.status().as_u16();
    metrics::REQUESTS.one([route, metrics::code(status)]);
    if app.config.log.requests == LogRequests::Off {
        return;
    }
    // Monitors ask these every few seconds.
    if matches!(route, "/api/custom/status" | "/api/custom/test") && !tracing::enabled!(target: "request", tracing::Level::DEBUG) {
        return;
    }
    tracing::info!(
        target: "request",
        parent: None,
        %method,
        route,
        status,
        duration_ms = milliseconds(begun.elapsed()),
        request_id = origin.id(),
        trace_id = origin.trace_id(),
        user = origin.user().map(tracing::field::display),
        %address,
        "{method} {route} was answered {status}"
    );
}

/// To a thousandth.
pub fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
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
