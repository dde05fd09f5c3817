//! Connections that wait too long are closed: one look a second at all of a worker's connections, and no timer per request.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::config::Config;

/// What a connection is doing.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between requests; no byte of the next one has come.
    Idle,
    /// The same, since the last look.
    Quiet,
    /// The same, for so long that nothing is kept ready for it.
    Parked,
    /// Part of a request's head has come.
    Head,
    /// A request is being answered.
    Busy,
    /// The same, and the answer is a stream of events.
    Streaming,
    /// The last answer is out; the client may still be sending.
    Lingering,
}

impl Phase {
    const IDLE: [u8; 3] = [Self::Idle as u8, Self::Quiet as u8, Self::Parked as u8];
}

/// What a worker tells all of its connections.
struct Shared {
    clock: AtomicU32,
    /// Whether no further request is wanted.
    draining: AtomicBool,
    /// Whether a connection between two requests is to end too.
    parting: AtomicBool,
}

impl Shared {
    fn at(second: Second) -> Arc<Self> {
        Arc::new(Self { clock: AtomicU32::new(second), draining: AtomicBool::new(false), parting: AtomicBool::new(false) })
    }

    fn now(&self) -> Second {
        self.clock.load(Ordering::Relaxed)
    }
}

/// Seconds of a worker's clock. Zero in a field means "not waiting".
type Second = u32;

/// What the watch knows of one connection. All of it is written by the worker thread that also reads it.
pub(super) struct Pulse {
    worker: Arc<Shared>,
    /// Wakes the connection's task.
    waker: OnceLock<Waker>,
    phase: AtomicU8,
    phase_since: AtomicU32,
    /// Since when the client owes a byte of a body.
    body_owed_since: AtomicU32,
    /// Since when the client takes no byte of an answer.
    write_blocked_since: AtomicU32,
    /// Whether to see for oneself if the client takes a byte.
    write_doubted: AtomicBool,
    /// Since when PocketBase owes a byte of an answer's body.
    upstream_silent_since: AtomicU32,
}

