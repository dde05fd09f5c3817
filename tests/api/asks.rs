//! How often a route asks PocketBase, once the caller is known: a front end looks at most of them all the time.

use serde_json::{Value, json};

use crate::gallery::Gallery;
use crate::support::Sidecar;
use crate::support::pocketbase::{EMAIL, PASSWORD, PocketBase};
use crate::support::relay::Relay;

/// What the sidecar asks of its own accord, or to know callers, is no route's question.
fn is_a_routes(head: &str) -> bool {
    !["generatio_meta", "/api/realtime", "/auth-refresh", "/api/generatio/version", "/api/health"].iter().any(|other| head.contains(other))
}

#[test]
fn what_is_looked_at_often_costs_one_question_at_most() {
    let pocketbase = PocketBase::with_store();
    let relay = Relay::before(pocketbase.address);
    let sidecar = Sidecar::start(relay.address, &["--pocketbase-email", EMAIL, "--pocketbase-password", PASSWORD]);
    let gallery = Gallery { superuser: pocketbase.superuser(), pocketbase, sidecar };
    let ann = gallery.person("ann@example.com");
    let folder = ann.folder("f", "");
    let image = gallery.image(&ann, json!({"folder_id": folder}));
    ann.asks("POST", "preferences/flux/schnell", json!({"seed": 1}));
    for (questions, method, path, body) in [
        (0, "GET", "generate/models", Value::Null),
        (0, "GET", "auth/token-status", Value::Null),
        (1, "GET", "financial/stats", Value::Null),
        (1, "GET", "collections", Value::Null),
        (1, "GET", &format!("collections/{folder}"), Value::Null),
        (1, "GET", "images", Value::Null),
        (1, "GET", "images?q=cat&limit=100", Value::Null),
        (1, "GET", &format!("images/{image}"), Value::Null),
        (1, "GET", "jobs", Value::Null),
        (1, "GET", "preferences/flux/schnell", Value::Null),
        (1, "POST", "preferences/get", json!({"model_name": "flux/schnell"})),
        // The folder, and what is in it.
        (2, "GET", &format!("collections/{folder}/images"), Value::Null),
    ] {
        ann.asks(method, path, body.clone());
        let before = relay.count(is_a_routes);
        ann.asks(method, path, body);
        assert_eq!(relay.count(is_a_routes) - before, questions, "{method} {path}");
    }
}
