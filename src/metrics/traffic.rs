//! What one worker counts on the way of each request: a few additions to memory that no other thread writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::class::Class;
use super::histogram::{Histogram, Tally};

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;

/// Of the time that we add to a request.
static ADDED: [u64; 15] = [
    5 * MICRO,
    10 * MICRO,
    20 * MICRO,
    50 * MICRO,
    100 * MICRO,
    200 * MICRO,
    500 * MICRO,
    MILLI,
    2 * MILLI,
    5 * MILLI,
    20 * MILLI,
    100 * MILLI,
    500 * MILLI,
    1_000 * MILLI,
    3_000 * MILLI,
];
/// Of a worker's delay; its clock is no finer than a millisecond.
static LAG: [u64; 8] = [MILLI, 2 * MILLI, 5 * MILLI, 10 * MILLI, 50 * MILLI, 100 * MILLI, 500 * MILLI, 1_000 * MILLI];

/// The counters of one worker. Unless it says otherwise, a method is for the worker's own thread.
#[repr(align(128))]
pub struct Traffic {
    passed: [[Tally; CODES]; Class::ALL.len()],
    refused: [Tally; CODES],
    added: Histogram<15>,
    lag: Histogram<8>,
    streams: Tally,
    streams_ended: Tally,
    /// The accepting thread writes these two as well.
    connections: AtomicU64,
    connections_ended: AtomicU64,
}

impl Traffic {
    /// Nothing has happened yet.
    pub fn new() -> Arc<Self> {
        let tallies = || std::array::from_fn(|_| Tally::default());
        Arc::new(Self {
            passed: std::array::from_fn(|_| tallies()),
            refused: tallies(),
            added: Histogram::new(&ADDED),
            lag: Histogram::new(&LAG),
            streams: Tally::default(),
            streams_ended: Tally::default(),
            connections: AtomicU64::new(0),
            connections_ended: AtomicU64::new(0),
        })
    }

    /// A request that was PocketBase's was answered, by it or by us in its place.
    pub fn passed(&self, class: Class, status: u16) {
        self.passed[class as usize][place(status)].add(1);
    }

    /// PocketBase's answer came; so long had the request been with us before it was sent.
    pub fn added(&self, span: Duration) {
        self.added.observe(span);
    }

    /// A request was refused unread.
    pub fn refused(&self, status: u16) {
        self.refused[place(status)].add(1);
    }

    /// So late was the worker for something that it wanted to do at a certain time.
    pub fn late(&self, span: Duration) {
        self.lag.observe(span);
    }

    /// A stream of events began. The stream lasts as long as what is given back, which stays with the worker.
    pub fn stream(self: &Arc<Self>) -> Stream {
        self.streams.add(1);
        Stream(Arc::clone(self))
    }

    /// A client's connection was given to the worker. It lasts as long as what is given back. For any thread.
    pub fn connection(self: &Arc<Self>) -> Connection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connection(Arc::clone(self))
    }

    /// Connections that it has now. For any thread, like all below.
    pub fn open_connections(&self) -> u64 {
        let ended = self.connections_ended.load(Ordering::Relaxed);
        self.connections.load(Ordering::Relaxed).saturating_sub(ended)
    }

    /// Connections that it was ever given.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Streams of events that are open.
    pub fn open_streams(&self) -> u64 {
        let ended = self.streams_ended.value();
        self.streams.value().saturating_sub(ended)
    }

    /// How long requests were with us.
    pub fn added_so_far(&self) -> super::Reading {
        self.added.reading()
    }

    /// How late it was.
    pub fn lag_so_far(&self) -> super::Reading {
        self.lag.reading()
    }

    /// Requests by class and code, those that never were left out.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let passed = Class::ALL
            .into_iter()
            .flat_map(|class| self.passed[class as usize].iter().zip(WORDS).map(move |(tally, word)| (class.word(), word, tally.value())));
        let refused = self.refused.iter().zip(WORDS).map(|(tally, word)| ("refused", word, tally.value()));
        passed.chain(refused).filter(|(_, _, count)| *count > 0)
    }
}

/// An open stream of events.
pub struct Stream(Arc<Traffic>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams_ended.add(1);
    }
}

/// An open connection.
pub struct Connection(Arc<Traffic>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections_ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Statuses that are counted one by one; others by their hundred.
const KNOWN: [u16; 26] =
    [200, 201, 202, 204, 206, 301, 302, 304, 307, 308, 400, 401, 402, 403, 404, 405, 409, 413, 415, 416, 422, 429, 500, 502, 503, 504];
const WORDS: [&str; CODES] = [
    "200", "201", "202", "204", "206", "301", "302", "304", "307", "308", "400", "401", "402", "403", "404", "405", "409", "413", "415",
    "416", "422", "429", "500", "502", "503", "504", "1xx", "2xx", "3xx", "4xx", "5xx", "other",
];
const CODES: usize = KNOWN.len() + 6;

/// The place of each status from 100 on.
static PLACES: [u8; 500] = places();

const fn places() -> [u8; 500] {
    let mut places = [0; 500];
    let mut status = 0;
    while status < 500 {
        places[status] = (KNOWN.len() + status / 100) as u8;
        status += 1;
    }
    let mut known = 0;
    while known < KNOWN.len() {
        places[KNOWN[known] as usize - 100] = known as u8;
        known += 1;
    }
    places
}

fn place(status: u16) -> usize {
    PLACES.get(usize::from(status).wrapping_sub(100)).map_or(CODES - 1, |place| usize::from(*place))
}

/// The word that a status is counted under.
pub fn code(status: u16) -> &'static str {
    WORDS[place(status)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_a_word() {
        for (status, word) in
            [(200, "200"), (404, "404"), (418, "4xx"), (101, "1xx"), (299, "2xx"), (599, "5xx"), (600, "other"), (99, "other")]
        {
            assert_eq!(code(status), word, "{status}");
        }
        assert!(KNOWN.iter().all(|status| code(*status) == status.to_string()));
    }

    #[test]
    fn what_is_open_is_what_began_and_did_not_end() {
        let traffic = Traffic::new();
        let (stream, _connection) = (traffic.stream(), traffic.connection());
        drop(traffic.connection());
        assert_eq!((traffic.open_streams(), traffic.open_connections(), traffic.connections()), (1, 1, 2));
        drop(stream);
        assert_eq!(traffic.open_streams(), 0);
        traffic.passed(Class::Files, 404);
        traffic.refused(400);
        assert_eq!(traffic.requests().collect::<Vec<_>>(), [("files", "404", 1), ("refused", "400", 1)]);
    }
}
