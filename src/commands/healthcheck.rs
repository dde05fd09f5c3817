//! `generatio healthcheck`: does a sidecar answer?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use clap::Args;
use hyper::StatusCode;

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
    let url: PocketBaseUrl = match format!("http://{address}").parse() {
        Ok(url) => url,
        Err(error) => {
            eprintln!("error: {address} (GENERATIO_LISTEN) cannot be asked: {error}");
            return ExitCode::from(super::EXIT_USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let status = runtime.ok().and_then(|runtime| runtime.block_on(health::status(&url, "/api/custom/test")));
    // A full house says 503: it is alive, and a restart would only throw everybody out.
    let healthy = status.is_some_and(|status| [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&status));
    if healthy {
        ExitCode::SUCCESS
    } else {
        eprintln!("no sidecar answers at {url}");
        ExitCode::FAILURE
    }
}
