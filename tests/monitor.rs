//! The port for those who watch.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::process::Command;

use support::pocketbase::{EMAIL, PASSWORD, PocketBase};
use support::upstream::{Next, Upstream};
use support::{Sidecar, body, header, status, until};

/// The value of a series, written as the classic format writes it.
fn value(sidecar: &Sidecar, series: &str) -> Option<f64> {
    let answer = sidecar.monitor("/metrics", "");
    body(&answer).lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn metrics_are_not_on_the_public_port_nor_anything_else_on_theirs() {
    let upstream = Upstream::ok();
    let sidecar = Sidecar::start(upstream.address, &[]);
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(body(&sidecar.get(path)), "ok", "{path} is PocketBase's to answer");
    }
    assert_eq!(upstream.requests().len(), 3);
    assert_eq!(status(&sidecar.monitor("/api/custom/test", "")), 404);
    assert_eq!(status(&sidecar.monitor("/", "")), 404);
}

#[test]
fn both_formats_are_there_for_whoever_asks_for_them() {
    let sidecar = Sidecar::start(Upstream::ok().address, &[]);
    let classic = sidecar.monitor("/metrics", "Accept: */*\r\n");
    assert_eq!((status(&classic), header(&classic, "content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    let open = sidecar.monitor("/metrics", "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n");
    assert_eq!(header(&open, "content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(body(&open).ends_with("# EOF\n") && !body(&classic).contains("# EOF"));
}

#[test]
fn a_sidecar_is_alive_from_the_start_and_ready_when_pocketbase_answers() {
    let pocketbase_is_away = Sidecar::start("127.0.0.1:1".parse().unwrap(), &[]);
    assert_eq!(status(&pocketbase_is_away.monitor("/healthz", "")), 200);
    let answer = pocketbase_is_away.monitor("/readyz", "");
    assert_eq!((status(&answer), body(&answer)), (503, "PocketBase does not answer at http://127.0.0.1:1\n"));
    assert_eq!(value(&pocketbase_is_away, "generatio_ready "), Some(0.0));
    let proxy_alone = Sidecar::start(Upstream::ok().address, &[]);
    assert_eq!(status(&proxy_alone.monitor("/readyz", "")), 200);
    assert_eq!(value(&proxy_alone, "generatio_ready "), Some(1.0));
}

#[test]
fn a_pocketbase_that_lacks_something_makes_it_unready_and_says_what() {
    let flags = ["--pocketbase-email", EMAIL, "--pocketbase-password", PASSWORD];
    let bare = PocketBase::start();
    let sidecar = Sidecar::start(bare.address, &flags);
    until("it was looked at", || sidecar.log().contains("our endpoints cannot work"));
    let answer = sidecar.monitor("/readyz", "");
    assert_eq!(status(&answer), 503);
    assert!(body(&answer).contains("pb_hooks") && body(&answer).lines().count() == 1, "{answer}");
    let whole = PocketBase::with_store();
    let sidecar = Sidecar::start(whole.address, &flags);
    until("it is ready", || status(&sidecar.monitor("/readyz", "")) == 200);
}

#[test]
fn a_sidecar_that_stops_is_alive_and_not_ready() {
    let upstream = Upstream::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        // Never ends by itself.
        Next::Continue
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut client = sidecar.connect();
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    upstream.request(0);
    sidecar.signal("TERM");
    until("the drain has begun", || sidecar.log().contains("draining"));
    let answer = sidecar.monitor("/readyz", "");
    assert_eq!((status(&answer), body(&answer)), (503, "the sidecar is stopping\n"));
    assert_eq!(status(&sidecar.monitor("/healthz", "")), 200);
}

#[test]
fn a_metrics_port_that_is_taken_is_named_before_anything_is_served() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let command = ["serve", "--listen", "127.0.0.1:0", "--metrics-listen", &address];
    let refused = Command::new(env!("CARGO_BIN_EXE_generatio")).args(command).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("GENERATIO_METRICS_LISTEN") && !said.contains("listening on"), "{said}");
}

#[test]
fn it_can_be_switched_off() {
    let sidecar = Sidecar::start(Upstream::ok().address, &["--metrics-listen", "off"]);
    assert_eq!(status(&sidecar.get("/")), 200);
    assert!(!sidecar.log().contains("metrics are at"), "{}", sidecar.log());
}

#[test]
fn what_passes_is_counted_by_its_class_and_the_time_that_it_was_with_us() {
    let upstream = Upstream::new(|head, stream| {
        let answer: &[u8] = if head.contains("/missing") {
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        } else if head.contains("/realtime") {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n:\n\r\n"
        } else if head.contains("/cut") {
            return Next::Close;
        } else {
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        };
        let _ = stream.write_all(answer);
        Next::Continue
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let _ = (sidecar.get("/api/health"), sidecar.get("/api/health"), sidecar.get("/api/files/a/b/missing"), sidecar.get("/_/"));
    let _ = sidecar.raw(b"POST /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = sidecar.raw(b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut stream = sidecar.connect();
    stream.write_all(b"GET /api/realtime HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    until("a stream is open", || value(&sidecar, "generatio_event_streams ") == Some(1.0));
    for (series, expected) in [
        (r#"generatio_passed_requests_total{class="health",code="200"}"#, 2.0),
        (r#"generatio_passed_requests_total{class="files",code="404"}"#, 1.0),
        (r#"generatio_passed_requests_total{class="admin_ui",code="200"}"#, 1.0),
        (r#"generatio_passed_requests_total{class="other",code="502"}"#, 1.0),
        (r#"generatio_passed_requests_total{class="realtime",code="200"}"#, 1.0),
        (r#"generatio_passed_requests_total{class="refused",code="405"}"#, 1.0),
        (r#"generatio_upstream_errors_total{by="passed",kind="cut"}"#, 1.0),
        // Those that were answered by PocketBase.
        ("generatio_added_latency_seconds_count", 5.0),
    ] {
        assert_eq!(value(&sidecar, series), Some(expected), "{series}\n{}", sidecar.monitor("/metrics", ""));
    }
    assert!(value(&sidecar, "generatio_client_connections ").unwrap() >= 1.0);
    drop(stream);
    until("the stream has ended", || value(&sidecar, "generatio_event_streams ") == Some(0.0));
    until("its connection too", || value(&sidecar, "generatio_client_connections ") == Some(0.0));
}

#[test]
fn requests_that_pass_get_a_line_where_that_is_wanted() {
    let upstream = Upstream::ok();
    let quiet = Sidecar::start(upstream.address, &[]);
    let _ = quiet.get("/api/health?token=secret");
    assert!(!quiet.log().contains("was passed on"));
    let all = Sidecar::start(upstream.address, &["--log-requests", "all", "--log-format", "json"]);
    let _ = all.raw(b"GET /api/files/a/b/c?token=secret HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine-1\r\nConnection: close\r\n\r\n");
    let line = all.log().lines().find(|line| line.contains("was passed on")).map(str::to_owned).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    for (field, expected) in [("method", "GET"), ("path", "/api/files/a/b/c"), ("request_id", "mine-1"), ("address", "127.0.0.1")] {
        assert_eq!(line[field], expected, "{line}");
    }
    assert!(line["status"] == 200 && line["duration_ms"].is_number() && !all.log().contains("secret"), "{line}");
    // One without an id gets one, which PocketBase is told.
    let _ = all.get("/nameless");
    let told = upstream.requests().into_iter().find(|request| request.contains("/nameless")).unwrap();
    let id = header(&told, "x-request-id").unwrap();
    assert!(all.log().contains(id), "{told}");
    let some = Sidecar::start(upstream.address, &["--log-requests", "1/3"]);
    let mut client = some.connect();
    for _ in 0..6 {
        client.write_all(b"GET /api/health HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        support::read_answer(&mut client);
    }
    assert_eq!(some.log().matches("was passed on").count(), 2);
}

#[test]
fn what_ties_requests_together_passes_as_it_came_and_nothing_is_added() {
    let upstream = Upstream::ok();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\ntraceparent: {parent}\r\ntracestate: a=1\r\nX-Request-Id: their own\r\nConnection: close\r\n\r\n"
    );
    let _ = (sidecar.raw(request.as_bytes()), sidecar.get("/"));
    let (told, bare) = (upstream.request(0), upstream.request(1));
    for (name, value) in [("traceparent", parent), ("tracestate", "a=1"), ("x-request-id", "their own")] {
        assert_eq!(header(&told, name), Some(value));
        assert_eq!(header(&bare, name), None);
    }
}
