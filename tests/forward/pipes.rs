//! Large answers, most of which never enters the sidecar.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use super::support::upstream::{Next, Upstream};
use super::support::{Sidecar, read_message, status, until};
use super::{pattern, read_head, read_to_end, send, warm};

/// More than there are pipes.
const CROWD: usize = 48;

/// What `/{seed}/{length}` is: not the same for any two.
fn content(seed: usize, length: usize) -> Vec<u8> {
    let mut content = pattern(length + seed * 7919);
    content.split_off(seed * 7919)
}

/// An upstream of such contents.
fn contents() -> Upstream {
    Upstream::new(|head, stream| {
        let mut numbers = head.split(['/', ' ']).skip(2).map_while(|number| number.parse().ok());
        let (Some(seed), Some(length)) = (numbers.next(), numbers.next()) else {
            let _ = stream.write_all(super::OK);
            return Next::Continue;
        };
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        if stream.write_all(&content(seed, length)).is_err() { Next::Close } else { Next::Continue }
    })
}

fn ask(stream: &mut TcpStream, seed: usize, length: usize) {
    send(stream, format!("GET /{seed}/{length} HTTP/1.1\r\nHost: a\r\n\r\n"));
}

#[test]
fn a_crowd_gets_its_large_answers_whole_at_every_pace() {
    let upstream = contents();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let clients: Vec<_> = (0..CROWD)
        .map(|seed| {
            let mut stream = sidecar.connect();
            std::thread::spawn(move || {
                for length in [3_000_000 + seed, 262_144 + seed, 1_000_000 - seed] {
                    ask(&mut stream, seed, length);
                    assert_eq!(status(&read_head(&mut stream)), 200);
                    let mut seen = vec![0; length];
                    let block = [length, 100_000, 333_333][seed % 3];
                    for part in seen.chunks_mut(block) {
                        stream.read_exact(part).expect("the next part");
                        std::thread::sleep(Duration::from_millis(if block == length { 0 } else { 5 }));
                    }
                    assert!(seen == content(seed, length), "client {seed} got other bytes");
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("whole answers"));
}

#[test]
fn large_and_small_answers_to_pipelined_requests_come_in_their_order() {
    let upstream = contents();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    let lengths = [2_000_000, 10, 700_000, 700_001, 0, 5_000_000, 1];
    for (seed, length) in lengths.into_iter().enumerate() {
        ask(&mut stream, seed, length);
    }
    for (seed, length) in lengths.into_iter().enumerate() {
        let answer = read_message(&mut stream);
        assert!(answer.ends_with(&content(seed, length)) && answer.len() < length + 200, "answer {seed}");
    }
}

#[test]
fn there_are_so_many_pipes_and_no_more() {
    let upstream = contents();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let quiet = warm(&sidecar);
    let mut lazy: Vec<TcpStream> = Vec::new();
    for count in [1, CROWD] {
        while lazy.len() < count {
            let mut stream = sidecar.connect();
            ask(&mut stream, lazy.len(), 30_000_000);
            stream.read_exact(&mut [0; 50_000]).expect("the first bytes");
            lazy.push(stream);
        }
        // A client, PocketBase, and two ends of a pipe.
        until("each has what it needs", || sidecar.descriptors() == quiet + 2 * count + 2 * count.min(32));
    }
    drop(lazy);
    until("every descriptor comes back", || sidecar.descriptors() <= quiet);
}

#[test]
fn clients_that_leave_in_the_middle_take_nothing_along() {
    let upstream = contents();
    let sidecar = Sidecar::start(upstream.address, &[]);
    let quiet = warm(&sidecar);
    let leavers: Vec<TcpStream> = (0..CROWD)
        .map(|seed| {
            let mut stream = sidecar.connect();
            ask(&mut stream, seed, 20_000_000);
            stream.read_exact(&mut [0; 50_000]).expect("the first bytes");
            stream
        })
        .collect();
    drop(leavers);
    until("every descriptor comes back", || sidecar.descriptors() <= quiet);
    let mut stream = sidecar.connect();
    for seed in 0..4 {
        ask(&mut stream, seed, 2_000_000);
        assert!(read_message(&mut stream).ends_with(&content(seed, 2_000_000)), "the bytes of somebody else");
    }
}

#[test]
fn a_large_answer_that_is_cut_looks_cut_after_its_last_byte() {
    let upstream = Upstream::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        let _ = stream.write_all(&pattern(600_000));
        let _ = stream.shutdown(Shutdown::Write);
        Next::Close
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    send(&mut stream, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&read_head(&mut stream)), 200);
    // A client that takes its time: by then it is known that no more will come.
    thread::sleep(Duration::from_millis(300));
    assert!(read_to_end(&mut stream) == pattern(600_000));
}

#[test]
fn each_piece_of_a_large_answer_comes_as_soon_as_it_is_sent() {
    let (tell, told) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = Upstream::new(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n");
        for length in told.lock().unwrap().iter() {
            let _ = stream.write_all(&pattern(length));
        }
        Next::Close
    });
    let sidecar = Sidecar::start(upstream.address, &[]);
    let mut stream = sidecar.connect();
    send(&mut stream, "GET /slowly HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&read_head(&mut stream)), 200);
    for length in [1, 30_000, 7, 300_000, 1_500_000, 2] {
        tell.send(length).unwrap();
        let mut seen = vec![0; length];
        stream.read_exact(&mut seen).expect("this piece, although there is no other");
        assert!(seen == pattern(length), "a piece of {length}");
    }
    drop(tell);
}
