//! Events that come thick and fast are passed on in batches.
//!
//! PocketBase writes an event to its subscribers one after another, and would wake a worker for every second or third message. After a turn of its event
//! loop in which it passed on more than one, a worker sleeps for a moment and finds a batch next time, as network cards do with packets.

use std::cell::Cell;
use std::thread;
use std::time::Duration;

/// From so many events in one turn on there is a batch to wait for.
const MANY: u32 = 2;
/// How long a worker waits for it, and the most that a request of another client is held up by it.
const WAIT: Duration = Duration::from_millis(1);

thread_local! {
    /// Pieces of event streams that the worker has passed on in this turn.
    static PASSED: Cell<u32> = const { Cell::new(0) };
}

/// The worker has passed on a piece of a stream of events.
pub(super) fn passed() {
    PASSED.set(PASSED.get() + 1);
}

/// The turn is over, and the worker about to wait for what comes.
pub(super) fn turn_ends() {
    if let Some(wait) = wait() {
        thread::sleep(wait);
    }
}

fn wait() -> Option<Duration> {
    (PASSED.take() >= MANY).then_some(WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_turn_of_many_events_is_followed_by_a_wait() {
        assert_eq!(wait(), None);
        (0..MANY - 1).for_each(|_| passed());
        assert_eq!(wait(), None, "few events are worth no wait");
        passed();
        assert_eq!(wait(), None, "a turn begins at none");
        (0..MANY).for_each(|_| passed());
        assert_eq!(wait(), Some(WAIT));
        assert_eq!(wait(), None);
    }
}
