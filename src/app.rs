//! The parts that every request can reach.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Credentials};
use crate::pocketbase::Store;
use crate::pocketbase::health::Health;
use crate::pocketbase::outage::Outage;

/// One running sidecar.
pub struct App {
    /// The settings it was started with.
    pub config: Config,
    /// Client connections held at once.
    pub max_connections: usize,
    /// Whether PocketBase answers.
    pub health: Health,
    /// What every worker knows of an outage of PocketBase.
    pub outage: Arc<Outage>,
    /// PocketBase as our store.
    pub store: Store,
    /// Where our own work runs: requests to our endpoints are carried to their end there, whether or not the client stays.
    pub runtime: Handle,
    /// That work; a drain waits for it.
    pub tasks: TaskTracker,
}

impl App {
    /// A sidecar that has not begun to listen.
    ///
    /// # Panics
    /// Outside a runtime: that is where its own work will run.
    pub fn new(config: Config, credentials: Option<Credentials>, max_connections: usize) -> Self {
        let health = Health::new(config.pocketbase_url.clone());
        let outage = Arc::<Outage>::default();
        let store = Store::new(&config.pocketbase_url, config.users_collection.clone(), credentials, Arc::clone(&outage));
        Self { config, max_connections, health, outage, store, runtime: Handle::current(), tasks: TaskTracker::new() }
    }
}
