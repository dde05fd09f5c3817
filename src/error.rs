//! The only map from failures to HTTP.

use std::collections::BTreeMap;

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER};
use serde::Serialize;

use crate::pocketbase::pool;
use crate::reply::{self, Reply};
use crate::wire::Refusal;

/// Everything that can keep a request from its answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request could be read in two ways, or not at all.
    #[error(transparent)]
    Wire(#[from] Refusal),
    /// No route of ours has this path and method.
    #[error("no such route")]
    NoRoute,
    /// PocketBase gave no answer to a request that was passed on.
    #[error(transparent)]
    PocketBase(#[from] pool::Error),
    /// A defect of ours.
    #[error("a request panicked: {0}")]
    Panic(String),
}

/// What the caller reads. PocketBase's own clients find the fields they know.
#[derive(Serialize)]
struct Shape {
    status: u16,
    error: &'static str,
    message: String,
    data: BTreeMap<&'static str, FieldError>,
}

/// One field's fault, in PocketBase's shape.
#[derive(Serialize)]
struct FieldError {
    code: &'static str,
    message: &'static str,
}

/// Seconds after which a caller may try again while PocketBase is away: it restarts in one to three.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("3");

impl Error {
    /// Whether the rest of the connection cannot be trusted to begin where a request begins.
    pub fn ends_connection(&self) -> bool {
        match self {
            Self::Wire(_) => true,
            Self::NoRoute | Self::PocketBase(_) | Self::Panic(_) => false,
        }
    }

    /// The answer, after a line in the log where somebody should know.
    pub fn into_reply(self) -> Reply {
        self.log();
        let (status, error, message) = self.words();
        let shape = Shape { status: status.as_u16(), error, message, data: BTreeMap::new() };
        let mut reply = reply::json(status, &shape);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            reply.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        reply
    }

    fn words(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::Wire(refusal) => (refused(*refusal), "validation_error", sentence(refusal)),
            Self::NoRoute => (StatusCode::NOT_FOUND, "not_found", "The requested resource was not found.".into()),
            Self::PocketBase(pool::Error::Unreachable(_)) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable_error",
                "PocketBase cannot be reached right now. Nothing was sent; please try again in a moment.".into(),
            ),
            Self::PocketBase(pool::Error::Cut(_)) => (
                StatusCode::BAD_GATEWAY,
                "unavailable_error",
                "PocketBase closed the connection before it answered. Whether the request was carried out is not known.".into(),
            ),
            Self::PocketBase(pool::Error::Malformed(_)) => {
                (StatusCode::BAD_GATEWAY, "unavailable_error", "PocketBase sent an answer that could not be understood.".into())
            }
            Self::PocketBase(pool::Error::TimedOut) => {
                (StatusCode::GATEWAY_TIMEOUT, "unavailable_error", "PocketBase did not answer in time.".into())
            }
            Self::PocketBase(pool::Error::ClientBody(_)) => {
                (StatusCode::BAD_REQUEST, "validation_error", "The body of the request was malformed or ended early.".into())
            }
            Self::Panic(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong on our side.".into()),
        }
    }

    fn log(&self) {
        let error = self as &dyn std::error::Error;
        match self {
            Self::Wire(_) => tracing::debug!(error, "a request was refused"),
            // The pool says once that an outage begins, and once that it ends.
            Self::PocketBase(pool::Error::Unreachable(_)) => tracing::debug!(error, "a request was answered 503"),
            Self::NoRoute | Self::PocketBase(pool::Error::ClientBody(_)) => {}
            Self::PocketBase(_) => tracing::warn!(error, "a request to PocketBase failed"),
            Self::Panic(_) => tracing::error!(error, "a request panicked"),
        }
    }
}

fn refused(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::Host | Refusal::Target | Refusal::Escape | Refusal::HalfEscaped | Refusal::Body | Refusal::Alias => {
            StatusCode::BAD_REQUEST
        }
        Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::TransferCoding => StatusCode::NOT_IMPLEMENTED,
        Refusal::Expectation => StatusCode::EXPECTATION_FAILED,
    }
}

/// `the method is not allowed` as PocketBase would write it: `The method is not allowed.`
fn sentence(words: &impl ToString) -> String {
    let words = words.to_string();
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
