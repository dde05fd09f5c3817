//! What goes in comes out, both ways.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::support::pocketbase::PocketBase;
use super::support::upstream::{Next, Upstream};
use super::support::{Sidecar, body, connect, header, read_answer, status};
use super::{OK, pattern, read_head, send};

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
    let mut stream = connect(address);
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
