//! Who may take how long, and how many may wait.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::support::upstream::{Next, Upstream};
use super::support::{Sidecar, body, header, read_answer, status, until, until_within};
use super::{OK, read_head, read_to_end, send, warm};

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
    // A receive buffer that grows as it likes, to 32 MB, hides what is read from its peer until a sixteenth of it is free.
    socket2::SockRef::from(&stream).set_recv_buffer_size(2 << 20).unwrap();
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

#[test]
fn a_client_that_is_connected_and_asks_for_nothing_costs_next_to_no_memory_and_may_ask_again() {
    let upstream = Upstream::ok();
    let sidecar = Sidecar::start(upstream.address, &[]);
    warm(&sidecar);
    let before = sidecar.memory_kib();
    let mut idle = Vec::new();
    // Ten crowds: what one has let go of serves the next.
    for _ in 0..10 {
        for _ in 0..100 {
            let mut stream = sidecar.connect();
            send(&mut stream, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(body(&read_answer(&mut stream)), "ok");
            idle.push(stream);
        }
        std::thread::sleep(Duration::from_millis(700));
    }
    let each = (sidecar.memory_kib() - before) * 1024 / idle.len() as u64;
    assert!(each < 8 * 1024, "{each} bytes for each of them");
    for stream in &mut idle {
        send(stream, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz");
        assert_eq!(body(&read_answer(stream)), "ok");
    }
}

#[test]
fn half_a_head_that_came_along_with_the_last_request_is_not_lost_in_a_pause() {
    let upstream = Upstream::ok();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    for _ in 0..3 {
        send(&mut stream, "GET /x HTTP/1.1\r\nHost: a\r\n\r\nGET /y HT");
        assert_eq!(body(&read_answer(&mut stream)), "ok");
        std::thread::sleep(Duration::from_millis(900));
        send(&mut stream, "TP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(body(&read_answer(&mut stream)), "ok");
    }
    assert_eq!(upstream.requests().len(), 6);
}

#[test]
fn a_client_that_was_idle_for_long_and_leaves_is_let_go() {
    let upstream = Upstream::ok();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let quiet = warm(&sidecar);
    let mut idle: Vec<TcpStream> = (0..20).map(|_| sidecar.connect()).collect();
    for stream in &mut idle {
        send(stream, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(body(&read_answer(stream)), "ok");
    }
    std::thread::sleep(Duration::from_millis(900));
    drop(idle);
    // Each of two workers keeps its connection to PocketBase.
    until("every descriptor comes back", || sidecar.descriptors() <= quiet + 2);
}
