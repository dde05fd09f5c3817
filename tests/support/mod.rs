//! The real sidecar as a process, a real PocketBase, a recording upstream, and raw sockets.
#![expect(dead_code, reason = "each test binary uses its own part of the harness")]

pub mod canary;
pub mod pocketbase;
pub mod relay;
pub mod rest;
pub mod upstream;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A file that nobody else can find.
fn nameless_file() -> File {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let path = std::env::temp_dir().join(format!("generatio-log-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let file = File::options().read(true).append(true).create_new(true).open(&path).expect("a file in the folder for temporary ones");
    std::fs::remove_file(&path).expect("it was made just now");
    file
}

/// A generous bound for whatever a test waits for.
pub const SOON: Duration = Duration::from_secs(20);

/// A running `generatio serve` at its most talkative; killed when dropped. Then no secret may stand in its log or among its arguments.
pub struct Sidecar {
    pub address: SocketAddr,
    child: Child,
    /// A file without a name: what the process has written can be read here before its next answer arrives.
    log: File,
}

impl Sidecar {
    /// Starts one before `upstream`, with further flags.
    pub fn start(upstream: SocketAddr, flags: &[&str]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_generatio")), upstream, flags)
    }

    /// Starts one by a command that becomes the program.
    pub fn start_by(mut command: Command, upstream: SocketAddr, flags: &[&str]) -> Self {
        let url = format!("http://{upstream}");
        let log = nameless_file();
        let default = |flag: &'static str, value: &'static str| if flags.contains(&flag) { vec![] } else { vec![flag, value] };
        // No person unlocks as often as a test does.
        let patient = ["--logins-per-minute-per-address", "--unlocks-per-minute-per-address", "--unlocks-per-minute-per-user"];
        let child = command
            .args(["serve", "--pocketbase-url", &url])
            .args(default("--listen", "127.0.0.1:0"))
            .args(default("--metrics-listen", "127.0.0.1:0"))
            .args(default("--log", "trace"))
            .args(patient.into_iter().flat_map(|flag| default(flag, "off")))
            .args(without_secrets(flags))
            .envs(secrets(flags))
            .stderr(log.try_clone().expect("a second handle"))
            .spawn()
            .expect("the sidecar starts");
        let mut sidecar = Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), child, log };
        until("an address is printed", || {
            let log = sidecar.log();
            if let Some(ended) = sidecar.child.try_wait().expect("a child of ours") {
                panic!("the sidecar ended, {ended}: {log}");
            }
            let Some((_, rest)) = log.split_once("listening on http://") else { return false };
            let Some((address, _)) = rest.split_once([' ', '"']) else { return false };
            sidecar.address = address.parse().expect("an address");
            true
        });
        sidecar
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        let mut bytes = vec![0; self.log.metadata().expect("a file").len() as usize];
        self.log.read_exact_at(&mut bytes, 0).expect("a file that only grows");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Where its metrics are.
    pub fn metrics_address(&self) -> SocketAddr {
        let log = self.log();
        let (_, rest) = log.split_once("metrics are at http://").expect("a port for metrics");
        rest.split('/').next().and_then(|address| address.parse().ok()).expect("an address")
    }

    /// One GET on the metrics port, with a header of one's own.
    pub fn monitor(&self, path: &str, header: &str) -> String {
        let mut stream = connect(self.metrics_address());
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{header}Connection: close\r\n\r\n").as_bytes()).expect("a connection");
        read_answer(&mut stream)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// The exit status, waited for.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().expect("the sidecar can be waited for")
    }

    /// Open descriptors of the process. Only root may list them, since the sidecar refuses to be looked into; Linux 6.2 and newer count
    /// them for everybody.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        let listed = std::fs::read_dir(&folder).map(Iterator::count);
        let counted = || std::fs::metadata(&folder).ok().and_then(|folder| folder.len().try_into().ok()).filter(|count| *count > 0);
        listed.ok().or_else(counted).expect("root, or Linux 6.2 or newer")
    }

    /// Resident memory in KiB.
    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a process directory");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a VmRSS line");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }

    /// Connects, with a time-out on reads.
    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Sends raw bytes on a new connection and reads the answers until the sidecar closes or falls silent.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // A refusal may close the connection before the last byte is written.
        let _ = stream.write_all(bytes);
        read_answer(&mut stream)
    }

    /// One GET on a connection of its own.
    pub fn get(&self, path: &str) -> String {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let arguments = std::fs::read(format!("/proc/{}/cmdline", self.pid())).unwrap_or_default();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the sidecar\n{}", self.log());
        } else {
            canary::assert_kept("the sidecar's arguments", &arguments);
            canary::assert_kept("the sidecar's log", self.log().as_bytes());
        }
    }
}

