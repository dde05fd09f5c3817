//! Where FAL is and how long it may take: what the operator says, parsed.

use std::time::Duration;

use reqwest::Certificate;

use crate::config::{self, FalUrl, HostPattern};

/// Everything a [`Client`](super::Client) is built from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The queue: `https://queue.fal.run`.
    pub queue: FalUrl,
    /// The balance: `https://rest.fal.ai`.
    pub rest: FalUrl,
    /// Prices and the request history: `https://api.fal.ai`.
    pub api: FalUrl,
    /// Where pictures may be downloaded from.
    pub media_hosts: Vec<HostPattern>,
    /// Whether keys may travel in clear text to another machine.
    pub insecure: bool,
    /// Authorities that are trusted beside the machine's own.
    pub extra_roots: Vec<Certificate>,
    /// How long each call may take.
    pub timeouts: Timeouts,
}

impl Settings {
    /// What the operator says.
    pub fn new(config: &config::Fal) -> Self {
        Self {
            queue: config.queue.clone(),
            rest: config.rest.clone(),
            api: config.api.clone(),
            media_hosts: config.media_hosts.clone(),
            insecure: config.insecure,
            extra_roots: Vec::new(),
            timeouts: Timeouts::default(),
        }
    }

    /// FAL itself.
    pub fn fal() -> Self {
        let parsed = |text: &str| text.parse().expect("FAL's own addresses are URLs");
        Self {
            queue: parsed("https://queue.fal.run"),
            rest: parsed("https://rest.fal.ai"),
            api: parsed("https://api.fal.ai"),
            media_hosts: ["fal.media", "*.fal.media"].map(|text| text.parse().expect("FAL's own hosts are patterns")).into(),
            insecure: false,
            extra_roots: Vec::new(),
            timeouts: Timeouts::default(),
        }
    }

    /// The three addresses that are sent a key.
    pub(super) fn with_key(&self) -> [&FalUrl; 3] {
        [&self.queue, &self.rest, &self.api]
    }
}

/// How long each call may take, from the first attempt to connect to the last byte.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Any connection, including TLS.
    pub connect: Duration,
    /// A submit. Generous: one that is given up on has an unknown outcome, and somebody may have paid for it.
    pub submit: Duration,
    /// Status and cancel.
    pub follow: Duration,
    /// A result, which is larger.
    pub result: Duration,
    /// The next bytes of a stream of states; FAL sends some every 15 seconds (facts: fal.md 1.4).
    pub silence: Duration,
    /// Prices, balance, one page of the history.
    pub platform: Duration,
    /// A whole picture.
    pub picture: Duration,
    /// The next bytes of a picture.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(5),
            submit: seconds(60),
            follow: seconds(15),
            result: seconds(60),
            silence: seconds(40),
            platform: seconds(10),
            picture: seconds(120),
            stall: seconds(20),
        }
    }
}
