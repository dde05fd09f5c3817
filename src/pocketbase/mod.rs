//! PocketBase: as a server that we pass requests to, and as our store.

pub mod admin;
mod answer;
pub mod batch;
pub mod body;
pub mod callers;
mod changes;
mod claims;
mod events;
mod exchange;
pub mod files;
pub mod filter;
mod framing;
mod head;
pub mod health;
pub mod http;
pub mod inspect;
mod known;
mod line;
pub mod outage;
pub mod pipe;
pub mod pool;
pub mod readiness;
pub mod refusal;
pub mod rows;
mod sending;
pub mod sign_in;
mod superuser;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::config::{CollectionName, Credentials, PocketBaseUrl};
use admin::Admin;
use callers::Callers;
pub use changes::Change;
use changes::Watch;
use http::Http;
use outage::Outage;
use pool::Pool;
use readiness::Readiness;

/// PocketBase as our store: who is calling, and what is kept.
pub struct Store {
    /// Reads and writes as a superuser.
    pub admin: Arc<Admin>,
    /// Whose a token is.
    pub callers: Arc<Callers>,
    /// Whether any of that can work.
    pub readiness: Arc<Readiness>,
    /// What happens there.
    pub changes: broadcast::Sender<Change>,
    pool: Arc<Pool>,
}

/// A call of our own whose head takes longer than this has failed; each has a shorter bound of its own.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// Changes that a listener may be behind; one that is further behind is told so.
const CHANGES_KEPT: usize = 1024;

impl Store {
    /// A store that has not called PocketBase yet.
    pub fn new(url: &PocketBaseUrl, users: CollectionName, credentials: Option<Credentials>, outage: Arc<Outage>) -> Self {
        let pool = Arc::new(Pool::new(url.clone(), ANSWER_WITHIN, outage));
        let http = Arc::new(Http::new(Arc::clone(&pool), url));
        let readiness = Arc::<Readiness>::default();
        let admin = Arc::new(Admin::new(Arc::clone(&http), users, credentials, Arc::clone(&readiness)));
        let callers = Arc::new(Callers::new(http, Arc::clone(&readiness)));
        Self { admin, callers, readiness, changes: broadcast::channel(CHANGES_KEPT).0, pool }
    }

    /// The connections that our own calls go over.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Keeps watch over PocketBase; whoever starts it ends it.
    pub async fn watch(&self) {
        let (admin, callers) = (Arc::clone(&self.admin), Arc::clone(&self.callers));
        let watch = Watch { admin, callers, readiness: Arc::clone(&self.readiness), changes: self.changes.clone() };
        let clock = async {
            let mut seconds = tokio::time::interval(Duration::from_secs(1));
            loop {
                seconds.tick().await;
                self.pool.tick();
            }
        };
        tokio::join!(watch.run(), clock);
    }
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The exchange itself failed.
    #[error(transparent)]
    Exchange(#[from] pool::Error),
    /// No superuser was configured.
    #[error("no superuser is configured: set GENERATIO_POCKETBASE_EMAIL and GENERATIO_POCKETBASE_PASSWORD, or GENERATIO_POCKETBASE_TOKEN")]
    NoSuperuser,
    /// PocketBase does not take the superuser's credentials.
    #[error("the superuser cannot sign in: {0}")]
    Credentials(Arc<str>),
    /// PocketBase lacks something that the sidecar needs.
    #[error("PocketBase is not ready for the sidecar: {0}")]
    NotReady(Arc<str>),
    /// PocketBase understood, and refused.
    #[error("PocketBase refused: {0}")]
    Refused(#[from] refusal::Refusal),
    /// An answer of another shape than its version's.
    #[error("PocketBase's answer has an unexpected shape")]
    Unexpected(#[source] serde_json::Error),
}

impl Error {
    /// The refusal, if that is what it is.
    pub fn refusal(&self) -> Option<&refusal::Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Exchange(_) | Self::NoSuperuser | Self::Credentials(_) | Self::NotReady(_) | Self::Unexpected(_) => None,
        }
    }

    /// Whether anything was sent at all.
    pub fn was_sent(&self) -> bool {
        match self {
            Self::Exchange(_) | Self::Refused(_) | Self::Unexpected(_) => true,
            Self::NoSuperuser | Self::Credentials(_) | Self::NotReady(_) => false,
        }
    }

    /// Whether it may have been carried out all the same: the answer was lost.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Exchange(error) => !matches!(error, pool::Error::Unreachable(_) | pool::Error::Target),
            Self::NoSuperuser | Self::Credentials(_) | Self::NotReady(_) | Self::Refused(_) | Self::Unexpected(_) => false,
        }
    }
}
