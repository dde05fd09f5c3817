//! How much of the answers may be read ahead of clients that are slow to take them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

/// The longer the reads, the less a large answer costs: PocketBase's side and ours are woken less often. What is read is held until the client has
/// taken it, so long reads are for as many as there is room for, and the rest have short ones.
const LONGEST_READ: usize = 1024 * 1024;
/// What anybody may read at once, however much is held already.
const SHORTEST_READ: usize = 64 * 1024;
/// What may be held by long reads, of one pool.
const ROOM: usize = 8 * 1024 * 1024;

/// What the connections of one pool hold of their answers.
#[derive(Default)]
pub(super) struct Ahead {
    held: AtomicUsize,
}

/// Bytes that count as held until they are dropped.
struct Held {
    bytes: BytesMut,
    ahead: Arc<Ahead>,
}

impl Ahead {
    /// How much may be read at once now: a quarter of what is left, so that who comes next finds something too.
    pub(super) fn room(&self) -> usize {
        (ROOM.saturating_sub(self.held.load(Ordering::Relaxed)) / 4).clamp(SHORTEST_READ, LONGEST_READ)
    }

    /// Counts what was read, with the room that it takes.
    pub(super) fn hold(self: &Arc<Self>, bytes: BytesMut) -> Bytes {
        self.held.fetch_add(bytes.capacity(), Ordering::Relaxed);
        Bytes::from_owner(Held { bytes, ahead: Arc::clone(self) })
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ahead.held.fetch_sub(self.bytes.capacity(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_shorter_the_more_is_held_and_long_again_once_it_is_gone() {
        let ahead = Arc::new(Ahead::default());
        assert_eq!(ahead.room(), LONGEST_READ);
        let mut held = Vec::new();
        let mut before = usize::MAX;
        while ahead.room() > SHORTEST_READ {
            assert!(ahead.room() <= before);
            before = ahead.room();
            held.push(ahead.hold(BytesMut::zeroed(ahead.room())));
        }
        assert!(ahead.held.load(Ordering::Relaxed) <= ROOM && held.len() > 8, "{} readers", held.len());
        let part = held.pop().map(|mut bytes| bytes.split_off(1));
        held.clear();
        assert_eq!(ahead.held.load(Ordering::Relaxed), before, "a part of what was read holds all of it");
        drop(part);
        assert_eq!((ahead.held.load(Ordering::Relaxed), ahead.room()), (0, LONGEST_READ));
    }
}
