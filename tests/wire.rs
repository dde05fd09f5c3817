//! What two HTTP parsers could read differently: each row is sent as raw bytes, and both the answer and what PocketBase would have seen are
//! looked at.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::upstream::Upstream;
use support::{Sidecar, body, header, status};

/// What a row expects.
enum Expected {
    /// This status, and not a byte reached the upstream.
    Refused(u16),
    /// This status (0: the connection just ends), and no whole request reached the upstream, since the fault is in the body.
    Broken(u16),
    /// 200, and the upstream saw one request with each of the first and none of the second.
    Passed(&'static [&'static str], &'static [&'static str]),
}
use Expected::{Broken, Passed, Refused};

struct Row(&'static str, Vec<u8>, Expected);

fn row(name: &'static str, bytes: impl Into<Vec<u8>>, expected: Expected) -> Row {
    Row(name, bytes.into(), expected)
}

/// A request with this target, headers and body; Host is added.
fn post(headers: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}")
}

fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

fn check(rows: Vec<Row>) {
    for Row(name, bytes, expected) in rows {
        let upstream = Upstream::ok();
        let sidecar = Sidecar::start(upstream.address, &["--head-timeout", "1s", "--stall-timeout", "1s"]);
        let answer = sidecar.raw(&bytes);
        drop(sidecar);
        let (seen, fragments) = (upstream.requests(), upstream.fragments());
        match expected {
            Refused(code) => {
                assert_eq!(status(&answer), code, "{name}: {answer}");
                assert!(seen.is_empty() && fragments.is_empty(), "{name}: reached the upstream: {seen:?} {fragments:?}");
            }
            Broken(code) => {
                assert_eq!(status(&answer), code, "{name}: {answer}");
                assert!(seen.is_empty(), "{name}: reached the upstream as a whole request: {seen:?}");
            }
            Passed(with, without) => {
                assert_eq!(status(&answer), 200, "{name}: {answer}");
                assert_eq!(body(&answer), "ok", "{name}");
                assert_eq!(seen.len(), 1, "{name}: {seen:?}");
                for part in with {
                    assert!(seen[0].contains(part), "{name}: {part:?} is not in {:?}", seen[0]);
                }
                for part in without {
                    assert!(!seen[0].to_lowercase().contains(&part.to_lowercase()), "{name}: {part:?} is in {:?}", seen[0]);
                }
            }
        }
    }
}

