//! What the simulator can say: a response, or a cut connection.

use std::convert::Infallible;
use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use serde_json::{Value, json};

use super::failure::Failure;

/// The connection ends here, without another byte.
#[derive(Debug)]
pub struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulator was asked to cut the connection")
    }
}

impl std::error::Error for Cut {}

/// A body that may be cut short.
pub type Body = BoxBody<Bytes, Cut>;
/// A whole answer.
pub type Response = http::Response<Body>;

/// Why a handler stopped early.
#[derive(Debug)]
pub enum Stop {
    /// With this answer.
    Answer(Box<Response>),
    /// With none.
    Cut,
}

/// What a handler comes to.
pub type Answer = Result<Response, Stop>;

impl From<Response> for Stop {
    fn from(response: Response) -> Self {
        Stop::Answer(Box::new(response))
    }
}

/// Bytes of a known length.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// Anything, with its content type.
pub fn bytes(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(full(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    set(&mut response, header::CONTENT_TYPE.as_str(), content_type);
    response
}

/// JSON.
pub fn json(status: u16, body: &impl Serialize) -> Response {
    bytes(status, "application/json", serde_json::to_vec(body).unwrap_or_default())
}

/// The body of most of FAL's refusals.
pub fn detail(status: u16, words: &str) -> Response {
    json(status, &json!({ "detail": words }))
}

/// The third shape of error, that of the platform endpoints.
pub fn platform_error(status: u16, kind: &str, message: &str) -> Response {
    json(status, &json!({ "error": { "type": kind, "message": message } }))
}

/// A failure as the result of a request.
pub fn failure(failure: &Failure) -> Response {
    let mut response = json(failure.status, &failure.body);
    for (name, value) in &failure.headers {
        set(&mut response, name, value);
    }
    response
}

/// What a load balancer answers when nothing behind it does.
pub fn nginx_502() -> Response {
    let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n\
                <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
    bytes(502, "text/html", page)
}

/// FAL's answer to an id it does not know.
pub fn not_found() -> Response {
    json(404, &json!({ "status": "NOT_FOUND" }))
}

/// Sets a header; a value that cannot be one is left out.
pub fn set(response: &mut Response, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}

/// The same response with one more header.
pub fn with(mut response: Response, name: &str, value: &str) -> Response {
    set(&mut response, name, value);
    response
}

/// Dollars, exact to the micro-dollar, as a JSON number.
pub fn dollars(micros: i64) -> Value {
    let text = format!("{}{}.{:06}", if micros < 0 { "-" } else { "" }, micros.abs() / 1_000_000, micros.abs() % 1_000_000);
    text.parse::<f64>().map_or(Value::Null, Value::from)
}

/// What a browser hears before it asks from another origin.
pub fn preflight() -> Response {
    let response = with(bytes(204, "text/plain", ""), "access-control-allow-origin", "*");
    let response = with(response, "access-control-allow-methods", "GET, HEAD, POST, PUT, DELETE");
    with(response, "access-control-allow-headers", "*, authorization")
}
