//! The parts that every request can reach.

use std::sync::Arc;

use crate::config::Config;
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
}

impl App {
    /// A sidecar that has not begun to listen.
    pub fn new(config: Config, max_connections: usize) -> Self {
        let health = Health::new(config.pocketbase_url.clone());
        Self { config, max_connections, health, outage: Arc::default() }
    }
}
