//! What a handler may ask of a request: who is calling, and what they sent.

use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::app::App;
use crate::error::{Error, Fault};
use crate::pocketbase::callers::User;
use crate::sessions::{NotYours, Session, SessionId};
use crate::trace::Origin;
use crate::vault::Password;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const X_SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");

/// api.md: bodies are at most 64 KiB.
const LONGEST_BODY: usize = 64 * 1024;
/// In which so much must have come, be it only to be thrown away.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// A user, what they showed to be known by, and the address that they call from.
pub(super) struct Caller<'a> {
    pub(super) user: User,
    pub(super) token: &'a str,
    pub(super) address: IpAddr,
}

/// How a caller wants a generation to be answered.
pub(super) struct Wishes {
    /// At once, with the job.
    pub(super) respond_async: bool,
    /// As it was sent.
    pub(super) idempotency_key: Option<HeaderValue>,
}

/// One request to one of our endpoints.
pub(super) struct Request<'a> {
    pub(super) app: &'a App,
    parts: &'a Parts,
    body: Option<Incoming>,
    /// Who sent it, as far as addresses say.
    pub(super) address: IpAddr,
}

impl<'a> Request<'a> {
    pub(super) fn new(app: &'a App, parts: &'a Parts, body: Incoming, address: IpAddr) -> Self {
        Self { app, parts, body: Some(body), address }
    }

    /// The user whose token this request carries.
    pub(super) async fn user(&self) -> Result<User, Error> {
        let token = self.token()?;
        let user = self.app.store.callers.check(token, self.address).await?;
        Ok(known(user))
    }

    /// The same, as PocketBase says at this moment: for what changes a seal.
    pub(super) async fn user_now(&self) -> Result<User, Error> {
        let token = self.token()?;
        let user = self.app.store.callers.check_now(token, self.address).await?;
        Ok(known(user))
    }

    /// The user at this moment, with their address: for what may be tried only so often. Counted here, whatever comes of it.
    pub(super) async fn user_here(&self) -> Result<Caller<'a>, Error> {
        self.token()?;
        self.app.rates.unlock_from(self.address)?;
        // Whoever would be told so after three questions to PocketBase is told so now.
        self.app.keys.check_room()?;
        let user = self.user_now().await?;
        self.app.rates.unlock_by(user.id)?;
        Ok(Caller { user, token: self.token()?, address: self.address })
    }

    /// The user, and the session that they show.
    pub(super) async fn session(&self) -> Result<Session, Error> {
        let user = self.user().await?;
        let id = self.session_id().ok_or(Error::Unauthenticated("The request requires a session: send X-Session-ID."))?;
        let unknown = || Error::Unauthenticated("The session has ended or never was. Please open one.");
        let id: SessionId = id.to_str().ok().and_then(|id| id.parse().ok()).ok_or_else(unknown)?;
        self.app.keys.sessions.find(&id, user.id, std::time::Instant::now()).map_err(|error| match error {
            NotYours::Missing => unknown(),
            NotYours::Foreign => Error::Forbidden("The session belongs to another user."),
        })
    }

    /// How the caller wants to be answered.
    pub(super) fn wishes(&self) -> Wishes {
        let asynchronous = |value: &HeaderValue| {
            let words = value.to_str().unwrap_or_default();
            words.split([',', ';']).any(|word| word.trim().eq_ignore_ascii_case("respond-async"))
        };
        Wishes {
            respond_async: self.parts.headers.get_all(PREFER).iter().any(asynchronous),
            idempotency_key: self.parts.headers.get(IDEMPOTENCY_KEY).cloned(),
        }
    }

    /// What stands behind the question mark.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let pairs = form_urlencoded::parse(self.parts.uri.query().unwrap_or_default().as_bytes());
        let map: serde_json::Map<String, serde_json::Value> =
            pairs.map(|(name, value)| (name.into_owned(), serde_json::Value::String(value.into_owned()))).collect();
        serde_json::from_value(map.into()).map_err(|_| Fault::whole("The query could not be read.").into())
    }

    /// The id of a session, as it was sent.
    pub(super) fn session_id(&self) -> Option<&HeaderValue> {
        self.parts.headers.get(X_SESSION_ID)
    }

    /// What the caller's browser calls itself.
    pub(super) fn agent(&self) -> Option<HeaderValue> {
        self.parts.headers.get(USER_AGENT).cloned()
    }

    /// With or without `Bearer`, as PocketBase takes it.
    fn token(&self) -> Result<&'a str, Error> {
        let missing = Error::Unauthenticated("The request requires a valid PocketBase user token.");
        let mut lines = self.parts.headers.get_all(AUTHORIZATION).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return Err(missing) };
        let text = line.to_str().map_err(|_| Error::Unauthenticated("The request requires a valid PocketBase user token."))?;
        let bare = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer ")).map_or(text, |scheme| &text[scheme.len()..]);
        if bare.is_empty() { Err(missing) } else { Ok(bare) }
    }

    /// The body, read now: whoever has no right to call is refused before.
    pub(super) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let kind = self.parts.headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
        if kind.is_some_and(|kind| !is_json(&kind)) {
            return Err(Error::MediaType);
        }
        let bytes = self.bytes().await?;
        // A struct could be read from a list too.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(not_json());
        }
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let read = serde_path_to_error::deserialize(&mut json).map_err(|error| fault(&error))?;
        json.end().map_err(|_| not_json())?;
        Ok(read)
    }

    async fn bytes(&mut self) -> Result<Bytes, Error> {
        let mut body = self.body.take().ok_or_else(not_json)?;
        if body.size_hint().lower() > LONGEST_BODY as u64 {
            return Err(Error::BodyTooLong);
        }
        let whole = async {
            let mut whole = BytesMut::new();
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.map_err(|_| Error::BodyCut)?.into_data() {
                    if whole.len() + data.len() > LONGEST_BODY {
                        return Err(Error::BodyTooLong);
                    }
                    whole.extend_from_slice(&data);
                }
            }
            Ok(whole.freeze())
        };
        timeout(BODY_WITHIN, whole).await.unwrap_or(Err(Error::BodyCut))
    }
}

