//! The proxy between real sockets: what goes in comes out, whoever leaves is let go, and whatever breaks is said.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::pocketbase::PocketBase;
use support::upstream::{Next, Upstream};
use support::{Sidecar, body, header, read_answer, status, until, until_within};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn send(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).expect("the sidecar takes it");
}

/// Bytes that repeat only after a while, so that a lost or swapped block shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

#[test]
fn answers_are_the_same_with_and_without_the_sidecar() {
    let pocketbase = PocketBase::start();
    pocketbase.publish("file.txt", &pattern(100_000));
    pocketbase.publish("empty.txt", b"");
    let sidecar = Sidecar::start(pocketbase.address, &[]);
    let modified = header(&exchange(pocketbase.address, "GET /file.txt HTTP/1.1\r\nHost: a\r\n\r\n"), "last-modified")
        .map(str::to_owned)
        .expect("a date");
    for request in [
        "GET /api/health HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "HEAD /api/health HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "HEAD /api/nothing HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET /api/nothing HTTP/1.1\r\nHost: a\r\nOrigin: http://page\r\n\r\n".into(),
        "GET /file.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "HEAD /file.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET /empty.txt HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET /file.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=10-19\r\n\r\n".into(),
        "GET /file.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=-7\r\n\r\n".into(),
        "GET /file.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=900000-\r\n\r\n".into(),
        format!("GET /file.txt HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: {modified}\r\n\r\n"),
        "GET /_/ HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n".into(),
        "GET /_ HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET /api//health HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET /api/x/../custom/x HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "OPTIONS /api/collections HTTP/1.1\r\nHost: a\r\nOrigin: http://page\r\nAccess-Control-Request-Method: PATCH\r\nAccess-Control-Request-Headers: x-a\r\n\r\n".into(),
        "POST /api/collections/users/auth-with-password HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".into(),
        "POST /api/collections/users/auth-with-password HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".into(),
        "GET /api/collections HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET /api/health HTTP/1.0\r\n\r\n".into(),
    ] {
        let (direct, through) = (exchange(pocketbase.address, &request), exchange(sidecar.address, &request));
        assert_eq!(lines(&through), lines(&direct), "{request}");
        assert_eq!(body(&through), body(&direct), "{request}");
    }
}

/// One request on a connection of its own.
fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = support::connect(address);
    send(&mut stream, request);
    if request.starts_with("HEAD") {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
            bytes.push(byte[0]);
        }
        return String::from_utf8(bytes).expect("ASCII");
    }
    read_answer(&mut stream)
}

/// The status line and headers, sorted; names mean the same in capitals or not, and the date is the moment's.
fn lines(answer: &str) -> Vec<String> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines: Vec<String> = head
        .lines()
        .map(|line| line.split_once(": ").map_or(line.to_owned(), |(name, value)| format!("{}: {value}", name.to_lowercase())))
        .collect();
    lines.retain(|line| !line.starts_with("date: ") && line != "connection: close");
    lines.sort_unstable();
    lines
}

