//! One thread's share of the connections.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::Places;
use super::respond::{self, Connection};
use super::watch::{Pulse, Watch, Watched};
use super::{Arrival, Load, Place};
use crate::app::App;
use crate::pocketbase::pool::Pool;

/// The head of a request. PocketBase takes 1 MiB; what browsers and SDKs send stays far below this.
const HEAD_MAX: usize = 64 * 1024;
/// What is held for a client that reads slowly, here and once more at the connection to PocketBase.
const BUFFER_MAX: usize = 64 * 1024;

pub(super) struct Worker {
    app: Arc<App>,
    places: Arc<Places>,
    pool: Arc<Pool>,
    watch: Arc<Watch>,
    tasks: TaskTracker,
}

impl Worker {
    pub(super) fn new(app: Arc<App>, places: Arc<Places>) -> Self {
        let pool = Pool::new(app.config.pocketbase_url.clone(), app.config.upstream_timeout.duration(), Arc::clone(&app.outage));
        let watch = Watch::new(&app.config);
        Self { app, places, pool: Arc::new(pool), watch: Arc::new(watch), tasks: TaskTracker::new() }
    }

    /// Serves what arrives until `shutdown`, then lets what runs finish within the drain time-out.
    pub(super) async fn run(self, mut arrivals: mpsc::UnboundedReceiver<Arrival>, shutdown: CancellationToken) {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some(arrival) => self.serve(arrival, shutdown.clone()),
                    None => break,
                },
                _ = seconds.tick() => self.tick(),
                () = shutdown.cancelled() => break,
            }
        }
        self.watch.drain();
        // Connections that were accepted before the listener closed may still be on their way.
        while let Some(arrival) = arrivals.recv().await {
            self.serve(arrival, shutdown.clone());
        }
        self.tasks.close();
        let drained = timeout(self.app.config.drain_timeout.duration(), async {
            let mut wait = pin!(self.tasks.wait());
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    _ = seconds.tick() => self.tick(),
                }
            }
        });
        if drained.await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "the drain time-out has passed: what still runs is cut");
        }
    }

    fn tick(&self) {
        self.watch.tick(self.places.under_pressure());
        self.pool.tick();
    }

    fn serve(&self, arrival: Arrival, shutdown: CancellationToken) {
        let Arrival { stream, caller, place, load } = arrival;
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::error!(%error, "a connection could not be taken over"),
        };
        let pulse = self.watch.pulse();
        let connection = Connection::new(Arc::clone(&self.app), Arc::clone(&self.pool), caller, Arc::clone(&pulse), shutdown);
        let io = Watched::new(stream, Arc::clone(&pulse));
        let task = self.tasks.spawn(serve_connection(io, Arc::new(connection), Arc::clone(&pulse), (place, load)));
        self.watch.add(pulse, task.abort_handle());
    }
}

async fn serve_connection(io: Watched, connection: Arc<Connection>, pulse: Arc<Pulse>, _counted: (Place, Load)) {
    let service = service_fn(move |request: Request<Incoming>| respond::respond(request, Arc::clone(&connection)));
    let mut http = pin!(
        http1::Builder::new()
            .max_header_size(HEAD_MAX)
            .max_buf_size(BUFFER_MAX)
            // The watch does this, without a timer for each request.
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(io), service)
    );
    let mut stopping = false;
    let ended = poll_fn(|cx| {
        let polled = http.as_mut().poll(cx);
        if polled.is_ready() || stopping || !pulse.is_draining(cx) {
            return polled;
        }
        stopping = true;
        http.as_mut().graceful_shutdown();
        http.as_mut().poll(cx)
    });
    if let Err(error) = ended.await {
        tracing::debug!(error = &error as &dyn std::error::Error, "a client's connection ended early");
    }
}
