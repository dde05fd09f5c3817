//! One call to PocketBase's REST API: a request of our own, and its whole answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use serde::Serialize;
use tokio::time::timeout;

use super::body::RequestBody;
use super::pool::{self, Answer, Pool};
use crate::config::PocketBaseUrl;
use crate::metrics;
use crate::trace::Origin;

/// More than any page of rows that we ask for.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;
/// Fixed, since PocketBase mails an alert for each sign-in from one that it has not seen.
const USER_AGENT_VALUE: HeaderValue = HeaderValue::from_static(concat!("generatio/", env!("CARGO_PKG_VERSION")));

/// PocketBase, reached over connections that are kept.
pub struct Http {
    pool: Arc<Pool>,
    authority: HeaderValue,
}

/// A call before it is made.
pub struct Call {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: RequestBody,
    within: Duration,
}

/// What PocketBase said, whole.
pub struct Said {
    /// The status.
    pub status: StatusCode,
    /// The body, JSON as a rule.
    pub body: Bytes,
}

/// The body may hold a token.
impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Said({}, {} bytes)", self.status, self.body.len())
    }
}

/// An ordinary call; a sign-in that mails an alert takes 15 s and more.
const WITHIN: Duration = Duration::from_secs(20);

impl Call {
    /// A call without a body. `target` is a path and a query that stand as they are: whoever builds one puts only parsed ids into it,
    /// and escapes the rest.
    pub fn new(method: Method, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), headers: HeaderMap::new(), body: RequestBody::Empty, within: WITHIN }
    }

    /// With this value as its JSON body.
    pub fn json(self, value: &impl Serialize) -> Self {
        // Only a map with keys that are not strings, or a Serialize that fails on its own, cannot be written. Ours are plain structs.
        let text = serde_json::to_vec(value).expect("plain structs can always be written as JSON");
        self.body(HeaderValue::from_static("application/json"), RequestBody::whole(text.into()))
    }

    /// With a body of any type.
    pub fn body(mut self, content_type: HeaderValue, body: RequestBody) -> Self {
        self.headers.insert(CONTENT_TYPE, content_type);
        self.body = body;
        self
    }

    /// As the holder of this token.
    pub fn token(mut self, token: &HeaderValue) -> Self {
        self.headers.insert(AUTHORIZATION, token.clone());
        self
    }

    /// With a further header.
    pub fn header(mut self, name: hyper::header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With another bound on the time until the whole answer is here.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }
}

impl Http {
    /// Calls over these connections.
    pub fn new(pool: Arc<Pool>, url: &PocketBaseUrl) -> Self {
        Self { pool, authority: url.authority().clone() }
    }

    /// Makes the call and reads the whole answer.
    pub async fn call(&self, call: Call) -> Result<Said, pool::Error> {
        self.call_with_headers(call).await.map(|(said, _)| said)
    }

    /// The same, with the headers of the answer.
    pub async fn call_with_headers(&self, call: Call) -> Result<(Said, HeaderMap), pool::Error> {
        let within = call.within;
        let whole = async {
            let (head, body) = self.open(call).await?.into_parts();
            Ok((Said { status: head.status, body: read(body).await? }, head.headers))
        };
        let said = timeout(within, whole).await.unwrap_or(Err(pool::Error::TimedOut));
        said.inspect_err(|error| metrics::UPSTREAM_ERRORS.one(["own", error.kind()]))
    }

    /// Makes the call and gives back the answer as soon as it begins.
    pub async fn open(&self, call: Call) -> pool::Answered {
        let Call { method, target, mut headers, body, .. } = call;
        headers.insert(HOST, self.authority.clone());
        if let Some(origin) = Origin::current() {
            origin.mark(&mut headers);
        }
        headers.entry(USER_AGENT).or_insert(USER_AGENT_VALUE);
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        self.pool.send(request(method, &target, headers, body)?, "").await
    }
}

fn request(method: Method, target: &str, headers: HeaderMap, body: RequestBody) -> Result<Request<RequestBody>, pool::Error> {
    let uri: Uri = target.parse().map_err(|_| pool::Error::Target)?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

async fn read(mut body: Box<Answer>) -> Result<Bytes, pool::Error> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if whole.len() + data.len() > LONGEST_ANSWER {
                return Err(pool::Error::TooLong);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}
