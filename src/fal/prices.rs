//! What FAL charges an account for a model, asked for at most once an hour.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

use super::Client;
use super::call::{Bounds, SMALL, ask};
use super::charge::{Price, Unit, UnitPrice};
use super::error::{Error, What};
use super::key::Key;
use super::urls::EndpointId;

/// For how long a price is taken to be true.
const FRESH: Duration = Duration::from_secs(3600);
/// For how long it is better than none.
const USABLE: Duration = Duration::from_secs(24 * 3600);
/// How long FAL is left alone after it did not tell.
const PAUSE: Duration = Duration::from_secs(60);
/// Prices remembered. Each account has its own, since FAL gives discounts.
const MOST_ENTRIES: usize = 4096;

type Id = ([u8; 32], EndpointId);

/// What is remembered, by account and endpoint.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<Id, Entry>>);

#[derive(Clone, Debug)]
struct Entry {
    asked: Instant,
    price: Option<(Instant, Price)>,
}

impl Entry {
    fn usable(&self, now: Instant) -> Option<Price> {
        self.price.as_ref().filter(|(at, _)| now.duration_since(*at) < USABLE).map(|(_, price)| price.clone())
    }

    /// Whether FAL need not be asked.
    fn is_settled(&self, now: Instant) -> bool {
        let known = self.price.as_ref().is_some_and(|(at, _)| now.duration_since(*at) < FRESH);
        known || now.duration_since(self.asked) < PAUSE
    }
}

impl Client {
    /// What this account pays for an endpoint, or `None` while FAL does not tell. A failure is logged and never the caller's problem: a
    /// price only decides whether a cost is exact.
    pub async fn price(&self, key: Key<'_>, endpoint: &EndpointId, now: Instant) -> Option<Price> {
        let id = (key.fingerprint(), endpoint.clone());
        let earlier = self.prices.0.lock().get(&id).cloned();
        if let Some(entry) = earlier.as_ref().filter(|entry| entry.is_settled(now)) {
            return entry.usable(now);
        }
        let price = match self.ask_price(key, endpoint).await {
            Ok(price) => Some((now, price)),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, %endpoint, "FAL did not tell a price");
                earlier.and_then(|entry| entry.price)
            }
        };
        let entry = Entry { asked: now, price };
        let usable = entry.usable(now);
        self.prices.keep(id, entry);
        usable
    }

    /// Asks for a price, whatever is remembered.
    pub(super) async fn ask_price(&self, key: Key<'_>, endpoint: &EndpointId) -> Result<Price, Error> {
        let bounds = Bounds { what: What::Prices, time: self.settings.timeouts.platform, size: SMALL };
        let request = self.follower.get(self.settings.api.at("v1/models/pricing")).query(&[("endpoint_id", endpoint.as_str())]);
        let (_, body) = ask(request, key, bounds).await?.success(What::Prices)?;
        read(&body, endpoint)
    }
}

fn read(body: &Value, endpoint: &EndpointId) -> Result<Price, Error> {
    let malformed = |why| Error::Malformed { what: What::Prices, why };
    let listed = body["prices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found =
        listed.iter().find(|price| price["endpoint_id"] == endpoint.as_str()).ok_or_else(|| malformed("it does not name the model"))?;
    if found["currency"].as_str().is_some_and(|currency| !currency.eq_ignore_ascii_case("USD")) {
        return Err(malformed("it is not in US dollars"));
    }
    // A double of at most 15 digits prints as the digits it was read from, so the figure is FAL's own.
    let per_unit = found["unit_price"].as_number().and_then(|dollars| UnitPrice::read(&dollars.to_string()));
    let per_unit = per_unit.ok_or_else(|| malformed("it has no unit_price"))?;
    Ok(Price { per_unit, unit: found["unit"].as_str().map(Unit::read) })
}

impl Cache {
    /// Remembers, and forgets what was asked for longest ago where there is no room.
    fn keep(&self, id: Id, entry: Entry) {
        let mut entries = self.0.lock();
        if entries.len() >= MOST_ENTRIES && !entries.contains_key(&id) {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.asked).map(|(id, _)| id.clone());
            oldest.map(|oldest| entries.remove(&oldest));
        }
        entries.insert(id, entry);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn endpoint() -> EndpointId {
        "fal-ai/flux/schnell".parse().expect("an endpoint")
    }

    #[test]
    fn a_price_is_read_to_the_digit() {
        let body = |price: Value| json!({ "prices": [{ "endpoint_id": "x/y", "unit_price": 9 }, price] });
        let named = json!({ "endpoint_id": "fal-ai/flux/schnell", "unit_price": 0.003, "unit": "megapixels", "currency": "USD" });
        let price = read(&body(named), &endpoint()).expect("a price");
        assert_eq!((price.per_unit.nano_dollars(), price.unit), (3_000_000, Some(Unit::Megapixel)));
        for wrong in [
            json!({ "endpoint_id": "fal-ai/flux", "unit_price": 1 }),
            json!({ "endpoint_id": "fal-ai/flux/schnell", "unit_price": "0.003" }),
            json!({ "endpoint_id": "fal-ai/flux/schnell", "unit_price": -1 }),
            json!({ "endpoint_id": "fal-ai/flux/schnell", "unit_price": 1, "currency": "EUR" }),
            json!({}),
        ] {
            assert!(matches!(read(&body(wrong), &endpoint()), Err(Error::Malformed { .. })));
        }
    }

    #[test]
    fn the_oldest_price_makes_room() {
        let (cache, start) = (Cache::default(), Instant::now());
        let id = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            (key, endpoint())
        };
        for number in 0..=MOST_ENTRIES {
            let asked = start + Duration::from_secs(number as u64);
            cache.keep(id(number), Entry { asked, price: None });
        }
        let entries = cache.0.lock();
        assert_eq!(entries.len(), MOST_ENTRIES);
        assert!(!entries.contains_key(&id(0)) && entries.contains_key(&id(1)));
    }
}
