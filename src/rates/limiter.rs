//! One limit: how often in how long, for each key.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::{NotUntil, Quota, RateLimiter};

use super::sketch::{Places, Sketch, Slots};
use super::{Exceeded, Limit};
use crate::config::Rate;

/// Lets each key through so often; never, and never refuses, when it is off.
pub struct Limiter<C: Clock = DefaultClock> {
    limit: Limit,
    on: Option<On<C>>,
}

struct On<C: Clock> {
    places: Places,
    inner: RateLimiter<Slots, Sketch, C, NoOpMiddleware<C::Instant>>,
}

impl Limiter {
    /// So many in a minute, all of them at once if need be.
    pub fn per_minute(limit: Limit, rate: Rate) -> Self {
        Self::by(limit, rate.number().map(Quota::per_minute), DefaultClock::default())
    }

    /// So many in a second, and ten times as many at once: a page with all its pictures asks for much in a moment and then for nothing.
    pub fn per_second(limit: Limit, rate: Rate) -> Self {
        Self::by(limit, rate.number().map(tenfold), DefaultClock::default())
    }
}

fn tenfold(rate: NonZeroU32) -> Quota {
    const TEN: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");
    Quota::per_second(rate).allow_burst(rate.saturating_mul(TEN))
}

impl<C: Clock> Limiter<C> {
    fn by(limit: Limit, quota: Option<Quota>, clock: C) -> Self {
        let on = quota.map(|quota| On { places: Places::default(), inner: RateLimiter::new(quota, Sketch::new(), clock) });
        Self { limit, on }
    }

    /// One more of this key.
    ///
    /// # Errors
    /// When there were too many.
    pub fn check(&self, key: &impl Hash) -> Result<(), Exceeded> {
        let Some(on) = &self.on else { return Ok(()) };
        on.inner.check_key(&on.places.of(key)).map_err(|until| self.exceeded(on, &until))
    }

    /// What one client's connection is given, to be spent by [`Self::spend`].
    pub fn allowance(&self, key: &impl Hash) -> Allowance {
        self.on.as_ref().map_or_else(Allowance::unlimited, |on| Allowance::of(on.places.of(key)))
    }

    /// One more of the allowance's key. Only when what was granted is spent, the table that all share is looked at; each look grants more,
    /// up to [`GRANTED_AT_MOST`].
    ///
    /// # Errors
    /// When there were too many.
    pub fn spend(&self, allowance: &Allowance) -> Result<(), Exceeded> {
        let left = allowance.left.load(Ordering::Relaxed);
        if left > 0 {
            allowance.left.store(left - 1, Ordering::Relaxed);
            return Ok(());
        }
        self.refill(allowance)
    }

    #[cold]
    fn refill(&self, allowance: &Allowance) -> Result<(), Exceeded> {
        let (Some(on), Some(slots)) = (&self.on, &allowance.slots) else {
            allowance.left.store(u32::MAX, Ordering::Relaxed);
            return Ok(());
        };
        let wanted = allowance.next.load(Ordering::Relaxed);
        let granted = NonZeroU32::new(wanted).is_some_and(|wanted| matches!(on.inner.check_key_n(slots, wanted), Ok(Ok(()))));
        if granted {
            allowance.left.store(wanted - 1, Ordering::Relaxed);
            allowance.next.store((wanted * 2).min(GRANTED_AT_MOST), Ordering::Relaxed);
            return Ok(());
        }
        // There may be room for fewer.
        allowance.next.store(1, Ordering::Relaxed);
        on.inner.check_key(slots).map_err(|until| self.exceeded(on, &until))
    }

    fn exceeded(&self, on: &On<C>, until: &NotUntil<C::Instant>) -> Exceeded {
        Exceeded { limit: self.limit, retry_after: until.wait_time_from(on.inner.clock().now()).max(Duration::from_millis(1)) }
    }
}

/// Requests that a connection may be granted beforehand.
const GRANTED_AT_MOST: u32 = 32;

/// What one connection may still spend without asking. Its requests come one after the other, so nobody else writes to it.
pub struct Allowance {
    /// None when there is no limit.
    slots: Option<Slots>,
    left: AtomicU32,
    /// How many are asked for next.
    next: AtomicU32,
}

impl Allowance {
    fn of(slots: Slots) -> Self {
        Self { slots: Some(slots), left: AtomicU32::new(0), next: AtomicU32::new(1) }
    }

    /// Never spent.
    pub fn unlimited() -> Self {
        Self { slots: None, left: AtomicU32::new(u32::MAX), next: AtomicU32::new(1) }
    }
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
