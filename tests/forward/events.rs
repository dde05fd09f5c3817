//! Streams of events, which are passed on past hyper.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use super::support::upstream::{Next, Upstream};
use super::support::{Sidecar, body, header, read_answer, status, until_within};
use super::{OK, read_head, read_to_end, send};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const END: &[u8] = b"0\r\n\r\n";

/// Answers `/api/realtime` with a stream of what it is given, up to its end, and everything else with `OK`.
fn upstream() -> (Upstream, Sender<&'static [u8]>) {
    let (step, steps) = channel::<&'static [u8]>();
    let steps = Mutex::new(steps);
    let upstream = Upstream::new(move |head, stream| {
        if !head.starts_with("GET /api/realtime") {
            let _ = stream.write_all(OK);
            return Next::Continue;
        }
        let _ = stream.write_all(HEAD);
        for bytes in steps.lock().unwrap().iter() {
            let _ = stream.write_all(bytes);
            if bytes == END {
                return Next::Continue;
            }
        }
        Next::Close
    });
    (upstream, step)
}

/// A client whose stream has begun.
fn subscribe(sidecar: &Sidecar) -> TcpStream {
    let mut stream = sidecar.connect();
    send(&mut stream, "GET /api/realtime HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&read_head(&mut stream)), 200);
    stream
}

#[test]
fn each_event_of_a_stream_arrives_at_once_and_the_end_too() {
    let (upstream, step) = upstream();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = subscribe(&sidecar);
    for number in 0..20 {
        let start = Instant::now();
        step.send(b"5\r\nevent\r\n").unwrap();
        let mut chunk = [0; 10];
        stream.read_exact(&mut chunk).expect("the event");
        assert_eq!(&chunk, b"5\r\nevent\r\n");
        assert!(start.elapsed() < Duration::from_secs(1), "event {number} came after {:?}", start.elapsed());
    }
    step.send(END).unwrap();
    let mut end = [0; 5];
    stream.read_exact(&mut end).expect("the end");
    assert_eq!(&end, b"0\r\n\r\n");
    drop(step);
    assert_eq!(status(&sidecar.get("/api/custom/test")), 200);
}

#[test]
fn the_head_of_a_stream_is_that_of_any_answer() {
    let with_date = HEAD.strip_suffix(b"\r\n").unwrap();
    let dated = [with_date, b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nX-Own: 1\r\nConnection: x-hop\r\nX-Hop: 2\r\n\r\n", END].concat();
    let undated = [HEAD, END].concat();
    let upstream = Upstream::new(move |head, stream| {
        let _ = stream.write_all(if head.starts_with("GET /dated") { &dated } else { &undated });
        Next::Continue
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    for path in ["/dated", "/undated"] {
        let mut heads = Vec::new();
        // To a client that wants the connection closed hyper writes it.
        for wish in ["", "Connection: close\r\n"] {
            let mut stream = sidecar.connect();
            send(&mut stream, format!("GET {path} HTTP/1.1\r\nHost: a\r\n{wish}\r\n"));
            let head = read_head(&mut stream);
            assert_eq!((status(&head), header(&head, "content-type")), (200, Some("text/event-stream")), "{head}");
            let date = header(&head, "date").expect("a date").to_owned();
            assert_eq!(date.starts_with("Thu, 01 Jan 1970"), path == "/dated", "{date}");
            let mut lines: Vec<String> = head.trim_end().split("\r\n").map(|line| line.replace(&date, "now")).collect();
            lines[1..].sort_unstable();
            heads.push(lines);
        }
        heads[1].retain(|line| line != "connection: close");
        assert_eq!(heads[0], heads[1]);
    }
}

#[test]
fn after_a_stream_its_connection_serves_what_came_meanwhile() {
    let (upstream, step) = upstream();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    for round in 0..3 {
        // The second request comes with the first, the third while the stream is open.
        send(&mut stream, "GET /api/realtime HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(status(&read_head(&mut stream)), 200);
        step.send(b"5\r\nevent\r\n").unwrap();
        let mut chunk = [0; 10];
        stream.read_exact(&mut chunk).expect("the event");
        send(&mut stream, "POST /third HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nthird");
        std::thread::sleep(Duration::from_millis(20));
        step.send(END).unwrap();
        let mut end = [0; 5];
        stream.read_exact(&mut end).expect("the end");
        assert_eq!(end, END);
        assert_eq!(body(&read_answer(&mut stream)), "ok", "round {round}");
        assert_eq!(body(&read_answer(&mut stream)), "ok", "round {round}");
        assert!(upstream.request(3 * round + 1).starts_with("GET /second"));
        assert!(upstream.request(3 * round + 2).starts_with("POST /third"));
    }
}

#[test]
fn many_requests_that_came_during_streams_are_answered_in_their_order() {
    let (upstream, step) = upstream();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = subscribe(&sidecar);
    // More than hyper reads at once, so that the second stream begins with some of it in hyper's hands and some in ours.
    let small = |number: usize| format!("GET /small/{number} HTTP/1.1\r\nHost: a\r\n\r\n");
    let requests: String = (0..350).map(small).collect();
    assert!((12_000..16_000).contains(&requests.len()));
    send(&mut stream, format!("GET /api/realtime HTTP/1.1\r\nHost: a\r\n\r\n{requests}"));
    std::thread::sleep(Duration::from_millis(50));
    step.send(END).unwrap();
    stream.read_exact(&mut [0; 5]).expect("the end");
    assert_eq!(status(&read_head(&mut stream)), 200);
    send(&mut stream, small(350));
    std::thread::sleep(Duration::from_millis(50));
    step.send(END).unwrap();
    stream.read_exact(&mut [0; 5]).expect("the end");
    for number in 0..=350 {
        assert_eq!(body(&read_answer(&mut stream)), "ok", "{number}");
        assert!(upstream.request(2 + number).starts_with(&format!("GET /small/{number} ")), "{number}");
    }
}

#[test]
fn a_stream_that_begins_during_a_stop_ends_and_says_that_its_connection_does() {
    let (go, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    let upstream = Upstream::new(move |_, stream| {
        let _ = gone.lock().unwrap().recv();
        let _ = stream.write_all(HEAD);
        // Whatever comes now is the end of the connection.
        let _ = stream.read(&mut [0]);
        Next::Close
    });
    let mut sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    send(&mut stream, "GET /api/realtime HTTP/1.1\r\nHost: a\r\n\r\n");
    until_within(Duration::from_secs(1), "it is asked for", || upstream.requests().len() == 1);
    sidecar.signal("TERM");
    until_within(Duration::from_secs(1), "nobody is accepted", || TcpStream::connect(sidecar.address).is_err());
    go.send(()).unwrap();
    let answer = String::from_utf8(read_to_end(&mut stream)).expect("UTF-8");
    assert!(answer.ends_with("\r\n\r\n0\r\n\r\n"), "{answer}");
    assert_eq!(header(&answer, "connection"), Some("close"), "{answer}");
    assert!(sidecar.wait().success());
}

#[test]
fn clients_that_cannot_or_will_not_keep_the_connection_get_the_same_events() {
    let (upstream, step) = upstream();
    let sidecar = Sidecar::start(upstream.address, &[]);
    for (request, expected) in [
        ("GET /api/realtime HTTP/1.0\r\nHost: a\r\n\r\n", "eventlast"),
        ("GET /api/realtime HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "5\r\nevent\r\n4\r\nlast\r\n0\r\n\r\n"),
    ] {
        let mut stream = sidecar.connect();
        send(&mut stream, request);
        assert_eq!(status(&read_head(&mut stream)), 200);
        for bytes in [&b"5\r\nevent\r\n"[..], b"4\r\nlast\r\n", END] {
            step.send(bytes).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(String::from_utf8_lossy(&read_to_end(&mut stream)), expected);
    }
}

#[test]
fn a_client_that_does_not_read_for_a_while_gets_every_event_of_a_stream() {
    let events: Vec<Vec<u8>> = (0..400).map(|number: usize| super::pattern(1 + number * number % 40_000)).collect();
    let sent = events.clone();
    let upstream = Upstream::new(move |_, stream| {
        let _ = stream.write_all(HEAD);
        for event in &sent {
            let _ = write!(stream, "{:X};an=extension\r\n", event.len());
            let _ = stream.write_all(event);
            let _ = stream.write_all(b"\r\n");
        }
        let _ = stream.write_all(END);
        Next::Continue
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    let before = sidecar.memory_kib();
    send(&mut stream, "GET /api/realtime HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(500));
    assert!(sidecar.memory_kib() < before + 2048, "it is held in memory: {} KiB", sidecar.memory_kib() - before);
    assert_eq!(status(&read_head(&mut stream)), 200);
    let mut received = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the size of a chunk");
            line.push(byte[0]);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).expect("a size");
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).expect("a chunk");
        assert_eq!(chunk.split_off(size), b"\r\n");
        if size == 0 {
            break;
        }
        received.extend(chunk);
    }
    assert!(received == events.concat(), "something was lost");
    send(&mut stream, "GET /api/custom/test HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&read_answer(&mut stream)), 200);
}

#[test]
fn a_stream_that_breaks_off_looks_broken_and_one_that_the_client_leaves_is_let_go() {
    let (upstream, step) = upstream();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let open = || {
        let mut stream = subscribe(&sidecar);
        step.send(b"5\r\nevent\r\n7\r\n").unwrap();
        stream.read_exact(&mut [0; 10]).expect("the event");
        stream
    };
    let mut stream = open();
    // What it sends meanwhile does not hide that it goes.
    send(&mut stream, "GET /second HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(20));
    drop(stream);
    until_within(Duration::from_secs(1), "it is let go", || sidecar.monitor("/metrics", "").contains("\ngeneratio_event_streams 0\n"));
    step.send(END).unwrap();
    let mut stream = open();
    drop(step);
    assert_eq!(read_to_end(&mut stream), b"", "no end that PocketBase did not say");
}
