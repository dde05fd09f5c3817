//! `generatio healthcheck`: does a sidecar answer?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use clap::Args;

use crate::config::PocketBaseUrl;
use crate::pocketbase::health;

/// Exit 0 if a sidecar answers, 1 if not.
#[derive(Args, Debug)]
pub struct Healthcheck {
    /// Where the sidecar listens; 0.0.0.0 and [::] are asked on loopback
    #[arg(long, env = "GENERATIO_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
}

/// Asks the sidecar itself: it is healthy while PocketBase is away, since a restart of it would mend nothing.
pub fn run(healthcheck: &Healthcheck) -> ExitCode {
    let mut address = healthcheck.listen;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    let url: PocketBaseUrl = format!("http://{address}").parse().expect("an address and a port make a URL");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let healthy = runtime.is_ok_and(|runtime| runtime.block_on(health::answers(&url, "/api/custom/test")));
    if healthy {
        ExitCode::SUCCESS
    } else {
        eprintln!("no sidecar answers at {url}");
        ExitCode::FAILURE
    }
}
