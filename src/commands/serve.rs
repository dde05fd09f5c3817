//! `generatio serve`: from settings to a running sidecar, and to its end.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::app::App;
use crate::config::{Config, Log, LogFormat};
use crate::server;

/// Run the sidecar in front of PocketBase.
#[derive(Args, Debug)]
pub struct Serve {
    /// All settings.
    #[command(flatten)]
    pub config: Config,
}

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends it at once.
pub fn run(serve: Serve) -> ExitCode {
    start_log(&serve.config.log);
    match tokio::runtime::Builder::new_current_thread().enable_all().build().map(|runtime| runtime.block_on(listen(serve.config))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            tracing::error!(error = &*error, "the sidecar stopped");
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!(%error, "the sidecar could not start");
            ExitCode::FAILURE
        }
    }
}

/// Logs go to standard error; standard output stays free.
pub fn start_log(log: &Log) {
    let builder = tracing_subscriber::fmt().with_env_filter(log.filter.directives()).with_writer(BoxMakeWriter::new(std::io::stderr));
    match log.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

async fn listen(config: Config) -> Result<(), Box<dyn Error>> {
    let shutdown = CancellationToken::new();
    let max_connections = connections_within_limits(&config)?;
    let listener = bind(&config)?;
    let address = listener.local_addr()?;
    watch_signals(shutdown.clone())?;
    tracing::info!(%address, pocketbase = %config.pocketbase_url, max_connections, "listening on http://{address}");
    server::run(listener, Arc::new(App::new(config, max_connections)), shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Accepted sockets inherit what is set here: no delay for small answers, and probes that find out about peers that vanished.
fn bind(config: &Config) -> Result<TcpListener, Box<dyn Error>> {
    let domain = socket2::Domain::for_address(config.listen);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM.nonblocking(), Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(std::time::Duration::from_secs(60)))?;
    socket.bind(&config.listen.into()).map_err(|error| format!("cannot listen on {} (GENERATIO_LISTEN): {error}", config.listen))?;
    socket.listen(4096)?;
    Ok(TcpListener::from_std(socket.into())?)
}

/// A connection costs a descriptor, and another one to PocketBase while it is answered; some are needed besides.
fn connections_within_limits(config: &Config) -> Result<usize, Box<dyn Error>> {
    const SPARE: u64 = 100;
    const DEFAULT_MAX: u64 = 10_000;
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    }
    let possible = limit.maximum.map_or(DEFAULT_MAX, |descriptors| descriptors.saturating_sub(SPARE) / 2).max(1);
    match config.max_connections.map(u64::from) {
        Some(wanted) if wanted > possible => {
            Err(format!("GENERATIO_MAX_CONNECTIONS={wanted} needs {} descriptors, the limit is {:?}", wanted * 2 + SPARE, limit.maximum)
                .into())
        }
        Some(wanted) => Ok(usize::try_from(wanted)?),
        None => Ok(usize::try_from(possible.min(DEFAULT_MAX))?),
    }
}

fn watch_signals(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                shutdown.cancel();
            } else {
                tracing::warn!("a second signal: stopping at once");
                std::process::exit(1);
            }
        }
    });
    Ok(())
}
