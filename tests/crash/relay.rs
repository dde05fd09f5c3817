//! A wire between the sidecar and what is behind it, on which every moment of every exchange has a name.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::moment::{Gate, Link, Phase, label};

/// Where an exchange goes on, or that its connection is cut.
type Step<T = ()> = Option<T>;

/// Listens for the sidecar on a free port and passes what it says on, for as long as the runtime lives.
///
/// Nobody listens while `up` is false: connecting is then refused, as it is by a server that is gone.
pub async fn start(link: Link, upstream: SocketAddr, gate: Arc<Gate>, up: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(accept(listener, Wire { link, upstream, gate }, up));
    address
}

#[derive(Clone)]
struct Wire {
    link: Link,
    upstream: SocketAddr,
    gate: Arc<Gate>,
}

async fn accept(listener: TcpListener, wire: Wire, mut up: watch::Receiver<bool>) {
    let address = listener.local_addr().expect("an address");
    let mut listener = Some(listener);
    loop {
        if !*up.borrow_and_update() {
            listener = None;
            if up.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(open) = &listener else {
            listener = TcpListener::bind(address).await.ok();
            if listener.is_none() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            continue;
        };
        tokio::select! {
            accepted = open.accept() => {
                if let Ok((stream, _)) = accepted {
                    let wire = wire.clone();
                    tokio::spawn(async move { wire.carry(stream).await });
                }
            }
            changed = up.changed() => if changed.is_err() { return },
        }
    }
}

impl Wire {
    async fn carry(self, mut sidecar: TcpStream) -> Step {
        let mut server = TcpStream::connect(self.upstream).await.ok()?;
        sidecar.set_nodelay(true).ok()?;
        server.set_nodelay(true).ok()?;
        loop {
            let request = message(&mut sidecar, Kind::Request).await?;
            let exchange = self.gate.exchange(self.link, label(&request.bytes));
            self.pass(&mut server, &request.bytes, |phase| exchange.at(phase), Phase::REQUEST).await?;
            let answer = tokio::select! {
                answer = message(&mut server, Kind::Answer) => answer?,
                () = gone(&sidecar) => return None,
            };
            if answer.endless {
                sidecar.write_all(&answer.bytes).await.ok()?;
                tokio::io::copy_bidirectional(&mut sidecar, &mut server).await.ok()?;
                return None;
            }
            self.pass(&mut sidecar, &answer.bytes, |phase| exchange.at(phase), Phase::ANSWER).await?;
        }
    }

    /// Half of it, and the other half, with a moment before, between and after.
    async fn pass(&self, to: &mut TcpStream, bytes: &[u8], at: impl Fn(Phase) -> Step, phases: [Phase; 3]) -> Step {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        at(phases[0])?;
        to.write_all(first).await.ok()?;
        at(phases[1])?;
        to.write_all(second).await.ok()?;
        at(phases[2])
    }
}

/// Until the peer has closed its side.
async fn gone(stream: &TcpStream) {
    let mut byte = [0];
    while matches!(stream.peek(&mut byte).await, Ok(read) if read > 0) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Request,
    Answer,
}

/// One HTTP message, byte for byte.
struct Message {
    bytes: Vec<u8>,
    /// An event stream: only its head is here.
    endless: bool,
}

async fn message(stream: &mut TcpStream, kind: Kind) -> Step<Message> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, &mut bytes).await.ok()?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    if head.contains("\r\ncontent-type: text/event-stream") {
        return Some(Message { bytes, endless: true });
    }
    if let Some(length) = head.split("\r\ncontent-length:").nth(1).and_then(|rest| rest.split("\r\n").next()) {
        let whole = end + length.trim().parse::<usize>().ok()?;
        while bytes.len() < whole {
            more(stream, &mut bytes).await.ok()?;
        }
    } else if head.contains("\r\ntransfer-encoding: chunked") {
        while !is_whole(&bytes[end..]) {
            more(stream, &mut bytes).await.ok()?;
        }
    } else if kind == Kind::Answer && !head.starts_with("http/1.1 204") && !head.starts_with("http/1.1 304") {
        while more(stream, &mut bytes).await.is_ok() {}
    }
    Some(Message { bytes, endless: false })
}

/// Whether a chunked body has come to its end.
fn is_whole(mut body: &[u8]) -> bool {
    loop {
        let Some(line) = find(body, b"\r\n") else { return false };
        let digits = String::from_utf8_lossy(&body[..line]);
        let Ok(length) = usize::from_str_radix(digits.split(';').next().unwrap_or_default().trim(), 16) else { return false };
        let next = line + 2 + length + 2;
        if length == 0 {
            return body.len() >= next;
        }
        let Some(rest) = body.get(next..) else { return false };
        body = rest;
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.reserve(16 * 1024);
    if stream.read_buf(bytes).await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}