impl Pulse {
    fn new(worker: Arc<Shared>) -> Self {
        let now = worker.now();
        let zero = || AtomicU32::new(0);
        Self {
            worker,
            waker: OnceLock::new(),
            phase: AtomicU8::new(Phase::Head as u8),
            phase_since: AtomicU32::new(now),
            body_owed_since: zero(),
            write_blocked_since: zero(),
            write_doubted: AtomicBool::new(false),
            upstream_silent_since: zero(),
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.phase_since.store(self.worker.now(), Ordering::Relaxed);
    }

    fn is_idle(&self) -> bool {
        Phase::IDLE.contains(&self.phase.load(Ordering::Relaxed))
    }

    /// Whether hyper is not needed: for a connection that has been idle for so long that nothing is to be kept ready for it, whose task is woken
    /// when that becomes so; or for a stream of events, once what hyper has to write before it is out.
    pub(super) fn is_without_hyper(&self) -> bool {
        let phase = self.phase.load(Ordering::Relaxed);
        phase == Phase::Parked as u8 || phase == Phase::Streaming as u8 && !self.is_write_blocked()
    }

    /// The answer to the request is a stream of events.
    pub(super) fn streams(&self) {
        self.enter(Phase::Streaming);
    }

    /// Parks a connection that was idle at the last look already, and whose last answer is out.
    fn look(&self) {
        let phase = self.phase.load(Ordering::Relaxed);
        if phase == Phase::Idle as u8 {
            self.phase.store(Phase::Quiet as u8, Ordering::Relaxed);
        } else if phase == Phase::Quiet as u8 && self.write_blocked_since.load(Ordering::Relaxed) == 0 {
            self.phase.store(Phase::Parked as u8, Ordering::Relaxed);
            self.waker.get().into_iter().for_each(Waker::wake_by_ref);
        }
    }

    /// A byte came, or the end.
    pub(super) fn heard(&self) {
        if self.is_idle() {
            self.enter(Phase::Head);
        }
    }

    /// The client took bytes of an answer, or takes none now.
    pub(super) fn wrote(&self, taken: bool) {
        self.mark(&self.write_blocked_since, !taken);
        if taken && self.is_idle() {
            self.enter(Phase::Idle);
        } else if taken && self.phase.load(Ordering::Relaxed) == Phase::Head as u8 {
            // The end of the last answer, behind which the next request waits.
            self.enter(Phase::Head);
        }
    }

    /// The last answer is out, and nothing more is sent.
    pub(super) fn linger(&self) {
        self.enter(Phase::Lingering);
    }

    /// Whether to ask the kernel itself once more if it takes a byte for the client. It says so by itself only when a third of what it
    /// may hold is free, and that may be megabytes, which a slow client that reads all the time takes minutes for.
    pub(super) fn doubts_block(&self) -> bool {
        self.write_doubted.load(Ordering::Relaxed) && self.write_doubted.swap(false, Ordering::Relaxed)
    }

    /// Whether the client does not take now what is to be written.
    pub(super) fn is_write_blocked(&self) -> bool {
        self.write_blocked_since.load(Ordering::Relaxed) != 0
    }

    fn doubt_block(&self) {
        if self.is_write_blocked() {
            self.write_doubted.store(true, Ordering::Relaxed);
            self.waker.get().into_iter().for_each(Waker::wake_by_ref);
        }
    }

    fn mark(&self, since: &AtomicU32, waiting: bool) {
        if !waiting {
            since.store(0, Ordering::Relaxed);
        } else if since.load(Ordering::Relaxed) == 0 {
            since.store(self.worker.now(), Ordering::Relaxed);
        }
    }

    /// The client owes a byte of a body, or does not any more.
    pub(super) fn body_owed(&self, waiting: bool) {
        self.mark(&self.body_owed_since, waiting);
    }

    /// PocketBase owes a byte of an answer, or does not any more.
    pub(super) fn upstream_silent(&self, waiting: bool) {
        self.mark(&self.upstream_silent_since, waiting);
    }

    /// Whether the connection is to end with the request that it serves. Its task asks, and is woken when that becomes so.
    ///
    /// Not while a head is awaited: who connected a moment ago has sent a request, or is about to, and nobody else would answer it. Between two
    /// requests not at once: the next one may be on its way, and would be lost.
    pub(super) fn is_draining(&self, cx: &Context<'_>) -> bool {
        self.waker.get_or_init(|| cx.waker().clone());
        let phase = self.phase.load(Ordering::Relaxed);
        self.is_worker_draining() && phase != Phase::Head as u8 && (!self.is_idle() || self.worker.parting.load(Ordering::Relaxed))
    }

    /// Whether a stream that would never end is to end now. Its connection's task is woken when that becomes so.
    pub(super) fn is_worker_draining(&self) -> bool {
        self.worker.draining.load(Ordering::Relaxed)
    }

    fn overdue(&self, limits: &Limits) -> Option<Overdue> {
        let now = self.worker.now();
        let waited = |since: &AtomicU32, limit: Second| match since.load(Ordering::Relaxed) {
            0 => false,
            since => now.saturating_sub(since) > limit,
        };
        let phase = self.phase.load(Ordering::Relaxed);
        // An answer that is not yet out keeps its connection from being idle, and the next request waiting; the stall limit is there for it.
        let unwritten = self.write_blocked_since.load(Ordering::Relaxed) != 0;
        if self.is_idle() && !unwritten && waited(&self.phase_since, limits.idle) {
            return Some(Overdue::Idle);
        }
        if phase == Phase::Head as u8 && !unwritten && waited(&self.phase_since, limits.head) {
            return Some(Overdue::Head);
        }
        if phase == Phase::Lingering as u8 && waited(&self.phase_since, LINGER) {
            return Some(Overdue::Lingering);
        }
        if waited(&self.write_blocked_since, limits.stall) {
            return Some(Overdue::Reading);
        }
        if waited(&self.body_owed_since, limits.stall) {
            return Some(Overdue::Body);
        }
        waited(&self.upstream_silent_since, limits.upstream).then_some(Overdue::Upstream)
    }
}

/// Marks a connection as busy until it is dropped.
pub(super) struct Busy(Arc<Pulse>);

impl Busy {
    pub(super) fn begin(pulse: &Arc<Pulse>) -> Self {
        pulse.enter(Phase::Busy);
        Self(Arc::clone(pulse))
    }

