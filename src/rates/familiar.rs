//! From where somebody has signed in before.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Identity;
use crate::address::Network;

const SLOTS: u64 = 16 * 1024;

/// Pairs of an account and a network that belong together, as far as is remembered: a table of fixed size, in which a new pair may take the
/// place of an old one. It holds hashes under a secret of the process, and no addresses or names.
pub(super) struct Familiar {
    hasher: RandomState,
    seen: Box<[AtomicU64]>,
}

impl Familiar {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), seen: (0..SLOTS).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(super) fn remember(&self, identity: &Identity, network: Network) {
        let hash = self.hash(identity, network);
        self.slot(hash).store(hash, Ordering::Relaxed);
    }

    pub(super) fn knows(&self, identity: &Identity, network: Network) -> bool {
        let hash = self.hash(identity, network);
        self.slot(hash).load(Ordering::Relaxed) == hash
    }

    /// Never 0, which is an empty slot.
    fn hash(&self, identity: &Identity, network: Network) -> u64 {
        self.hasher.hash_one((identity, network)) | 1
    }

    /// By other bits than the lowest, which is always set.
    fn slot(&self, hash: u64) -> &AtomicU64 {
        &self.seen[((hash >> 1) % SLOTS) as usize]
    }
}
