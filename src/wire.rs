//! What a request must look like before anything else reads it: whatever two HTTP parsers could read differently is refused.

use std::borrow::Cow;

use hyper::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderName, TRANSFER_ENCODING};
use hyper::{Method, Request, Version};

/// Why a request is not read any further. The connection is closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// RFC 9112 3.2: exactly one `Host`, in a form that Go accepts.
    #[error("exactly one valid Host header is required")]
    Host,
    /// Absolute and authority forms name a server beside `Host`.
    #[error("the request target must be a path")]
    Target,
    /// A `%` in the path that two hexadecimal digits do not follow.
    #[error("the path holds an invalid percent escape")]
    Escape,
    /// Escapes beside bytes that a path must not hold raw: Go decodes such a path whole and escapes it anew, `%2f` as `/`.
    #[error("the path holds percent escapes and characters that need one")]
    HalfEscaped,
    /// A method that PocketBase has no use for.
    #[error("the method is not allowed")]
    Method,
    /// Any coding but exactly `chunked`, once.
    #[error("only the transfer coding chunked is understood")]
    TransferCoding,
    /// Any expectation but exactly `100-continue`, once.
    #[error("only the expectation 100-continue is understood")]
    Expectation,
    /// A body where some parsers see none.
    #[error("a GET or HEAD request has no body")]
    Body,
    /// `X_Forwarded_For` and its like: some servers read them as the header with dashes.
    #[error("a header name with an underscore stands for one of the protected headers")]
    Alias,
}

/// Whether the parts of a request that decide where it goes and where it ends can be read in one way only.
///
/// hyper has refused folded lines, differing lengths, unknown codings of the last position and bad chunks before. What is checked here is
/// what it lets through: every case was tried against Go's parser, the one that PocketBase reads with.
pub fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    match *request.method() {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => {}
        _ => return Err(Refusal::Method),
    }
    check_target(request)?;
    check_headers(request)
}

fn check_target<B>(request: &Request<B>) -> Result<(), Refusal> {
    let uri = request.uri();
    let path = uri.path();
    if uri.scheme().is_some() || uri.authority().is_some() {
        return Err(Refusal::Target);
    }
    let of_the_server = path == "*" && request.method() == Method::OPTIONS;
    if !path.starts_with('/') && !of_the_server {
        return Err(Refusal::Target);
    }
    if path.contains('%') {
        check_escapes(path.as_bytes())?;
        if !path.bytes().all(is_path_byte) {
            return Err(Refusal::HalfEscaped);
        }
    }
    Ok(())
}

/// What Go takes for a valid encoding of a path (`validEncoded` in `net/url`).
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/%!$&'()*+,;=:@[]-._~".contains(&byte)
}

fn check_escapes(path: &[u8]) -> Result<(), Refusal> {
    let mut rest = path;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => rest = &rest[at + 3..],
            Some(_) | None => return Err(Refusal::Escape),
        }
    }
    Ok(())
}

fn check_headers<B>(request: &Request<B>) -> Result<(), Refusal> {
    let headers = request.headers();
    let (mut hosts, mut codings, mut expectations, mut has_length) = (0, 0, 0, false);
    for (name, value) in headers {
        if name == HOST {
            hosts += 1;
            if !is_host(value.as_bytes()) {
                return Err(Refusal::Host);
            }
        } else if name == TRANSFER_ENCODING {
            codings += 1;
            if !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::TransferCoding);
            }
        } else if name == EXPECT {
            expectations += 1;
            if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
                return Err(Refusal::Expectation);
            }
        } else if name == CONTENT_LENGTH {
            has_length |= value.as_bytes() != b"0";
        } else if stands_for_protected(name) {
            return Err(Refusal::Alias);
        }
    }
    // An HTTP/1.0 client may leave Host out, for Go as for us.
    if hosts > 1 || hosts == 0 && request.version() != Version::HTTP_10 {
        return Err(Refusal::Host);
    }
    if codings > 1 {
        return Err(Refusal::TransferCoding);
    }
    if expectations > 1 {
        return Err(Refusal::Expectation);
    }
    if (codings == 1 || has_length) && matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::Body);
    }
    Ok(())
}

