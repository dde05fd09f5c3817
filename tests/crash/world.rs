//! PocketBase, the FAL simulator and the sidecar, with a relay on each wire between them, and a user who asks for pictures.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use generatio::simulator::{Clock, Options, Simulator, listener};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::moment::{Gate, Link, Moment, Target};
use crate::relay;
use crate::support::pocketbase::{EMAIL, PASSWORD, PocketBase};
use crate::support::rest::Rest;
use crate::support::{Sidecar, body, header, status};

const USERS_PASSWORD: &str = "open sesame";
const KEY: &str = "crash:secret-of-the-crash-tests";
/// PocketBase is away for this long, unless a test says otherwise.
pub const AWAY: Duration = Duration::from_secs(1);

/// All of it. Whoever is killed is started again; the user and their jobs stay.
pub struct World {
    runtime: Runtime,
    pub gate: Arc<Gate>,
    pub pocketbase: PocketBase,
    simulator: SocketAddr,
    relays: (SocketAddr, SocketAddr),
    up: watch::Sender<bool>,
    pub sidecar: Option<Sidecar>,
    pub root: Rest,
    pub user: String,
    token: String,
    session: String,
}

/// What is asked for, and by which key it is asked for again; with an empty one it cannot be.
#[derive(Clone, Debug)]
pub struct Order {
    pub key: String,
    pub body: Value,
}

impl Order {
    /// Two small pictures.
    pub fn new(key: &str) -> Self {
        let parameters = json!({ "num_images": 2, "image_size": { "width": 128, "height": 128 } });
        Self { key: key.to_owned(), body: json!({ "model": "flux/schnell", "prompt": format!("crash {key}"), "parameters": parameters }) }
    }

    pub fn prompt(mut self, prompt: &str) -> Self {
        self.body["prompt"] = prompt.into();
        self
    }

    pub fn parameter(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body["parameters"][name] = value.into();
        self
    }

    pub fn model(mut self, name: &str) -> Self {
        self.body["model"] = name.into();
        self
    }
}

/// An answer, or none when the connection was cut.
pub type Answered = Option<(u16, Value)>;

impl World {
    pub fn new() -> Self {
        Self::with_flags(&[])
    }

