//! What is true of every answer below `/api/custom/`.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::upstream::Upstream;
use crate::support::{Sidecar, body, header, read_answer, status};

fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

#[test]
fn a_route_or_method_that_does_not_exist_is_a_404_in_the_contracts_shape() {
    let upstream = Upstream::ok();
    let sidecar = Sidecar::start(upstream.address, &[]);
    for (method, path) in [
        ("GET", "/api/custom/"),
        ("GET", "/api/custom/nothing"),
        ("POST", "/api/custom/status"),
        ("DELETE", "/api/custom/test"),
        ("GET", "/api/custom/status/"),
        ("GET", "/api/custom/status/x"),
        ("PATCH", "/api/custom/%73tatu%73%2f"),
        ("GET", "/api/custom/%00"),
    ] {
        let answer = sidecar.raw(request(method, path, "").as_bytes());
        assert_eq!(status(&answer), 404, "{method} {path}: {answer}");
        assert_eq!(header(&answer, "content-type"), Some("application/json"));
        let json: Value = serde_json::from_str(body(&answer)).expect("JSON");
        let message = &json["message"];
        assert_eq!(json, json!({"status": 404, "error": "not_found", "message": message, "data": {}}), "{method} {path}");
        assert!(message.as_str().is_some_and(|text| !text.is_empty()));
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn every_answer_carries_a_request_id_and_a_sane_one_is_the_callers() {
    let sidecar = Sidecar::start(Upstream::ok().address, &[]);
    for path in ["/api/custom/test", "/api/custom/nothing"] {
        let id =
            |headers: &str| header(&sidecar.raw(request("GET", path, headers).as_bytes()), "x-request-id").unwrap_or_default().to_owned();
        assert_eq!(id("X-Request-Id: from-the-caller.1\r\n"), "from-the-caller.1");
        assert_eq!(id("X-Request-Id: abc\r\nContent-Length: 3\r\n"), "abc", "a refused request has one too");
        let [first, second] = [id(""), id("X-Request-Id: not sane\r\n")];
        assert!(first.len() == 36 && second.len() == 36 && first != second, "{first} {second}");
    }
}

/// The headers by which a browser decides, sorted.
fn cors(answer: &str) -> Vec<String> {
    let mut lines: Vec<String> = answer
        .lines()
        .map(str::to_lowercase)
        .filter(|line| {
            line.starts_with("access-control-") || line.starts_with("vary:") || line.starts_with("x-frame") || line.starts_with("x-content")
        })
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
fn cors_and_security_headers_are_those_that_pocketbase_sends() {
    let pocketbase = crate::support::pocketbase::PocketBase::start();
    let sidecar = Sidecar::start(pocketbase.address, &[]);
    for (method, headers) in [
        ("GET", ""),
        ("GET", "Origin: http://page\r\n"),
        ("OPTIONS", ""),
        ("OPTIONS", "Origin: http://page\r\nAccess-Control-Request-Method: POST\r\n"),
        (
            "OPTIONS",
            "Origin: http://page\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,x-session-id\r\n",
        ),
    ] {
        let ask = |address, path| {
            let mut stream = crate::support::connect(address);
            std::io::Write::write_all(&mut stream, request(method, path, headers).as_bytes()).unwrap();
            read_answer(&mut stream)
        };
        let ours = ask(sidecar.address, "/api/custom/test");
        let theirs = ask(pocketbase.address, if method == "GET" { "/api/health" } else { "/api/custom/test" });
        assert_eq!(status(&ours), status(&theirs), "{method} {headers}");
        assert_eq!(cors(&ours), cors(&theirs), "{method} {headers}");
    }
}

#[test]
fn only_configured_origins_are_allowed() {
    let sidecar = Sidecar::start(Upstream::ok().address, &["--origins", "https://one.example,https://two.example"]);
    for (origin, allowed) in [("https://one.example", true), ("https://two.example", true), ("https://three.example", false)] {
        let answer = sidecar.raw(request("GET", "/api/custom/test", &format!("Origin: {origin}\r\n")).as_bytes());
        assert_eq!(header(&answer, "access-control-allow-origin"), allowed.then_some(origin));
        let preflight = sidecar
            .raw(request("OPTIONS", "/api/custom/test", &format!("Origin: {origin}\r\nAccess-Control-Request-Method: GET\r\n")).as_bytes());
        assert_eq!((status(&preflight), header(&preflight, "access-control-allow-origin")), (204, allowed.then_some(origin)));
    }
}

#[test]
fn a_refusal_before_the_body_leaves_the_connection_to_the_next_request() {
    let sidecar = Sidecar::start(Upstream::ok().address, &[]);
    let mut stream = sidecar.connect();
    let head = "POST /api/custom/tokens/setup HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let refused = read_answer(&mut stream);
    assert_eq!(status(&refused), 401, "{refused}");
    stream.write_all(&[&[b'x'; 20][..], b"GET /api/custom/test HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).unwrap();
    assert_eq!(status(&read_answer(&mut stream)), 200);
}
