//! Everything that a generation needs, users included.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::simulator::Simulator;
use crate::support::pocketbase::{EMAIL, PASSWORD, PocketBase};
use crate::support::rest::Rest;
use crate::support::{Sidecar, canary};

pub const USERS_PASSWORD: &str = "correct horse battery";
/// Until a job that needs no luck is over.
pub const SOON: Duration = Duration::from_secs(40);

/// A sidecar between PocketBase and the simulator. The fields are dropped in their order.
pub struct World {
    pub sidecar: Sidecar,
    pub simulator: Simulator,
    pub pocketbase: PocketBase,
    pub superuser: Rest,
    flags: Vec<String>,
}

/// One answer of the sidecar.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

/// A user with a key and an open session.
#[derive(Clone)]
pub struct User {
    pub id: String,
    pub email: String,
    pub key: String,
    pub token: String,
    pub session: String,
    origin: String,
    client: reqwest::Client,
}

impl World {
    /// One for all tests that leave it as it is: it ends with the last of those that run at the same time.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(Self::start(&[]));
            *shared = Arc::downgrade(&world);
            world
        })
    }

    pub fn start(flags: &[&str]) -> Self {
        Self::with(Simulator::quick(), flags)
    }

    pub fn with(simulator: Simulator, flags: &[&str]) -> Self {
        Self::before(simulator, flags, |pocketbase| pocketbase)
    }

    /// The sidecar reaches PocketBase where `way` says, which is told where it is.
    pub fn before(simulator: Simulator, flags: &[&str], way: impl FnOnce(SocketAddr) -> SocketAddr) -> Self {
        let pocketbase = PocketBase::with_store();
        let mut all: Vec<String> = ["--pocketbase-email", EMAIL, "--pocketbase-password", PASSWORD].map(str::to_owned).into();
        all.extend(["--kdf-iterations", "100000"].map(str::to_owned));
        all.extend(simulator.flags());
        let paced = flags.contains(&"--jobs-per-minute");
        all.extend(["--jobs-per-minute", "100000"].iter().filter(|_| !paced).map(|flag| (*flag).to_owned()));
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let sidecar = start(way(pocketbase.address), &all);
        let superuser = pocketbase.superuser();
        Self { sidecar, simulator, pocketbase, superuser, flags: all }
    }

    /// kill -9, and a new one in its place, which listens elsewhere.
    pub fn restart(&mut self) {
        self.sidecar.signal("KILL");
        self.sidecar.wait();
        self.sidecar = start(self.pocketbase.address, &self.flags);
    }

    /// SIGTERM; the next one is started by [`Self::restart`].
    pub fn ask_to_stop(&self) {
        self.sidecar.signal("TERM");
    }

    /// A new user with a key of their own.
    pub async fn user(&self) -> User {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let key = format!("team{}:s3cret-of-a-key", COUNT.fetch_add(1, Ordering::Relaxed));
        self.user_with(&key).await
    }

    pub async fn user_with(&self, key: &str) -> User {
        let mut user = self.guest();
        user.store(key).await;
        user.open().await;
        user
    }

    /// Several. PocketBase's part of it is slow and blocks, so it is done first; the sidecar lets few of one address sign in at once.
    pub async fn users(&self, count: usize) -> Vec<User> {
        let guests: Vec<User> = (0..count).map(|_| self.guest()).collect();
        let mut users = Vec::new();
        for (index, mut user) in guests.into_iter().enumerate() {
            user.store(&format!("many{index}:s3cret-of-a-key")).await;
            user.open().await;
            users.push(user);
        }
        users
    }

    /// A new user without a key.
    pub fn guest(&self) -> User {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let email = format!("u{}@example.com", COUNT.fetch_add(1, Ordering::Relaxed));
        let body = json!({ "email": email, "password": USERS_PASSWORD, "passwordConfirm": USERS_PASSWORD, "verified": true });
        let id = self.superuser.row("generatio_users", &body);
        let token = Rest::new(self.pocketbase.address).as_user("generatio_users", &email, USERS_PASSWORD).token().to_owned();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(90)).build().unwrap();
        User { id, email, key: String::new(), token, session: String::new(), origin: self.origin(), client }
    }

    /// The same user at the sidecar that runs now, with a new session.
    pub async fn again(&self, user: &User) -> User {
        let mut user = self.moved(user);
        user.open().await;
        user
    }

    /// The same user at the sidecar that runs now.
    pub fn moved(&self, user: &User) -> User {
        User { origin: self.origin(), ..user.clone() }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.sidecar.address)
    }

    /// A row of PocketBase's.
    pub fn row(&self, collection: &str, id: &str) -> Value {
        let (status, row) = self.superuser.get(&format!("/api/collections/{collection}/records/{id}"));
        assert_eq!(status, 200, "{collection}/{id}: {row}");
        row
    }

    /// The rows of a collection that a filter finds.
    pub fn rows(&self, collection: &str, filter: &str) -> Vec<Value> {
        let query: String =
            form_urlencoded::Serializer::new(String::new()).append_pair("filter", filter).append_pair("perPage", "500").finish();
        let (status, found) = self.superuser.get(&format!("/api/collections/{collection}/records?{query}"));
        assert_eq!(status, 200, "{collection}: {found}");
        found["items"].as_array().unwrap().clone()
    }

    /// What the ledger says of a job, in micro-dollars.
    pub fn charges(&self, job: &str) -> Vec<i64> {
        self.rows("spend_events", &format!("job_id = '{job}'")).iter().map(|row| row["amount_micros"].as_i64().unwrap()).collect()
    }

    /// Waits until the job's row shows one of these states, and gives it.
    pub async fn job_in(&self, job: &str, states: &[&str]) -> Value {
        until(&format!("job {job} in {states:?}"), || {
            let row = self.row("generations", job);
            states.contains(&row["status"].as_str().unwrap()).then_some(row)
        })
        .await
    }
}

