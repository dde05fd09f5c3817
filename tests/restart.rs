//! The service manager's side: a socket that outlives the process, and news of its start and end.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use support::pocketbase::{EMAIL, PASSWORD, PocketBase};
use support::rest::Rest;
use support::upstream::{Next, Upstream};
use support::{SOON, Sidecar, connect, read_answer, status, until};

/// What systemd does: keeps the socket, hands it over as descriptor 3, and listens for news.
struct Manager {
    socket: TcpListener,
    news: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("generatio-news-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let news = UnixDatagram::bind(&path).unwrap();
        news.set_read_timeout(Some(SOON)).unwrap();
        Self { socket: TcpListener::bind("127.0.0.1:0").unwrap(), news, path }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// A command that becomes the program, and says that so many sockets were handed over.
    fn command(&self, sockets: u8) -> Command {
        let script = format!(r#"export LISTEN_PID=$$ LISTEN_FDS={sockets}; exec "$@" 3<&0 </dev/null"#);
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_generatio")]);
        command.stdin(Stdio::from(OwnedFd::from(self.socket.try_clone().unwrap()))).env("NOTIFY_SOCKET", &self.path);
        command
    }

    fn start(&self, upstream: &Upstream) -> Sidecar {
        self.start_before(upstream.address, &[])
    }

    fn start_before(&self, upstream: SocketAddr, flags: &[&str]) -> Sidecar {
        Sidecar::start_by(self.command(1), upstream, flags)
    }

    fn hears(&self) -> String {
        let mut bytes = [0; 256];
        let length = self.news.recv(&mut bytes).expect("news within the time-out");
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// 200 requests a second from eight clients, each on a connection of its own, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    bad: Arc<Mutex<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    const CLIENTS: u32 = 8;
    const APART: Duration = Duration::from_millis(40);

    /// The requests are sent in turn.
    fn on(address: SocketAddr, requests: &[String]) -> Self {
        let (stop, sent, bad) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default(), Arc::<Mutex<Vec<String>>>::default());
        let clients = (0..Self::CLIENTS).map(|_| {
            let (stop, sent, bad, requests) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&bad), requests.to_vec());
            std::thread::spawn(move || {
                let begin = Instant::now();
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    std::thread::sleep((Self::APART * round).saturating_sub(begin.elapsed()));
                    let number = sent.fetch_add(1, Ordering::Relaxed) as usize;
                    let request = &requests[number % requests.len()];
                    if let Err(what) = answered(address, request) {
                        bad.lock().unwrap().push(format!("{}: {what}", request.lines().next().unwrap_or_default()));
                    }
                }
            })
        });
        let clients = clients.collect();
        Self { stop, sent, bad, clients }
    }

    fn goes_on(&self, requests: u32) {
        let from = self.sent.load(Ordering::Relaxed);
        until("the load goes on", || self.sent.load(Ordering::Relaxed) >= from + requests);
    }

    /// How many requests were sent. Each must have been answered with 200.
    #[track_caller]
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
        let (sent, bad) = (self.sent.load(Ordering::Relaxed), self.bad.lock().unwrap());
        assert!(bad.is_empty(), "{} of {sent}: {:?}", bad.len(), &bad[..bad.len().min(5)]);
        sent as usize
    }
}

fn request(method: &str, path: &str, token: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

fn answered(address: SocketAddr, request: &str) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).map_err(|error| format!("refused: {error}"))?;
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(request.as_bytes()).map_err(|error| format!("lost: {error}"))?;
    let answer = read_answer(&mut stream);
    if status(&answer) == 200 { Ok(()) } else { Err(format!("lost: {answer:?}")) }
}

fn health() -> String {
    "GET /api/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned()
}

/// Takes a while, so that every stop finds requests that run.
fn slow() -> Upstream {
    Upstream::new(|_, stream| {
        std::thread::sleep(Duration::from_millis(50));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Next::Continue
    })
}