    pub(super) fn pulse(&self) -> &Pulse {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.body_owed(false);
        self.0.upstream_silent(false);
        self.0.enter(Phase::Idle);
    }
}

/// What a connection waited for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overdue {
    Idle,
    Head,
    Body,
    Reading,
    Upstream,
    Lingering,
}

/// In whole seconds.
struct Limits {
    idle: Second,
    head: Second,
    stall: Second,
    upstream: Second,
}

/// How long a client may go on sending after its last answer.
const LINGER: Second = 2;
/// How long an idle connection may stay while most places are taken.
const IDLE_UNDER_PRESSURE: Second = 5;
/// How long a drain waits for a head.
const HEAD_WHILE_DRAINING: Second = 2;

/// All connections of one worker.
pub(super) struct Watch {
    shared: Arc<Shared>,
    limits: Limits,
    watched: Mutex<Vec<(Arc<Pulse>, AbortHandle)>>,
}

impl Watch {
    pub(super) fn new(config: &Config) -> Self {
        let seconds = |span: Duration| Second::try_from(span.as_secs()).unwrap_or(Second::MAX);
        Self {
            shared: Shared::at(1),
            limits: Limits {
                idle: seconds(config.keep_alive_timeout.duration()),
                head: seconds(config.head_timeout.duration()),
                stall: seconds(config.stall_timeout.duration()),
                upstream: seconds(config.upstream_timeout.duration()),
            },
            watched: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn pulse(&self) -> Arc<Pulse> {
        Arc::new(Pulse::new(Arc::clone(&self.shared)))
    }

    pub(super) fn add(&self, pulse: Arc<Pulse>, task: AbortHandle) {
        self.watched.lock().push((pulse, task));
    }

    /// Lets every connection end with the request that it serves, those that are added later too.
    pub(super) fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Lets connections that have brought no further request since end too.
    pub(super) fn part(&self) {
        self.shared.parting.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        self.watched.lock().iter().filter_map(|(pulse, _)| pulse.waker.get()).for_each(Waker::wake_by_ref);
    }

    /// Some time has passed: parks connections that were idle all the while.
    pub(super) fn look(&self) {
        self.watched.lock().iter().for_each(|(pulse, _)| pulse.look());
    }

    /// Whether there are no connections.
    pub(super) fn is_empty(&self) -> bool {
        self.watched.lock().is_empty()
    }

    /// One second has passed: forgets connections that have ended and ends those that are overdue.
    pub(super) fn tick(&self, under_pressure: bool) {
        self.shared.clock.fetch_add(1, Ordering::Relaxed);
        let idle = if under_pressure { self.limits.idle.min(IDLE_UNDER_PRESSURE) } else { self.limits.idle };
        let draining = self.shared.draining.load(Ordering::Relaxed);
        let head = if draining { self.limits.head.min(HEAD_WHILE_DRAINING) } else { self.limits.head };
        let limits = Limits { idle, head, ..self.limits };
        self.watched.lock().retain(|(pulse, task)| {
            if task.is_finished() {
                return false;
            }
            if let Some(overdue) = pulse.overdue(&limits) {
                tracing::debug!(?overdue, "a connection waited too long and is closed");
                task.abort();
            }
            pulse.doubt_block();
            true
        });
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
