//! How many pictures are made at once, and how long anybody waits for one.

use clap::Args;

use super::{Rate, Timeout};

/// Generation.
#[derive(Args, Clone, Debug)]
pub struct Jobs {
    /// How long a request waits for its pictures; the job itself goes on
    #[arg(long, env = "GENERATIO_GENERATION_TIMEOUT", default_value = "10m", value_name = "TIME")]
    pub generation_timeout: Timeout,

    /// Jobs of one user in progress at once; further ones wait
    #[arg(long, env = "GENERATIO_JOBS_PER_USER", default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs_per_user: u16,

    /// Jobs of all users in progress at once; further ones wait
    #[arg(long, env = "GENERATIO_JOBS", default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: u16,

    /// Jobs that one user may begin in a minute
    #[arg(long, env = "GENERATIO_JOBS_PER_MINUTE", default_value = "60", value_name = "N|off")]
    pub jobs_per_minute: Rate,
}
