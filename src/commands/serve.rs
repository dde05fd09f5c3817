//! `generatio serve`: from settings to a running sidecar, and to its end.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::Socket;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::hardening::refuse_dumps;
use super::supervisor::{handed_over, say_ready, say_stopping};
use crate::app::{App, SetupError};
use crate::config::{Config, Credentials, MetricsListen};
use crate::pocketbase::pipe;
use crate::{monitor, server};

/// Run the sidecar in front of PocketBase.
#[derive(Args, Debug)]
pub struct Serve {
    /// All settings.
    #[command(flatten)]
    pub config: Config,
}

/// Serves until SIGTERM or SIGINT, then drains.
pub fn run(serve: Serve) -> ExitCode {
    super::run(&serve.config.log.clone(), async {
        refuse_dumps()?;
        let metrics = metrics_socket(serve.config.metrics_listen, MetricsListen::SERVE)?;
        let listener = Listener::bind(serve.config, handed_over()?, metrics)?;
        let shutdown = until_signal()?;
        listener.serve(shutdown).await
    })
}

/// A sidecar that has its port, and has not yet answered anybody.
pub(super) struct Listener {
    socket: TcpListener,
    metrics: Option<TcpListener>,
    app: App,
}

impl Listener {
    /// A socket that somebody else opened takes the place of `GENERATIO_LISTEN`.
    ///
    /// # Errors
    /// When a port is taken, or the descriptor limit is too low for what is wanted.
    pub(super) fn bind(mut config: Config, opened: Option<std::net::TcpListener>, metrics: Option<TcpListener>) -> Result<Self, Failure> {
        if let Some(opened) = &opened {
            config.listen = opened.local_addr()?;
        }
        let max_connections = connections_within_limits(&config)?;
        let credentials = config.superuser.credentials().map_err(Failure::Setting)?;
        if leads_back(&config) {
            return Err(Failure::Setting(format!(
                "GENERATIO_POCKETBASE_URL={} is where the sidecar itself listens",
                config.pocketbase_url
            )));
        }
        let socket = match opened {
            Some(opened) => prepared(opened.into())?,
            None => prepared(bind(config.listen, "GENERATIO_LISTEN")?)?,
        };
        Ok(Self { socket, metrics, app: app(config, credentials, max_connections)? })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Where metrics are, if anywhere.
    pub(super) fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Answers until `shutdown`, then drains.
    pub(super) async fn serve(self, shutdown: CancellationToken) -> Result<(), Failure> {
        let address = self.address()?;
        if let Some(metrics) = self.metrics_address() {
            tracing::info!(address = %metrics, "metrics are at http://{metrics}/metrics, beside /healthz and /readyz");
        }
        let pocketbase = &self.app.config.pocketbase_url;
        tracing::info!(%address, %pocketbase, max_connections = self.app.max_connections, "listening on http://{address}");
        say_ready();
        let app = Arc::new(self.app);
        let monitor = self.metrics.map(|listener| tokio::spawn(monitor::run(listener, Arc::clone(&app), shutdown.clone())));
        let watched = Arc::clone(&app);
        let watch = tokio::spawn(async move {
            let guard = watched.keys.guard(watched.store.changes.subscribe(), watched.config.keys.session_sweep.duration());
            let jobs = watched.jobs.watch(watched.store.changes.subscribe());
            tokio::join!(watched.store.watch(), guard, jobs)
        });
        let (going_down, stopped) = (shutdown.clone(), Arc::clone(&app));
        let stop = tokio::spawn(async move {
            going_down.cancelled().await;
            say_stopping();
            stopped.jobs.stop().await;
        });
        let served = server::run(self.socket, Arc::clone(&app), shutdown).await;
        app.tasks.close();
        let all = async {
            app.tasks.wait().await;
            // A request may have begun a job while the others stopped.
            let stopped = stop.await;
            app.jobs.stop().await;
            stopped
        };
        if timeout(app.config.drain_timeout.duration(), all).await.is_err() {
            tracing::warn!(tasks = app.tasks.len(), "the drain time-out has passed: work for clients that left is cut");
        }
        watch.abort();
        monitor.inspect(tokio::task::JoinHandle::abort);
        served?;
        tracing::info!("stopped");
        Ok(())
    }
}

fn app(config: Config, credentials: Option<Credentials>, max_connections: usize) -> Result<App, Failure> {
    App::new(config, credentials, max_connections).map_err(|error| match error {
        SetupError::Fal(error) => Failure::Setting(error.to_string()),
        SetupError::Models(error) => Failure::Setting(format!("GENERATIO_MODELS: {error}")),
        SetupError::System(error) => Failure::System(error),
    })
}

/// Where metrics are asked for. Nobody goes without their sidecar because something has a port that they did not choose.
pub(super) fn metrics_socket(wanted: Option<MetricsListen>, default: MetricsListen) -> std::io::Result<Option<TcpListener>> {
    let MetricsListen::At(address) = wanted.unwrap_or(default) else { return Ok(None) };
    match bind(address, "GENERATIO_METRICS_LISTEN") {
        Err(error) if wanted.is_none() && error.kind() == std::io::ErrorKind::AddrInUse => {
            tracing::warn!(%address, "there are no metrics: {error}; choose another address, or `off`");
            Ok(None)
        }
        bound => prepared(bound?).map(Some),
    }
}

fn bind(address: SocketAddr, variable: &str) -> std::io::Result<Socket> {
    let socket = Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket
        .bind(&address.into())
        .map_err(|error| std::io::Error::new(error.kind(), format!("cannot listen on {address} ({variable}): {error}")))?;
    Ok(socket)
}

/// Listens. Accepted sockets inherit what is set here: no delay for small answers, and probes that find out about peers that vanished.
fn prepared(socket: Socket) -> std::io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(std::time::Duration::from_secs(60)))?;
    // Without it the kernel calls a socket writable only when a third of megabytes is free again, and a slow but steady reader looks stalled.
    socket.set_tcp_notsent_lowat(128 * 1024)?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}

