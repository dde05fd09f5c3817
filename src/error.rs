//! The only map from failures to HTTP.

use std::any::Any;
use std::collections::BTreeMap;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::id::JobId;
use crate::jobs::Failure;
use crate::keys;
use crate::metrics;
use crate::pocketbase::callers::Stranger;
use crate::pocketbase::{self, pool};
use crate::rates::{Exceeded, Limit};
use crate::reply::{self, Reply};
use crate::wire::Refusal;

/// Everything that can keep a request from its answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request could be read in two ways, or not at all.
    #[error(transparent)]
    Wire(#[from] Refusal),
    /// No route of ours has this path and method, or nothing of the caller's has this id.
    #[error("no such route or thing")]
    NotFound,
    /// Something that was sent cannot be used.
    #[error("{0}")]
    Invalid(Fault),
    /// The body is longer than any that makes sense.
    #[error("the body is too long")]
    BodyTooLong,
    /// The body says that it is not JSON.
    #[error("the body is not JSON")]
    MediaType,
    /// The body did not come whole, or not in time.
    #[error("the body did not come whole")]
    BodyCut,
    /// Whoever this is has not shown who they are.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The session is somebody else's.
    #[error("{0}")]
    Forbidden(&'static str),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(&'static str),
    /// Too often.
    #[error(transparent)]
    TooMany(#[from] Exceeded),
    /// Too much at once, for everybody.
    #[error("{0}")]
    Busy(&'static str),
    /// PocketBase gave no answer to a request that was passed on.
    #[error(transparent)]
    PocketBase(#[from] pool::Error),
    /// Our store failed.
    #[error(transparent)]
    Store(#[from] pocketbase::Error),
    /// The job that was waited for did not give pictures, or not in time.
    #[error("job {id}: {}", failure.message)]
    Job {
        /// Which.
        id: JobId,
        /// Why.
        failure: Box<Failure>,
    },
    /// A defect of ours.
    #[error("a request panicked: {0}")]
    Panic(String),
}

/// What is wrong with something that was sent.
#[derive(Clone, Debug, Default, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    message: String,
    fields: BTreeMap<String, FieldError>,
}

/// One field's fault, in PocketBase's shape.
#[derive(Clone, Debug, Serialize)]
pub struct FieldError {
    /// PocketBase's name for it, like `validation_required`.
    pub code: &'static str,
    /// For a person.
    pub message: String,
}

impl Fault {
    /// No field is at fault, but the whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Self { message: message.into(), fields: BTreeMap::new() }
    }

    /// The field must not be missing or blank.
    pub fn required(field: &str) -> Self {
        Self::field(field, "validation_required", "Cannot be blank.", format!("{field} is required"))
    }

    /// The field's fault, as somebody else said it in a sentence.
    pub fn said(field: &str, code: &'static str, sentence: &str) -> Self {
        Self::field(field, code, sentence, format!("{field}: {sentence}"))
    }

    /// The field's value cannot be used; `why` ends the sentence "`field` ...".
    pub fn invalid(field: &str, code: &'static str, why: &str) -> Self {
        let mut letters = why.chars();
        let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
        Self::field(field, code, &format!("{first}{}.", letters.as_str()), format!("{field} {why}"))
    }

    /// Several fields at once; the first one's words stand above.
    pub fn all(faults: impl IntoIterator<Item = Self>) -> Self {
        faults.into_iter().fold(Self::default(), |mut all, fault| {
            if all.message.is_empty() {
                all.message = fault.message;
            }
            all.fields.extend(fault.fields);
            all
        })
    }

    fn field(field: &str, code: &'static str, message: &str, whole: String) -> Self {
        Self { message: whole, fields: BTreeMap::from([(field.to_owned(), FieldError { code, message: message.to_owned() })]) }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Invalid(fault)
    }
}

impl From<Stranger> for Error {
    fn from(stranger: Stranger) -> Self {
        match stranger {
            Stranger::NoToken => Self::Unauthenticated("The request requires a valid PocketBase user token."),
            Stranger::OtherCollection => Self::Unauthenticated("The token does not belong to the users of this application."),
            Stranger::TooMany => Exceeded { limit: Limit::PocketBase, retry_after: Duration::from_secs(10) }.into(),
            Stranger::Store(error) => Self::Store(error),
        }
    }
}

impl From<keys::Error> for Error {
    fn from(error: keys::Error) -> Self {
        match error {
            keys::Error::NoKey => Fault::whole("No FAL token is stored: set one up first.").into(),
            keys::Error::Malformed => Fault::whole("Invalid FAL token format: please set up the token again.").into(),
            keys::Error::WrongPassword => Self::Unauthenticated("Invalid password."),
            keys::Error::KeyRejected => {
                Fault::invalid("fal_token", "validation_invalid_value", "is rejected by FAL: nothing was stored").into()
            }
            keys::Error::Throttled(exceeded) => exceeded.into(),
            keys::Error::Busy(_) => Self::Busy("Too many are signing in at this moment. Please try again."),
            keys::Error::Restless => Self::Conflict("The FAL token was changed from elsewhere at this moment. Please try again."),
            keys::Error::Stranger(stranger) => stranger.into(),
            keys::Error::Store(error) => Self::Store(error),
        }
    }
}

/// What the caller reads. PocketBase's own clients find the fields they know.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Shape<'a> {
    status: u16,
    error: &'a str,
    message: String,
    #[schema(value_type = Object)]
    data: Value,
}

/// After which a caller may try again while PocketBase is away: it restarts in one to three seconds.
const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(3);

impl Error {
    /// What a request that panicked is answered with.
    pub fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self::Panic(text.unwrap_or("no message").to_owned())
    }

    /// Whether the rest of the connection cannot be trusted to begin where a request begins.
    pub fn ends_connection(&self) -> bool {
        matches!(self, Self::Wire(_))
    }

    /// The answer, after a line in the log where somebody should know.
    pub fn into_reply(self) -> Reply {
        self.log();
        if let Self::TooMany(exceeded) = &self {
            metrics::RATE_LIMITED.one([exceeded.limit.name()]);
        }
        let (status, error, message) = self.words();
        let mut reply = reply::json(status, &Shape { status: status.as_u16(), error, message, data: self.data() });
        let headers = reply.headers_mut();
        if let Some(after) = self.retry_after(status) {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil().max(1.0) as u64));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        reply
    }

    /// Fields at fault, or where to look further.
    fn data(&self) -> Value {
        if let Self::Invalid(fault) = self {
            return json!(fault.fields);
        }
        let Self::Job { id, failure } = self else { return json!({}) };
        match &failure.fal {
            Some(fal) => json!({ "job_id": id, "fal": fal }),
            None => json!({ "job_id": id }),
        }
    }

    fn retry_after(&self, status: StatusCode) -> Option<Duration> {
        if let Self::TooMany(exceeded) = self {
            return Some(exceeded.retry_after);
        }
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_OUTAGE)
    }

    fn words(&self) -> (StatusCode, &str, String) {
        match self {
            Self::Wire(refusal) => (refused(*refusal), "validation_error", sentence(refusal)),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "The requested resource was not found.".into()),
            Self::Invalid(fault) => (StatusCode::BAD_REQUEST, "validation_error", fault.message.clone()),
            Self::BodyTooLong => (StatusCode::PAYLOAD_TOO_LARGE, "validation_error", "The body is longer than 64 KiB.".into()),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "validation_error", "The body must be JSON.".into()),
            Self::BodyCut => (StatusCode::BAD_REQUEST, "validation_error", CUT_BODY.into()),
            Self::Unauthenticated(words) => (StatusCode::UNAUTHORIZED, "authentication_error", (*words).into()),
            Self::Forbidden(words) => (StatusCode::FORBIDDEN, "authorization_error", (*words).into()),
            Self::Conflict(words) => (StatusCode::CONFLICT, "conflict_error", (*words).into()),
            Self::TooMany(exceeded) => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", too_many(exceeded.limit).into()),
            Self::Busy(words) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", (*words).into()),
            Self::PocketBase(error) => passing_on(error),
            Self::Store(error) => storing(error),
            Self::Job { failure, .. } => {
                (StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_GATEWAY), &failure.error, failure.message.clone())
            }
            Self::Panic(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", OUR_FAULT.into()),
        }
    }

    fn log(&self) {
        let error = self as &dyn std::error::Error;
        match self {
            Self::Wire(_) => tracing::debug!(error, "a request was refused"),
            // The pool says once that an outage begins, and once that it ends; what PocketBase lacks is said when that is found.
            Self::PocketBase(pool::Error::Unreachable(_))
            | Self::Store(pocketbase::Error::Exchange(pool::Error::Unreachable(_)) | pocketbase::Error::NotReady(_)) => {
                tracing::debug!(error, "a request was answered 503");
            }
            Self::NotFound
            | Self::PocketBase(pool::Error::ClientBody(_))
            | Self::Invalid(_)
            | Self::BodyTooLong
            | Self::BodyCut
            | Self::MediaType
            | Self::Unauthenticated(_)
            | Self::Forbidden(_)
            | Self::Conflict(_)
            | Self::Job { .. }
            | Self::Busy(_) => {}
            Self::TooMany(exceeded) => tracing::debug!(limit = exceeded.limit.name(), "a request was refused: there were too many"),
            Self::PocketBase(_) => tracing::warn!(error, "a request to PocketBase failed"),
            Self::Store(_) => tracing::error!(error, "the store failed"),
            Self::Panic(_) => tracing::error!(error, "a request panicked"),
        }
    }
}

