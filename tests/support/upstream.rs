//! A server that records each byte it is sent, for what a real PocketBase would not tell.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::{SOON, connect, header};

/// What happens on one connection after the head of a request was read.
type Script = dyn Fn(&str, &mut TcpStream) -> Next + Send + Sync;

/// Whether the connection goes on.
#[derive(PartialEq, Eq)]
pub enum Next {
    Continue,
    Close,
}

#[derive(Default)]
struct Record {
    /// Whole requests, as they were on the wire.
    requests: Vec<Vec<u8>>,
    /// Everything that was not a whole request when its connection ended.
    fragments: Vec<Vec<u8>>,
    open: usize,
    accepted: usize,
}

/// A listening recorder.
pub struct Upstream {
    pub address: SocketAddr,
    record: Arc<(Mutex<Record>, Condvar)>,
}

impl Upstream {
    /// Answers every request with 200 and `ok`.
    pub fn ok() -> Self {
        Self::new(|_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            Next::Continue
        })
    }

    /// Answers as the script does; it is called with the head, after the whole body was read.
    pub fn new(script: impl Fn(&str, &mut TcpStream) -> Next + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a free port"), script, true)
    }

    /// The script itself reads the body.
    pub fn streaming(script: impl Fn(&str, &mut TcpStream) -> Next + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a free port"), script, false)
    }

    pub fn on(listener: TcpListener, script: impl Fn(&str, &mut TcpStream) -> Next + Send + Sync + 'static, whole: bool) -> Self {
        let address = listener.local_addr().unwrap();
        let record: Arc<(Mutex<Record>, Condvar)> = Arc::default();
        let script: Arc<Script> = Arc::new(script);
        let shared = Arc::clone(&record);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, script) = (Arc::clone(&shared), Arc::clone(&script));
                let Ok(stream) = stream else { return };
                std::thread::spawn(move || serve(stream, &shared, &*script, whole));
            }
        });
        Self { address, record }
    }

    /// The whole requests seen so far, as text.
    pub fn requests(&self) -> Vec<String> {
        self.record.0.lock().unwrap().requests.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// Parts of requests that never became whole.
    pub fn fragments(&self) -> Vec<String> {
        self.record.0.lock().unwrap().fragments.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.record.0.lock().unwrap().open
    }

    /// Whether some client's end of a connection is still established: the kernel may hold an end that we sent back for a moment.
    pub fn is_connected_to(&self) -> bool {
        const ESTABLISHED: &str = "01";
        let port = format!(":{:04X}", self.address.port());
        let sockets = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's sockets");
        sockets.lines().any(|socket| {
            let mut fields = socket.split_whitespace().skip(2);
            fields.next().is_some_and(|remote| remote.ends_with(&port)) && fields.next() == Some(ESTABLISHED)
        })
    }

    /// Connections ever accepted.
    pub fn accepted(&self) -> usize {
        self.record.0.lock().unwrap().accepted
    }

    /// Waits for the `n`th whole request and gives it back.
    pub fn request(&self, n: usize) -> String {
        let deadline = Instant::now() + SOON;
        let (record, changed) = &*self.record;
        let mut record = record.lock().unwrap();
        while record.requests.len() <= n {
            assert!(Instant::now() < deadline, "request {n} never came");
            record = changed.wait_timeout(record, Duration::from_millis(100)).unwrap().0;
        }
        String::from_utf8_lossy(&record.requests[n]).into_owned()
    }

    /// A connection past the sidecar.
    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }
}

fn serve(mut stream: TcpStream, shared: &(Mutex<Record>, Condvar), script: &Script, whole: bool) {
    let (record, changed) = shared;
    {
        let mut record = record.lock().unwrap();
        record.open += 1;
        record.accepted += 1;
    }
    loop {
        let mut bytes = Vec::new();
        let complete = read_request(&mut stream, &mut bytes, whole);
        let mut record = record.lock().unwrap();
        if !complete {
            if !bytes.is_empty() {
                record.fragments.push(bytes);
            }
            break;
        }
        record.requests.push(bytes.clone());
        drop(record);
        changed.notify_all();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if script(&text, &mut stream) == Next::Close {
            break;
        }
    }
    drop(stream);
    record.lock().unwrap().open -= 1;
    changed.notify_all();
}

/// Reads a head, and its body too if it is to be read whole.
fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>, whole: bool) -> bool {
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            Ok(_) | Err(_) => return false,
        }
    }
    if !whole {
        return true;
    }
    let head = String::from_utf8_lossy(bytes).to_lowercase();
    if head.contains("transfer-encoding: chunked") {
        let start = bytes.len();
        loop {
            match stream.read(&mut byte) {
                Ok(1) => bytes.push(byte[0]),
                Ok(_) | Err(_) => return false,
            }
            let body = &bytes[start..];
            let last = body.windows(3).position(|three| three == b"0\r\n").filter(|&at| at == 0 || body[..at].ends_with(b"\r\n"));
            if last.is_some() && body.ends_with(b"\r\n\r\n") {
                return true;
            }
        }
    }
    let length: usize = header(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match stream.read(&mut body[filled..]) {
            Ok(0) | Err(_) => {
                bytes.extend(&body[..filled]);
                return false;
            }
            Ok(read) => filled += read,
        }
    }
    bytes.extend(body);
    true
}