    /// With further flags for the sidecar.
    pub fn with_flags(flags: &'static [&'static str]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let pocketbase = PocketBase::with_store();
        let simulator = simulate(&runtime);
        let gate = Arc::new(Gate::default());
        let (up, watching) = watch::channel(true);
        let to_pocketbase = relay::start(Link::PocketBase, pocketbase.address, Arc::clone(&gate), watching);
        let to_pocketbase = runtime.block_on(to_pocketbase);
        let (always, watching) = watch::channel(true);
        let to_fal = runtime.block_on(relay::start(Link::Fal, simulator, Arc::clone(&gate), watching));
        std::mem::forget(always);
        let root = pocketbase.superuser();
        let person = json!({ "email": "ann@example.com", "password": USERS_PASSWORD, "passwordConfirm": USERS_PASSWORD });
        let user = root.row("generatio_users", &person);
        let token = root.as_user("generatio_users", "ann@example.com", USERS_PASSWORD).token().to_owned();
        let (relays, session) = ((to_pocketbase, to_fal), String::new());
        let mut world = Self { runtime, gate, pocketbase, simulator, relays, up, sidecar: None, root, user, token, session };
        world.start_sidecar(flags);
        let setup = json!({ "fal_token": KEY, "password": USERS_PASSWORD });
        world.until_ready("the key is stored", || world.post("/api/custom/tokens/setup", &[], &setup));
        world.sign_in();
        world
    }

    pub fn start_sidecar(&mut self, flags: &[&str]) {
        let (pocketbase, fal) = self.relays;
        let at = |part: &str| format!("http://{fal}/{part}");
        let urls = [at("queue"), at("rest"), at("api")];
        let mut all = vec!["--kdf-iterations", "100000", "--jobs-per-minute", "100000", "--fal-media-hosts", "127.0.0.1"];
        all.extend(["--pocketbase-email", EMAIL, "--pocketbase-password", PASSWORD]);
        all.extend(["--fal-queue-url", &urls[0], "--fal-rest-url", &urls[1], "--fal-api-url", &urls[2]]);
        all.extend(flags);
        self.sidecar = Some(Sidecar::start(pocketbase, &all));
    }

    /// The user's next session.
    pub fn sign_in(&mut self) {
        let wish = json!({ "password": USERS_PASSWORD });
        let opened = self.until_ready("a session is opened", || self.post("/api/custom/auth/create-session", &[], &wish));
        self.session = opened["session_id"].as_str().expect("a session").to_owned();
    }

    fn until_ready(&self, what: &str, ask: impl Fn() -> Answered) -> Value {
        let start = Instant::now();
        loop {
            let last = match ask() {
                Some((200, found)) => return found,
                other => other,
            };
            assert!(start.elapsed() < Duration::from_secs(40), "{what}: {last:?}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Counting begins anew, and at that moment somebody is killed.
    pub fn arm(&self, blow: Option<(Moment, Target)>) {
        self.gate.arm(blow, self.sidecar().pid(), self.pocketbase.pid());
    }

    pub fn sidecar(&self) -> &Sidecar {
        self.sidecar.as_ref().expect("it was started")
    }

    /// Nobody listens where PocketBase was.
    pub fn pocketbase_is_away(&mut self) {
        let _ = self.up.send(false);
        self.pocketbase.kill();
    }

    /// Starts again whoever was killed, PocketBase after a while, and signs the user in where the session is lost.
    pub fn mend(&mut self, target: Target, away: Duration) {
        if target.hits_pocketbase() {
            self.pocketbase_is_away();
        }
        if target.hits_sidecar() {
            self.sidecar = None;
            self.start_sidecar(&[]);
        }
        if target.hits_pocketbase() {
            sleep(away);
            self.pocketbase.serve();
            let _ = self.up.send(true);
        }
        if target.hits_sidecar() {
            self.sign_in();
        }
    }

    /// Asks for pictures on a thread of its own, and waits for them there.
    pub fn generate(&self, order: &Order) -> JoinHandle<Answered> {
        let (address, headers, order) = (self.sidecar().address, self.headers(&order.key), order.clone());
        std::thread::spawn(move || ask(address, "POST", "/api/custom/generate/image", &headers, &order.body))
    }

    /// The same request once more; `wish` may be `respond-async`.
    pub fn repeat(&self, order: &Order, wish: &str) -> Answered {
        let mut headers = self.headers(&order.key);
        headers.push(("Prefer".into(), wish.into()));
        ask(self.sidecar().address, "POST", "/api/custom/generate/image", &headers, &order.body)
    }

    fn headers(&self, key: &str) -> Vec<(String, String)> {
        let token = ("Authorization".into(), self.token.clone());
        let idempotency = (!key.is_empty()).then(|| ("Idempotency-Key".into(), key.to_owned()));
        [token, ("X-Session-ID".into(), self.session.clone())].into_iter().chain(idempotency).collect()
    }

    fn post(&self, path: &str, headers: &[(String, String)], body: &Value) -> Answered {
        let mut headers = headers.to_vec();
        headers.push(("Authorization".into(), self.token.clone()));
        ask(self.sidecar().address, "POST", path, &headers, body)
    }

    /// Bytes behind a path of the sidecar's, as a browser without a token gets them.
    pub fn file(&self, path: &str) -> (u16, Vec<u8>) {
        exchange(self.sidecar().address, "GET", path, &[], b"").unwrap_or_default()
    }

    /// What the simulator says of itself.
    pub fn simulator(&self, path: &str) -> Value {
        ask(self.simulator, "GET", path, &[], &Value::Null).expect("the simulator answers").1
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of PocketBase\n{}", self.pocketbase.log());
        }
        let _ = &self.runtime;
    }
}

fn simulate(runtime: &Runtime) -> SocketAddr {
    let options = Options {
        queue_delay: Duration::from_millis(50),
        run_time: Some(Duration::from_millis(250)),
        concurrency: 100,
        balance_micros: 1_000_000_000,
        ..Options::default()
    };
    let _inside = runtime.enter();
    let listener = listener("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = listener.local_addr().expect("an address");
    let simulator = Simulator::new(options, Clock::ticking()).expect("a simulator");
    runtime.spawn(simulator.serve(listener, None, std::future::pending()));
    address
}

fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(String, String)], body: &Value) -> Answered {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let (status, bytes) = exchange(address, method, path, headers, text.as_bytes())?;
    serde_json::from_slice(&bytes).ok().map(|found| (status, found))
}

/// One request on a connection of its own; none when the answer did not come whole.
fn exchange(address: SocketAddr, method: &str, path: &str, headers: &[(String, String)], content: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(90))).ok()?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n", content.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("Content-Type: application/json\r\n\r\n");
    stream.write_all(&[head.as_bytes(), content].concat()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..at]).into_owned();
    debug_assert!(body(&text).is_empty());
    let whole = header(&text, "content-length").is_none_or(|length| length.parse() == Ok(bytes.len() - at));
    whole.then(|| (status(&text), bytes.split_off(at)))
}
