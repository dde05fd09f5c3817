//! The time the simulator lives in, which a test can move.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use tokio::sync::watch;

/// A point in simulated time, in whole milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// The moment this many milliseconds after 1970 began.
    pub fn from_millis(millis: u64) -> Self {
        Moment(millis)
    }

    /// The later moment; the end of time when there is none.
    pub fn plus(self, span: Duration) -> Self {
        Moment(self.0.saturating_add(millis(span)))
    }

    /// The earlier moment; 1970 when there is none.
    pub fn minus(self, span: Duration) -> Self {
        Moment(self.0.saturating_sub(millis(span)))
    }

    /// How long ago `earlier` was; nothing if it lies ahead.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since 1970, the form of a webhook's time stamp.
    pub fn unix_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// RFC 3339 with an explicit offset: Python's `fromisoformat` of 3.10 refuses a `Z`.
    pub fn iso(self) -> String {
        let stamp =
            i64::try_from(self.0).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok()).unwrap_or(Timestamp::MAX).to_string();
        stamp.replace('Z', "+00:00")
    }

    /// Reads RFC 3339.
    pub fn from_iso(text: &str) -> Option<Self> {
        let stamp: Timestamp = text.parse().ok()?;
        u64::try_from(stamp.as_millisecond()).ok().map(Moment)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Where "now" comes from. It never goes backwards.
#[derive(Debug)]
pub struct Clock {
    start: Moment,
    ticking: Option<Instant>,
    moved: watch::Sender<Duration>,
}

impl Clock {
    /// Runs with the machine's clock, and can be moved ahead of it.
    pub fn ticking() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let start = Moment(millis(since_epoch.unwrap_or_default()));
        Clock { start, ticking: Some(Instant::now()), moved: watch::Sender::default() }
    }

    /// Stands still at `start` until it is moved: what a test decides to have happened has happened, no more.
    pub fn frozen(start: Moment) -> Self {
        Clock { start, ticking: None, moved: watch::Sender::default() }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        let elapsed = self.ticking.map(|start| start.elapsed()).unwrap_or_default();
        self.start.plus(elapsed).plus(*self.moved.borrow())
    }

    /// Moves time forward, and wakes whoever waits for a moment that has now come.
    pub fn advance(&self, span: Duration) {
        self.moved.send_modify(|moved| *moved = moved.saturating_add(span));
    }

    /// Waits until `moment` has come. `None` never comes.
    pub async fn reach(&self, moment: Option<Moment>) {
        let Some(moment) = moment else {
            return std::future::pending().await;
        };
        let mut moved = self.moved.subscribe();
        loop {
            let left = moment.since(self.now());
            if left.is_zero() {
                return;
            }
            let tick = async {
                match self.ticking {
                    Some(_) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tick => {}
                _ = moved.changed() => {}
            }
        }
    }

    /// Waits for a span of simulated time.
    pub async fn pass(&self, span: Duration) {
        self.reach(Some(self.now().plus(span))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frozen_clock_stands_still_until_it_is_moved() {
        let clock = Clock::frozen(Moment::from_millis(1_000));
        assert_eq!(clock.now(), Moment::from_millis(1_000));
        let waiting = clock.reach(Some(Moment::from_millis(61_000)));
        tokio::pin!(waiting);
        assert!(!has_come(waiting.as_mut()).await);
        clock.advance(Duration::from_secs(60));
        waiting.await;
        assert_eq!(clock.now().iso(), "1970-01-01T00:01:01+00:00");
    }

    async fn has_come(waiting: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        tokio::select! { biased; () = waiting => true, () = std::future::ready(()) => false }
    }

    #[test]
    fn a_moment_reads_what_it_writes() {
        let moment = Moment::from_millis(1_795_000_000_123);
        assert_eq!(Moment::from_iso(&moment.iso()), Some(moment));
    }
}
