//! A port for those who watch: `/metrics`, `/healthz`, `/readyz`. It shows nothing of any user, and asks nobody who they are: keep it private.

mod exposition;
mod format;
mod process;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use format::Format;

/// Those who watch are few; one more waits.
const MOST_CONNECTIONS: usize = 32;
/// For the head of a request, and between two of them.
const HEAD_WITHIN: Duration = Duration::from_secs(90);
/// Nobody stays for longer: whoever scrapes connects again.
const CONNECTION_WITHIN: Duration = Duration::from_secs(600);

type Reply = Response<Full<Bytes>>;

/// Answers for as long as it is polled, while `shutdown` goes on too: then it says that the sidecar is not ready any more.
pub async fn run(listener: TcpListener, app: Arc<App>, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (app, shutdown) = (Arc::clone(&app), shutdown.clone());
                tokio::spawn(async move {
                    let _over_time = timeout(CONNECTION_WITHIN, serve(stream, app, shutdown)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the metrics port could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, app: Arc<App>, shutdown: CancellationToken) {
    let service = service_fn(|request| {
        let (app, shutdown) = (Arc::clone(&app), shutdown.clone());
        async move { Ok::<_, Infallible>(answer(&request, &app, &shutdown).await) }
    });
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the metrics port ended early");
    }
}

async fn answer(request: &Request<Incoming>, app: &Arc<App>, shutdown: &CancellationToken) -> Reply {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = words(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    match request.uri().path() {
        "/metrics" => metrics(request, app, shutdown).await,
        "/healthz" => words(StatusCode::OK, "alive\n"),
        "/readyz" => match why_not_ready(app, shutdown).await {
            None => words(StatusCode::OK, "ready\n"),
            Some(why) => words(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", why.replace(['\r', '\n'], " "))),
        },
        _ => words(StatusCode::NOT_FOUND, "/metrics, /healthz and /readyz are here\n"),
    }
}

async fn metrics(request: &Request<Incoming>, app: &Arc<App>, shutdown: &CancellationToken) -> Reply {
    let format = Format::wanted(request.headers().get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok()));
    let ready = why_not_ready(app, shutdown).await.is_none();
    match exposition::text(app, ready, format) {
        Ok(text) => {
            let mut reply = words(StatusCode::OK, text);
            reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
            reply
        }
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            words(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n")
        }
    }
}

/// What keeps the sidecar from answering all that it is there for, if anything does. A sidecar without a superuser is a proxy, and ready
/// whenever PocketBase answers.
async fn why_not_ready(app: &App, shutdown: &CancellationToken) -> Option<String> {
    if shutdown.is_cancelled() {
        return Some("the sidecar is stopping".into());
    }
    if !app.health.is_up().await {
        return Some(format!("PocketBase does not answer at {}", app.config.pocketbase_url));
    }
    if app.config.superuser.is_absent() {
        return None;
    }
    match app.store.readiness.found() {
        Ok(found) => found.problems.iter().find(|problem| problem.is_blocking()).map(ToString::to_string),
        Err(error) => Some(error.to_string()),
    }
}

fn words(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::from(text.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
