//! Answers in every shape: whole, in crumbs, before their time, and none at all.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use super::support::upstream::{Next, Upstream};
use super::support::{Sidecar, body, header, read_answer, status, until};
use super::{OK, read_head, send};

/// An upstream that answers a request for `/n` with the nth of these, in one piece or byte by byte.
fn answering(answers: &'static [&'static str], in_crumbs: bool) -> Upstream {
    Upstream::new(move |head, stream| {
        let number: usize = head.split(['/', ' ']).nth(2).and_then(|number| number.parse().ok()).expect("a number");
        let answer = answers[number].as_bytes();
        stream.set_nodelay(true).expect("a socket");
        for crumb in answer.chunks(if in_crumbs { 1 } else { answer.len() }) {
            let _ = stream.write_all(crumb);
            if in_crumbs {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if answer.starts_with(b"HTTP/1.0") || header(answers[number], "connection") == Some("close") { Next::Close } else { Next::Continue }
    })
}

const GOOD: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\no\r\n001\r\nk\r\n0\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 299 As you like\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
    "HTTP/1.0 200 OK\r\n\r\nok",
];

#[test]
fn an_answer_is_the_same_in_one_piece_and_in_crumbs() {
    for in_crumbs in [false, true] {
        let upstream = answering(GOOD, in_crumbs);
        let sidecar = Sidecar::start(upstream.address, &[]);
        for (number, expected) in GOOD.iter().enumerate() {
            let answer = sidecar.get(&format!("/{number}"));
            let code = if expected.contains("299") { 299 } else { 200 };
            assert_eq!(status(&answer), code, "{expected:?}: {answer}");
            assert!(code == 200 || answer.starts_with("HTTP/1.1 299 As you like\r\n"), "{answer}");
            // What ends with its connection has chunks for the client, whose connection goes on.
            assert!(["ok", "2\r\nok\r\n0\r\n\r\n", "1\r\no\r\n1\r\nk\r\n0\r\n\r\n"].contains(&body(&answer)), "{expected:?}: {answer}");
            assert!(!answer.contains("Early"), "{answer}");
        }
    }
}

const BAD: &[&str] = &[
    "SSH-2.0-OpenSSH\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
];

#[test]
fn an_answer_that_can_be_read_in_two_ways_is_a_502_and_ends_its_connection() {
    let upstream = answering(BAD, false);
    let sidecar = Sidecar::start(upstream.address, &[]);
    for (number, answer) in BAD.iter().enumerate() {
        let seen = sidecar.get(&format!("/{number}"));
        assert_eq!(status(&seen), 502, "{answer:?}: {seen}");
        assert!(body(&seen).contains("could not be understood"), "{seen}");
        until("its connection is closed", || upstream.open() == 0);
    }
    assert_eq!((upstream.requests().len(), upstream.accepted()), (BAD.len(), BAD.len()));
}

#[test]
fn chunks_that_break_off_or_make_no_sense_look_broken_to_the_client_too() {
    const BROKEN: &[&str] = &[
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\nffffffffffffffffff\r\n",
    ];
    let upstream = answering(BROKEN, false);
    let sidecar = Sidecar::start(upstream.address, &[]);
    for (number, answer) in BROKEN.iter().enumerate() {
        let mut stream = sidecar.connect();
        send(&mut stream, format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let mut seen = Vec::new();
        let _ = stream.read_to_end(&mut seen);
        let seen = String::from_utf8_lossy(&seen);
        assert!(!seen.ends_with("0\r\n\r\n"), "{answer:?} looks whole: {seen}");
    }
}

#[test]
fn bytes_that_nobody_asked_for_are_nobodys_answer() {
    let upstream = Upstream::new(|head, stream| {
        let more: &[u8] = if head.starts_with("GET /more") { b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen" } else { b"" };
        let _ = stream.write_all(&[OK, more].concat());
        Next::Continue
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    for _ in 0..5 {
        assert_eq!(body(&sidecar.get("/more")), "ok");
        assert_eq!(body(&sidecar.get("/next")), "ok");
    }
    assert!(upstream.accepted() >= 6, "a connection with bytes left on it was used again: {}", upstream.accepted());
}

#[test]
fn a_connection_that_pocketbase_ended_between_two_requests_costs_nobody_anything() {
    let upstream = Upstream::new(|head, stream| {
        let _ = stream.write_all(OK);
        if head.starts_with("GET /last") { Next::Close } else { Next::Continue }
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    for _ in 0..10 {
        send(&mut stream, "GET /last HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(status(&read_answer(&mut stream)), 200);
        until("the end has reached the sidecar", || !upstream.is_connected_to());
        send(&mut stream, "POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz");
        assert_eq!(status(&read_answer(&mut stream)), 200);
    }
    assert_eq!(upstream.requests().len(), 20);
}

#[test]
fn an_answer_may_go_along_with_the_upload_that_it_answers() {
    let upstream = Upstream::streaming(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n");
        for _ in 0..4 {
            let mut block = [0; 10];
            if stream.read_exact(&mut block).is_err() || stream.write_all(&block).is_err() {
                return Next::Close;
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
        Next::Close
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    send(&mut stream, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n");
    assert_eq!(status(&read_head(&mut stream)), 200);
    for number in 0..4 {
        let block = [b'a' + number; 10];
        send(&mut stream, block);
        let mut echoed = [0; 10];
        stream.read_exact(&mut echoed).expect("the echo of what was sent so far");
        assert_eq!(echoed, block);
    }
}
