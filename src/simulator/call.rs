//! One request as the handlers see it: parameters, query, headers, a bounded body, and where absolute URLs point.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use super::accounts::Key;
use super::answer::{Stop, detail};

/// JSON and small files.
pub const USUAL_BODY: usize = 16 << 20;
/// An uploaded file.
pub const UPLOAD_BODY: usize = 128 << 20;

/// Where the parts of FAL are, as a caller must write it to come back here.
#[derive(Clone, Debug)]
pub struct Bases {
    /// `https://queue.fal.run`.
    pub queue: String,
    /// `https://v3.fal.media`.
    pub media: String,
}

impl Bases {
    /// Under path prefixes of one origin.
    pub fn under(origin: &str) -> Self {
        let origin = origin.trim_end_matches('/');
        Bases { queue: format!("{origin}/queue"), media: format!("{origin}/media") }
    }

    /// Under FAL's own names.
    pub fn named(scheme: &str) -> Self {
        Bases { queue: format!("{scheme}://queue.fal.run"), media: format!("{scheme}://v3.fal.media") }
    }
}

/// A request on its way to its handler.
#[derive(Debug)]
pub struct Call {
    /// GET, POST, PUT…
    pub method: Method,
    /// Always under a path prefix, even if a host name said which part of FAL was meant.
    pub path: String,
    /// Where absolute URLs point.
    pub bases: Bases,
    /// The headers.
    pub headers: HeaderMap,
    params: Vec<(String, String)>,
    query: Vec<(String, String)>,
    body: Option<Incoming>,
}

/// What `Authorization` says.
pub enum Credentials {
    /// Nothing.
    None,
    /// Something that is no key.
    Malformed,
    /// A key.
    Key(Key),
}

impl Call {
    /// Takes a request apart.
    pub fn new(parts: Parts, body: Incoming, path: String, bases: Bases) -> Self {
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        Call { method: parts.method, path, bases, headers: parts.headers, params: Vec::new(), query, body: Some(body) }
    }

    /// Adds what the route matched.
    pub fn matched(&mut self, params: &matchit::Params<'_, '_>) {
        self.params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    }

    /// The same call with a parameter of the path replaced.
    pub fn renamed(mut self, name: &str, value: &str) -> Self {
        self.params.retain(|(other, _)| other != name);
        self.params.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A part of the path; "" if the route has none of that name.
    pub fn param(&self, name: &str) -> &str {
        find(&self.params, name).unwrap_or_default()
    }

    /// A query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// A header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The caller's key. A temporary token or a bearer token of FAL's own login is no key.
    pub fn credentials(&self) -> Credentials {
        let Some(value) = self.header(header::AUTHORIZATION.as_str()) else {
            return Credentials::None;
        };
        let key = value.strip_prefix("Key ").and_then(|key| key.trim().parse().ok());
        key.map_or(Credentials::Malformed, Credentials::Key)
    }

    /// The body, at most `limit` bytes of it. A second call finds nothing.
    pub async fn body(&mut self, limit: usize) -> Result<Bytes, Stop> {
        let Some(body) = self.body.take() else {
            return Ok(Bytes::new());
        };
        match Limited::new(body, limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(_) => Err(detail(413, "Request body too large or incomplete").into()),
        }
    }

    /// The body as JSON.
    pub async fn json(&mut self) -> Result<Value, Stop> {
        let body = self.body(USUAL_BODY).await?;
        serde_json::from_slice(&body).map_err(|error| detail(422, &format!("Invalid JSON: {error}")).into())
    }
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}
