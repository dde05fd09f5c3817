//! A simulator in this process on a free port, and a client that says exactly what it is told to.

use std::time::Duration;

use bytes::Bytes;
use generatio::simulator::{Clock, Moment, Options, Simulator, listener};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Where every frozen clock starts.
pub const START: u64 = 1_795_000_000_000;

pub const SCHNELL: &str = "fal-ai/flux/schnell";
pub const FAST: &str = "fal-ai/hidream-i1-fast";

/// A running simulator. It ends with the test's runtime.
#[derive(Clone)]
pub struct Sim {
    pub base: String,
    simulator: Simulator,
}

/// One answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks the status and gives the JSON.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }
}

/// Starts one with a queue delay of 0.1 s and a frozen clock.
pub async fn start() -> Sim {
    start_with(Options::default()).await
}

pub async fn start_with(options: Options) -> Sim {
    start_at(options, Clock::frozen(Moment::from_millis(START))).await
}

pub async fn start_at(options: Options, clock: Clock) -> Sim {
    let listener = listener("127.0.0.1:0".parse().unwrap()).unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let simulator = Simulator::new(options, clock).unwrap();
    tokio::spawn(simulator.clone().serve(listener, None, std::future::pending()));
    Sim { base, simulator }
}

/// A request to be.
pub struct Ask {
    method: Method,
    url: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Ask {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Key {key}"))
    }

    pub fn json(self, body: &Value) -> Self {
        self.bytes(body.to_string())
    }

    pub fn bytes(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The answer; the simulator is expected to give one.
    pub async fn send(self) -> Reply {
        let what = format!("{} {}", self.method, self.url);
        self.try_send().await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// The answer, or how the connection ended.
    pub async fn try_send(self) -> Result<Reply, hyper::Error> {
        let response = self.open().await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// The answer with its body still to come.
    pub async fn open(self) -> Result<http::Response<Incoming>, hyper::Error> {
        let uri: http::Uri = self.url.parse().unwrap();
        let authority = uri.authority().unwrap().clone();
        let stream = TcpStream::connect(authority.as_str()).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(self.method).uri(uri.path_and_query().unwrap().as_str());
        if !self.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", authority.as_str());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        sender.send_request(request.body(Full::new(self.body)).unwrap()).await
    }
}

/// Any request, by whole URL.
pub fn ask(method: &str, url: &str) -> Ask {
    Ask { method: method.parse().unwrap(), url: url.to_owned(), headers: Vec::new(), body: Bytes::new() }
}

impl Sim {
    pub fn get(&self, path: &str) -> Ask {
        ask("GET", &format!("{}{path}", self.base))
    }

    pub fn post(&self, path: &str) -> Ask {
        ask("POST", &format!("{}{path}", self.base))
    }

    pub fn put(&self, path: &str) -> Ask {
        ask("PUT", &format!("{}{path}", self.base))
    }

    /// Moves the clock.
    pub fn advance(&self, seconds: f64) {
        self.simulator.clock().advance(Duration::from_secs_f64(seconds));
    }

    /// Submits to the queue and expects to be let in.
    pub async fn submit(&self, key: &str, endpoint: &str, input: Value) -> Value {
        self.post(&format!("/queue/{endpoint}")).key(key).json(&input).send().await.expect(200)
    }

    /// Submits a prompt to the fastest model.
    pub async fn prompt(&self, key: &str, prompt: &str) -> Value {
        self.submit(key, SCHNELL, json!({ "prompt": prompt, "seed": 1 })).await
    }

    /// Submits a prompt and lets it end. Gives its URL.
    pub async fn ended(&self, key: &str, prompt: &str) -> String {
        let job = self.prompt(key, prompt).await;
        self.advance(10.0);
        job["response_url"].as_str().unwrap().to_owned()
    }

    /// The first picture's address of a prompt that succeeds.
    pub async fn picture(&self, key: &str, prompt: &str) -> String {
        let url = self.ended(key, prompt).await;
        let result = ask("GET", &url).key(key).send().await.expect(200);
        result["images"][0]["url"].as_str().unwrap().to_owned()
    }

    /// What `/_sim/…` says.
    pub async fn sim(&self, path: &str) -> Value {
        self.get(&format!("/_sim/{path}")).send().await.expect(200)
    }

    /// An account by key id.
    pub async fn account(&self, key_id: &str) -> Value {
        let accounts = self.sim("accounts").await;
        let found = accounts["accounts"].as_array().unwrap().iter().find(|account| account["key_id"] == key_id).cloned();
        found.unwrap_or(Value::Null)
    }
}

/// A string of a JSON object.
#[track_caller]
pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no text {name} in {value}"))
}