#[test]
fn a_restart_under_load_refuses_and_loses_nothing() {
    let (manager, upstream) = (Manager::new(), slow());
    let mut sidecar = manager.start(&upstream);
    assert_eq!(sidecar.address, manager.address(), "the socket handed over is the one that is served");
    let load = Load::on(manager.address(), &[health(), request("POST", "/api/collections/notes/records", "", r#"{"title":"a note"}"#)]);
    for _ in 0..5 {
        load.goes_on(100);
        sidecar.signal("TERM");
        assert!(sidecar.wait().success());
        sidecar = manager.start(&upstream);
    }
    load.goes_on(100);
    let sent = load.end();
    assert_eq!(upstream.requests().len(), sent, "each was passed on once");
}

#[test]
fn a_restart_before_a_real_pocketbase_refuses_and_loses_nothing_of_ours_either() {
    let (manager, pocketbase) = (Manager::new(), PocketBase::with_store());
    let superuser = pocketbase.superuser();
    superuser.made(
        "/api/collections",
        &json!({"name": "notes", "type": "base", "createRule": "", "fields": [{"type": "text", "name": "title"}]}),
    );
    superuser.row("generatio_users", &json!({"email": "a@example.com", "password": "12345678", "passwordConfirm": "12345678"}));
    let user = Rest::new(pocketbase.address).as_user("generatio_users", "a@example.com", "12345678");
    let requests = [
        health(),
        request("POST", "/api/collections/notes/records", "", r#"{"title":"a note"}"#),
        request("GET", "/api/custom/jobs", user.token(), ""),
        request("POST", "/api/custom/preferences/get", user.token(), r#"{"model_name":"flux/schnell"}"#),
        request("GET", "/api/custom/status", "", ""),
    ]
    .map(|text| text.replace("Content-Length: 0\r\n", ""));
    let flags = ["--pocketbase-email", EMAIL, "--pocketbase-password", PASSWORD];
    let mut sidecar = manager.start_before(pocketbase.address, &flags);
    let load = Load::on(manager.address(), &requests);
    for _ in 0..3 {
        load.goes_on(200);
        sidecar.signal("TERM");
        assert!(sidecar.wait().success());
        sidecar = manager.start_before(pocketbase.address, &flags);
    }
    load.goes_on(200);
    let sent = load.end();
    let made = superuser.get("/api/collections/notes/records").1["totalItems"].as_u64().unwrap();
    assert_eq!(usize::try_from(made).unwrap(), (sent + requests.len() - 2) / requests.len(), "each was made once");
}

#[test]
fn the_manager_hears_of_the_start_and_of_the_stop_while_requests_still_run() {
    let (manager, upstream) = (Manager::new(), slow());
    let mut sidecar = manager.start(&upstream);
    assert_eq!(manager.hears(), "READY=1");
    let mut running = connect(manager.address());
    running.write_all(b"GET /api/health HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    upstream.request(0);
    sidecar.signal("TERM");
    assert_eq!(manager.hears(), "STOPPING=1");
    assert_eq!(status(&read_answer(&mut running)), 200);
    assert!(sidecar.wait().success());
}

#[test]
fn what_cannot_be_served_is_refused_by_name() {
    let manager = Manager::new();
    let two = manager.command(2).args(["serve", "--pocketbase-url", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(two.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&two.stderr).contains("2 sockets were handed over (LISTEN_FDS)"));
    let file = std::fs::File::open("Cargo.toml").unwrap();
    let none = manager.command(1).stdin(Stdio::from(file)).args(["serve", "--pocketbase-url", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("the socket handed over (LISTEN_FDS)"));
}

#[test]
fn a_connection_that_is_new_when_the_stop_comes_is_answered_and_a_silent_one_does_not_hold_it_up() {
    let (manager, upstream) = (Manager::new(), slow());
    let mut sidecar = manager.start(&upstream);
    let (mut new, silent) = (connect(manager.address()), connect(manager.address()));
    // The third is answered, so the two before it were accepted.
    assert!(answered(manager.address(), &health()).is_ok());
    new.write_all(b"GET /api/health HTTP/1.1\r\n").unwrap();
    sidecar.signal("TERM");
    until("the drain begins", || sidecar.log().contains("draining"));
    new.write_all(b"Host: a\r\n\r\n").unwrap();
    assert_eq!(status(&read_answer(&mut new)), 200);
    let begin = Instant::now();
    assert!(sidecar.wait().success());
    assert!(begin.elapsed() < Duration::from_secs(10), "far below the drain time-out");
    drop(silent);
}

#[test]
fn a_request_on_a_kept_connection_that_crosses_the_stop_is_answered_and_the_connection_ended() {
    let (manager, upstream) = (Manager::new(), slow());
    let mut sidecar = manager.start(&upstream);
    let mut kept = connect(manager.address());
    for _ in 0..2 {
        kept.write_all(b"GET /api/health HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(status(&read_answer(&mut kept)), 200);
    }
    sidecar.signal("TERM");
    until("the drain begins", || sidecar.log().contains("draining"));
    kept.write_all(b"GET /api/health HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let answer = read_answer(&mut kept);
    assert_eq!(status(&answer), 200);
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    assert!(sidecar.wait().success());
}
