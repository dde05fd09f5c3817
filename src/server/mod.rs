//! Accepting connections, and deciding of each request whether it is ours or PocketBase's.
//!
//! One thread accepts and gives each connection to the worker that holds the fewest. A worker is one thread with its own event loop and
//! its own connections to PocketBase, so that a request never changes threads.

mod batches;
mod events;
mod limits;
mod line;
mod respond;
mod socket;
mod watch;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::forward::Caller;
use crate::metrics::{self, Traffic};
use limits::{Place, Places};
use worker::Worker;

/// A client's connection on its way to a worker.
struct Arrival {
    stream: std::net::TcpStream,
    caller: Caller,
    place: Place,
    /// Connections of the worker; this one is counted before it arrives.
    load: metrics::Connection,
}

struct WorkerThread {
    arrivals: mpsc::UnboundedSender<Arrival>,
    traffic: Arc<Traffic>,
    thread: JoinHandle<()>,
}

/// Serves until `shutdown`, then drains: no new connection is accepted, event streams end at once, requests go on for at most the drain
/// time-out.
///
/// # Errors
/// When a worker cannot be started. A failing accept is logged and tried again.
pub async fn run(listener: TcpListener, app: Arc<App>, shutdown: CancellationToken) -> io::Result<()> {
    let places = Places::new(app.max_connections, app.config.max_connections_per_address);
    let workers = start_workers(&app, &places, &shutdown)?;
    tokio::select! {
        () = accept(&listener, &app, &places, &workers) => {}
        () = shutdown.cancelled() => {}
    }
    drop(listener);
    tracing::info!(connections = places.taken(), "draining: no new connections, event streams are closed");
    let threads: Vec<JoinHandle<()>> = workers.into_iter().map(|worker| worker.thread).collect();
    let joined = tokio::task::spawn_blocking(|| threads.into_iter().filter_map(|thread| thread.join().err()).count());
    match joined.await {
        Ok(0) => Ok(()),
        Ok(panicked) => Err(io::Error::other(format!("{panicked} workers panicked"))),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn start_workers(app: &Arc<App>, places: &Arc<Places>, shutdown: &CancellationToken) -> io::Result<Vec<WorkerThread>> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    (0..count)
        .map(|number| {
            let (sender, arrivals) = mpsc::unbounded_channel();
            let (app, places, shutdown) = (Arc::clone(app), Arc::clone(places), shutdown.clone());
            let traffic = Traffic::new();
            let counted = Arc::clone(&traffic);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(batches::turn_ends).build()?;
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || runtime.block_on(Worker::new(app, places, counted).run(arrivals, shutdown)))?;
            Ok(WorkerThread { arrivals: sender, traffic, thread })
        })
        .collect()
}

async fn accept(listener: &TcpListener, app: &App, places: &Arc<Places>, workers: &[WorkerThread]) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(stream, peer, app, places, workers),
            Err(error) if is_the_peers_fault(&error) => {}
            Err(error) => {
                // Out of descriptors, most likely: those in use must be given back first.
                tracing::error!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn is_the_peers_fault(error: &io::Error) -> bool {
    [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionRefused].contains(&error.kind())
}

fn admit(stream: TcpStream, peer: SocketAddr, app: &App, places: &Arc<Places>, workers: &[WorkerThread]) {
    let caller = Caller::direct(peer.ip(), &app.config.trusted_proxies);
    let Some(place) = places.take(caller.address, caller.is_exempt()) else {
        metrics::CONNECTIONS_REFUSED.happened();
        if places.is_news() {
            tracing::warn!(address = %caller.address, connections = places.taken(), "too many connections: one is refused, maybe more");
        }
        tokio::spawn(turn_away(stream));
        return;
    };
    let Some(worker) = workers.iter().min_by_key(|worker| worker.traffic.open_connections()) else { return };
    let load = worker.traffic.connection();
    match stream.into_std() {
        // A worker that is gone has panicked; `run` reports it. Its connections end here.
        Ok(stream) => drop(worker.arrivals.send(Arrival { stream, caller, place, load })),
        Err(error) => tracing::error!(%error, "a connection could not be given to a worker"),
    }
}

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 116\r\nRetry-After: 5\r\n\
    Connection: close\r\n\r\n{\"status\":503,\"error\":\"unavailable_error\",\"message\":\"Too many connections. Please try again in a moment.\",\"data\":{}}";

/// Says why, to whoever asks within a second.
async fn turn_away(mut stream: TcpStream) {
    let said = tokio::time::timeout(Duration::from_secs(1), async {
        // An answer before the request would make no sense to the client.
        stream.peek(&mut [0]).await?;
        stream.write_all(BUSY).await?;
        stream.shutdown().await?;
        // Bytes that nobody reads would reset the connection before the client has read ours.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    });
    if let Ok(Err(error)) = said.await {
        tracing::debug!(%error, "a refused client was gone already");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_refusal_says_how_long_it_is() {
        let text = std::str::from_utf8(super::BUSY).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["error"], "unavailable_error");
    }
}