/// Whether PocketBase's URL is our own address: each request would come back to us until every place is taken.
pub(super) fn leads_back(config: &Config) -> bool {
    let url = &config.pocketbase_url;
    let host = if url.host() == "localhost" { "127.0.0.1" } else { url.host() };
    let ip = config.listen.ip();
    let ours = |host: IpAddr| host == ip || ip.is_unspecified() && host.is_loopback();
    config.listen.port() == url.port() && host.parse().is_ok_and(ours)
}

/// A connection costs a descriptor, and another one to PocketBase while it is answered; some are needed besides, and two for each pipe.
fn connections_within_limits(config: &Config) -> Result<usize, Failure> {
    const SPARE: u64 = 100 + 2 * pipe::MOST as u64;
    const DEFAULT_MAX: u64 = 10_000;
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).map_err(std::io::Error::from)?;
    }
    let possible = limit.maximum.map_or(DEFAULT_MAX, |descriptors| descriptors.saturating_sub(SPARE) / 2).max(1);
    let chosen = match config.max_connections.map(u64::from) {
        Some(wanted) if wanted > possible => {
            let message = format!(
                "GENERATIO_MAX_CONNECTIONS={wanted} needs {} file descriptors; the limit (ulimit -Hn) allows for {possible} connections",
                wanted * 2 + SPARE
            );
            return Err(Failure::Setting(message));
        }
        Some(wanted) => wanted,
        None => possible.min(DEFAULT_MAX),
    };
    Ok(usize::try_from(chosen).unwrap_or(usize::MAX))
}

/// Cancelled by SIGTERM or SIGINT. Further ones change nothing: supervisors send them in pairs, and the drain has its own limit.
pub(super) fn until_signal() -> std::io::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(shutdown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_metrics_port_that_nobody_chose_keeps_no_sidecar_from_starting() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let at = MetricsListen::At(taken.local_addr().expect("an address"));
        assert!(metrics_socket(None, at).expect("it goes on without").is_none());
        assert!(metrics_socket(Some(at), MetricsListen::Off).is_err());
    }
}
