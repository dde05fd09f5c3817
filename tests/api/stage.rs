//! A sidecar before a PocketBase with our store, beside a simulated FAL, and people who use it; everything they say and hear is kept, to
//! be searched for secrets.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use generatio::simulator::{Clock, Options, Simulator, listener};
use generatio::vault::{self, Method, NewPassword, Opened, Owner, Password, Sealed};
use serde_json::{Value, json};

use crate::support::pocketbase::{EMAIL, PASSWORD, PocketBase};
use crate::support::rest::Rest;
use crate::support::{Sidecar, body, canary, connect, header, status, until};

pub const USERS: &str = "/api/collections/generatio_users";

/// Everything that runs.
pub struct Stage {
    // Stopped first.
    pub sidecar: Sidecar,
    pub pocketbase: PocketBase,
    pub superuser: Rest,
    pub fal: SocketAddr,
    /// Never to be seen outside requests.
    secrets: Mutex<Vec<String>>,
    /// To be seen in the answer that gives them, and in no log.
    passes: Mutex<Vec<String>>,
    heard: Mutex<String>,
}

/// Someone who has signed up and in.
#[derive(Clone)]
pub struct Person {
    pub id: String,
    pub email: String,
    pub password: String,
    pub token: String,
}

/// An answer with its head.
pub struct Answer {
    pub status: u16,
    pub whole: String,
    pub json: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.whole, name)
    }

    /// The JSON, if the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.whole);
        self.json
    }
}

impl Stage {
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// With further flags for the sidecar. Where FAL is may be one.
    pub fn with(flags: &[&str]) -> Self {
        let (pocketbase, fal) = (PocketBase::with_store(), simulator());
        let [queue, rest, api] = ["queue", "rest", "api"].map(|part| format!("http://{fal}/{part}"));
        let mut all = vec!["--pocketbase-email", EMAIL, "--pocketbase-password", PASSWORD];
        all.extend(["--trusted-proxies", "127.0.0.1"]);
        for default in [["--kdf-iterations", "100000"], ["--fal-queue-url", &queue], ["--fal-rest-url", &rest], ["--fal-api-url", &api]] {
            if !flags.contains(&default[0]) {
                all.extend(default);
            }
        }
        all.extend(flags);
        let sidecar = Sidecar::start(pocketbase.address, &all);
        let superuser = pocketbase.superuser();
        let stage =
            Self { sidecar, pocketbase, superuser, fal, secrets: Mutex::default(), passes: Mutex::default(), heard: Mutex::default() };
        until("the sidecar has found PocketBase", || stage.sidecar.log().contains("PocketBase is ready for our endpoints"));
        stage
    }

    /// Someone new.
    pub fn person(&self) -> Person {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let (email, password) = (format!("person{number}@example.com"), self.secret(&format!("password of {number}")));
        let account = json!({"email": email, "password": password, "passwordConfirm": password});
        let made = self.ask("POST", &format!("{USERS}/records")).json(&account).send().expect(200);
        let mut person = Person { id: made["id"].as_str().unwrap().to_owned(), email, password, token: String::new() };
        self.sign_in(&mut person);
        person
    }

    /// Someone new who has stored a key under their password; gives the key too.
    pub fn person_with_key(&self) -> (Person, String) {
        let person = self.person();
        let key = self.secret(&format!("{}:sealed-{}", person.id, person.id));
        self.setup(&person, &key, &person.password).expect(200);
        (person, key)
    }

    /// A new token, by PocketBase's own sign-in.
    pub fn sign_in(&self, person: &mut Person) {
        let identity = json!({"identity": person.email, "password": person.password});
        let signed_in = self.ask("POST", &format!("{USERS}/auth-with-password")).json(&identity).send().expect(200);
        person.token = signed_in["token"].as_str().unwrap().to_owned();
        self.passes.lock().unwrap().push(person.token.clone());
    }

    pub fn setup(&self, person: &Person, key: &str, password: &str) -> Answer {
        self.secret(key);
        self.secret(password);
        self.ask("POST", "/api/custom/tokens/setup").by(person).json(&json!({"fal_token": key, "password": password})).send()
    }

    pub fn login(&self, person: &Person, password: &str) -> Answer {
        let answer = self.ask("POST", "/api/custom/auth/login").json(&json!({"email": person.email, "password": password})).send();
        let given = ["token", "session_id"].map(|name| answer.json[name].as_str().unwrap_or_default().to_owned());
        self.passes.lock().unwrap().extend(given.into_iter().filter(|text| !text.is_empty()));
        answer
    }

    /// An open session's id.
    pub fn session(&self, person: &Person, password: &str) -> String {
        let answer = self.ask("POST", "/api/custom/auth/create-session").by(person).json(&json!({"password": password})).send().expect(200);
        let session = answer["session_id"].as_str().unwrap().to_owned();
        self.passes.lock().unwrap().push(session.clone());
        session
    }

    pub fn token_status(&self, person: &Person) -> Value {
        self.ask("GET", "/api/custom/auth/token-status").by(person).send().expect(200)
    }

    /// Whether a session can still be used, without using it up.
    pub fn has_session(&self, person: &Person) -> bool {
        self.token_status(person)["has_active_session"] == true
    }

    /// What is stored for someone.
    pub fn seal(&self, person: &Person) -> String {
        let (status, row) = self.superuser.get(&format!("{USERS}/records/{}", person.id));
        assert_eq!(status, 200, "{row}");
        row["fal_token"].as_str().unwrap().to_owned()
    }

    /// Stores whatever is given, as an older sidecar or an attacker with the database would.
    pub fn put_seal(&self, person: &Person, seal: &str) {
        let (status, row) = self.superuser.patch(&format!("{USERS}/records/{}", person.id), &json!({"fal_token": seal}));
        assert_eq!(status, 200, "{row}");
    }