const CUT_BODY: &str = "The body of the request was malformed or ended early.";
const OUR_FAULT: &str = "Something went wrong on our side.";

fn too_many(limit: Limit) -> &'static str {
    match limit {
        Limit::RequestsPerAddress => "Too many requests from this address. Please slow down.",
        Limit::LoginsPerAddress => "Too many sign-ins from this address. Please try again in a moment.",
        Limit::LoginsPerUser => "Too many sign-ins to this account. Please try again in a moment.",
        Limit::UnlocksPerAddress => "Too many requests with a password from this address. Please try again in a moment.",
        Limit::UnlocksPerUser => "Too many requests with a password by this user. Please try again in a moment.",
        Limit::WrongPasswords => "Too many wrong passwords. Please try again later.",
        Limit::UnlocksAtOnce => "Too many passwords at once. Please try again in a moment.",
        Limit::Jobs => "Too many generations in a minute. Please try again later.",
        Limit::JobsWaiting => "Too many generations are waiting. Please try again when some are done.",
        Limit::PocketBase => "Too many requests.",
    }
}

/// A request of the client's that was passed on.
fn passing_on(error: &pool::Error) -> (StatusCode, &'static str, String) {
    let (status, words) = match error {
        pool::Error::Unreachable(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "PocketBase cannot be reached right now. Nothing was sent; please try again in a moment.")
        }
        pool::Error::Cut(_) => (
            StatusCode::BAD_GATEWAY,
            "PocketBase closed the connection before it answered. Whether the request was carried out is not known.",
        ),
        pool::Error::Malformed(_) | pool::Error::TooLong | pool::Error::Target => {
            (StatusCode::BAD_GATEWAY, "PocketBase sent an answer that could not be understood.")
        }
        pool::Error::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "PocketBase did not answer in time."),
        pool::Error::ClientBody(_) => return (StatusCode::BAD_REQUEST, "validation_error", CUT_BODY.into()),
    };
    (status, "unavailable_error", words.into())
}

/// A request of our own.
fn storing(error: &pocketbase::Error) -> (StatusCode, &'static str, String) {
    let words = match error {
        pocketbase::Error::Exchange(_) => "PocketBase cannot be reached right now. Please try again in a moment.".into(),
        pocketbase::Error::NotReady(words) => format!("PocketBase is not ready for this: {words}"),
        pocketbase::Error::NoSuperuser | pocketbase::Error::Credentials(_) => {
            "The sidecar cannot sign in to PocketBase; its operator has to look at its log.".into()
        }
        pocketbase::Error::Refused(_) | pocketbase::Error::Unexpected(_) => {
            return (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", OUR_FAULT.into());
        }
    };
    (StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", words)
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
