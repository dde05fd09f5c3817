//! Every setting of the sidecar, read once from flags and environment variables of the same name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::HeaderValue;
use http::uri::{Authority, Scheme, Uri};
use ipnet::IpNet;

/// What `generatio serve` can be told. A value that does not parse never becomes a `Config`.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Address and port of the one origin that front ends, SDKs and administrators use
    #[arg(long, env = "GENERATIO_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,

    /// PocketBase, as seen from here: http:// with a host and a port, no path
    #[arg(long, env = "GENERATIO_POCKETBASE_URL", default_value = "http://127.0.0.1:8090", value_name = "URL")]
    pub pocketbase_url: PocketBaseUrl,

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

/// What is logged, and how.
#[derive(Args, Clone, Debug)]
pub struct Log {
    /// Least severe level logged: error, warn, info, debug or trace; `generatio::forward=debug` sets one part
    #[arg(long = "log", env = "GENERATIO_LOG", default_value = "info", value_name = "LEVEL")]
    pub filter: LogFilter,

    /// How log lines look
    #[arg(long = "log-format", env = "GENERATIO_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub format: LogFormat,
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

/// Where PocketBase listens: a host and a port, reached by plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PocketBaseUrl {
    host: String,
    port: u16,
    authority: HeaderValue,
}

impl PocketBaseUrl {
    /// The host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as a server wants to be told where to listen.
    pub fn socket(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    /// The value of a `Host` header for requests that are our own.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    fn of(authority: &Authority) -> Result<Self, String> {
        if authority.as_str().contains('@') {
            return Err("user names and passwords do not belong in this URL".into());
        }
        // `Authority::port` knows no port where it cannot read one.
        let port = match authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':')) {
            None => 80,
            Some(digits) => digits.parse().ok().filter(|port| *port > 0).ok_or("expected a port from 1 to 65535")?,
        };
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?,
        })
    }
}

impl FromStr for PocketBaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "expected a URL like http://127.0.0.1:8090".to_owned())?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err("expected a URL that begins with http:// (TLS to PocketBase is not offered: keep it on a private network)".into());
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err("expected no path or query after the host and port".into());
        }
        let authority = uri.authority().ok_or("expected a host")?;
        Self::of(authority)
    }
}

impl fmt::Display for PocketBaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority.to_str().unwrap_or_default())
    }
}

/// One entry of `--origins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// `*`: whichever page asks.
    Any,
    /// Exactly this value of the `Origin` header.
    Only(HeaderValue),
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let uri: Uri = text.parse().map_err(|_| "expected * or an origin like https://app.example.com".to_owned())?;
        if uri.scheme().is_none() || uri.authority().is_none() || uri.path() != "/" || text.ends_with('/') {
            return Err("expected * or an origin like https://app.example.com, without a path".into());
        }
        HeaderValue::from_str(text).map(Self::Only).map_err(|error| error.to_string())
    }
}

/// One entry of `--trusted-proxies`: an address or a CIDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy(IpNet);

impl TrustedProxy {
    /// Whether this address (an IPv4 one never in its IPv6 disguise) belongs to the proxy.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map(Self)
            .map_err(|_| "expected an address or a CIDR like 10.0.0.0/8".into())
    }
}

/// A span of time of at least a second, written like `30s`, `5m` or `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(Duration);

impl Timeout {
    /// The span.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = humantime::parse_duration(text).map_err(|_| "expected a time like 30s, 5m or 1h".to_owned())?;
        if span < Duration::from_secs(1) || span > Duration::from_secs(24 * 3600) {
            return Err("expected a time from 1s to 24h".into());
        }
        Ok(Self(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pocketbase_url_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("http://127.0.0.1:8090", "127.0.0.1", 8090),
            ("http://pocketbase:8090/", "pocketbase", 8090),
            ("http://[::1]:8090", "::1", 8090),
            ("http://pocketbase", "pocketbase", 80),
        ] {
            let url: PocketBaseUrl = text.parse().expect(text);
            assert_eq!((url.host(), url.port()), (host, port));
        }
        for text in [
            "",
            "127.0.0.1:8090",
            "https://a:1",
            "http://a:1/x",
            "http://a:1/?x",
            "http://u:p@a:1",
            "http://a:0",
            "http://a:70000",
            "ftp://a:1",
        ] {
            assert!(text.parse::<PocketBaseUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_has_no_path() {
        assert_eq!("*".parse(), Ok(AllowedOrigin::Any));
        assert!("https://app.example.com".parse::<AllowedOrigin>().is_ok());
        for text in ["", "app.example.com", "https://a/", "https://a/b"] {
            assert!(text.parse::<AllowedOrigin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_trusted_proxy_is_an_address_or_a_cidr() {
        let proxy: TrustedProxy = "10.0.0.0/8".parse().expect("a CIDR");
        assert!(proxy.covers(IpAddr::from([10, 1, 2, 3])) && !proxy.covers(IpAddr::from([11, 1, 2, 3])));
        assert!("10.0.0.1".parse::<TrustedProxy>().is_ok_and(|one| !one.covers(IpAddr::from([10, 0, 0, 2]))));
        assert!("10.0.0.0/40".parse::<TrustedProxy>().is_err());
    }

    #[test]
    fn a_timeout_has_a_unit_and_a_bound() {
        assert_eq!("5m".parse(), Ok(Timeout(Duration::from_secs(300))));
        for text in ["", "5", "0s", "-1s", "25h", "soon"] {
            assert!(text.parse::<Timeout>().is_err(), "{text}");
        }
    }
}
