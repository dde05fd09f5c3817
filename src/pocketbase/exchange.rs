//! One request on one connection, up to the head of its answer.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderMap;
use parking_lot::Mutex;

use super::framing::Malformed;
use super::head::{AnswerHead, Head};
use super::known::KnownHeads;
use super::line::Line;
use super::sending::{Sending, Stopped};

/// PocketBase's own heads are a few hundred bytes.
const LONGEST_HEAD: usize = 64 * 1024;

/// Why a request did not get an answer from PocketBase, or not the whole of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made, or it ended at once: nothing was sent.
    #[error("PocketBase cannot be reached")]
    Unreachable(#[source] io::Error),
    /// The connection ended before the end of the answer: whether the request was carried out is not known.
    #[error("PocketBase closed the connection before it answered")]
    Cut(#[source] io::Error),
    /// The answer was not HTTP that we understand.
    #[error("PocketBase sent a malformed answer")]
    Malformed(#[source] Malformed),
    /// No answer within the upstream time-out.
    #[error("PocketBase did not answer in time")]
    TimedOut,
    /// The answer to a call of our own was longer than any that makes sense.
    #[error("PocketBase's answer was too long")]
    TooLong,
    /// A call of our own had a path that is none.
    #[error("the path of a call to PocketBase could not be read")]
    Target,
    /// The client's body ended early or was malformed.
    #[error("the body of the request was not received whole")]
    ClientBody(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// The kind in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Cut(_) => "cut",
            Self::Malformed(_) => "malformed",
            Self::TimedOut => "timed_out",
            Self::TooLong => "too_long",
            Self::Target => "target",
            Self::ClientBody(_) => "client_body",
        }
    }

    /// The connection ended without saying why.
    pub(super) fn early_end() -> Self {
        Self::Cut(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Sends a request and waits for the head of its answer, which comes with what of the body came along. The answer may begin before the
/// request is sent whole; what is left is `sending`'s. The headers are put into `room`, which is given away with them.
pub(super) async fn exchange(
    line: &mut Line,
    sending: &mut Sending,
    room: &mut HeaderMap,
    known: &Mutex<KnownHeads>,
) -> Result<(AnswerHead, Bytes), Error> {
    let mut arrived = Bytes::new();
    // Why nothing more can be written: PocketBase may have answered nevertheless.
    let mut stopped = None;
    line.begin();
    let answered = poll_fn(|cx| poll(line, sending, room, known, &mut arrived, &mut stopped, cx)).await;
    line.end(answered.is_ok());
    answered.map(|head| (head, arrived))
}

fn poll(
    line: &mut Line,
    sending: &mut Sending,
    room: &mut HeaderMap,
    known: &Mutex<KnownHeads>,
    arrived: &mut Bytes,
    stopped: &mut Option<io::Error>,
    cx: &mut Context<'_>,
) -> Poll<Result<AnswerHead, Error>> {
    loop {
        if stopped.is_none()
            && let Poll::Ready(Err(error)) = sending.poll(line, cx)
        {
            match error {
                Stopped::Line(error) => *stopped = Some(error),
                Stopped::Body(error) => return Poll::Ready(Err(Error::ClientBody(error))),
            }
        }
        let bytes = match line.poll_read(None, cx) {
            Poll::Ready(Ok(bytes)) if !bytes.is_empty() => bytes,
            Poll::Ready(Ok(_)) => return Poll::Ready(Err(stopped.take().map_or_else(Error::early_end, Error::Cut))),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Error::Cut(error))),
            Poll::Pending if line.is_overdue(cx) => return Poll::Ready(Err(Error::TimedOut)),
            Poll::Pending => return Poll::Pending,
        };
        *arrived = if arrived.is_empty() { bytes } else { [&arrived[..], &bytes].concat().into() };
        while !arrived.is_empty() {
            match Head::take(arrived, room, known, sending.asks_for_head).map_err(Error::Malformed)? {
                Some(Head::Answer(head)) => return Poll::Ready(Ok(head)),
                Some(Head::Interim(status)) if status == StatusCode::CONTINUE => sending.invite(),
                Some(Head::Interim(_)) => {}
                None if arrived.len() > LONGEST_HEAD => {
                    return Poll::Ready(Err(Error::Malformed(Malformed::Other("the head is too long"))));
                }
                None => break,
            }
        }
    }
}
