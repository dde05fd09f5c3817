//! HMAC-SHA-256 that rests as much as it works: a derivation is long, and nobody should wait behind it.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use pbkdf2::hmac::Hmac;
use pbkdf2::hmac::digest::common::KeySizeUser;
use pbkdf2::hmac::digest::{FixedOutput, InvalidLength, Key, KeyInit, Output, OutputSizeUser, Update};
use sha2::Sha256;

/// After so much work the thread sleeps for as long, and whoever waits for the core has it.
///
/// A yield would not do: where threads are scheduled in groups (a container each, or a session), it lets only the own group's threads go
/// first, and everybody else waits for the scheduler's slice of some milliseconds.
const WORK: Duration = Duration::from_micros(200);
/// The clock is looked at once in so many rounds, which take 25 to 100 microseconds.
const ROUNDS: u32 = 256;

thread_local! {
    static ROUND: Cell<u32> = const { Cell::new(0) };
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What PBKDF2 repeats: the same bytes as HMAC alone.
#[derive(Clone)]
pub(super) struct Polite(Hmac<Sha256>);

impl KeySizeUser for Polite {
    type KeySize = <Hmac<Sha256> as KeySizeUser>::KeySize;
}

impl OutputSizeUser for Polite {
    type OutputSize = <Hmac<Sha256> as OutputSizeUser>::OutputSize;
}

impl KeyInit for Polite {
    fn new(key: &Key<Self>) -> Self {
        Self(Hmac::new(key))
    }

    fn new_from_slice(key: &[u8]) -> Result<Self, InvalidLength> {
        Hmac::new_from_slice(key).map(Self)
    }
}

impl Update for Polite {
    #[inline]
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
}

impl FixedOutput for Polite {
    #[inline]
    fn finalize_into(self, out: &mut Output<Self>) {
        let round = ROUND.get().wrapping_add(1);
        ROUND.set(round);
        if round.is_multiple_of(ROUNDS) {
            rest();
        }
        self.0.finalize_into(out);
    }
}

#[inline(never)]
fn rest() {
    let now = Instant::now();
    if SINCE.get().is_none_or(|since| now.duration_since(since) >= WORK) {
        thread::sleep(WORK);
        SINCE.set(Some(Instant::now()));
    }
}
