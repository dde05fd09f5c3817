//! What is logged, and how.

use std::str::FromStr;

use clap::{Args, ValueEnum};

/// What is logged, and how.
#[derive(Args, Clone, Debug)]
pub struct Log {
    /// Least severe level logged: error, warn, info, debug or trace; `generatio::forward=debug` sets one part
    #[arg(long = "log", env = "GENERATIO_LOG", default_value = "info", value_name = "LEVEL")]
    pub filter: LogFilter,

    /// How log lines look
    #[arg(long = "log-format", env = "GENERATIO_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub format: LogFormat,

    /// Which requests get a line: `own` (those to /api/custom/), `all`, `1/N` (own ones, and one in N of those that pass), `off`
    #[arg(long = "log-requests", env = "GENERATIO_LOG_REQUESTS", default_value = "own", value_name = "WHICH")]
    pub requests: LogRequests,
}

/// Which requests get a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRequests {
    /// None.
    Off,
    /// Those to our own endpoints.
    Own,
    /// Those, and one in so many of those that pass: with 1 all of them.
    OneIn(u32),
}

impl FromStr for LogRequests {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "own" => Ok(Self::Own),
            "all" => Ok(Self::OneIn(1)),
            _ => {
                let many = text.strip_prefix("1/").and_then(|many| many.parse().ok()).filter(|many| *many > 0);
                many.map(Self::OneIn).ok_or_else(|| "expected own, all, off, or a share like 1/100".to_owned())
            }
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// A filter that `tracing_subscriber` accepts.
#[derive(Clone, Debug)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter in the form that `tracing_subscriber` wants.
    pub fn directives(&self) -> tracing_subscriber::EnvFilter {
        tracing_subscriber::EnvFilter::new(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        tracing_subscriber::EnvFilter::try_new(text).map_err(|error| error.to_string())?;
        let bare = !text.contains(['=', ',']);
        if bare && !["off", "error", "warn", "info", "debug", "trace"].contains(&text.to_ascii_lowercase().as_str()) {
            return Err("expected error, warn, info, debug or trace".into());
        }
        Ok(Self(text.to_owned()))
    }
}
