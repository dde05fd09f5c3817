//! How many connections are held: in all, and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::address::Network;

/// Counts connections and refuses the surplus.
pub(super) struct Places {
    max: usize,
    max_per_address: u32,
    taken: AtomicUsize,
    by_address: Mutex<HashMap<Network, u32>>,
    last_news: Mutex<Option<Instant>>,
}

/// A flood must not flood the log.
const NEWS_EVERY: Duration = Duration::from_secs(10);

/// One connection's place, free again when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    counted: Option<Network>,
}

impl Places {
    pub(super) fn new(max: usize, max_per_address: u32) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_address,
            taken: AtomicUsize::new(0),
            by_address: Mutex::new(HashMap::new()),
            last_news: Mutex::new(None),
        })
    }

    /// A place for a connection from this address, or `None` when there are too many. An `exempt` one counts only in all.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr, exempt: bool) -> Option<Place> {
        if self.taken.load(Ordering::Relaxed) >= self.max {
            return None;
        }
        let counted = (!exempt).then(|| Network::from(address));
        if let Some(address) = counted {
            let mut by_address = self.by_address.lock();
            let count = by_address.entry(address).or_default();
            if *count >= self.max_per_address {
                return None;
            }
            *count += 1;
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Place { places: Arc::clone(self), counted })
    }

    /// Whether a refusal is worth a line in the log: the first one, and one every ten seconds.
    pub(super) fn is_news(&self) -> bool {
        let mut last = self.last_news.lock();
        let news = last.is_none_or(|at| at.elapsed() > NEWS_EVERY);
        if news {
            *last = Some(Instant::now());
        }
        news
    }

    /// Places taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether three quarters are taken.
    pub(super) fn under_pressure(&self) -> bool {
        self.taken() * 4 > self.max * 3
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.counted else { return };
        let mut by_address = self.places.by_address.lock();
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_place() {
        let places = Places::new(4, 2);
        let [a, b] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        let first = places.take(a, false).expect("a free place");
        let _second = places.take(a, false).expect("a free place");
        assert!(places.take(a, false).is_none(), "a third from one address");
        let _proxy = places.take(a, true).expect("an exempt one");
        drop(first);
        let _third = places.take(a, false).expect("a place that was freed");
        assert!(places.taken() == 3 && !places.under_pressure());
        let _fourth = places.take(b, false).expect("the last place");
        assert!(places.under_pressure());
        assert!(places.take(b, true).is_none(), "more than there are, exempt or not");
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let places = Places::new(10, 1);
        let _one = places.take("2001:db8::1".parse().expect("an address"), false).expect("a free place");
        assert!(places.take("2001:db8::ffff:2".parse().expect("an address"), false).is_none());
        assert!(places.take("2001:db8:0:1::1".parse().expect("an address"), false).is_some());
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let places = Places::new(10, 1);
        drop(places.take(IpAddr::from([192, 0, 2, 1]), false));
        assert!(places.by_address.lock().is_empty());
    }
}
