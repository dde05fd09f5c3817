//! Threads that do what a password costs, below the priority of everything else.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::Busy;
use crate::metrics;
use crate::vault::{self, CannotOpen, Method, NewPassword, Opened, Owner, Password, Sealed};

/// Added to the threads' niceness: on a busy core they get a third of what others get at most. They ask for half of a core anyway
/// (`vault`); with a lower priority as well, nobody could open a session on a busy machine.
const NICENESS: i32 = 5;

/// A few threads and a short queue before them. When it is dropped, the work at hand is finished and the rest forgotten.
pub struct Derivations {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads have done and have before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Derivations that were begun since the start.
    pub begun: u64,
    /// Requests that wait for their turn.
    pub waiting: usize,
}

struct Shared {
    max_waiting: usize,
    queue: Mutex<Queue>,
    filled: Condvar,
    begun: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Task>,
    next_ticket: u64,
    closed: bool,
}

struct Task {
    ticket: u64,
    work: Box<dyn FnOnce() + Send>,
}

impl Derivations {
    /// Starts so many threads, with room for so many requests to wait beside those being worked on.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(threads: usize, max_waiting: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { max_waiting, queue: Mutex::default(), filled: Condvar::new(), begun: AtomicU64::new(0) });
        let mut derivations = Self { shared, threads: Vec::new() };
        for _ in 0..threads {
            let shared = Arc::clone(&derivations.shared);
            derivations.threads.push(thread::Builder::new().name("derivation".into()).spawn(move || shared.work())?);
        }
        Ok(derivations)
    }

    /// Opens a seal when its turn comes.
    ///
    /// # Errors
    /// At once when too many are waiting.
    pub async fn open(&self, sealed: Sealed, password: Password, owner: Owner) -> Result<Result<Opened, CannotOpen>, Busy> {
        self.run(move || vault::open(&sealed, &password, &owner)).await
    }

    /// Seals a key when its turn comes.
    ///
    /// # Errors
    /// At once when too many are waiting.
    pub async fn seal(&self, opened: Arc<Opened>, password: NewPassword, owner: Owner, method: Method) -> Result<Sealed, Busy> {
        self.run(move || vault::seal(&opened, &password, &owner, method)).await
    }

    /// Whether one more would be taken at this moment.
    ///
    /// # Errors
    /// When too many are waiting.
    pub fn check_room(&self) -> Result<(), Busy> {
        self.shared.check_room(&self.shared.queue.lock())
    }

    /// What has been done and what waits.
    pub fn work(&self) -> Work {
        Work { begun: self.shared.begun.load(Ordering::Relaxed), waiting: self.shared.queue.lock().waiting.len() }
    }

    /// Whoever stops waiting gives up the place in the queue. A panic in the work goes on where it was asked for.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let (answer, answered) = oneshot::channel();
        let ticket = self.shared.enqueue(Box::new(move || {
            // Nobody may be left to hear it; then the answer is dropped here, and zeroed.
            let _ = answer.send(catch_unwind(AssertUnwindSafe(work)));
        }))?;
        let _place = Place { shared: &self.shared, ticket };
        match answered.await {
            Ok(done) => Ok(done.unwrap_or_else(|panic| resume_unwind(panic))),
            Err(_) => Err(Busy),
        }
    }
}

impl Drop for Derivations {
    fn drop(&mut self) {
        {
            let mut queue = self.shared.queue.lock();
            queue.closed = true;
            queue.waiting.clear();
        }
        self.shared.filled.notify_all();
        for thread in self.threads.drain(..) {
            // The work of a thread cannot panic: what may is caught.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn check_room(&self, queue: &Queue) -> Result<(), Busy> {
        if queue.closed || queue.waiting.len() >= self.max_waiting {
            metrics::DERIVATIONS_REFUSED.happened();
            return Err(Busy);
        }
        Ok(())
    }

    fn enqueue(&self, work: Box<dyn FnOnce() + Send>) -> Result<u64, Busy> {
        let mut queue = self.queue.lock();
        self.check_room(&queue)?;
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push_back(Task { ticket, work });
        drop(queue);
        self.filled.notify_one();
        Ok(ticket)
    }

    fn work(&self) {
        // Linux counts niceness by thread. More of it is always granted; without it the work is still right, only ruder.
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::warn!(%error, "key derivation runs at normal priority");
        }
        while let Some(task) = self.next() {
            let begun = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::debug!(begun, "a key is derived");
            (task.work)();
        }
    }

    /// The next task, or `None` at the end.
    fn next(&self) -> Option<Task> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(task) = queue.waiting.pop_front() {
                return Some(task);
            }
            self.filled.wait(&mut queue);
        }
    }
}

