//! Whether FAL is there: asked without a key, for nothing.

use std::time::Duration;

use http::header::DATE;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::{Client, FalUrl};

/// One part of FAL, and what came of asking.
#[derive(Debug)]
pub struct Asked {
    /// Where.
    pub url: FalUrl,
    /// What it is for, in words.
    pub what: &'static str,
    /// Its clock, if it said; or why there was no answer. Any status is an answer.
    pub answer: Result<Option<Timestamp>, reqwest::Error>,
}

/// A connection and one small answer.
const WITHIN: Duration = Duration::from_secs(10);

impl Client {
    /// Asks the queue, the prices and the accounts, in this order, whether they are there.
    pub async fn reach(&self) -> [Asked; 3] {
        let Self { settings, .. } = self;
        let (queue, api, rest) = tokio::join!(
            self.ask_as_nobody(&settings.queue, "the queue"),
            self.ask_as_nobody(&settings.api, "prices"),
            self.ask_as_nobody(&settings.rest, "balances")
        );
        [queue, api, rest]
    }

    async fn ask_as_nobody(&self, url: &FalUrl, what: &'static str) -> Asked {
        let said = self.downloader.get(url.at("")).timeout(WITHIN).send().await;
        let clock = |response: reqwest::Response| {
            let date = response.headers().get(DATE)?.to_str().ok()?;
            rfc2822::parse(date).ok().map(|zoned| zoned.timestamp())
        };
        Asked { url: url.clone(), what, answer: said.map(clock) }
    }
}
