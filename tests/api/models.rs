//! `GET /api/custom/generate/models`, `GET /api/custom/financial/stats`, and the models in the status.

use serde_json::{Value, json};

use crate::gallery::{Gallery, Person, strangers};
use crate::support::rest::Rest;

fn stats(person: &Person) -> Value {
    person.asks("GET", "financial/stats", Value::Null)
}

#[test]
fn the_models_and_what_each_takes() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let models = ann.asks("GET", "generate/models", Value::Null);
    let status = Rest::new(gallery.sidecar.address).get("/api/custom/status").1;
    for (name, display_name, cost) in [
        ("flux/schnell", "Flux Schnell", 0.003),
        ("hidream/hidream-i1-dev", "Hi-Dream I1 Dev", 0.004),
        ("hidream/hidream-i1-fast", "Hi-Dream I1 Fast", 0.003),
    ] {
        let model = &models[name];
        assert_eq!((&model["name"], &model["display_name"], &model["cost_per_image"]), (&json!(name), &json!(display_name), &json!(cost)));
        assert!(model["description"].is_string());
        assert_eq!(status["available_models"][name], json!({"name": name, "display_name": display_name, "cost_per_image": cost}));
        for (parameter, says) in model["parameters"].as_object().unwrap() {
            assert!(says["type"].is_string() && says["description"].is_string() && says["required"].is_boolean(), "{parameter}: {says}");
        }
    }
    assert_eq!(models.as_object().map(serde_json::Map::len), Some(3));
    assert_eq!(status["status"], "ok");
    strangers(&gallery, "GET", "generate/models");
}

#[test]
fn spending_is_summed_from_the_ledger_and_each_sees_their_own() {
    let gallery = Gallery::open();
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| gallery.person(email));
    let nothing = json!({"total_spent": 0, "total_images": 0, "recent_spending": 0, "average_cost": 0});
    let same = |found: Value, wanted: &Value| {
        for (name, value) in wanted.as_object().unwrap() {
            assert_eq!(found[name].as_f64(), value.as_f64(), "{name}: {found}");
        }
        assert_eq!(found.as_object().map(serde_json::Map::len), Some(4));
    };
    same(stats(&ann), &nothing);
    for (job, kind, micros, images) in [("one", "charge", 10_000, 3), ("two", "charge", 5_000, 1), ("old", "opening", 1_000_000, 100)] {
        let event = json!({"user_id": ann.id, "job_id": job, "kind": kind, "amount_micros": micros, "images": images, "model": "m"});
        gallery.superuser.row("spend_events", &event);
    }
    same(stats(&ann), &json!({"total_spent": 1.015, "total_images": 104, "recent_spending": 0.015, "average_cost": 0.00976}));
    same(stats(&bob), &nothing);
    strangers(&gallery, "GET", "financial/stats");
}
