//! What a service manager (systemd) hands over at the start, and the news that it waits for.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// The listening socket that the service manager keeps open for us between two lives of ours (`LISTEN_FDS`), where it does.
///
/// # Errors
/// When there are several, or what was handed over is no TCP socket.
pub(super) fn handed_over() -> io::Result<Option<TcpListener>> {
    let mut handed = ListenFd::from_env();
    if handed.len() > 1 {
        let message = format!("{} sockets were handed over (LISTEN_FDS), and one is served: name one ListenStream= only", handed.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    if handed.len() == 0 {
        return Ok(None);
    }
    handed.take_tcp_listener(0).map_err(|error| io::Error::new(error.kind(), format!("the socket handed over (LISTEN_FDS): {error}")))
}

/// Says that connections are answered from now on.
pub(super) fn say_ready() {
    say(NotifyState::Ready);
}

/// Says that what runs is finished and nothing new begun.
pub(super) fn say_stopping() {
    say(NotifyState::Stopping);
}

/// Where nobody listens (`NOTIFY_SOCKET`) nothing is said.
fn say(news: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[news]) {
        tracing::warn!(%error, "the service manager (NOTIFY_SOCKET) could not be told");
    }
}
