//! FAL (fal.ai) as the product uses it: jobs, pictures, prices, keys, and the models it offers.
//!
//! Every call takes the [`Key`] it is made with, has a time and a size beyond which it is given up, and is made once: whether to ask again
//! is for the caller to say, who knows what it costs. A failure is an [`Error`] that keeps FAL's own words. What FAL is and does is in
//! the facts (`facts/fal.md`), which the comments name by section.

mod call;
mod charge;
mod check;
mod decimal;
mod download;
mod error;
mod follow;
mod history;
mod key;
mod models;
mod models_file;
mod output;
mod parameter;
mod picture;
mod prices;
mod reach;
mod said;
mod settings;
mod states;
mod submit;
mod urls;

use reqwest::redirect;
use tokio::sync::Semaphore;

pub use crate::config::{FalUrl, HostPattern};
pub use charge::{Charge, Facts, Fallback, Price, Size, Unit, UnitPrice, Units};
pub use check::{Checked, Verdict};
pub use download::LARGEST_PICTURE;
pub use error::{Error, What};
pub use follow::{Cancellation, Fetched, State};
pub use history::{Earlier, Window};
pub use key::{Key, NotAKey};
pub use models::{Accepted, Catalogue, Model, Wanted};
pub use models_file::{BadCatalogue, Fault};
pub use output::{Image, Output};
pub use parameter::{FieldFault, Parameter};
pub use picture::{Format, Picture};
pub use reach::Asked;
pub use said::{InputFault, Said};
pub use settings::{Settings, Timeouts};
pub use submit::{NotSubmitted, Reached};
pub use urls::{EndpointId, Handle, Links, RequestId};

/// Pictures in memory at once; each may have [`LARGEST_PICTURE`] bytes, though most have a hundredth of that.
const MOST_DOWNLOADS: usize = 16;
const USER_AGENT: &str = concat!("generatio/", env!("CARGO_PKG_VERSION"));

/// FAL, as far away as the settings say. One is enough for a process.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    /// Never uses a connection twice and speaks only HTTP/1.1, so that nothing below us has a reason to send a request again.
    submitter: reqwest::Client,
    follower: reqwest::Client,
    /// Apart from the follower, which must not wait behind streams that last as long as their jobs.
    listener: reqwest::Client,
    /// Is never given a key.
    downloader: reqwest::Client,
    downloads: Semaphore,
    prices: prices::Cache,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A key would travel in clear text.
    #[error("{0} is plain HTTP to another machine, where FAL keys could be read on the way: use https://, or allow it explicitly")]
    ClearText(FalUrl),
    /// TLS could not be set up.
    #[error("no certificate authorities to trust: install the ca-certificates package, or name a bundle in SSL_CERT_FILE")]
    NoAuthorities(#[source] reqwest::Error),
}

impl Client {
    /// Builds one; connects to nothing.
    ///
    /// The machine's own certificate authorities are trusted, so that an operator can add or replace them without a new build.
    ///
    /// # Errors
    /// When the settings would send a key in clear text, or no certificate could be verified.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        if let Some(url) = settings.with_key().into_iter().find(|url| url.is_clear_text() && !settings.insecure) {
            return Err(SetupError::ClearText(url.clone()));
        }
        let silence = settings.timeouts.silence;
        let build = |change: &dyn Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder| build(&settings, change);
        Ok(Self {
            submitter: build(&|builder| builder.pool_max_idle_per_host(0).http1_only())?,
            follower: build(&|builder| builder)?,
            listener: build(&|builder| builder.read_timeout(silence))?,
            downloader: build(&|builder| builder)?,
            downloads: Semaphore::new(MOST_DOWNLOADS),
            prices: prices::Cache::default(),
            settings,
        })
    }

    /// The job that a stored row means: its addresses are checked again, since a row is outside text.
    pub fn handle(&self, endpoint: &EndpointId, request_id: RequestId, links: Links<'_>) -> Handle {
        Handle::new(&self.settings.queue, endpoint, request_id, links)
    }
}

/// What all three clients have in common. Proxies of the environment are not used: a key goes where the settings say and nowhere else.
fn build(settings: &Settings, change: &dyn Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder) -> Result<reqwest::Client, SetupError> {
    let builder = || {
        let builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(settings.timeouts.connect)
            .pool_idle_timeout(std::time::Duration::from_secs(60))
            .tcp_nodelay(true);
        change(builder)
    };
    let machine = builder().tls_certs_merge(settings.extra_roots.iter().cloned()).build();
    let needs_none = settings.with_key().iter().all(|url| !url.is_https());
    match machine {
        // A simulator over plain HTTP needs no authorities, and a small image may have none.
        Err(_) if needs_none => builder().tls_certs_only(settings.extra_roots.iter().cloned()).build(),
        built => built,
    }
    .map_err(SetupError::NoAuthorities)
}