fn start(pocketbase: SocketAddr, flags: &[String]) -> Sidecar {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let sidecar = Sidecar::start(pocketbase, &flags);
    // Until it has signed in and looked at the collections, our endpoints answer 503.
    crate::support::until("the sidecar is ready", || sidecar.log().contains("PocketBase is ready for our endpoints"));
    sidecar
}

/// Waits until there is something.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

impl User {
    /// Stores a key, in place of the one before.
    pub async fn store(&mut self, key: &str) {
        key.clone_into(&mut self.key);
        let answer = self.send(Method::POST, "tokens/setup", &[], &json!({ "fal_token": key, "password": USERS_PASSWORD })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Opens a further session.
    pub async fn open(&mut self) {
        let answer = self.send(Method::POST, "auth/create-session", &[], &json!({ "password": USERS_PASSWORD })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["session_id"].as_str().unwrap().clone_into(&mut self.session);
    }

    /// Asks one of our endpoints, with token and session.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.try_send(method, path, headers, body).await.unwrap()
    }

    pub async fn try_send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Result<Answer, reqwest::Error> {
        let mut request = self.client.request(method, format!("{}/api/custom/{path}", self.origin));
        for (name, value) in [("authorization", self.token.as_str()), ("x-session-id", self.session.as_str())] {
            if !value.is_empty() && !headers.iter().any(|(given, _)| *given == name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        canary::plant_sent("/api/custom/", body);
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = String::from_utf8_lossy(&answer.bytes().await?).into_owned();
        canary::assert_kept_in_refusal(status, &text);
        let body = serde_json::from_str(&text).unwrap_or_default();
        canary::plant_given(&body);
        Ok(Answer { status, headers, body })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], &Value::Null).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[], body).await
    }

    pub async fn generate(&self, body: &Value) -> Answer {
        self.post("generate/image", body).await
    }

    /// Begins a job and does not wait for it; its id.
    pub async fn begin(&self, body: &Value) -> String {
        let answer = self.send(Method::POST, "generate/image", &[("prefer", "respond-async")], body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the job is over, as its owner sees it.
    pub async fn ended(&self, job: &str) -> Value {
        let start = Instant::now();
        loop {
            let answer = self.get(&format!("jobs/{job}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            if ["completed", "failed", "cancelled"].contains(&answer.body["status"].as_str().unwrap()) {
                return answer.body;
            }
            assert!(start.elapsed() < SOON, "{}", answer.body);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// The bytes behind a URL or a path, as a browser would get them: with neither token nor session.
    pub async fn fetch(&self, url: &str) -> (u16, HeaderMap, Vec<u8>) {
        let url = if url.starts_with('/') { format!("{}{url}", self.origin) } else { url.to_owned() };
        let answer = self.client.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.headers().clone(), answer.bytes().await.unwrap().into())
    }
}

impl Answer {
    /// Checks the status, and gives the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.body
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn job(&self) -> &str {
        self.body["job_id"].as_str().or_else(|| self.body["data"]["job_id"].as_str()).unwrap_or_else(|| panic!("no job: {self:?}"))
    }
}

/// A request for one picture of the cheapest model.
pub fn picture(prompt: &str) -> Value {
    json!({ "model": "flux/schnell", "prompt": prompt })
}
