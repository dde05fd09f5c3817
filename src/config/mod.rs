//! Every setting of the sidecar, read once from flags and environment variables of the same name.

mod fal;
mod jobs;
mod keys;
mod log;
mod monitor;
mod network;
mod rates;
mod secret;
mod superuser;
mod time;

use std::net::SocketAddr;

use clap::Args;

pub use fal::{Fal, FalUrl, HostPattern, is_loopback};
pub use jobs::Jobs;
pub use keys::{Keys, SealFormat};
pub use log::{Log, LogFilter, LogFormat, LogRequests};
pub use monitor::MetricsListen;
pub use network::{AllowedOrigin, CollectionName, PocketBaseUrl, PublicUrl, TrustedProxy};
pub use rates::{Rate, Rates};
pub use secret::Secret;
pub use superuser::{Credentials, Superuser};
pub use time::Timeout;

/// What `generatio serve` can be told. A value that does not parse never becomes a `Config`.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Address and port of the one origin that front ends, SDKs and administrators use
    #[arg(long, env = "GENERATIO_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,

    /// Address and port of /metrics, /healthz and /readyz, or `off`; keep it from the public. By default 127.0.0.1:9100, with `dev` any port that is free
    #[arg(long, env = "GENERATIO_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<MetricsListen>,

    /// PocketBase, as seen from here: http:// with a host and a port, no path
    #[arg(long, env = "GENERATIO_POCKETBASE_URL", default_value = "http://127.0.0.1:8090", value_name = "URL")]
    pub pocketbase_url: PocketBaseUrl,

    /// The superuser that the sidecar reads and writes as.
    #[command(flatten)]
    pub superuser: Superuser,

    /// What browsers call the sidecar, for the addresses of pictures: an origin like https://app.example.com; paths alone if not set
    #[arg(long, env = "GENERATIO_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<PublicUrl>,

    /// The auth collection whose users have keys, sessions and images
    #[arg(long, env = "GENERATIO_USERS_COLLECTION", default_value = "generatio_users", value_name = "NAME")]
    pub users_collection: CollectionName,

    /// Seals and sessions.
    #[command(flatten)]
    pub keys: Keys,

    /// Generation.
    #[command(flatten)]
    pub jobs: Jobs,

    /// How FAL is reached.
    #[command(flatten)]
    pub fal: Fal,

    /// Origins that may call our own endpoints from a browser, like PocketBase's --origins; `*` is all of them
    #[arg(long, env = "GENERATIO_ORIGINS", default_value = "*", value_delimiter = ',', value_name = "ORIGIN,...")]
    pub origins: Vec<AllowedOrigin>,

    /// Proxies in front of the sidecar (addresses or CIDRs) whose X-Forwarded-For is believed
    #[arg(long, env = "GENERATIO_TRUSTED_PROXIES", value_delimiter = ',', value_name = "CIDR,...")]
    pub trusted_proxies: Vec<TrustedProxy>,

    /// Client connections held at once; one more is answered 503. By default what the descriptor limit allows, at most 10000
    #[arg(long, env = "GENERATIO_MAX_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: Option<u32>,

    /// Client connections from one address (an IPv6 /64 counts as one) held at once; trusted proxies and loopback are exempt
    #[arg(long, env = "GENERATIO_MAX_CONNECTIONS_PER_ADDRESS", default_value = "1000", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections_per_address: u32,

    /// How often anybody may come.
    #[command(flatten)]
    pub rates: Rates,

    /// How long a client may take to send the head of a request
    #[arg(long, env = "GENERATIO_HEAD_TIMEOUT", default_value = "30s", value_name = "TIME")]
    pub head_timeout: Timeout,

    /// How long a connection may stay open between requests (PocketBase: 5m)
    #[arg(long, env = "GENERATIO_KEEP_ALIVE_TIMEOUT", default_value = "5m", value_name = "TIME")]
    pub keep_alive_timeout: Timeout,

    /// How long a client may neither send the next byte of a body nor take the next byte of an answer
    #[arg(long, env = "GENERATIO_STALL_TIMEOUT", default_value = "1m", value_name = "TIME")]
    pub stall_timeout: Timeout,

    /// How long PocketBase may be silent within a request (it ends idle realtime connections itself after 5m)
    #[arg(long, env = "GENERATIO_UPSTREAM_TIMEOUT", default_value = "6m", value_name = "TIME")]
    pub upstream_timeout: Timeout,

    /// How long requests may go on after SIGTERM before they are cut
    #[arg(long, env = "GENERATIO_DRAIN_TIMEOUT", default_value = "30s", value_name = "TIME")]
    pub drain_timeout: Timeout,

    #[command(flatten)]
    /// What is logged, and how.
    pub log: Log,
}

/// Takes a variable that is set to nothing for one that is not set: compose files pass `${VARIABLE:-}`.
pub fn without_empty_variables(command: clap::Command) -> clap::Command {
    #[expect(clippy::disallowed_methods, reason = "this is where settings are read")]
    let is_empty = |arg: &clap::Arg| arg.get_env().is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()));
    command.mut_args(|arg| if is_empty(&arg) { arg.env(None) } else { arg }).mut_subcommands(without_empty_variables)
}
