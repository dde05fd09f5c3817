//! The one buffer that secret bytes live in: zeroed when it is dropped.

use zeroize::Zeroize;

/// Bytes that nobody prints, clones or compares, and that are zero before their memory is given back.
///
/// It never grows: a buffer that moved would leave a copy behind.
pub(super) struct Secret(Vec<u8>);

impl Secret {
    /// Takes over the allocation as it is, spare room included.
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// A copy of bytes that are not secret yet, or of a secret that stays where it is.
    pub(super) fn copy_of(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
        #[cfg(test)]
        graveyard::bury(&self.0);
        // Once more with the room beyond its length, where a string that was shortened keeps its tail.
        self.0.zeroize();
    }
}

/// What buffers held at their end, for tests: memory that was given back cannot be looked at.
#[cfg(test)]
pub(crate) mod graveyard {
    use std::cell::RefCell;

    thread_local! {
        static BURIED: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn bury(bytes: &[u8]) {
        BURIED.with_borrow_mut(|buried| buried.push(bytes.to_vec()));
    }

    /// The last content of each buffer that was dropped on this thread while `work` ran.
    pub(crate) fn during(work: impl FnOnce()) -> Vec<Vec<u8>> {
        BURIED.with_borrow_mut(Vec::clear);
        work();
        BURIED.take()
    }
}