/// The bytes that Go allows in a Host header (`httpguts.ValidHostHeader`), and at least one of them.
fn is_host(value: &[u8]) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
    !value.is_empty() && value.iter().all(|byte| usual(*byte) || b"!$%&()*+,;=[']_~".contains(byte))
}

/// Headers that decide who the caller is, where a message ends or where it goes.
const PROTECTED: [&str; 11] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "forwarded",
    "host",
    "transfer-encoding",
    "x-http-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

fn stands_for_protected(name: &HeaderName) -> bool {
    let name = name.as_str();
    if !name.contains('_') {
        return false;
    }
    let dashed = name.replace('_', "-");
    dashed.starts_with("x-forwarded-") || PROTECTED.contains(&dashed.as_str())
}

/// The segments of a path below `/api/custom/`, percent-decoded one by one, if PocketBase's router would read it as such a path.
///
/// Go's `ServeMux` splits the escaped path at `/` and decodes each segment. A path with an empty or a dot segment it does not match at
/// all: it redirects to the clean one. Such a path is PocketBase's to answer, like every other that only looks similar.
pub fn custom_path(path: &str) -> Option<Vec<String>> {
    // Without an escape there is one spelling, which most paths do not have.
    if !path.contains('%') && !path.starts_with("/api/custom/") {
        return None;
    }
    let rest = path.strip_prefix('/')?;
    let (first, rest) = rest.split_once('/')?;
    let (second, rest) = rest.split_once('/')?;
    if decode(first) != "api" || decode(second) != "custom" {
        return None;
    }
    let segments: Vec<&str> = rest.split('/').collect();
    let (last, inner) = segments.split_last()?;
    if inner.iter().any(|segment| segment.is_empty() || is_dots(segment)) || is_dots(last) {
        return None;
    }
    Some(segments.into_iter().map(|segment| decode(segment).into_owned()).collect())
}

fn is_dots(segment: &str) -> bool {
    segment == "." || segment == ".."
}

/// One segment of a path as Go reads it.
pub fn decode(segment: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spellings_that_pocketbase_would_match_are_ours() {
        for (path, expected) in [
            ("/api/custom/status", Some(vec!["status"])),
            ("/api/%63ustom/status", Some(vec!["status"])),
            ("/%61pi/custom/%73tatus", Some(vec!["status"])),
            ("/api/custom/", Some(vec![""])),
            ("/api/custom/a/b", Some(vec!["a", "b"])),
            ("/api/custom/preferences/flux%2Fschnell", Some(vec!["preferences", "flux/schnell"])),
            ("/api/custom/preferences/..%2f..%2fusers", Some(vec!["preferences", "../../users"])),
            ("/api/custom/%ff", Some(vec!["\u{fffd}"])),
            ("/api/custom/a/", Some(vec!["a", ""])),
            ("/api/custom", None),
            ("/api/customs/x", None),
            ("/api//custom/x", None),
            ("//api/custom/x", None),
            ("/api/custom//x", None),
            ("/api/x/../custom/x", None),
            ("/api/custom/../x", None),
            ("/api/custom/x/..", None),
            ("/api/./custom/x", None),
            ("/api%2fcustom/x", None),
            ("/API/Custom/x", None),
            ("/api/custom;a=b/x", None),
            ("/api\\custom/x", None),
            ("/api/x/%2e%2e/custom/x", None),
            ("/api/x/..;/custom/x", None),
            ("/api/%2563ustom/x", None),
            ("/api/custom%00/x", None),
            ("/", None),
        ] {
            let expected = expected.map(|segments| segments.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(custom_path(path), expected, "{path}");
        }
    }

    #[test]
    fn an_escape_has_two_hexadecimal_digits() {
        for path in ["/a%2fb", "/%41", "/a", "/"] {
            assert_eq!(check_escapes(path.as_bytes()), Ok(()), "{path}");
        }
        for path in ["/%zz", "/%4", "/%", "/a%4g", "/%41%"] {
            assert_eq!(check_escapes(path.as_bytes()), Err(Refusal::Escape), "{path}");
        }
    }
}