#[test]
fn malformed_heads_and_lengths_are_refused_before_pocketbase_sees_them() {
    check(vec![
        row("a folded line", get("/x", "A: b\r\n c\r\n"), Refused(400)),
        row("a space before the colon", get("/x", "Content-Length : 0\r\n"), Refused(400)),
        row("two lengths that differ", post("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), Refused(400)),
        row("a list of lengths", post("Content-Length: 3, 3\r\n", "abc"), Refused(400)),
        row("a signed length", post("Content-Length: +3\r\n", "abc"), Refused(400)),
        row("a hexadecimal length", post("Content-Length: 0x3\r\n", "abc"), Refused(400)),
        row("an empty length", post("Content-Length: \r\n", ""), Refused(400)),
        row("an unknown coding", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), Refused(400)),
        row("chunked not last", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), Refused(400)),
        row("a vertical tab before chunked", post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), Refused(400)),
        row("a coding in HTTP/1.0", "POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
        row("NUL in a value", get("/x", "A: b\0c\r\n"), Refused(400)),
        row("a bare CR in a value", get("/x", "A: b\rc\r\n"), Refused(400)),
        row("a tab in the request line", "GET\t/x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
        row("two spaces in the request line", "GET  /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
        row("HTTP/0.9", "GET /x\r\n\r\n", Refused(400)),
        row("HTTP/1.2", "GET /x HTTP/1.2\r\nHost: a\r\n\r\n", Refused(400)),
        row("HTTP/2.0 in the clothes of 1", "GET /x HTTP/2.0\r\nHost: a\r\n\r\n", Refused(400)),
        row("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refused(0)),
        row("more than 100 headers", get("/x", &"A: b\r\n".repeat(101)), Refused(431)),
        row("a head of more than 64 KiB", get("/x", &format!("A: {}\r\n", "b".repeat(70_000))), Refused(431)),
        row("a method of 70 KB", format!("{} /x HTTP/1.1\r\nHost: a\r\n\r\n", "G".repeat(70_000)), Refused(431)),
        row("a head that never ends", "GET /x HTTP/1.1\r\nHost: a\r\nA: b", Refused(0)),
        row("silence", "", Refused(0)),
    ]);
}

#[test]
fn a_target_beyond_hypers_limit_is_refused() {
    check(vec![row("a target of 65,600 bytes", get(&format!("/{}", "x".repeat(65_600)), ""), Refused(431))]);
}

#[test]
fn malformed_chunks_never_become_a_whole_request() {
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    check(vec![
        row("a bare LF in a chunk extension", chunked("3;a\nb\r\nabc\r\n0\r\n\r\n"), Broken(400)),
        row("a bare LF after a chunk size", chunked("3\nabc\r\n0\r\n\r\n"), Broken(400)),
        row("a bare LF after chunk data", chunked("3\r\nabc\n0\r\n\r\n"), Broken(400)),
        row("0x in a chunk size", chunked("0x3\r\nabc\r\n0\r\n\r\n"), Broken(400)),
        row("a negative chunk size", chunked("-3\r\nabc\r\n0\r\n\r\n"), Broken(400)),
        row("a chunk size beyond 64 bits", chunked("ffffffffffffffff1\r\nabc\r\n0\r\n\r\n"), Broken(400)),
        row("a body that never ends", post("Content-Length: 10\r\n", "abc"), Broken(0)),
    ]);
}

#[test]
fn harmless_oddities_are_put_into_one_form() {
    check(vec![
        row("header lines with bare LF", "GET /x HTTP/1.1\nHost: a\nA: b\n\n", Passed(&["GET /x HTTP/1.1\r\n", "a: b\r\n"], &[])),
        row(
            "equal lengths",
            post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
            Passed(&["content-length: 3\r\n", "\r\n\r\nabc"], &["3\r\ncontent-length"]),
        ),
        row(
            "a chunk extension",
            post("Transfer-Encoding: chunked\r\n", "3;a=b\r\nabc\r\n0\r\n\r\n"),
            Passed(&["3\r\nabc\r\n0\r\n\r\n"], &["a=b"]),
        ),
        row("blank lines first", format!("\r\n\r\n{}", get("/x", "")), Passed(&["GET /x HTTP/1.1\r\n"], &[])),
        row(
            "undeclared trailers",
            post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nContent-Length: 9\r\nAuthorization: x\r\n\r\n"),
            Passed(&["3\r\nabc\r\n0\r\n\r\n"], &["authorization", "content-length"]),
        ),
        row(
            "declared trailers",
            post("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"),
            Passed(&["3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"], &[]),
        ),
        row("a fragment", get("/x?y#z", ""), Passed(&["GET /x?y HTTP/1.1\r\n"], &["#"])),
        row(
            "a length before a coding",
            post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n"),
            Passed(&["transfer-encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n"], &["content-length"]),
        ),
        row(
            "a length after a coding",
            post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "1\r\nx\r\n0\r\n\r\n"),
            Passed(&["transfer-encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n"], &["content-length"]),
        ),
    ]);
}

#[test]
fn after_a_length_and_a_coding_together_the_connection_ends() {
    let upstream = Upstream::ok();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    let both = post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    std::io::Write::write_all(&mut stream, both.as_bytes()).unwrap();
    assert_eq!(status(&support::read_answer(&mut stream)), 200);
    assert_eq!(support::read_answer(&mut stream), "", "the connection went on");
    assert!(!upstream.requests().concat().contains("smuggled"));
}

#[test]
fn what_hyper_lets_through_and_go_reads_otherwise_is_refused() {
    check(vec![
        row("no Host", "GET /x HTTP/1.1\r\n\r\n", Refused(400)),
        row("two Hosts", get("/x", "Host: b\r\n"), Refused(400)),
        row("a Host with a space", "GET /x HTTP/1.1\r\nHost: a b\r\n\r\n", Refused(400)),
        row("an empty Host", "GET /x HTTP/1.1\r\nHost:\r\n\r\n", Refused(400)),
        row("a Host with a path", "GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n", Refused(400)),
        row("an absolute target", get("http://evil/api/custom/x", ""), Refused(400)),
        row("an authority as target", get("evil:80", ""), Refused(400)),
        row("an authority with a user", get("@evil.com", ""), Refused(400)),
        row("a scheme without slashes", get("http:evil", ""), Refused(400)),
        row("GET of *", get("*", ""), Refused(400)),
        row("CONNECT to a port", "CONNECT x:22 HTTP/1.1\r\nHost: a\r\n\r\n", Refused(405)),
        row("CONNECT to a path", "CONNECT /api/custom/x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(405)),
        row("two codings in a line", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), Refused(501)),
        row("two coding lines", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), Refused(501)),
        row("identity and chunked", post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), Refused(501)),
        row("an unknown expectation", get("/x", "Expect: foo\r\n"), Refused(417)),
        row("two expectations", post("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n", "x"), Refused(417)),
        row("TRACE", "TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(405)),
        row("a lower-case method", "get /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(405)),
        row("an unknown method", "PROPFIND /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(405)),
        row("an invalid escape", get("/api/%zz", ""), Refused(400)),
        row("a cut escape", get("/api/%4", ""), Refused(400)),
        row("an escape beside a raw ^", get("/api%2fcustom/status^", ""), Refused(400)),
        row("an escape beside a raw |", get("/api/custom/..%2fhealth|", ""), Refused(400)),
        row("an escape beside a raw brace", get("/api%2fcollections/x{/records", ""), Refused(400)),
        row("an underscore alias", get("/x", "X_Forwarded_For: 6.6.6.6\r\n"), Refused(400)),
        row("another one", get("/x", "X_Real-IP: 6.6.6.6\r\n"), Refused(400)),
        row("an alias of a length", post("Content_Length: 5\r\n", ""), Refused(400)),
        row("GET with a length", get("/x", "Content-Length: 3\r\n") + "abc", Refused(400)),
        row("GET with chunks", get("/x", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", Refused(400)),
        row("HEAD with a length", "HEAD /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
        // One documented difference to PocketBase, which reads these: hyper's URI parser does not.
        row("a raw quote in a query", get("/x?a=\"", ""), Refused(400)),
        row("a raw < in a query", get("/x?a<1", ""), Refused(400)),
        row("a raw > in a query", get("/x?a>1", ""), Refused(400)),
        row("a raw backquote in a path", get("/x`", ""), Refused(400)),
        row("a byte that is not UTF-8 in a path", b"GET /x\xff HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Refused(400)),
    ]);
}

#[test]
fn what_only_looks_odd_is_passed_on() {
    check(vec![
        row("an underscore in a name of its own", get("/x", "my_header: 1\r\n"), Passed(&["my_header: 1\r\n"], &[])),
        row("an invalid escape in a query, which Go lets pass", get("/x?a=%zz", ""), Passed(&["GET /x?a=%zz HTTP/1.1\r\n"], &[])),
        row("GET with length 0", get("/x", "Content-Length: 0\r\n"), Passed(&["GET /x HTTP/1.1\r\n"], &[])),
        row("DELETE with a body", "DELETE /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", Passed(&["\r\n\r\n{}"], &[])),
        row(
            "DELETE with chunks",
            "DELETE /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            Passed(&["2\r\n{}\r\n0\r\n\r\n"], &[]),
        ),
        row("POST without a body", post("", ""), Passed(&["POST /x HTTP/1.1\r\n"], &["transfer-encoding"])),
        row("POST with length 0", post("Content-Length: 0\r\n", ""), Passed(&["content-length: 0\r\n"], &[])),
        row("raw bytes in a path without escapes", get("/x^|{}", ""), Passed(&["GET /x^|{} HTTP/1.1\r\n"], &[])),
        row(
            "a Connection line that is not all ASCII",
            b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: A, \xff\r\nA: 1\r\n\r\n".to_vec(),
            Passed(&["GET /x"], &["\r\na: 1"]),
        ),
        row("brackets and braces in a query", get("/x?a[]={b}|^'()*", ""), Passed(&["GET /x?a[]={b}|^'()* HTTP/1.1\r\n"], &[])),
        row("HTTP/1.0 becomes 1.1", "GET /x HTTP/1.0\r\nHost: a\r\n\r\n", Passed(&["GET /x HTTP/1.1\r\n", "host: a\r\n"], &["connection"])),
        row("HTTP/1.0 without Host", "GET /x HTTP/1.0\r\n\r\n", Passed(&["GET /x HTTP/1.1\r\n", "host: 127.0.0.1:"], &[])),
        row(
            "HTTP/1.0 keep-alive",
            "GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            Passed(&["GET /x HTTP/1.1\r\n"], &["keep-alive"]),
        ),
    ]);
}

#[test]
fn options_of_the_server_is_answered_here() {
    let upstream = Upstream::ok();
    let sidecar = Sidecar::start(upstream.address, &[]);
    assert_eq!(status(&sidecar.raw(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")), 200);
    assert!(upstream.requests().is_empty());
}

#[test]
fn upgrades_are_not_offered_and_the_next_request_is_a_request() {
    for protocol in ["h2c", "websocket", "foo"] {
        let upstream = Upstream::ok();
        let sidecar = Sidecar::start(upstream.address, &[]);
        let mut stream = sidecar.connect();
        let first = get("/first", &format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABk\r\n"));
        std::io::Write::write_all(&mut stream, (first + &get("/second", "")).as_bytes()).unwrap();
        assert_eq!(status(&support::read_answer(&mut stream)), 200, "{protocol}");
        assert_eq!(status(&support::read_answer(&mut stream)), 200, "{protocol}");
        let [first, second] = &upstream.requests()[..] else { panic!("{protocol}: two requests, not {:?}", upstream.requests()) };
        assert!(first.starts_with("GET /first") && second.starts_with("GET /second"));
        assert!(!first.to_lowercase().contains("upgrade") && !first.to_lowercase().contains("http2"), "{first}");
    }
}

#[test]
fn headers_of_one_connection_end_here_whatever_line_names_them() {
    check(vec![
        row(
            "two Connection lines",
            get("/x", "Connection: keep-alive, A\r\nConnection: B\r\nA: 1\r\nB: 2\r\nC: 3\r\nKeep-Alive: timeout=5\r\n"),
            Passed(&["c: 3\r\n"], &["\r\na:", "\r\nb:", "keep-alive", "connection:"]),
        ),
        row(
            "what a message cannot do without",
            post(
                "Connection: Host, Authorization, Content-Length, Content-Type\r\nAuthorization: t\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n",
                "abc",
            ),
            Passed(&["host: a\r\n", "authorization: t\r\n", "content-length: 3\r\n", "content-type: text/plain\r\n", "\r\n\r\nabc"], &[]),
        ),
        row(
            "ours cannot be named away",
            get("/x", "Connection: X-Real-IP, X-Forwarded-For\r\n"),
            Passed(&["x-real-ip: 127.0.0.1\r\n", "x-forwarded-for: 127.0.0.1\r\n"], &[]),
        ),
        row(
            "the rest of the list",
            get("/x", "TE: gzip\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: x\r\nProxy-Authenticate: x\r\nUpgrade: x\r\n"),
            Passed(&["GET /x"], &["\r\nte:", "proxy-", "upgrade"]),
        ),
        row(
            "trailers are still accepted",
            get("/x", "TE: trailers, deflate;q=0.5\r\nConnection: TE\r\n"),
            Passed(&["te: trailers\r\n"], &["deflate"]),
        ),
        row("lines of one name stay in order", get("/x", "A: 1\r\nB: x\r\nA: 2\r\nA: 3\r\n"), Passed(&["a: 1\r\na: 2\r\na: 3\r\n"], &[])),
    ]);
}

#[test]
fn what_a_stranger_says_about_itself_never_arrives() {
    let spoofed = "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\n\
        X-Real-IP: 6.6.6.6\r\nX-Original-URL: /_/\r\nX-Rewrite-URL: /_/\r\nX-HTTP-Method-Override: DELETE\r\n";
    check(vec![row(
        "every claim",
        get("/x", spoofed),
        Passed(
            &["x-real-ip: 127.0.0.1\r\n", "x-forwarded-for: 127.0.0.1\r\n"],
            &["6.6.6.6", "7.7.7.7", "evil", "https", "original", "rewrite", "override", "forwarded: "],
        ),
    )]);
}

#[test]
fn a_trusted_proxy_is_believed_once_and_in_one_form() {
    let upstream = Upstream::ok();
    let sidecar = Sidecar::start(upstream.address, &["--trusted-proxies", "127.0.0.0/8,10.0.0.0/8"]);
    let claims =
        "X-Forwarded-For: 6.6.6.6, 198.51.100.7\r\nX-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 6.6.6.6\r\n";
    assert_eq!(status(&sidecar.raw(get("/x", claims).as_bytes())), 200);
    let seen = upstream.request(0);
    assert_eq!(seen.matches("198.51.100.7").count(), 2, "{seen}");
    assert!(seen.contains("x-real-ip: 198.51.100.7\r\n") && seen.contains("x-forwarded-for: 198.51.100.7\r\n"), "{seen}");
    assert!(seen.contains("x-forwarded-proto: https\r\n") && !seen.contains("6.6.6.6"), "{seen}");
}

#[test]
fn no_spelling_of_our_paths_reaches_pocketbase_nor_the_reverse() {
    for (target, ours) in [
        ("/api/custom/x", true),
        ("/api/custom/", true),
        ("/api/%63ustom/x", true),
        ("/%61%70%69/custom/x?y", true),
        ("/api/custom/a%2fb/..%2f", true),
        ("/api/custom", false),
        ("/api//custom/x", false),
        ("/api/x/../custom/x", false),
        ("/api/custom/../collections", false),
        ("/api/custom//x", false),
        ("/api%2fcustom/x", false),
        ("/API/Custom/x", false),
        ("/api/custom;a=b/x", false),
        ("/api\\custom/x", false),
        ("/api/x/%2e%2e/custom/x", false),
        ("/api/x/..;/custom/x", false),
        ("/api/%2563ustom/x", false),
        ("/api/custom%00/x", false),
        ("/api/collections/images/records/..%2f..%2fusers", false),
    ] {
        let upstream = Upstream::ok();
        let sidecar = Sidecar::start(upstream.address, &[]);
        let answer = sidecar.get(target);
        if ours {
            assert_eq!(status(&answer), 404, "{target}");
            assert!(answer.contains("not_found") && upstream.requests().is_empty(), "{target}");
        } else {
            assert_eq!(status(&answer), 200, "{target}");
            assert!(upstream.requests()[0].starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{target}: {:?}", upstream.requests());
        }
    }
}

#[test]
fn a_refusal_ends_the_connection_and_speaks_pocketbases_language() {
    let upstream = Upstream::ok();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    let bytes = get("/api/%zz", "Origin: http://page\r\n") + &get("/second", "");
    std::io::Write::write_all(&mut stream, bytes.as_bytes()).unwrap();
    let answer = support::read_answer(&mut stream);
    assert_eq!((header(&answer, "connection"), header(&answer, "access-control-allow-origin")), (Some("close"), Some("*")), "{answer}");
    let json: serde_json::Value = serde_json::from_str(body(&answer)).expect("JSON");
    assert_eq!((json["status"].as_u64(), json["data"].as_object().map(serde_json::Map::len)), (Some(400), Some(0)));
    assert_eq!(support::read_answer(&mut stream), "", "the connection went on");
    assert!(upstream.requests().is_empty());
}
