//! A FAL that runs on a laptop: queue, direct runs, storage, prices, pictures and webhooks, faithful enough for FAL's own clients.
//!
//! It knows nothing of the product beside it and imports nothing from it. A request is a [`call`], finds its handler in [`routes`],
//! passes [`intake`], becomes a [`job`] in its account's [`lane`], and is remembered by the [`world`]. [`faults`] lists the ways it
//! can be told to misbehave.

mod accounts;
mod admin;
mod answer;
mod call;
mod clock;
mod dice;
mod failure;
mod faults;
mod history;
mod intake;
mod job;
mod journal;
mod landscape;
mod lane;
mod media;
mod models;
mod output;
mod palette;
mod parameters;
mod picture;
mod platform;
mod queue;
mod rest;
mod routes;
mod rules;
mod run;
mod server;
mod sheet;
mod sse;
mod storage;
mod tls;
mod webhook;
mod world;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use accounts::{SPECIAL_KEYS, SpecialKey};
pub use clock::{Clock, Moment};
pub use faults::{Entry as KnobEntry, KNOBS, Knob};
pub use picture::{Format, Recipe, Size, encoded as picture};
pub use server::listener;
pub use sheet::contact_sheet;
pub use tls::{Tls, TlsError};

/// How a simulator behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// What callers write before `/queue`, `/rest` and so on; taken from each request where there is none.
    pub public_url: Option<String>,
    /// How long a request waits even if a slot is free.
    pub queue_delay: Duration,
    /// How long a request runs, whatever its model; the model's own time where there is none.
    pub run_time: Option<Duration>,
    /// How many requests of one account run at once.
    pub concurrency: usize,
    /// What an account starts with, in millionths of a dollar.
    pub balance_micros: i64,
    /// Serve the forms of a request's URL that FAL answers with 405.
    pub lenient: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            public_url: None,
            queue_delay: Duration::from_millis(100),
            run_time: None,
            concurrency: 2,
            balance_micros: 10_000_000,
            lenient: false,
        }
    }
}

/// A simulator that has not been started, or a handle to one that has.
#[derive(Clone, Debug)]
pub struct Simulator {
    world: Arc<world::World>,
}

/// No key pair for signing webhooks could be made.
#[derive(Debug, thiserror::Error)]
#[error("the simulator's webhook key could not be made")]
pub struct NoSigner;

impl Simulator {
    /// A new world with its own clock, accounts and webhook key.
    pub fn new(options: Options, clock: Clock) -> Result<Self, NoSigner> {
        let signer = webhook::Signer::new().map_err(|_| NoSigner)?;
        Ok(Simulator { world: Arc::new(world::World::new(options, clock, signer)) })
    }

    /// Serves plain HTTP until `shutdown`, and HTTPS too if given a listener for it.
    ///
    /// Open connections are dropped at the end; nothing is kept.
    pub async fn serve(self, plain: TcpListener, secure: Option<(TcpListener, Tls)>, shutdown: impl Future<Output = ()>) {
        let stop = CancellationToken::new();
        let server = Arc::new(server::Server::new(self.world.clone()));
        let secure = async {
            if let Some((listener, tls)) = secure {
                server.clone().accept(listener, Some(tls.acceptor), stop.clone()).await;
            }
        };
        let stopping = async {
            shutdown.await;
            stop.cancel();
        };
        tokio::join!(
            server.clone().accept(plain, None, stop.clone()),
            secure,
            webhook::deliver_all(self.world.clone(), stop.clone()),
            stopping,
        );
    }

    /// The simulator's clock, to move it.
    pub fn clock(&self) -> &Clock {
        &self.world.clock
    }
}
