//! One thread's share of the connections.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::Places;
use super::line::Lines;
use super::respond::{self, Connection};
use super::socket::Socket;
use super::watch::{Pulse, Watch};
use super::{Arrival, Place};
use crate::address::Network;
use crate::app::{App, Seen};
use crate::metrics::{self, Traffic};
use crate::pocketbase::pool::Pool;
use crate::rates::Allowance;

/// The head of a request. PocketBase takes 1 MiB; what browsers and SDKs send stays far below this.
const HEAD_MAX: usize = 64 * 1024;
/// Below this hyper asks for more of an answer, which is then read (`pocketbase::line`) or in a pipe.
const BUFFER_MAX: usize = 64 * 1024;
/// A client that asks for nothing between two looks holds no buffers.
const LOOK: Duration = Duration::from_millis(250);
/// How long a drain leaves a connection open between two requests. What its client has sent by then is answered, and the connection ended.
const KEPT_WHILE_DRAINING: Duration = Duration::from_millis(200);

pub(super) struct Worker {
    app: Arc<App>,
    places: Arc<Places>,
    pool: Arc<Pool>,
    watch: Arc<Watch>,
    traffic: Arc<Traffic>,
    lines: Arc<Lines>,
    tasks: TaskTracker,
}

impl Worker {
    pub(super) fn new(app: Arc<App>, places: Arc<Places>, traffic: Arc<Traffic>) -> Self {
        let pool = Pool::new(app.config.pocketbase_url.clone(), app.config.upstream_timeout.duration(), Arc::clone(&app.outage));
        let (pool, watch) = (Arc::new(pool), Arc::new(Watch::new(&app.config)));
        app.workers.lock().push(Seen { traffic: Arc::clone(&traffic), pool: Arc::clone(&pool) });
        let lines = Arc::new(Lines::new(app.config.log.requests));
        Self { app, places, pool, watch, traffic, lines, tasks: TaskTracker::new() }
    }

    /// Serves what arrives until `shutdown`, then lets what runs finish within the drain time-out.
    pub(super) async fn run(self, mut arrivals: mpsc::UnboundedReceiver<Arrival>, shutdown: CancellationToken) {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some(arrival) => self.serve(arrival),
                    None => break,
                },
                due = seconds.tick() => self.tick(due),
                _ = looks.tick(), if !self.watch.is_empty() => self.watch.look(),
                () = shutdown.cancelled() => break,
            }
        }
        self.watch.drain();
        // Connections that were accepted before the listener closed may still be on their way.
        while let Some(arrival) = arrivals.recv().await {
            self.serve(arrival);
        }
        self.tasks.close();
        let drained = timeout(self.app.config.drain_timeout.duration(), async {
            let (mut wait, mut parting) = (pin!(self.tasks.wait()), pin!(sleep(KEPT_WHILE_DRAINING)));
            let mut parted = false;
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    () = &mut parting, if !parted => {
                        parted = true;
                        self.watch.part();
                    }
                    due = seconds.tick() => self.tick(due),
                }
            }
        });
        if drained.await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "the drain time-out has passed: what still runs is cut");
        }
    }

    /// What is done each second, and was to be done then.
    fn tick(&self, due: Instant) {
        self.traffic.late(due.elapsed());
        self.watch.tick(self.places.under_pressure());
        self.pool.tick();
    }

    fn serve(&self, arrival: Arrival) {
        let Arrival { stream, caller, place, load } = arrival;
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::error!(%error, "a connection could not be taken over"),
        };
        let allowance =
            if caller.is_exempt() { Allowance::unlimited() } else { self.app.rates.requests.allowance(&Network::from(caller.address)) };
        let pulse = self.watch.pulse();
        let pulsing = Arc::clone(&pulse);
        let connection = Connection {
            app: Arc::clone(&self.app),
            pool: Arc::clone(&self.pool),
            traffic: Arc::clone(&self.traffic),
            lines: Arc::clone(&self.lines),
            caller,
            waiting: Arc::new(move |waits| pulsing.body_owed(waits)),
            pulse: Arc::clone(&pulse),
            allowance,
            events: Mutex::default(),
        };
        let io = Socket::new(stream, Arc::clone(&pulse));
        let task = self.tasks.spawn(serve_connection(io, Arc::new(connection), Arc::clone(&pulse), (place, load)));
        self.watch.add(pulse, task.abort_handle());
    }
}

/// Serves one client until either side ends it.
///
/// hyper keeps two buffers of 8 KB and more for each of its connections, and most clients that are connected ask for nothing: after a
/// moment of that hyper's part is dropped, and made again when a byte comes. A stream of events needs no hyper either.
async fn serve_connection(mut socket: Socket, connection: Arc<Connection>, pulse: Arc<Pulse>, _counted: (Place, metrics::Connection)) {
    loop {
        socket = match with_hyper(socket, &connection, &pulse).await {
            Ok(Some(socket)) => socket,
            Ok(None) => return,
            Err(error) => return early_end(&error),
        };
        let events = connection.events.lock().take();
        let is_over = if let Some(mut events) = events {
            if let Err(error) = poll_fn(|cx| events.poll(&mut socket, cx)).await {
                return early_end(&error);
            }
            pulse.is_worker_draining()
        } else {
            poll_fn(|cx| if pulse.is_draining(cx) { Poll::Ready(true) } else { socket.poll_readable(cx).map(|ready| ready.is_err()) }).await
        };
        if is_over {
            if let Err(error) = poll_fn(|cx| Pin::new(&mut socket).poll_shutdown(cx)).await {
                tracing::debug!(%error, "an idle client was gone already");
            }
            return;
        }
    }
}

fn early_end(error: &(dyn std::error::Error + 'static)) {
    tracing::debug!(error, "a client's connection ended early");
}

/// Lets hyper serve a client until either side ends it, or hyper is not needed: then the connection comes back.
async fn with_hyper(socket: Socket, connection: &Arc<Connection>, pulse: &Pulse) -> hyper::Result<Option<Socket>> {
    let connection = Arc::clone(connection);
    // Boxed, so that a connection holds no room for an answer between two.
    let service = service_fn(move |request: Request<Incoming>| Box::pin(respond::respond(request, Arc::clone(&connection))));
    let mut http = Box::new(
        http1::Builder::new()
            .max_header_size(HEAD_MAX)
            .max_buf_size(BUFFER_MAX)
            // It must not copy an answer: some of it is in a pipe, and not where it seems to be.
            .writev(true)
            // The watch does this, without a timer for each request.
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(socket), service),
    );
    let mut stopping = false;
    let ended = poll_fn(|cx| {
        let polled = Pin::new(&mut http).poll(cx);
        if polled.is_pending() && pulse.is_without_hyper() {
            return Poll::Ready(None);
        }
        if polled.is_ready() || stopping || !pulse.is_draining(cx) {
            return polled.map(Some);
        }
        stopping = true;
        Pin::new(&mut *http).graceful_shutdown();
        Pin::new(&mut http).poll(cx).map(Some)
    });
    if let Some(ended) = ended.await {
        return ended.map(|()| None);
    }
    let parts = http.into_parts();
    Ok(Some(parts.io.into_inner().rewound(&parts.read_buf)))
}
