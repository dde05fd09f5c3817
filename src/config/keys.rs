//! How FAL keys are sealed, and for how long they stay open.

use clap::{Args, ValueEnum};

use super::Timeout;

/// Seals and sessions.
#[derive(Args, Clone, Debug)]
pub struct Keys {
    /// How often a password is hashed for a new seal
    #[arg(long, env = "GENERATIO_KDF_ITERATIONS", default_value_t = 600_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100_000..=10_000_000))]
    pub kdf_iterations: u32,

    /// The format of new seals; `former` for as long as the way back to the former extension must stay open
    #[arg(long, env = "GENERATIO_SEAL_FORMAT", default_value = "v2", value_name = "FORMAT")]
    pub seal_format: SealFormat,

    /// How long a session lasts
    #[arg(long, env = "GENERATIO_SESSION_TTL", default_value = "24h", value_name = "TIME")]
    pub session_ttl: Timeout,

    /// How often ended sessions are swept out of memory
    #[arg(long, env = "GENERATIO_SESSION_SWEEP", default_value = "1h", value_name = "TIME")]
    pub session_sweep: Timeout,
}

/// Which format new seals are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SealFormat {
    /// Bound to its owner, with iterations of its own.
    V2,
    /// What the former extension reads.
    Former,
}