    /// Stores a key under someone's own password as another program would: the former extension, or a sidecar with other settings.
    pub fn seal_elsewhere(&self, person: &Person, method: Method) -> String {
        let key = self.secret(&format!("{}:sealed-elsewhere", person.id));
        let (opened, password) = (Opened::parse(key.clone()).unwrap(), NewPassword::parse(person.password.clone().into()).unwrap());
        self.put_seal(person, &vault::seal(&opened, &password, &self.owner(person), method).to_string());
        key
    }

    fn owner(&self, person: &Person) -> Owner {
        let collection = self.superuser.get(USERS).1["id"].as_str().unwrap().parse().unwrap();
        Owner { collection, user: person.id.parse().unwrap() }
    }

    /// The key that a password opens what is stored to.
    pub fn opened(&self, person: &Person, password: &str) -> Option<String> {
        let sealed: Sealed = self.seal(person).parse().ok()?;
        vault::open(&sealed, &Password::from(password.to_owned()), &self.owner(person)).ok().map(|key| key.expose().to_owned())
    }

    /// Derivations that the sidecar has begun.
    pub fn derivations(&self) -> usize {
        self.sidecar.log().matches("a key is derived").count()
    }

    /// Remembers a secret.
    pub fn secret(&self, text: &str) -> String {
        canary::plant(text);
        self.secrets.lock().unwrap().push(text.to_owned());
        text.to_owned()
    }

    /// A request to the sidecar, from an address of its own.
    pub fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        static COUNT: AtomicU32 = AtomicU32::new(0x0a00_0001);
        let address = std::net::Ipv4Addr::from(COUNT.fetch_add(1, Ordering::Relaxed));
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.sidecar.address);
        Ask { stage: self, head, address: address.to_string(), body: Vec::new() }
    }

    /// Fails if a secret stands in an answer, in the sidecar's log at its most talkative, in PocketBase's log or on its screen.
    #[track_caller]
    pub fn assert_secrets_are_kept(&self) {
        let marker = uuid::Uuid::new_v4().to_string();
        self.superuser.get(&format!("/api/health?marker={marker}"));
        let mut logs = String::new();
        until("PocketBase has written its log", || {
            logs = (1..=20).map(|page| self.superuser.get(&format!("/api/logs?perPage=500&page={page}")).1.to_string()).collect();
            logs.contains(&marker)
        });
        let heard = self.heard.lock().unwrap();
        let places =
            [("the sidecar's log", self.sidecar.log()), ("PocketBase's log", logs), ("PocketBase's screen", self.pocketbase.log())];
        let secrets = self.secrets.lock().unwrap();
        assert!(!secrets.is_empty(), "nothing to look for");
        for secret in secrets.iter() {
            assert!(!heard.contains(secret.as_str()), "{secret} was answered");
        }
        for secret in secrets.iter().chain(self.passes.lock().unwrap().iter()) {
            for (place, text) in &places {
                assert!(!text.contains(secret.as_str()), "{secret} stands in {place}");
            }
        }
    }
}

/// A request to be.
pub struct Ask<'a> {
    stage: &'a Stage,
    head: String,
    address: String,
    body: Vec<u8>,
}

impl Ask<'_> {
    pub fn by(self, person: &Person) -> Self {
        self.header("Authorization", &person.token)
    }

    pub fn session(self, id: &str) -> Self {
        self.header("X-Session-ID", id)
    }

    /// From this address, as the proxy before us says.
    pub fn from(self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub fn json(self, body: &Value) -> Self {
        canary::plant_sent(&self.head, body);
        self.body("application/json", body.to_string())
    }

    pub fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self.header("Content-Type", content_type) }
    }

    /// The connection with the request on it, and nobody who reads the answer.
    pub fn begin(self) -> std::net::TcpStream {
        let mut stream = connect(self.stage.sidecar.address);
        let length = self.body.len();
        let head = format!("{}X-Forwarded-For: {}\r\nContent-Length: {length}\r\n\r\n", self.head, self.address);
        // A refusal may close the connection before the last byte is written.
        let _ = stream.write_all(&[head.as_bytes(), &self.body].concat());
        stream
    }

    pub fn send(self) -> Answer {
        let (stage, mut bytes) = (self.stage, Vec::new());
        let _ = self.begin().read_to_end(&mut bytes);
        let whole = String::from_utf8_lossy(&bytes).into_owned();
        stage.heard.lock().unwrap().push_str(&whole);
        canary::assert_kept_in_refusal(status(&whole), &whole);
        let json = serde_json::from_str(body(&whole)).unwrap_or(Value::Null);
        canary::plant_given(&json);
        Answer { status: status(&whole), json, whole }
    }
}

/// A simulator that lives as long as the tests.
fn simulator() -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let socket = runtime.block_on(async { listener("127.0.0.1:0".parse().unwrap()).unwrap() });
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let simulator = Simulator::new(Options::default(), Clock::ticking()).unwrap();
        runtime.block_on(simulator.serve(socket, None, std::future::pending()));
    });
    address
}

/// A user of another collection, and their token.
pub fn stranger(stage: &Stage) -> String {
    let rules = json!({"name": "strangers", "type": "auth", "createRule": "", "listRule": null});
    stage.superuser.made("/api/collections", &rules);
    let nobody = Rest::new(stage.pocketbase.address);
    let account = json!({"email": "stranger@example.com", "password": "12345678", "passwordConfirm": "12345678"});
    nobody.row("strangers", &account);
    nobody.as_user("strangers", "stranger@example.com", "12345678").token().to_owned()
}