#[test]
fn bodies_of_any_size_arrive_as_they_were_sent_both_ways() {
    let upstream = Upstream::streaming(|head, stream| {
        let mut echoed = Vec::new();
        if let Some(length) = header(head, "content-length") {
            echoed = vec![0; length.parse().expect("a number")];
            stream.read_exact(&mut echoed).expect("the whole body");
        } else if head.contains("transfer-encoding: chunked") {
            read_chunks(stream, &mut echoed);
        }
        if head.starts_with("POST /chunked") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for block in echoed.chunks(10_000) {
                let _ = write!(stream, "{:x}\r\n", block.len());
                let _ = stream.write_all(block);
                let _ = stream.write_all(b"\r\n");
            }
            let _ = stream.write_all(b"0\r\n\r\n");
        } else {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", echoed.len());
            let _ = stream.write_all(&echoed);
        }
        Next::Continue
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut kept = sidecar.connect();
    for length in [0, 1, 8191, 8192, 65_537, 5_000_000] {
        for (target, framing) in [("/length", true), ("/chunked", true), ("/length", false), ("/chunked", false)] {
            let content = pattern(length);
            let mut writer = kept.try_clone().unwrap();
            let sent = content.clone();
            let writing = std::thread::spawn(move || {
                if framing {
                    send(&mut writer, format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", sent.len()));
                    send(&mut writer, &sent);
                } else {
                    send(&mut writer, format!("POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
                    for block in sent.chunks(7_777) {
                        send(&mut writer, format!("{:x}\r\n", block.len()));
                        send(&mut writer, block);
                        send(&mut writer, "\r\n");
                    }
                    send(&mut writer, "0\r\n\r\n");
                }
            });
            let head = read_head(&mut kept);
            assert_eq!(status(&head), 200, "{target} {length}");
            let mut back = Vec::new();
            match header(&head, "content-length") {
                Some(announced) => {
                    back = vec![0; announced.parse().unwrap()];
                    kept.read_exact(&mut back).expect("the whole body");
                }
                None => read_chunks(&mut kept, &mut back),
            }
            writing.join().expect("written");
            assert!(back == content, "{target} {length} {framing}: the body changed");
        }
    }
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        bytes.push(byte[0]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Decodes chunks up to and with the last one.
fn read_chunks(stream: &mut TcpStream, into: &mut Vec<u8>) {
    loop {
        let mut size = Vec::new();
        let mut byte = [0];
        while !size.ends_with(b"\r\n") {
            stream.read_exact(&mut byte).expect("a chunk size");
            size.push(byte[0]);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).expect("a hexadecimal size");
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).expect("a chunk");
        into.extend(&chunk[..size]);
        if size == 0 {
            return;
        }
    }
}

#[test]
fn trailers_of_an_answer_arrive_where_they_are_accepted() {
    let upstream = Upstream::new(|_, stream| {
        let _ =
            stream.write_all(b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n");
        Next::Continue
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let answer = sidecar.raw(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    assert!(answer.to_lowercase().ends_with("2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n"), "{answer}");
}

#[test]
fn a_client_that_asks_first_hears_continue_when_pocketbase_says_it_and_a_refusal_when_it_refuses() {
    let upstream = Upstream::streaming(|head, stream| {
        if head.starts_with("POST /refuse") {
            let _ = stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return Next::Close;
        }
        if head.starts_with("POST /continue") {
            std::thread::sleep(Duration::from_millis(200));
            let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let mut sent = [0; 5];
        stream.read_exact(&mut sent).expect("a body");
        assert_eq!(&sent, b"hello");
        let _ = stream.write_all(OK);
        Next::Continue
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    for (path, at_least, first) in [("/continue", 150, "100"), ("/silent", 900, "100"), ("/refuse", 0, "413")] {
        let mut stream = sidecar.connect();
        let start = Instant::now();
        send(&mut stream, format!("POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
        let interim = read_head(&mut stream);
        assert!(interim.starts_with(&format!("HTTP/1.1 {first} ")), "{path}: {interim}");
        assert!(start.elapsed() >= Duration::from_millis(at_least), "{path}: too early, {:?}", start.elapsed());
        if first == "100" {
            send(&mut stream, "hello");
            assert_eq!(body(&read_answer(&mut stream)), "ok", "{path}");
        }
        assert!(upstream.request(0).to_lowercase().contains("expect: 100-continue"));
    }
}

#[test]
fn a_refusal_that_comes_before_the_end_of_the_upload_arrives() {
    let pocketbase = PocketBase::start();
    let sidecar = Sidecar::start(pocketbase.address, &[]);
    let mut stream = sidecar.connect();
    // PocketBase's limit for this route is 32 MiB, and it says so at once.
    send(
        &mut stream,
        format!(
            "POST /api/collections/users/records HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            64 << 20
        ),
    );
    let _ = stream.write_all(&[b'x'; 1000]);
    let answer = read_answer(&mut stream);
    assert_eq!(status(&answer), 413, "{answer}");
}

#[test]
fn each_event_of_a_stream_arrives_at_once_and_the_end_too() {
    let (step, steps) = std::sync::mpsc::channel::<&'static [u8]>();
    let steps = Mutex::new(steps);
    let upstream = Upstream::new(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for bytes in steps.lock().unwrap().iter() {
            let _ = stream.write_all(bytes);
            if bytes == b"0\r\n\r\n" {
                return Next::Continue;
            }
        }
        Next::Close
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    send(&mut stream, "GET /api/realtime HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&read_head(&mut stream)), 200);
    for number in 0..20 {
        let start = Instant::now();
        step.send(b"5\r\nevent\r\n").unwrap();
        let mut chunk = [0; 10];
        stream.read_exact(&mut chunk).expect("the event");
        assert_eq!(&chunk, b"5\r\nevent\r\n");
        assert!(start.elapsed() < Duration::from_secs(1), "event {number} came after {:?}", start.elapsed());
    }
    step.send(b"0\r\n\r\n").unwrap();
    let mut end = [0; 5];
    stream.read_exact(&mut end).expect("the end");
    assert_eq!(&end, b"0\r\n\r\n");
    drop(step);
    assert_eq!(status(&sidecar.get("/api/custom/test")), 200);
}

/// The descriptors of a sidecar whose workers have all begun.
fn warm(sidecar: &Sidecar) -> usize {
    let held: Vec<TcpStream> = (0..8).map(|_| sidecar.connect()).collect();
    assert_eq!(status(&sidecar.get("/api/custom/test")), 200);
    let busy = sidecar.descriptors();
    drop(held);
    until("idle connections are closed", || sidecar.descriptors() <= busy - 8);
    sidecar.descriptors()
}

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
                    let mut stream = support::connect(address);
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
    assert!(codes.keys().all(|code| [200, 502].contains(code)), "{codes:?}");
}

#[test]
fn a_slow_reader_gets_every_byte_even_when_the_sidecar_stops() {
    let content = pattern(20_000_000);
    let sent = content.clone();
    let upstream = Upstream::new(move |_, stream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len());
        let _ = stream.write_all(&sent);
        Next::Close
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    send(&mut stream, "GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    read_head(&mut stream);
    let mut received: Vec<u8> = Vec::new();
    let mut told = false;
    let mut block = vec![0; 1 << 20];
    let before = sidecar.memory_kib();
    while received.len() < content.len() {
        std::thread::sleep(Duration::from_millis(10));
        let read = stream.read(&mut block).expect("the next block");
        assert_ne!(read, 0, "cut at {}", received.len());
        received.extend(&block[..read]);
        if !told && received.len() > 1 << 20 {
            told = true;
            assert!(sidecar.memory_kib() < before + 4096, "the answer is buffered: {} KiB", sidecar.memory_kib() - before);
            sidecar.signal("TERM");
        }
    }
    assert!(received == content);
}

#[test]
fn after_sigterm_event_streams_end_first_downloads_finish_and_nothing_new_is_accepted() {
    let content = pattern(3_000_000);
    let sent = content.clone();
    let upstream = Upstream::new(move |head, stream| {
        if head.starts_with("GET /event") {
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n");
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            return Next::Close;
        }
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len());
        for block in sent.chunks(100_000) {
            if stream.write_all(block).is_err() {
                return Next::Close;
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        Next::Continue
    });
    let mut sidecar = Sidecar::start(upstream.address, &[]);
    let open = |path: &str| {
        let mut stream = sidecar.connect();
        send(&mut stream, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(status(&read_head(&mut stream)), 200);
        stream
    };
    let events: Vec<TcpStream> = (0..50).map(|_| open("/event")).collect();
    let downloads: Vec<TcpStream> = (0..50).map(|_| open("/large")).collect();
    let idle = sidecar.connect();
    let start = Instant::now();
    sidecar.signal("TERM");
    let ends: Vec<_> = events.into_iter().map(|mut stream| std::thread::spawn(move || read_to_end(&mut stream))).collect();
    let bodies: Vec<_> = downloads.into_iter().map(|mut stream| std::thread::spawn(move || read_to_end(&mut stream))).collect();
    for end in ends {
        let rest = end.join().unwrap();
        assert!(
            rest.ends_with(b"5\r\nevent\r\n0\r\n\r\n"),
            "an event stream ended without its terminator: {}",
            String::from_utf8_lossy(&rest)
        );
    }
    assert!(start.elapsed() < Duration::from_secs(2), "event streams ended after {:?}", start.elapsed());
    assert!(TcpStream::connect(sidecar.address).is_err(), "a new connection was accepted");
    assert_eq!(read_to_end(&mut { idle }), b"");
    for body in bodies {
        assert!(body.join().unwrap() == content, "a download was cut");
    }
    assert!(sidecar.wait().success());
    assert!(start.elapsed() < Duration::from_secs(30));
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn what_does_not_end_within_the_drain_timeout_is_cut() {
    let upstream = Upstream::new(|_, stream| {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        Next::Close
    });
    let mut sidecar = Sidecar::start(upstream.address, &["--drain-timeout", "1s"]);
    let mut stream = sidecar.connect();
    send(&mut stream, "GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
    upstream.request(0);
    let start = Instant::now();
    sidecar.signal("TERM");
    assert!(sidecar.wait().success());
    assert!((900..5000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    until("it is said", || sidecar.log().contains("the drain time-out has passed"));
}

#[test]
fn a_pocketbase_that_never_answers_is_a_504() {
    let upstream = Upstream::new(|_, stream| {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        Next::Close
    });
    let sidecar = Sidecar::start(upstream.address, &["--upstream-timeout", "1s"]);
    assert_eq!(status(&sidecar.get("/x")), 504);
    until_within(Duration::from_secs(1), "the connection is let go", || upstream.open() == 0);
}

#[test]
fn a_safe_request_that_waits_too_long_on_a_kept_connection_is_not_sent_again() {
    let upstream = Upstream::streaming(|head, stream| {
        if head.starts_with("GET /silent") {
            let _ = stream.read_to_end(&mut Vec::new());
            return Next::Close;
        }
        let _ = stream.write_all(OK);
        Next::Continue
    });
    let sidecar = Sidecar::start(upstream.address, &["--upstream-timeout", "1s"]);
    let mut stream = sidecar.connect();
    let mut ask = |path: &str| {
        send(&mut stream, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        status(&read_answer(&mut stream))
    };
    let start = Instant::now();
    assert_eq!([ask("/warm"), ask("/silent"), ask("/after")], [200, 504, 200]);
    assert!((1..4).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(upstream.requests().iter().filter(|request| request.starts_with("GET /silent")).count(), 1);
}

#[test]
fn peers_that_stall_are_closed_and_others_are_not() {
    let upstream = Upstream::streaming(|head, stream| {
        if head.starts_with("GET /large") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
            while stream.write_all(&[0; 65536]).is_ok() {}
        } else if head.starts_with("GET /frozen") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        } else if head.starts_with("GET /x") {
            let _ = stream.write_all(OK);
            return Next::Continue;
        }
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        Next::Close
    });
    let flags = ["--head-timeout", "1s", "--stall-timeout", "1s", "--keep-alive-timeout", "2s", "--upstream-timeout", "2s"];
    let sidecar = Sidecar::start(upstream.address, &flags);
    // The two requests that are answered leave at most a kept connection to PocketBase each.
    let quiet = warm(&sidecar) + 2;
    let mut peers: Vec<(&str, TcpStream)> = [
        ("a slow head", "GET /x HTTP/1.1\r\nHost:"),
        ("a slow body", "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"),
        ("a reader that does not read", "GET /large HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("an idle connection", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a frozen upstream", "GET /frozen HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("silence", ""),
    ]
    .into_iter()
    .map(|(name, bytes)| {
        let mut stream = sidecar.connect();
        send(&mut stream, bytes);
        (name, stream)
    })
    .collect();
    let mut drip = sidecar.connect();
    for byte in b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n" {
        send(&mut drip, [*byte]);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(body(&read_answer(&mut drip)), "ok", "a slow head within its time");
    drop(drip);
    until_within(Duration::from_secs(8), "every stalled peer is closed", || sidecar.descriptors() <= quiet);
    until_within(Duration::from_secs(2), "so are the connections for them", || upstream.open() <= 2);
    for (name, stream) in &mut peers {
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let start = Instant::now();
        read_to_end(stream);
        assert!(start.elapsed() < Duration::from_secs(2), "{name} is still open");
    }
}

#[test]
fn one_connection_too_many_is_told_so_and_the_others_go_on() {
    let upstream = Upstream::ok();
    let sidecar = Sidecar::start(upstream.address, &["--max-connections", "3"]);
    let mut held: Vec<TcpStream> = (0..3).map(|_| sidecar.connect()).collect();
    for stream in &mut held {
        send(stream, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(body(&read_answer(stream)), "ok");
    }
    let answer = sidecar.get("/x");
    assert_eq!((status(&answer), header(&answer, "retry-after")), (503, Some("5")), "{answer}");
    send(&mut held[0], "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(body(&read_answer(&mut held[0])), "ok");
    held.pop();
    until("a place is free again", || status(&sidecar.get("/x")) == 200);
}

#[test]
fn an_answer_before_the_end_of_an_upload_holds_nobody_else_up() {
    let upstream = Upstream::streaming(|head, stream| {
        let _ = stream.write_all(OK);
        if head.starts_with("POST") {
            let _ = stream.read_to_end(&mut Vec::new());
        }
        Next::Continue
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut uploading = sidecar.connect();
    send(&mut uploading, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc");
    assert_eq!(body(&read_answer(&mut uploading)), "ok");
    let start = Instant::now();
    for _ in 0..4 {
        assert_eq!(body(&sidecar.get("/y")), "ok");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn an_upload_that_goes_on_has_no_total_limit() {
    let upstream = Upstream::ok();
    let sidecar = Sidecar::start(upstream.address, &["--upstream-timeout", "1s"]);
    let mut stream = sidecar.connect();
    send(&mut stream, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(300));
        send(&mut stream, "z");
    }
    assert_eq!(body(&read_answer(&mut stream)), "ok");
}

#[test]
fn a_client_that_does_not_read_costs_little_memory() {
    let upstream = Upstream::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while stream.write_all(&[0; 65536]).is_ok() {}
        Next::Close
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    warm(&sidecar);
    let before = sidecar.memory_kib();
    let lazy: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = sidecar.connect();
            send(&mut stream, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
            stream
        })
        .collect();
    until("all of them are answered", || upstream.requests().len() == lazy.len());
    std::thread::sleep(Duration::from_secs(1));
    let each = (sidecar.memory_kib() - before) / lazy.len() as u64;
    // Two buffers of 64 KiB on each side, and what the allocator adds.
    assert!(each < 400, "{each} KiB for each of them");
}

#[test]
fn a_reader_that_is_slow_but_steady_is_not_cut() {
    let upstream = Upstream::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while stream.write_all(&[0; 65536]).is_ok() {}
        Next::Close
    });
    let sidecar = Sidecar::start(upstream.address, &["--stall-timeout", "4s"]);
    let mut stream = sidecar.connect();
    send(&mut stream, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    // Fast at first, so that buffers grow; then a steady 200 kB a second.
    stream.read_exact(&mut vec![0; 8_000_000]).expect("the fast part");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(12) {
        std::thread::sleep(Duration::from_millis(50));
        stream.read_exact(&mut [0; 10_000]).expect("the next bytes");
    }
    assert!(!sidecar.log().contains("waited too long"), "{}", sidecar.log());
}

#[test]
fn the_tail_of_an_answer_is_not_cut_by_the_time_limit_of_idle_connections() {
    let upstream = Upstream::new(|head, stream| {
        let length: usize = head.split(['/', ' ']).nth(2).and_then(|size| size.parse().ok()).expect("a size");
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let _ = stream.write_all(&vec![b'x'; length]);
        Next::Continue
    });
    let sidecar = Sidecar::start(upstream.address, &["--keep-alive-timeout", "1s", "--stall-timeout", "30s"]);
    // Around what the buffers between the sidecar and a client that has not begun to read can hold.
    let mut readers: Vec<(usize, TcpStream)> = (0..60)
        .map(|step| {
            let (length, mut stream) = (2_000_000 + step * 50_000, sidecar.connect());
            send(&mut stream, format!("GET /{length} HTTP/1.1\r\nHost: a\r\n\r\n"));
            (length, stream)
        })
        .collect();
    std::thread::sleep(Duration::from_secs(4));
    for (length, stream) in &mut readers {
        assert_eq!(status(&read_head(stream)), 200);
        let mut received = vec![0; *length];
        assert!(stream.read_exact(&mut received).is_ok(), "an answer of {length} bytes was cut");
    }
}
