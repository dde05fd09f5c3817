//! A copy of a request for the rare case that it must be sent again.

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};

use super::body::RequestBody;

/// The head of a request as lines of text: cheap to keep for each request, and made a request again for hardly any.
///
/// Neither a method, a target, a name nor a value can hold a line break, nor a name a colon.
pub(super) struct Spare(Vec<u8>);

/// What most heads fit in.
const USUAL: usize = 512;

impl Spare {
    /// A copy of a request that may be sent twice: safe, and without a body that a first attempt would use up.
    pub(super) fn of(request: &Request<RequestBody>) -> Option<Self> {
        let repeatable = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) && request.body().is_empty();
        repeatable.then(|| {
            let mut lines = Vec::with_capacity(USUAL);
            let mut add = |part: &[u8], end: u8| {
                lines.extend_from_slice(part);
                lines.push(end);
            };
            add(request.method().as_str().as_bytes(), b'\n');
            add(request.uri().path_and_query().map_or("", |target| target.as_str()).as_bytes(), b'\n');
            for (name, value) in request.headers() {
                add(name.as_str().as_bytes(), b':');
                add(value.as_bytes(), b'\n');
            }
            Self(lines)
        })
    }

    /// The request again.
    pub(super) fn into_request(self) -> Option<Request<RequestBody>> {
        let mut lines = self.0.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = Method::from_bytes(lines.next()?).ok()?;
        *request.uri_mut() = Uri::try_from(lines.next()?).ok()?;
        for line in lines {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = (HeaderName::from_bytes(&line[..colon]).ok()?, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
            request.headers_mut().append(name, value);
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_request() {
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri("/a%2fb?c=d:e&f=\u{e4}")
            .header("host", "a:1")
            .header("cookie", "a=b: c")
            .header("x-bytes", HeaderValue::from_bytes(b"\t\xff:").expect("a value"))
            .header("x-empty", "")
            .header("cookie", "d")
            .body(RequestBody::Empty)
            .expect("a request");
        let copy = Spare::of(&request).and_then(Spare::into_request).expect("a copy");
        assert_eq!((copy.method(), copy.uri(), copy.version()), (request.method(), request.uri(), request.version()));
        assert_eq!(copy.headers(), request.headers());
        let order = |request: &Request<RequestBody>| request.headers().iter().map(|(_, value)| value.clone()).collect::<Vec<_>>();
        assert_eq!(order(&copy), order(&request));
    }

    #[test]
    fn a_copy_of_a_request_without_headers_is_one_too() {
        let request = Request::new(RequestBody::Empty);
        let copy = Spare::of(&request).and_then(Spare::into_request).expect("a copy");
        assert!(copy.headers().is_empty() && copy.uri() == "/");
    }

    #[test]
    fn what_may_not_be_sent_twice_is_not_copied() {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = Method::DELETE;
        assert!(Spare::of(&request).is_none());
    }
}
