//! The ledger is the truth, nobody rewrites it, and what is derived from it follows.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::store::{NEWEST, Person, Store, on_oldest_and_newest, settlement};

on_oldest_and_newest! {
    a_settlement_is_booked_once_and_shown_to_its_user;
    the_ledger_is_append_only_for_everybody;
    books_that_differ_are_named_and_mended_from_the_ledger;
    two_hundred_settlements_at_once_balance_to_the_micro_dollar;
    money_outlives_its_user;
}

fn stats(store: &Store, user: &str) -> Value {
    store.superuser.get(&format!("/api/generatio/stats/{user}")).1
}

fn a_settlement_is_booked_once_and_shown_to_its_user(release: &str) {
    let store = Store::on(release);
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| store.person(email));
    assert_eq!(store.superuser.post("/api/batch", &settlement(&ann.id, "job1", 3_000)).0, 200);
    let (status, again) = store.superuser.post("/api/batch", &settlement(&ann.id, "job1", 3_000));
    let refusal = &again["data"]["requests"]["0"]["response"]["data"]["job_id"]["code"];
    assert_eq!((status, refusal), (400, &json!("validation_not_unique")));
    assert_eq!(store.superuser.post("/api/batch", &settlement(&ann.id, "job2", 1)).0, 200);
    assert_eq!(stats(&store, &ann.id), json!({"spent_micros": 3_001, "images": 2, "recent_micros": 3_001}));
    let own = ann.rest.get(&format!("/api/collections/generatio_users/records/{}", ann.id)).1;
    assert_eq!(own["financial_data"], json!({"total_images": 2, "total_spent": 0.003_001}));
    assert_eq!((ann.rest.rows("spend_events").len(), bob.rest.rows("spend_events").len()), (2, 0));
    assert_eq!(stats(&store, "nobody"), json!({"spent_micros": 0, "images": 0, "recent_micros": 0}));
    for route in ["version", "stats/x", "books"] {
        let refused = [
            ann.rest.get(&format!("/api/generatio/{route}")).0,
            crate::support::rest::Rest::new(store.pocketbase.address).get(&format!("/api/generatio/{route}")).0,
        ];
        assert_eq!(refused, [403, 401]);
    }
    for route in ["repair", "folders/delete", "folders/restore", "folders/move", "images/add", "books/x"] {
        assert_eq!(ann.rest.post(&format!("/api/generatio/{route}"), &json!({})).0, 403);
    }
}

fn the_ledger_is_append_only_for_everybody(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    store.superuser.made("/api/batch", &settlement(&ann.id, "job1", 3_000));
    let before = store.superuser.rows("spend_events");
    let path = format!("/api/collections/spend_events/records/{}", before[0]["id"].as_str().unwrap());
    for caller in [&ann.rest, &store.superuser] {
        assert_eq!(caller.patch(&path, &json!({"amount_micros": 1})).0, 403);
        assert_eq!(caller.delete(&path).0, 403);
    }
    let both = json!({"requests": [{"method": "DELETE", "url": path}, {"method": "PATCH", "url": path, "body": {"images": 0}}]});
    assert_eq!(store.superuser.post("/api/batch", &both).0, 400);
    assert_eq!(store.superuser.delete("/api/collections/spend_events/truncate").0, 400);
    assert_eq!(store.superuser.rows("spend_events"), before);
    assert_eq!(store.superuser.delete("/api/collections/spend_events").0, 204, "the whole collection is the operator's business");
}

