//! `generatio fal-sim`: the FAL simulator alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use crate::config::Log;
use crate::simulator::{Clock, Options, SPECIAL_KEYS, Simulator, Tls, contact_sheet, listener};

/// Run the FAL simulator alone.
#[derive(Args, Debug)]
pub struct FalSim {
    /// Where to listen for plain HTTP
    #[arg(long, env = "GENERATIO_FAL_SIM_LISTEN", default_value = "127.0.0.1:8788", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,

    /// Where to listen for HTTPS, with a certificate made at the start
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub tls_listen: Option<SocketAddr>,

    /// Write the authority of that certificate to this file, for clients to trust
    #[arg(long, requires = "tls_listen", value_name = "FILE")]
    pub tls_ca_file: Option<PathBuf>,

    /// What clients call it, if that differs from what they connect to
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,

    /// How long every request waits before it may run
    #[arg(long, default_value = "100ms", value_parser = humantime::parse_duration)]
    pub queue_delay: Duration,

    /// How long every request runs, instead of the model's own time
    #[arg(long, value_parser = humantime::parse_duration)]
    pub run_time: Option<Duration>,

    /// How many requests of one key run at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,

    /// What each key starts with, in US cents
    #[arg(long, default_value_t = 1000, value_name = "CENTS")]
    pub balance: u32,

    /// Serve the URL forms that FAL answers with 405
    #[arg(long)]
    pub lenient: bool,

    /// Listen on addresses that other machines reach; anybody there can then turn every knob
    #[arg(long)]
    pub allow_remote: bool,

    /// Write a PNG of what twelve prompts give to this file, and do nothing else
    #[arg(long, value_name = "FILE")]
    pub contact_sheet: Option<PathBuf>,

    /// What to write to the log
    #[command(flatten)]
    pub log: Log,
}

/// Simulates until SIGTERM or SIGINT.
pub fn run(args: FalSim) -> ExitCode {
    super::run(&args.log.clone(), async {
        match &args.contact_sheet {
            Some(path) => Ok(tokio::fs::write(path, contact_sheet()).await?),
            None => simulate(args).await,
        }
    })
}

async fn simulate(args: FalSim) -> Result<(), Failure> {
    let plain = bound(args.listen, args.allow_remote)?;
    let secure = match args.tls_listen {
        Some(address) => {
            let tls = Tls::new().map_err(|error| Failure::Stopped(error.to_string()))?;
            Some((bound(address, args.allow_remote)?, tls))
        }
        None => None,
    };
    if let (Some(path), Some((_, tls))) = (&args.tls_ca_file, &secure) {
        tokio::fs::write(path, &tls.authority_pem).await?;
    }
    let simulator = Simulator::new(options(&args), Clock::ticking()).map_err(|error| Failure::Stopped(error.to_string()))?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    announce(&plain, secure.as_ref().map(|(listener, _)| listener))?;
    let shutdown = async {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    simulator.serve(plain, secure, shutdown).await;
    Ok(())
}

/// A test double does what it is told, by anybody: it stays on this machine unless that is meant.
pub(super) fn bound(address: SocketAddr, allow_remote: bool) -> Result<TcpListener, Failure> {
    if !address.ip().is_loopback() && !allow_remote {
        return Err(Failure::Setting(format!("{address} can be reached from other machines: say --allow-remote if that is meant")));
    }
    Ok(listener(address).map_err(|error| std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?)
}

fn options(args: &FalSim) -> Options {
    Options {
        public_url: args.public_url.clone(),
        queue_delay: args.queue_delay,
        run_time: args.run_time,
        concurrency: usize::from(args.concurrency),
        balance_micros: i64::from(args.balance) * 10_000,
        lenient: args.lenient,
    }
}

/// Where it is, and which keys mean something. Scripts read the first lines.
fn announce(plain: &TcpListener, secure: Option<&TcpListener>) -> std::io::Result<()> {
    println!("FAL simulator listening on http://{}", plain.local_addr()?);
    if let Some(secure) = secure {
        println!("FAL simulator listening on https://{}", secure.local_addr()?);
    }
    print!("{}", about_keys());
    Ok(())
}

/// What a person needs to know to use it.
pub(super) fn about_keys() -> String {
    let ids: String = SPECIAL_KEYS.iter().map(|key| format!("  {:<9} {}\n", format!("{}:…", key.id), key.seen)).collect();
    format!(
        "Any key of the form id:secret has its own account. These ids mean something:\n{ids}\
         Faults: write [[sim:name]] into a prompt or a key's secret; GET /_sim/knobs lists them.\n"
    )
}
