//! What a stop lets end, and what it cuts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::support::upstream::{Next, Upstream};
use super::support::{Sidecar, read_answer, status, until};
use super::{pattern, read_head, read_to_end, send};

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
fn a_client_that_was_idle_for_long_may_still_ask_as_a_stop_begins() {
    let upstream = Upstream::ok();
    let mut sidecar = Sidecar::start(upstream.address, &[]);
    let mut idle: Vec<TcpStream> = (0..2).map(|_| sidecar.connect()).collect();
    for stream in &mut idle {
        send(stream, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(status(&read_answer(stream)), 200);
    }
    std::thread::sleep(Duration::from_millis(900));
    let start = Instant::now();
    sidecar.signal("TERM");
    send(&mut idle[0], "GET /last HTTP/1.1\r\nHost: a\r\n\r\n");
    // It says that the connection ends, unless it was faster than the signal.
    assert_eq!(status(&read_answer(&mut idle[0])), 200);
    for stream in &mut idle {
        assert!(read_to_end(stream).is_empty());
    }
    drop(idle);
    assert!(sidecar.wait().success());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}
