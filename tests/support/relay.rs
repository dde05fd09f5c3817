//! A wire between the sidecar and PocketBase that counts who asks what, and can be bent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::header;

/// A listening relay.
pub struct Relay {
    pub address: SocketAddr,
    wire: Arc<Wire>,
}

#[derive(Default)]
struct Wire {
    /// The head of each request, as it was sent.
    heads: Mutex<Vec<String>>,
    /// Whoever asks for events is hung up on.
    without_events: AtomicBool,
    /// Events stay open, and nothing comes through any more.
    silent_events: AtomicBool,
    /// Connections are taken, and nothing comes through in either direction.
    frozen: AtomicBool,
}

impl Relay {
    pub fn before(pocketbase: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let wire: Arc<Wire> = Arc::default();
        let shared = Arc::clone(&wire);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), wire) = (stream, Arc::clone(&shared)) else { return };
                std::thread::spawn(move || carry(&stream, pocketbase, &wire));
            }
        });
        Self { address, wire }
    }

    pub fn without_events(self) -> Self {
        self.wire.without_events.store(true, Ordering::Relaxed);
        self
    }

    pub fn silence_events(&self, silent: bool) {
        self.wire.silent_events.store(silent, Ordering::Relaxed);
    }

    pub fn freeze(&self, frozen: bool) {
        self.wire.frozen.store(frozen, Ordering::Relaxed);
    }

    /// How often PocketBase was asked whether this token is good.
    pub fn checks_of(&self, token: &str) -> usize {
        self.count(|head| head.contains("/auth-refresh") && header(head, "authorization") == Some(token))
    }

    /// The head of each request, as it was sent.
    pub fn heads(&self) -> Vec<String> {
        self.wire.heads.lock().unwrap().clone()
    }

    /// How many requests had such a head.
    pub fn count(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.wire.heads.lock().unwrap().iter().filter(|head| wanted(head)).count()
    }
}

/// One connection, for as long as both sides keep it.
fn carry(sidecar: &TcpStream, pocketbase: SocketAddr, wire: &Arc<Wire>) {
    let Ok(upstream) = TcpStream::connect(pocketbase) else { return };
    let events = Arc::new(AtomicBool::new(false));
    let back = (upstream.try_clone(), sidecar.try_clone(), Arc::clone(wire), Arc::clone(&events));
    std::thread::spawn(move || {
        let (Ok(mut from), Ok(mut to), wire, events) = back else { return };
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if events.load(Ordering::Relaxed) && wire.silent_events.load(Ordering::Relaxed) {
                continue;
            }
            wire.thaw();
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    });
    let _ = requests(sidecar, &upstream, wire, &events);
    let _ = (sidecar.shutdown(Shutdown::Both), upstream.shutdown(Shutdown::Both));
}

/// Passes requests on one by one.
fn requests(sidecar: &TcpStream, mut upstream: &TcpStream, wire: &Wire, events: &AtomicBool) -> std::io::Result<()> {
    let mut reader = BufReader::new(sidecar);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        wire.heads.lock().unwrap().push(head.clone());
        wire.thaw();
        if head.starts_with("GET /api/realtime") {
            events.store(true, Ordering::Relaxed);
            if wire.without_events.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        let length: usize = header(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        let mut whole = head.into_bytes();
        let start = whole.len();
        whole.resize(start + length, 0);
        reader.read_exact(&mut whole[start..])?;
        upstream.write_all(&whole)?;
    }
}

impl Wire {
    fn thaw(&self) {
        while self.frozen.load(Ordering::Relaxed) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
