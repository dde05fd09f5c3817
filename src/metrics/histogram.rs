//! How long something took: how often it was within each of a few bounds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that one thread writes and any may read: cheaper than one that several may write.
#[derive(Default)]
pub(super) struct Tally(AtomicU64);

impl Tally {
    /// To be called by one thread alone.
    pub(super) fn add(&self, amount: u64) {
        self.0.store(self.value().wrapping_add(amount), Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts spans of time by their length; one thread writes it.
pub struct Histogram<const BOUNDS: usize> {
    /// In nanoseconds, rising.
    bounds: &'static [u64; BOUNDS],
    within: [Tally; BOUNDS],
    beyond: Tally,
    nanos: Tally,
}

impl<const BOUNDS: usize> Histogram<BOUNDS> {
    pub(super) fn new(bounds: &'static [u64; BOUNDS]) -> Self {
        Self { bounds, within: std::array::from_fn(|_| Tally::default()), beyond: Tally::default(), nanos: Tally::default() }
    }

    /// The shortest are found first, since nearly all are.
    pub(super) fn observe(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let place = self.bounds.iter().position(|bound| nanos <= *bound);
        place.map_or(&self.beyond, |place| &self.within[place]).add(1);
        self.nanos.add(nanos);
    }

    /// What was counted up to now.
    pub fn reading(&self) -> Reading {
        let mut counts: Vec<(f64, u64)> =
            self.bounds.iter().zip(&self.within).map(|(bound, tally)| (seconds(*bound), tally.value())).collect();
        counts.push((f64::INFINITY, self.beyond.value()));
        Reading { counts, seconds: seconds(self.nanos.value()) }
    }
}

/// One or several histograms of the same bounds, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Each bound in seconds, and how many were within it and not within the one before; infinity comes last.
    pub counts: Vec<(f64, u64)>,
    /// All spans together.
    pub seconds: f64,
}

impl Reading {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.counts = other.counts.iter().map(|(bound, _)| (*bound, 0)).collect();
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|((_, count), (_, theirs))| *count += theirs);
        self.seconds += other.seconds;
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }
}

#[expect(clippy::cast_precision_loss, reason = "years of nanoseconds are exact enough")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_counts_within_the_first_bound_that_it_does_not_exceed() {
        let histogram = Histogram::new(&[1_000, 1_000_000]);
        for nanos in [0, 1_000, 1_001, 1_000_000, 2_000_000] {
            histogram.observe(Duration::from_nanos(nanos));
        }
        let mut reading = histogram.reading();
        assert_eq!(reading.counts, [(1e-6, 2), (1e-3, 2), (f64::INFINITY, 1)]);
        assert!((reading.seconds - 0.003_002_001).abs() < 1e-12);
        reading.add(&histogram.reading());
        let mut both = Reading::default();
        both.add(&reading);
        assert_eq!((both.count(), both), (10, reading));
    }
}