/// Flags whose values must not be seen in a list of processes, and the variables that hold them instead.
const SECRET_FLAGS: [(&str, &str); 2] =
    [("--pocketbase-password", "GENERATIO_POCKETBASE_PASSWORD"), ("--pocketbase-token", "GENERATIO_POCKETBASE_TOKEN")];

fn secret(flag: &str) -> Option<&'static str> {
    SECRET_FLAGS.iter().find(|(name, _)| *name == flag).map(|(_, variable)| *variable)
}

fn without_secrets<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    let is_value = |index: usize| index > 0 && secret(flags[index - 1]).is_some();
    (0..flags.len()).filter(|index| secret(flags[*index]).is_none() && !is_value(*index)).map(|index| flags[index]).collect()
}

fn secrets<'a>(flags: &[&'a str]) -> Vec<(&'static str, &'a str)> {
    let found: Vec<_> = flags.windows(2).filter_map(|pair| Some((secret(pair[0])?, pair[1]))).collect();
    found.iter().for_each(|(_, value)| canary::plant(value));
    found
}

pub fn connect(address: SocketAddr) -> TcpStream {
    // PocketBase is away for a second when its hooks change.
    let start = Instant::now();
    let stream = loop {
        match TcpStream::connect(address) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused && start.elapsed() < Duration::from_secs(5) => {
                std::thread::sleep(Duration::from_millis(50));
            }
            connected => break connected.expect("a listening server"),
        }
    };
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

/// Reads one answer: its head, and as much of a body as its framing says; all there is when the peer closes instead.
pub fn read_answer(stream: &mut TcpStream) -> String {
    String::from_utf8_lossy(&read_message(stream)).into_owned()
}

/// Reads one message, byte for byte as it was on the wire.
pub fn read_message(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            Ok(_) | Err(_) => return bytes,
        }
    }
    let head = String::from_utf8_lossy(&bytes).to_lowercase();
    if head.starts_with("http/1.1 100") {
        bytes.extend(read_message(stream));
    } else if let Some(length) = header(&head, "content-length") {
        let mut body = vec![0; length.parse().expect("a number")];
        let bodiless = head.starts_with("http/1.1 304") || head.starts_with("http/1.1 204");
        if !bodiless && stream.read_exact(&mut body).is_ok() {
            bytes.extend(body);
        }
    } else if head.contains("transfer-encoding: chunked") {
        while !bytes.ends_with(b"\r\n0\r\n\r\n") && !ends_with_trailers(&bytes) {
            match stream.read(&mut byte) {
                Ok(1) => bytes.push(byte[0]),
                Ok(_) | Err(_) => return bytes,
            }
        }
    }
    bytes
}

fn ends_with_trailers(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n") && bytes.windows(5).rposition(|five| five == b"\r\n0\r\n").is_some_and(|at| !bytes[at + 5..].is_empty())
}

/// The value of a header in a message, by its lower-case name.
pub fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let head = message.split("\r\n\r\n").next()?;
    head.lines()
        .skip(1)
        .find_map(|line| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name)))
        .map(|(_, value)| value.trim())
}

/// The status of an answer; 0 when there is none.
pub fn status(answer: &str) -> u16 {
    answer.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// What follows the head.
pub fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// Waits for a condition.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_within(SOON, what, &mut condition);
}

pub fn until_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
