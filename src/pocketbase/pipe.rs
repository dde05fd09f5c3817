//! Most of a large answer goes from PocketBase's socket to the client's through a pipe, inside the kernel: nobody copies it.
//!
//! hyper, which says what is written when, knows nothing of pipes. It is given a stand-in for what is in one: a slice of the same length, of
//! memory that nobody reads or writes. Whoever writes for hyper asks of each slice whether it is a stand-in, and moves what it stands for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Pipes at once in the whole process. Answers beyond that are read and written as usual. An unprivileged user may have 64 of this length
/// (`/proc/sys/fs/pipe-user-pages-soft`).
pub const MOST: usize = 32;
/// What a pipe may hold, in bytes and in pages: as much as an unprivileged process may ask for (`/proc/sys/fs/pipe-max-size`).
const LENGTH: usize = 1024 * 1024;

/// The pipes there are, each at its place.
static PIPES: [Mutex<Weak<Pipe>>; MOST] = [const { Mutex::new(Weak::new()) }; MOST];
/// The stand-ins of each, at the same place. Nobody touches them, so that the kernel gives hardly any memory for them.
static STAND_INS: OnceLock<Vec<u8>> = OnceLock::new();

/// A pipe for one answer.
pub struct Pipe {
    place: usize,
    inlet: OwnedFd,
    outlet: OwnedFd,
    inside: AtomicUsize,
}

/// What is in a pipe and belongs to a body, as hyper sees it.
pub struct Piped {
    pipe: Arc<Pipe>,
    left: usize,
}

/// Some of a body.
pub enum Portion {
    /// Here.
    Here(Bytes),
    /// In a pipe.
    Piped(Piped),
}

impl Pipe {
    /// A new pipe, unless there are too many already, or the system gives none.
    pub(super) fn open() -> Option<Arc<Self>> {
        let (place, mut lent) = PIPES.iter().enumerate().find_map(|(place, pipe)| {
            let pipe = pipe.lock();
            (pipe.strong_count() == 0).then_some((place, pipe))
        })?;
        let (outlet, inlet) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        fcntl_setpipe_size(&inlet, LENGTH).ok()?;
        let pipe = Arc::new(Self { place, inlet, outlet, inside: AtomicUsize::new(0) });
        *lent = Arc::downgrade(&pipe);
        Some(pipe)
    }

    /// The pipe that this slice is a stand-in of, if it is one.
    pub fn behind(slice: &[u8]) -> Option<Arc<Self>> {
        let offset = slice.as_ptr().addr().checked_sub(STAND_INS.get()?.as_ptr().addr())?;
        PIPES.get(offset / LENGTH)?.lock().upgrade()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inside.load(Ordering::Relaxed) == 0
    }

    /// Moves into this empty pipe what has come on a socket, but not more than `most` bytes; how many they were.
    pub(super) fn fill(&self, from: impl AsFd, most: u64) -> io::Result<usize> {
        debug_assert!(self.is_empty());
        let most = usize::try_from(most).map_or(LENGTH, |most| most.min(LENGTH));
        let moved = splice(from, None, &self.inlet, None, most, SpliceFlags::NONBLOCK)?;
        self.inside.store(moved, Ordering::Relaxed);
        Ok(moved)
    }

    /// Moves at most `most` bytes of it to a socket; how many it took.
    pub fn pour(&self, to: impl AsFd, most: usize) -> io::Result<usize> {
        if most > self.inside.load(Ordering::Relaxed) {
            return Err(io::Error::other("the pipe does not hold what is to be taken out of it"));
        }
        let moved = splice(&self.outlet, None, to, None, most, SpliceFlags::NONBLOCK)?;
        self.inside.fetch_sub(moved, Ordering::Relaxed);
        Ok(moved)
    }
}

impl Piped {
    /// All that is in this pipe.
    pub(super) fn all(pipe: &Arc<Pipe>) -> Self {
        Self { pipe: Arc::clone(pipe), left: pipe.inside.load(Ordering::Relaxed) }
    }
}

impl Buf for Piped {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        let start = self.pipe.place * LENGTH;
        &STAND_INS.get_or_init(|| vec![0; MOST * LENGTH])[start..start + self.left]
    }

    fn advance(&mut self, count: usize) {
        self.left -= count;
    }
}

impl Buf for Portion {
    fn remaining(&self) -> usize {
        match self {
            Self::Here(bytes) => bytes.remaining(),
            Self::Piped(piped) => piped.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Here(bytes) => bytes.chunk(),
            Self::Piped(piped) => piped.chunk(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Here(bytes) => bytes.advance(count),
            Self::Piped(piped) => piped.advance(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_went_in_comes_out_and_a_slice_says_which_pipe_it_stands_for() {
        let pipes: Vec<_> = (0..2).map(|_| Pipe::open().expect("a pipe")).collect();
        for (pipe, text) in pipes.iter().zip(["first", "second"]) {
            let ((mut sender, from), (to, mut receiver)) = (UnixStream::pair().expect("a pair"), UnixStream::pair().expect("a pair"));
            sender.write_all(text.as_bytes()).expect("a socket");
            assert_eq!(pipe.fill(&from, 1000).expect("bytes"), text.len());
            let mut piped = Piped::all(pipe);
            piped.advance(1);
            assert_eq!(piped.chunk().len(), text.len() - 1);
            let found = Pipe::behind(piped.chunk()).expect("a stand-in");
            assert!(Arc::ptr_eq(&found, pipe) && !pipe.is_empty());
            found.pour(&to, text.len()).expect("a socket");
            assert!(pipe.is_empty() && found.pour(&to, 1).is_err());
            let mut received = vec![0; text.len()];
            receiver.read_exact(&mut received).expect("what went in");
            assert_eq!(received, text.as_bytes());
        }
        assert!(Pipe::behind(b"anything else").is_none());
    }
}