/// Whose request it is goes into its line in the log.
pub(super) fn known(user: User) -> User {
    if let Some(origin) = Origin::current() {
        origin.is_of(user.id);
    }
    user
}

/// A refusal that comes before the body leaves the connection as it is: what still comes is read, and thrown away. Without this the
/// connection would end under a client that has begun its next request.
impl Drop for Request<'_> {
    fn drop(&mut self) {
        // To ask for a body by `100 Continue` only to throw it away would be worse.
        let awaits_us = self.parts.headers.contains_key(EXPECT);
        let comes = |body: &Incoming| !body.is_end_stream() && !awaits_us && body.size_hint().lower() <= LONGEST_BODY as u64;
        if let Some(body) = self.body.take().filter(comes) {
            self.app.tasks.spawn_on(timeout(BODY_WITHIN, discard(body)), &self.app.runtime);
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut left = LONGEST_BODY;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        if length > left {
            return;
        }
        left -= length;
    }
}

/// An id in a path: what is none is nothing's.
pub(super) fn given_id<T: std::str::FromStr>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::NotFound)
}

/// A field that must be there; an empty text is not.
pub(super) fn given<T: Given>(field: &str, value: Option<T>) -> Result<T, Error> {
    value.filter(|value| !value.is_blank()).ok_or_else(|| Fault::required(field).into())
}

/// What a field can be given as.
pub(super) trait Given {
    /// Whether it is there, and empty.
    fn is_blank(&self) -> bool;
}

impl Given for String {
    fn is_blank(&self) -> bool {
        self.is_empty()
    }
}

impl Given for Password {
    fn is_blank(&self) -> bool {
        self.expose().is_empty()
    }
}

/// JSON by name, or what a browser calls a string that nobody gave a name.
fn is_json(kind: &[u8]) -> bool {
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    kind.is_empty() || kind == b"application/json" || kind == b"text/plain" || kind.ends_with(b"+json")
}

fn not_json() -> Error {
    Fault::whole("The body must be a JSON object.").into()
}

/// Names the field whose type is wrong. What was sent is not repeated: it may be a secret.
fn fault(error: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let path = error.path().to_string();
    if error.inner().is_data() && path != "." {
        return Fault::invalid(&path, "validation_invalid_value", "has the wrong type or an invalid value").into();
    }
    not_json()
}
