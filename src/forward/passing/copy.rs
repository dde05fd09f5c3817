//! A copy of a body, bounded and zeroed at its end: there are passwords in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use zeroize::Zeroizing;

/// Longer bodies are not kept; a change of a password is a few hundred bytes.
const LONGEST: usize = 1024 * 1024;
/// Of all copies at once.
const MOST: usize = 64 * 1024 * 1024;

/// Bytes in copies, of all requests that are on their way.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// What was seen of a body, unless it was too much.
pub(super) struct BodyCopy(Mutex<Option<Kept>>);

/// The end of a copy that is written to.
pub(in crate::forward) struct Tee(Arc<BodyCopy>);

#[derive(Default)]
struct Kept(Zeroizing<Vec<u8>>);

impl Default for BodyCopy {
    fn default() -> Self {
        Self(Mutex::new(Some(Kept::default())))
    }
}

impl BodyCopy {
    /// What was seen so far; nothing when that was too much.
    pub(super) fn take(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut kept = self.0.lock().take()?;
        HELD.fetch_sub(kept.0.len(), Ordering::Relaxed);
        Some(std::mem::take(&mut kept.0))
    }
}

impl Tee {
    pub(super) fn new(copy: &Arc<BodyCopy>) -> Self {
        Self(Arc::clone(copy))
    }

    /// Keeps what passes.
    pub(in crate::forward) fn keep(&self, bytes: &[u8]) {
        let mut copy = self.0.0.lock();
        if copy.as_mut().is_some_and(|kept| !kept.push(bytes)) {
            *copy = None;
        }
    }
}

impl Kept {
    /// Whether there was room.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let length = self.0.len() + bytes.len();
        if length > LONGEST {
            return false;
        }
        if HELD.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len() > MOST {
            HELD.fetch_sub(bytes.len(), Ordering::Relaxed);
            return false;
        }
        if length > self.0.capacity() {
            // By hand, so that what is left behind is zeroed.
            let mut larger = Zeroizing::new(Vec::with_capacity(length * 2));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
        true
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_up_to_a_mebibyte_and_beyond_it_nothing_is() {
        let copy = Arc::new(BodyCopy::default());
        let tee = Tee::new(&copy);
        tee.keep(b"one");
        tee.keep(b"two");
        assert_eq!(copy.take().as_deref().map(Vec::as_slice), Some(b"onetwo".as_slice()));
        for (length, kept) in [(LONGEST, true), (LONGEST + 1, false)] {
            let copy = Arc::new(BodyCopy::default());
            let tee = Tee::new(&copy);
            let body = vec![b'x'; length];
            body.chunks(50_000).for_each(|chunk| tee.keep(chunk));
            tee.keep(b"");
            assert_eq!(copy.take().is_some_and(|seen| *seen == body), kept, "{length}");
        }
        assert_eq!(HELD.load(Ordering::Relaxed), 0, "what is gone is not counted");
    }
}