fn books_that_differ_are_named_and_mended_from_the_ledger(release: &str) {
    let store = Store::on(release);
    let people: Vec<Person> = (0..5).map(|n| store.person(&format!("u{n}@example.com"))).collect();
    for person in &people {
        store.superuser.made("/api/batch", &settlement(&person.id, &format!("job-{}", person.id), 5_000));
    }
    let [none, totals, financial, missing, unpaid] = people.iter().map(|person| person.id.as_str()).collect::<Vec<_>>().try_into().unwrap();
    let path = |collection: &str, id: &str| format!("/api/collections/{collection}/records/{id}");
    assert_eq!(store.superuser.patch(&path("spend_totals", totals), &json!({"spent_micros": 4_999})).0, 200);
    assert_eq!(
        store.superuser.patch(&path("generatio_users", financial), &json!({"financial_data": {"total_spent": 0.005, "total_images": 2}})).0,
        200
    );
    assert_eq!(store.superuser.delete(&path("spend_totals", missing)).0, 204);
    store.superuser.row("images", &json!({"user_id": unpaid, "job_id": "x", "cost_micros": 5_001}));

    let mut named = Vec::new();
    let mut after = String::new();
    loop {
        let (status, page) = store.superuser.get(&format!("/api/generatio/books?limit=2&after={after}"));
        assert_eq!(status, 200, "{page}");
        named.extend(page["users"].as_array().unwrap().iter().map(|line| line["user"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = next.to_owned();
    }
    let mut expected = vec![totals, financial, missing, unpaid];
    expected.sort_unstable();
    assert_eq!(named, expected);
    assert!(!named.contains(&none.to_owned()));

    for user in [totals, financial, missing] {
        let (status, line) = store.superuser.post(&format!("/api/generatio/books/{user}"), &json!({}));
        assert_eq!((status, &line["totals_micros"], &line["financial_micros"]), (200, &json!(5_000), &json!(5_000)), "{line}");
    }
    let left = store.superuser.get("/api/generatio/books").1;
    assert_eq!((left["users"].as_array().unwrap().len(), &left["users"][0]["user"]), (1, &json!(unpaid)));
}

/// While each user renames themselves and an administrator edits the same rows.
fn two_hundred_settlements_at_once_balance_to_the_micro_dollar(release: &str) {
    let store = Store::on(release);
    let people: Vec<Person> = (0..4).map(|n| store.person(&format!("u{n}@example.com"))).collect();
    let next = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    let path = |person: &Person| format!("/api/collections/generatio_users/records/{}", person.id);
    let names: Vec<String> = std::thread::scope(|scope| {
        let renaming: Vec<_> = people
            .iter()
            .map(|person| {
                let (path, done) = (path(person), &done);
                scope.spawn(move || {
                    let mut last = String::new();
                    for n in 0.. {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        last = format!("name {n}");
                        assert_eq!(person.rest.patch(&path, &json!({"name": last})).0, 200);
                    }
                    last
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for person in &people {
                    assert_eq!(store.superuser.patch(&path(person), &json!({"fal_token": "sealed"})).0, 200);
                }
            }
        });
        let settling: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= 200 {
                            break;
                        }
                        let body = settlement(&people[n % people.len()].id, &format!("job{n}"), 1_000 + n as u64);
                        assert_eq!(store.superuser.post("/api/batch", &body).0, 200);
                    }
                })
            })
            .collect();
        settling.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::Relaxed);
        renaming.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (n, person) in people.iter().enumerate() {
        let micros: u64 = (n..200).step_by(people.len()).map(|job| 1_000 + job as u64).sum();
        assert_eq!(stats(&store, &person.id)["spent_micros"], micros);
        assert_eq!(store.row("spend_totals", &person.id)["spent_micros"], micros);
        let row = store.row("generatio_users", &person.id);
        assert_eq!((&row["name"], &row["financial_data"]["total_images"]), (&json!(names[n]), &json!(50)));
        assert_eq!((row["financial_data"]["total_spent"].as_f64().unwrap() * 1e6).round(), micros as f64);
    }
    assert_eq!(store.superuser.get("/api/generatio/books").1["users"], json!([]));
}

fn money_outlives_its_user(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    store.superuser.made("/api/batch", &settlement(&ann.id, "job1", 3_000));
    let folder = store.folder(&ann, "folder", "");
    store.image(&ann, &folder);
    let preferences = store.superuser.row("model_preferences", &json!({"user_id": ann.id, "model_name": "m"}));
    let path = format!("/api/collections/generatio_users/records/{}", ann.id);
    assert_eq!(store.superuser.patch(&path, &json!({"model_preferences": [preferences]})).0, 200);
    store.superuser.row("generations", &json!({"user_id": ann.id, "status": "queued", "request_id": "r"}));
    assert_eq!(ann.rest.delete(&path).0, 204);
    for (collection, left) in
        [("images", 0), ("folders", 0), ("model_preferences", 0), ("generations", 0), ("spend_events", 1), ("spend_totals", 1)]
    {
        assert_eq!(store.superuser.rows(collection).len(), left, "{collection}");
    }
    assert_eq!(store.superuser.get("/api/generatio/books").1["users"], json!([]));
    // The same id again, which a superuser alone can choose: the ledger remembers.
    let again = json!({"id": ann.id, "email": "new@example.com", "password": "12345678", "passwordConfirm": "12345678"});
    store.superuser.row("generatio_users", &again);
    assert_eq!(store.row("generatio_users", &ann.id)["financial_data"], json!({"total_images": 1, "total_spent": 0.003}));
}

/// Images that no job of ours made, but that came after the ledger was opened, were never paid through us.
#[test]
fn the_ledger_is_opened_once() {
    let store = Store::on(NEWEST);
    let ann = store.person("ann@example.com");
    store.superuser.row("images", &json!({"user_id": ann.id, "other_info": {"cost_usd": 5}}));
    assert_eq!(store.call("repair", &json!({})), (200, json!({"done": [], "problems": []})));
    assert_eq!(stats(&store, &ann.id)["spent_micros"], 0);
}

#[test]
fn openings_and_what_is_older_than_thirty_days_are_not_recent() {
    let store = Store::on(NEWEST);
    let ann = store.person("ann@example.com");
    for (job, kind, micros) in [("old", "charge", 1), ("younger", "charge", 10), ("opening", "opening", 100), ("today", "charge", 1_000)] {
        let event = json!({"user_id": ann.id, "job_id": job, "kind": kind, "amount_micros": micros, "images": 1});
        store.superuser.row("spend_events", &event);
    }
    for (job, days) in [("old", "-30 days', '-1 minutes"), ("younger", "-30 days', '+1 minutes")] {
        let query = format!("UPDATE spend_events SET created = strftime('%Y-%m-%d %H:%M:%fZ', 'now', '{days}') WHERE job_id = '{job}'");
        store.superuser.made("/api/sql", &json!({"query": query}));
    }
    assert_eq!(stats(&store, &ann.id), json!({"spent_micros": 1_111, "images": 4, "recent_micros": 1_010}));
}
