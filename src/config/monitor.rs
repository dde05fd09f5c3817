//! Where those who watch the sidecar may ask.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// Where metrics and health are served, if anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsListen {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

impl MetricsListen {
    /// Where `serve` listens by default: this machine alone.
    pub const SERVE: Self = Self::on_loopback(9100);
    /// Where `dev` does: several may run on one machine.
    pub const DEV: Self = Self::on_loopback(0);

    const fn on_loopback(port: u16) -> Self {
        Self::At(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }
}

impl FromStr for MetricsListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| "expected an address and a port like 127.0.0.1:9100, or off".to_owned())
    }
}
