//! A simulator in this process whose clock stands still until it is moved, and a client of it.

use std::time::Duration;

use generatio::fal::{Client, EndpointId, FalUrl, Handle, Key, NotSubmitted, Settings, Timeouts};
use generatio::simulator::{Clock, Moment, Options, Simulator, listener};
use serde_json::{Map, Value, json};

/// Where the simulator's clock starts.
pub const START: u64 = 1_795_000_000_000;
pub const KEY: &str = "team:s3cret";

/// A simulator and a client of it. Both end with the test's runtime.
pub struct Fal {
    pub base: String,
    pub client: Client,
    simulator: Simulator,
}

/// Generous, but for what a test waits out.
pub fn quick() -> Timeouts {
    let soon = Duration::from_secs(10);
    Timeouts { connect: soon, submit: soon, follow: soon, result: soon, silence: soon, platform: soon, picture: soon, stall: soon }
}

/// Settings that point at one origin, as the simulator has it.
pub fn settings(base: &str, timeouts: Timeouts) -> Settings {
    let part = |name: &str| format!("{base}/{name}").parse::<FalUrl>().unwrap();
    Settings {
        queue: part("queue"),
        rest: part("rest"),
        api: part("api"),
        media_hosts: vec!["127.0.0.1".parse().unwrap()],
        timeouts,
        ..Settings::fal()
    }
}

pub fn start() -> Fal {
    start_with(quick())
}

pub fn start_with(timeouts: Timeouts) -> Fal {
    let listener = listener("127.0.0.1:0".parse().unwrap()).unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let simulator = Simulator::new(Options::default(), Clock::frozen(Moment::from_millis(START))).unwrap();
    tokio::spawn(simulator.clone().serve(listener, None, std::future::pending()));
    Fal { client: Client::new(settings(&base, timeouts)).unwrap(), base, simulator }
}

pub fn key() -> Key<'static> {
    Key::new(KEY).unwrap()
}

pub fn schnell() -> EndpointId {
    "fal-ai/flux/schnell".parse().unwrap()
}

pub fn input(prompt: &str) -> Map<String, Value> {
    map(json!({ "prompt": prompt, "seed": 1 }))
}

pub fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

impl Fal {
    /// Moves the clock.
    pub fn advance(&self, seconds: u64) {
        self.simulator.clock().advance(Duration::from_secs(seconds));
    }

    pub async fn submit(&self, prompt: &str) -> Result<Handle, NotSubmitted> {
        self.client.submit(key(), &schnell(), &input(prompt)).await
    }

    /// A job that has ended, whichever way.
    pub async fn ended(&self, prompt: &str) -> Handle {
        let job = self.submit(prompt).await.unwrap();
        self.advance(60);
        job
    }

    /// What `/_sim/…` says.
    pub async fn sim(&self, path: &str) -> Value {
        reqwest::get(format!("{}/_sim/{path}", self.base)).await.unwrap().json().await.unwrap()
    }

    /// How many requests of a kind the simulator has seen.
    pub async fn count(&self, kind: &str) -> u64 {
        self.sim("counters").await[kind].as_u64().unwrap_or(0)
    }
}
