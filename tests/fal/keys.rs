//! Keys are checked for nothing, and prices are asked for no more often than they change.

use std::time::{Duration, Instant};

use generatio::fal::{Key, Unit};
use serde_json::json;

use super::scenarios::told;
use super::support::{key, schnell, start};

#[tokio::test]
async fn a_key_is_judged_without_paying_for_a_picture() {
    let fal = start();
    for (text, expected) in [
        ("team:s3cret", "Valid, $10"),
        ("bad:s3cret", "Rejected"),
        ("not-a-pair", "Rejected"),
        ("locked:s3cret", "Valid, $10"),
        ("empty:s3cret", "Valid, $0"),
        ("scope:s3cret", "Valid, $10"),
        ("poor:s3cret", "Valid, $0.01"),
    ] {
        assert_eq!(told(fal.client.check_key(Key::new(text).unwrap(), &schnell()).await), expected, "{text}");
    }
    assert_eq!((fal.count("submit").await, fal.count("run").await), (0, 0));
}

#[tokio::test]
async fn a_price_is_asked_for_once_an_hour_and_for_each_key() {
    let fal = start();
    let start = Instant::now();
    let price = fal.client.price(key(), &schnell(), start).await.unwrap();
    assert_eq!((price.per_unit.nano_dollars(), price.unit), (3_000_000, Some(Unit::Megapixel)));
    for (after, asked) in [(0, 1), (3599, 1), (3600, 2), (3601, 2)] {
        assert!(fal.client.price(key(), &schnell(), start + Duration::from_secs(after)).await.is_some());
        assert_eq!(fal.count("pricing").await, asked, "after {after} s");
    }
    assert!(fal.client.price(Key::new("other:s3cret").unwrap(), &schnell(), start).await.is_some());
    assert_eq!(fal.count("pricing").await, 3);
}

#[tokio::test]
async fn a_price_outlives_an_outage_for_a_day_and_fal_is_asked_once_a_minute() {
    let fal = start();
    let start = Instant::now();
    assert!(fal.client.price(key(), &schnell(), start).await.is_some());
    let rule = json!({ "faults": ["pricing_down"] });
    let set = reqwest::Client::new().post(format!("{}/_sim/faults", fal.base)).json(&rule).send().await.unwrap();
    assert!(set.status().is_success());
    for (after, known, asked) in
        [(3600, true, 2), (3659, true, 2), (3660, true, 3), (86_399, true, 4), (86_400, false, 4), (86_459, false, 5)]
    {
        assert_eq!(fal.client.price(key(), &schnell(), start + Duration::from_secs(after)).await.is_some(), known, "after {after} s");
        assert_eq!(fal.count("pricing").await, asked, "after {after} s");
    }
}
