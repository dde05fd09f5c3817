//! The parts that every request can reach.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::config::{self, Config, Credentials};
use crate::fal::{self, BadCatalogue, Catalogue};
use crate::jobs::Jobs;
use crate::keys::Keys;
use crate::metrics::Traffic;
use crate::pocketbase::Store;
use crate::pocketbase::health::Health;
use crate::pocketbase::outage::Outage;
use crate::pocketbase::pool::Pool;
use crate::rates::Rates;
use crate::sessions::{Derivations, Limits};
use crate::vault::{Iterations, Method};

/// One derivation keeps a core busy for 60 ms and longer; the proxy comes first.
const DERIVATION_THREADS: usize = 1;
/// As many as one thread does in about two seconds.
const MOST_WAITING_DERIVATIONS: usize = 32;

/// Why a sidecar cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// FAL cannot be reached by what is configured.
    #[error(transparent)]
    Fal(#[from] fal::SetupError),
    /// The operator's models cannot be read.
    #[error("GENERATIO_MODELS: {0}")]
    Models(#[from] BadCatalogue),
    /// The system refused a thread.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// What can be seen of a worker from outside.
pub struct Seen {
    /// What it counts.
    pub traffic: Arc<Traffic>,
    /// Its connections to PocketBase.
    pub pool: Arc<Pool>,
}

/// One running sidecar.
pub struct App {
    /// The settings it was started with.
    pub config: Config,
    /// Client connections held at once.
    pub max_connections: usize,
    /// How often anybody may come.
    pub rates: Rates,
    /// Whether PocketBase answers.
    pub health: Health,
    /// What every worker knows of an outage of PocketBase.
    pub outage: Arc<Outage>,
    /// PocketBase as our store.
    pub store: Store,
    /// Users' FAL keys and their sessions.
    pub keys: Arc<Keys>,
    /// The generation engine.
    pub jobs: Arc<Jobs>,
    /// Those who pass requests on, once they run.
    pub workers: Mutex<Vec<Seen>>,
    /// Where our own work runs: requests to our endpoints are carried to their end there, whether or not the client stays.
    pub runtime: Handle,
    /// That work; a drain waits for it.
    pub tasks: TaskTracker,
}

impl App {
    /// A sidecar that has not begun to listen.
    ///
    /// # Errors
    /// When a thread cannot be started, or FAL cannot be reached by what is configured.
    ///
    /// # Panics
    /// Outside a runtime: that is where its own work will run.
    pub fn new(config: Config, credentials: Option<Credentials>, max_connections: usize) -> Result<Self, SetupError> {
        let health = Health::new(config.pocketbase_url.clone());
        let outage = Arc::<Outage>::default();
        let store = Store::new(&config.pocketbase_url, config.users_collection.clone(), credentials, Arc::clone(&outage));
        let fal = Arc::new(fal::Client::new(fal::Settings::new(&config.fal))?);
        let derivations = Arc::new(Derivations::start(DERIVATION_THREADS, MOST_WAITING_DERIVATIONS)?);
        let limits = Limits { lifetime: config.keys.session_ttl.duration(), ..Limits::default() };
        let keys =
            Keys::new((Arc::clone(&store.admin), Arc::clone(&store.callers)), Arc::clone(&fal), derivations, method(&config.keys), limits);
        let keys = Arc::new(keys);
        let catalogue = config.fal.models.as_deref().map_or_else(|| Ok(Catalogue::built_in()), Catalogue::with_file)?;
        let jobs = Jobs::new(Arc::clone(&store.admin), fal, Arc::clone(&keys), catalogue, &config.jobs);
        let rates = Rates::new(&config.rates);
        let (runtime, tasks) = (Handle::current(), TaskTracker::new());
        Ok(Self { config, max_connections, rates, health, outage, store, keys, jobs, workers: Mutex::default(), runtime, tasks })
    }
}

fn method(keys: &config::Keys) -> Method {
    match keys.seal_format {
        config::SealFormat::Former => Method::Former,
        config::SealFormat::V2 => Method::V2 { iterations: Iterations::try_from(keys.kdf_iterations).unwrap_or(Iterations::RECOMMENDED) },
    }
}
