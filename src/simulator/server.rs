//! Connections: accepted in bounded number, plain or over TLS, each request turned into a call and noted when answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, header};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::answer::{Cut, Response, Stop};
use super::call::{Bases, Call};
use super::journal::Entry;
use super::routes::{Routes, prefix_of};
use super::world::World;

/// Connections at once, over both listeners.
const MOST_CONNECTIONS: usize = 2_048;
/// How long a connection may take to send a request's head, and how long an idle one is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// A listener that hundreds of clients may reach for at the same moment: the usual backlog makes some of them wait a second.
///
/// # Errors
/// When the address cannot be had.
pub fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(MOST_CONNECTIONS as u32)
}

/// What every connection shares.
pub struct Server {
    pub(super) world: Arc<World>,
    pub(super) routes: Routes,
    connections: Arc<Semaphore>,
}

/// How a connection came.
#[derive(Clone, Copy)]
struct Origin {
    scheme: &'static str,
    local: SocketAddr,
}

impl Server {
    pub(super) fn new(world: Arc<World>) -> Self {
        Server { world, routes: Routes::new(), connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)) }
    }

    /// Accepts until told to stop; then drops what is still open, as a test double may.
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener, tls: Option<TlsAcceptor>, stop: CancellationToken) {
        let mut open = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.next(&listener) => accepted,
            };
            while open.try_join_next().is_some() {}
            let Ok((stream, permit)) = accepted else {
                // Out of descriptors, most likely: some will come back.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (server, tls) = (self.clone(), tls.clone());
            open.spawn(async move {
                server.greet(stream, tls).await;
                drop(permit);
            });
        }
    }

    /// A connection, once there is room for one.
    async fn next(&self, listener: &TcpListener) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let permit = self.connections.clone().acquire_owned().await.map_err(std::io::Error::other)?;
        let (stream, _) = listener.accept().await?;
        Ok((stream, permit))
    }

    async fn greet(self: Arc<Self>, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let Ok(local) = stream.local_addr() else {
            return;
        };
        // Small answers go out at once; if the kernel refuses, they only go later.
        let _ = stream.set_nodelay(true);
        match tls {
            None => self.converse(TokioIo::new(stream), Origin { scheme: "http", local }).await,
            Some(acceptor) => {
                let greeting = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream));
                if let Ok(Ok(stream)) = greeting.await {
                    self.converse(TokioIo::new(stream), Origin { scheme: "https", local }).await;
                }
            }
        }
    }

    async fn converse(self: Arc<Self>, io: impl Read + Write + Unpin + 'static, origin: Origin) {
        let service = service_fn(|request| {
            let server = self.clone();
            async move { server.answer(request, origin).await }
        });
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).half_close(true).serve_connection(io, service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the FAL simulator ended early");
        }
    }

    /// One request, one answer, one line in the journal. `Err` cuts the connection.
    async fn answer(&self, request: Request<Incoming>, origin: Origin) -> Result<Response, Cut> {
        let call = self.call(request, origin);
        let (method, path) = (call.method.to_string(), call.path.clone());
        let key_id = match call.credentials() {
            super::call::Credentials::Key(key) => Some(key.id().to_owned()),
            super::call::Credentials::None | super::call::Credentials::Malformed => None,
        };
        let (kind, answer) = self.routes.answer(self.world.clone(), call).await;
        let answer = match answer {
            Ok(response) => Ok(response),
            Err(Stop::Answer(response)) => Ok(*response),
            Err(Stop::Cut) => Err(Cut),
        };
        if kind != "_sim" {
            let status = answer.as_ref().map_or(0, |response| response.status().as_u16());
            self.world.look(|state, now| {
                state.journal.note(Entry { at: now.iso(), kind, method, path, status, key_id });
            });
        }
        answer
    }

    /// FAL's host names mean a prefix; anything else already has one in its path.
    fn call(&self, request: Request<Incoming>, origin: Origin) -> Call {
        let (parts, body) = request.into_parts();
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let authority = host.parse::<http::uri::Authority>().ok();
        let prefix = prefix_of(host);
        let bases = match (&self.world.options.public_url, prefix, authority) {
            (Some(public), ..) => Bases::under(public),
            (None, Some(_), _) => Bases::named(origin.scheme),
            (None, None, Some(authority)) => Bases::under(&format!("{}://{authority}", origin.scheme)),
            (None, None, None) => Bases::under(&format!("{}://{}", origin.scheme, origin.local)),
        };
        let path = format!("{}{}", prefix.unwrap_or_default(), parts.uri.path());
        Call::new(parts, body, path, bases)
    }
}