/// A place in the queue, given up when dropped.
struct Place<'a> {
    shared: &'a Shared,
    ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        let left = queue.waiting.iter().position(|task| task.ticket == self.ticket).and_then(|index| queue.waiting.remove(index));
        drop(queue);
        // What was to be worked on holds secrets; it is zeroed outside the lock.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;

    /// Looks at a future once, and does not wait for it.
    fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Work that goes on until the sender is dropped.
    fn long() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (end, ended) = mpsc::channel::<()>();
        (end, move || {
            let _ = ended.recv();
        })
    }

    fn until(condition: impl Fn() -> bool) {
        for _ in 0..2000 {
            if condition() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("not within ten seconds");
    }

    fn owner() -> Owner {
        Owner { collection: "_pb_users_auth_".parse().unwrap(), user: "abcdefghij01234".parse().unwrap() }
    }

    #[tokio::test]
    async fn what_is_sealed_here_opens_here() {
        let derivations = Derivations::start(2, 4).unwrap();
        let key = Arc::new(Opened::parse("0123456789".into()).unwrap());
        let password = Password::from("correct horse".to_owned());
        let new = NewPassword::parse(password.clone()).unwrap();
        let sealed = derivations.seal(key, new, owner(), Method::Former).await.unwrap();
        let opened = derivations.open(sealed.clone(), password, owner()).await.unwrap();
        assert_eq!(opened.unwrap().expose(), "0123456789");
        let refused = derivations.open(sealed, "wrong".to_owned().into(), owner()).await.unwrap();
        assert_eq!(refused.err(), Some(CannotOpen::Refused));
        assert_eq!(derivations.work(), Work { begun: 3, waiting: 0 });
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_what_is_in_it_is_done() {
        let derivations = Arc::new(Derivations::start(1, 2).unwrap());
        let (end, work) = long();
        let busy = tokio::spawn({
            let derivations = Arc::clone(&derivations);
            async move { derivations.run(work).await }
        });
        until_async(&derivations, |work| work.begun == 1).await;
        let mut waiting: Vec<_> = (0..50).map(|number| Box::pin(derivations.run(move || number))).collect();
        let refused = waiting.iter_mut().filter_map(|future| match poll_once(future.as_mut()) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        });
        assert_eq!(refused.filter(|answer| *answer == Err(Busy)).count(), 48);
        assert_eq!(derivations.check_room(), Err(Busy));
        assert_eq!(derivations.work(), Work { begun: 1, waiting: 2 });
        drop(end);
        assert_eq!(waiting.swap_remove(0).await, Ok(0));
        assert_eq!(busy.await.unwrap(), Ok(()));
    }

    async fn until_async(derivations: &Derivations, condition: impl Fn(Work) -> bool) {
        while !condition(derivations.work()) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn whoever_goes_away_frees_the_place_and_costs_nothing() {
        let derivations = Derivations::start(1, 1).unwrap();
        let (end, work) = long();
        let mut busy = Box::pin(derivations.run(work));
        assert!(poll_once(busy.as_mut()).is_pending());
        until(|| derivations.work().begun == 1);
        let mut gone = Box::pin(derivations.run(|| unreachable!("nobody waits for it")));
        assert!(poll_once(gone.as_mut()).is_pending());
        assert_eq!(derivations.run(|| ()).await, Err(Busy));
        drop(gone);
        let mut next = Box::pin(derivations.run(|| 7));
        assert!(poll_once(next.as_mut()).is_pending());
        drop(end);
        assert_eq!((next.await, derivations.work().begun), (Ok(7), 2));
    }

    #[tokio::test]
    async fn a_panic_goes_to_who_asked_and_the_thread_lives_on() {
        let derivations = Arc::new(Derivations::start(1, 4).unwrap());
        let asking = Arc::clone(&derivations);
        let panicked = tokio::spawn(async move { asking.run(|| panic!("on purpose")).await }).await;
        assert!(panicked.is_err_and(|error| error.is_panic()));
        assert_eq!(derivations.run(|| 1).await, Ok(1));
    }

    #[test]
    fn dropping_it_finishes_the_work_at_hand_and_ends_the_threads() {
        let derivations = Derivations::start(3, 4).unwrap();
        let (done, seen) = mpsc::channel();
        let mut working = Box::pin(derivations.run(move || {
            thread::sleep(Duration::from_millis(20));
            done.send(())
        }));
        assert!(poll_once(working.as_mut()).is_pending());
        until(|| derivations.work().begun == 1);
        drop(working);
        let shared = Arc::downgrade(&derivations.shared);
        drop(derivations);
        assert_eq!(seen.try_recv(), Ok(()));
        assert!(shared.upgrade().is_none(), "a thread still runs");
    }

    #[tokio::test]
    async fn the_work_is_done_nicely() {
        let derivations = Derivations::start(1, 1).unwrap();
        let nice = || rustix::process::nice(0).map_err(|error| error.to_string());
        let (ours, theirs) = (nice().unwrap(), derivations.run(nice).await.unwrap().unwrap());
        assert_eq!(theirs, (ours + NICENESS).min(19));
    }
}
