//! Connections to PocketBase: kept, closed, cut, and away.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::support::pocketbase::PocketBase;
use super::support::upstream::{Next, Upstream};
use super::support::{Sidecar, body, connect, header, read_answer, status, until, until_within};
use super::{OK, read_head, send, warm};

#[test]
fn a_client_that_goes_away_frees_the_connection_to_pocketbase_within_a_second() {
    let upstream = Upstream::streaming(|head, stream| {
        if head.starts_with("GET /event") {
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n");
        } else if head.starts_with("GET /large") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
            while stream.write_all(&[0; 65536]).is_ok() {}
        }
        // Whatever comes now is the end of the connection.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        Next::Close
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let quiet = warm(&sidecar);
    for request in [
        "GET /event HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /silent HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc",
    ] {
        let mut stream = sidecar.connect();
        send(&mut stream, request);
        until(request, || upstream.open() == 1);
        std::thread::sleep(Duration::from_millis(50));
        drop(stream);
        until_within(Duration::from_secs(1), request, || upstream.open() == 0);
    }
    until_within(Duration::from_secs(1), "every descriptor comes back", || sidecar.descriptors() <= quiet);
}

#[test]
fn connections_to_pocketbase_are_kept_and_used_again() {
    let upstream = Upstream::ok();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    for _ in 0..200 {
        send(&mut stream, "GET /x HTTP/1.1\r\nHost: a\r\n\r\nPOST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz");
        assert_eq!(body(&read_answer(&mut stream)), "ok");
        assert_eq!(body(&read_answer(&mut stream)), "ok");
    }
    assert_eq!((upstream.requests().len(), upstream.accepted()), (400, 1));
}

#[test]
fn pocketbase_down_is_said_within_3_seconds_and_forgotten_when_it_returns() {
    let mut pocketbase = PocketBase::start();
    let sidecar = Sidecar::start(pocketbase.address, &[]);
    assert_eq!(status(&sidecar.get("/api/health")), 200);
    pocketbase.kill();
    for attempt in ["first", "second"] {
        let start = Instant::now();
        let answer = sidecar.raw(b"POST /api/collections HTTP/1.1\r\nHost: a\r\nOrigin: http://page\r\nContent-Length: 2\r\n\r\n{}");
        assert!(start.elapsed() < Duration::from_secs(3), "{attempt}: {:?}", start.elapsed());
        assert_eq!(status(&answer), 503, "{attempt}");
        assert!(header(&answer, "retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{answer}");
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        let json: serde_json::Value = serde_json::from_str(body(&answer)).expect("JSON");
        assert_eq!((&json["status"], &json["data"]), (&503.into(), &serde_json::json!({})), "PocketBase's shape: {json}");
        assert!(json["message"].is_string());
    }
    let status_now: serde_json::Value = serde_json::from_str(body(&sidecar.get("/api/custom/status"))).expect("JSON");
    assert_eq!((&status_now["status"], &status_now["services"]["pocketbase"]), (&"degraded".into(), &"unreachable".into()));
    pocketbase.serve();
    assert_eq!(status(&sidecar.get("/api/health")), 200);
    let log = sidecar.log();
    assert_eq!(log.matches("WARN generatio::pocketbase::outage: PocketBase cannot be reached").count(), 1, "an outage is one line: {log}");
    assert_eq!(log.matches("PocketBase can be reached again").count(), 1, "and its end another: {log}");
}

#[test]
fn a_request_waits_while_pocketbase_restarts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let sidecar = Sidecar::start(address, &[]);
    let asked = std::thread::spawn({
        let mut stream = sidecar.connect();
        move || {
            send(&mut stream, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz");
            read_answer(&mut stream)
        }
    });
    std::thread::sleep(Duration::from_millis(700));
    let upstream = Upstream::on(
        TcpListener::bind(address).expect("the same port"),
        |_, stream| {
            let _ = stream.write_all(OK);
            Next::Continue
        },
        true,
    );
    assert_eq!(body(&asked.join().unwrap()), "ok");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_kept_connection_that_pocketbase_closed_costs_a_safe_request_nothing_and_an_unsafe_one_is_sent_once() {
    // Reads the second request of a connection and closes without a byte: the race that no client can see coming.
    let upstream = Upstream::new({
        let seen: Mutex<HashMap<SocketAddr, u32>> = Mutex::default();
        move |_, stream| {
            let mut seen = seen.lock().unwrap();
            let count = seen.entry(stream.peer_addr().unwrap()).or_default();
            *count += 1;
            if *count == 2 {
                return Next::Close;
            }
            let _ = stream.write_all(OK);
            Next::Continue
        }
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    let mut ask = |request: &str| {
        send(&mut stream, request);
        status(&read_answer(&mut stream))
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let post = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz");
    assert_eq!([ask(&get("/1")), ask(&get("/2")), ask(&post("/3"))], [200, 200, 502]);
    assert_eq!([ask(&get("/4")), ask("DELETE /5 HTTP/1.1\r\nHost: a\r\n\r\n")], [200, 502]);
    assert_eq!([ask(&post("/6")), ask("OPTIONS /7 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz")], [200, 502]);
    let lines: Vec<String> = upstream.requests().iter().map(|request| request.split(" HTTP").next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["GET /1", "GET /2", "GET /2", "POST /3", "GET /4", "DELETE /5", "POST /6", "OPTIONS /7"]);
}

#[test]
fn a_new_connection_that_is_cut_before_an_answer_is_a_502_and_the_request_is_not_sent_again() {
    let upstream = Upstream::new(|_, _| Next::Close);
    let sidecar = Sidecar::start(upstream.address, &[]);
    let start = Instant::now();
    for request in ["GET /1 HTTP/1.1\r\nHost: a\r\n\r\n", "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz"] {
        assert_eq!(status(&sidecar.raw(request.as_bytes())), 502);
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!((upstream.requests().len(), upstream.accepted()), (2, 2));
}

#[test]
fn an_answer_that_began_is_never_asked_for_again() {
    let upstream = Upstream::new(|head, stream| {
        if head.starts_with("GET /half") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le");
            return Next::Close;
        }
        if head.starts_with("GET /cut") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc");
            return Next::Close;
        }
        if head.starts_with("GET /garbage") {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n");
            return Next::Close;
        }
        let _ = stream.write_all(OK);
        Next::Continue
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    for (path, code) in [("/half", 502), ("/garbage", 502)] {
        assert_eq!(status(&sidecar.get("/x")), 200);
        assert_eq!(status(&sidecar.get(path)), code, "{path}");
    }
    assert_eq!(status(&sidecar.get("/x")), 200);
    let mut stream = sidecar.connect();
    send(&mut stream, "GET /cut HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(header(&read_head(&mut stream), "content-length"), Some("100"));
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"abc", "a cut answer must look cut");
    assert_eq!(upstream.requests().len(), 6);
}

#[test]
fn under_load_through_kills_and_restarts_no_request_is_sent_twice_and_safe_ones_recover() {
    // "Killed": every connection ends at its next request, as after kill -9.
    let killed = Arc::new(AtomicBool::new(false));
    let upstream = Upstream::new({
        let killed = Arc::clone(&killed);
        move |_, stream| {
            if killed.load(Ordering::Relaxed) {
                return Next::Close;
            }
            let _ = stream.write_all(OK);
            Next::Continue
        }
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..16)
        .map(|client| {
            let (stop, stream) = (Arc::clone(&stop), sidecar.connect());
            std::thread::spawn(move || ask_until(&stop, client, stream))
        })
        .collect();
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(150));
        killed.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(30));
        killed.store(false, Ordering::Relaxed);
    }
    std::thread::sleep(Duration::from_millis(150));
    stop.store(true, Ordering::Relaxed);
    let answers: HashMap<String, u16> = clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
    let mut seen: HashMap<String, u32> = HashMap::new();
    for request in upstream.requests() {
        *seen.entry(request.split("HTTP/1.1").next().unwrap().to_owned()).or_default() += 1;
    }
    assert!(answers.len() > 500, "too little load: {}", answers.len());
    assert!(answers.values().any(|&code| code == 502), "nothing was ever killed");
    for (id, code) in &answers {
        let times = seen.get(id).copied().unwrap_or(0);
        assert!([200, 502].contains(code), "{id}: {code}");
        let most = if id.starts_with("POST") { 1 } else { 2 };
        assert!((1..=most).contains(&times), "{id} was sent {times} times");
    }
    let after: Vec<u16> = (0..20).map(|_| status(&sidecar.get("/after"))).collect();
    assert_eq!(after, [200; 20]);
}

/// GETs and POSTs in turn, each with a name of its own, until told to stop.
fn ask_until(stop: &AtomicBool, client: u32, mut stream: TcpStream) -> HashMap<String, u16> {
    let mut answers = HashMap::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (method, rest) = if number % 2 == 0 { ("GET", "\r\n") } else { ("POST", "Content-Length: 1\r\n\r\nz") };
        let id = format!("{method} /{client}-{number} ");
        send(&mut stream, format!("{id}HTTP/1.1\r\nHost: a\r\n{rest}"));
        answers.insert(id, status(&read_answer(&mut stream)));
    }
    answers
}

#[test]
fn a_real_pocketbase_killed_and_restarted_under_load_costs_safe_requests_at_most_a_503() {
    let mut pocketbase = PocketBase::start();
    let sidecar = Sidecar::start(pocketbase.address, &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, address) = (Arc::clone(&stop), sidecar.address);
            std::thread::spawn(move || {
                let mut codes: HashMap<u16, u32> = HashMap::new();
                while !stop.load(Ordering::Relaxed) {
                    let mut stream = connect(address);
                    send(&mut stream, "GET /api/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                    *codes.entry(status(&read_answer(&mut stream))).or_default() += 1;
                }
                codes
            })
        })
        .collect();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        pocketbase.kill();
        pocketbase.serve();
    }
    std::thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    let mut codes: HashMap<u16, u32> = HashMap::new();
    for (code, count) in clients.into_iter().flat_map(|client| client.join().expect("a client")) {
        *codes.entry(code).or_default() += count;
    }
    // A restart takes less than the 2.5 s for which a refused connection is tried again. An answer that was cut in its head is a 502.
    let lost = codes.iter().filter(|(code, _)| **code != 200).map(|(_, count)| count).sum::<u32>();
    assert!(codes[&200] > 200 && lost <= 24, "{codes:?}");
    assert!(codes.keys().all(|code| [200, 502].contains(code)), "{codes:?}\n{}", sidecar.log());
}
