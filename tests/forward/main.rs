//! The proxy between real sockets: what goes in comes out, whoever leaves is let go, and whatever breaks is said.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod bytes;
mod events;
mod outages;
mod pipes;
mod stopping;
#[path = "../support/mod.rs"]
mod support;
mod waiting;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::{Sidecar, status, until};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn send(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).expect("the sidecar takes it");
}

/// Bytes that repeat only after a while, so that a lost or swapped block shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
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

/// The descriptors of a sidecar whose workers have all begun.
fn warm(sidecar: &Sidecar) -> usize {
    let held: Vec<TcpStream> = (0..8).map(|_| sidecar.connect()).collect();
    assert_eq!(status(&sidecar.get("/api/custom/test")), 200);
    let busy = sidecar.descriptors();
    drop(held);
    until("idle connections are closed", || sidecar.descriptors() <= busy - 8);
    sidecar.descriptors()
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}
