//! What owners write with PocketBase's own API is refused where the sidecar's API would refuse it.

use serde_json::{Value, json};

use crate::store::{Person, Store, code, on_oldest_and_newest};

on_oldest_and_newest! {
    a_folder_goes_under_no_folder_that_it_could_not_go_under;
    a_folder_comes_back_where_the_api_would_put_it;
    sixteen_levels_are_the_limit_of_a_plain_move_too;
    a_thousand_folders_are_the_limit_of_a_plain_restore_too;
    an_image_goes_into_a_live_folder_of_its_owner_alone;
    what_is_not_the_owners_to_say_stays_as_it_is;
}

const NOBODYS: &str = "abcdefghij01234";
const DELETED: &str = "2026-01-01 00:00:00.000Z";

fn record(collection: &str, id: &str) -> String {
    format!("/api/collections/{collection}/records/{id}")
}

fn delete(person: &Person, folder: &str) {
    assert_eq!(person.rest.patch(&record("folders", folder), &json!({"deleted_at": DELETED})).0, 200);
}

/// The row's field, as a superuser sees it.
fn field(store: &Store, id: &str, name: &str) -> String {
    store.row("folders", id)[name].as_str().unwrap().to_owned()
}

fn a_folder_goes_under_no_folder_that_it_could_not_go_under(release: &str) {
    let store = Store::on(release);
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| store.person(email));
    let top = store.folder(&ann, "top", "");
    let inner = store.folder(&ann, "inner", &top);
    let [foreign, gone] = [store.folder(&bob, "foreign", ""), store.folder(&ann, "gone", "")];
    let image = store.image(&ann, "");
    delete(&ann, &gone);
    let mut answers = Vec::new();
    for parent in [&foreign, &gone, NOBODYS, &image, &ann.id, "../../users", "猫", "ABCDEFGHIJ01234"] {
        let made = ann.rest.post("/api/collections/folders/records", &json!({"name": "n", "user_id": ann.id, "parent_id": parent}));
        assert_eq!(made.0, 400, "{parent}: {made:?}");
        let moved = ann.rest.patch(&record("folders", &inner), &json!({"parent_id": parent}));
        assert!([400, 404].contains(&moved.0), "{parent}: {moved:?}");
        answers.push((made, moved));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "a foreign folder is answered as an unknown one: {answers:?}");
    for parent in [&top, &inner] {
        for spelling in ["parent_id", "parent_id+", "+parent_id"] {
            let moved = ann.rest.patch(&record("folders", &top), &json!({ spelling: parent }));
            assert!([400, 404, 409].contains(&moved.0), "{spelling}: {moved:?}");
        }
    }
    let own = json!({"id": NOBODYS, "name": "its own", "user_id": ann.id, "parent_id": NOBODYS});
    assert_eq!(ann.rest.post("/api/collections/folders/records", &own).0, 400);
    for body in [json!({"parent_id": foreign}), json!({"parent_id": ""}), json!({"name": "mine"}), json!({"deleted_at": DELETED})] {
        assert_eq!(ann.rest.patch(&record("folders", &foreign), &body).0, 404, "{body}");
    }
    assert_eq!((field(&store, &top, "parent_id"), field(&store, &inner, "parent_id")), (String::new(), top));
    assert_eq!(store.superuser.rows("folders").len(), 4);
}

fn a_folder_comes_back_where_the_api_would_put_it(release: &str) {
    let store = Store::on(release);
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| store.person(email));
    let [top, other] = ["top", "other"].map(|name| store.folder(&ann, name, ""));
    let [one, two] = ["one", "two"].map(|name| store.folder(&ann, name, &top));
    let leaf = store.folder(&ann, "leaf", &two);
    let foreign = store.folder(&bob, "foreign", "");
    let image = store.image(&ann, &leaf);
    delete(&ann, &top);
    for parent in [&top, &leaf, &foreign, NOBODYS] {
        let (status, answer) = ann.rest.patch(&record("folders", &two), &json!({"deleted_at": "", "parent_id": parent}));
        assert!([400, 404].contains(&status), "{parent}: {answer}");
    }
    for body in [json!({"parent_id": ""}), json!({"parent_id": other}), json!({"name": "n"}), json!({"deleted_at": DELETED})] {
        assert_eq!(ann.rest.patch(&record("folders", &two), &body).0, 404, "deleted: {body}");
    }
    assert_eq!(ann.rest.patch(&record("folders", &two), &json!({"deleted_at": "", "parent_id": other})).0, 200);
    assert_eq!((field(&store, &two, "parent_id"), field(&store, &leaf, "deleted_at")), (other, String::new()));
    assert_eq!(store.row("images", &image)["deleted_at"], "");
    assert_eq!(ann.rest.patch(&record("folders", &one), &json!({"deleted_at": ""})).0, 200);
    assert_eq!((field(&store, &one, "parent_id"), field(&store, &one, "deleted_at")), (String::new(), String::new()), "its parent is gone");
    assert_ne!(field(&store, &top, "deleted_at"), "");
}

fn sixteen_levels_are_the_limit_of_a_plain_move_too(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    let mut path = vec![store.folder(&ann, "1", "")];
    while path.len() < 16 {
        path.push(store.folder(&ann, "next", path.last().unwrap()));
    }
    let pair = store.folder(&ann, "a", "");
    let below = store.folder(&ann, "b", &pair);
    let put = |parent: &str| ann.rest.patch(&record("folders", &pair), &json!({"parent_id": parent}));
    for parent in [&path[15], &path[14]] {
        assert_eq!(code(&put(parent), "parent_id"), (400, "validation_too_deep"));
    }
    delete(&ann, &below);
    assert_eq!(put(&path[14]).0, 200, "what is deleted does not count");
    assert_eq!(ann.rest.patch(&record("folders", &below), &json!({"deleted_at": ""})).0, 200);
    assert_eq!(field(&store, &below, "parent_id"), "", "it would have been the seventeenth");
}

fn a_thousand_folders_are_the_limit_of_a_plain_restore_too(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    let top = store.folder(&ann, "top", "");
    store.folder(&ann, "inner", &top);
    delete(&ann, &top);
    for many in [200, 200, 200, 200, 199] {
        let one = json!({"method": "POST", "url": "/api/collections/folders/records", "body": {"name": "n", "user_id": ann.id}});
        store.superuser.made("/api/batch", &json!({"requests": vec![one; many]}));
    }
    let back = || ann.rest.patch(&record("folders", &top), &json!({"deleted_at": ""}));
    assert_eq!(code(&back(), "name"), (400, "validation_too_many"), "two more than 999");
    let last = store.folder(&ann, "the thousandth", "");
    assert_eq!(ann.rest.post("/api/collections/folders/records", &json!({"name": "n", "user_id": ann.id})).0, 400);
    delete(&ann, &last);
    let another = store.superuser.rows("folders").iter().find(|row| row["deleted_at"] == "").unwrap()["id"].as_str().unwrap().to_owned();
    delete(&ann, &another);
    assert_eq!(back().0, 200);
}

fn an_image_goes_into_a_live_folder_of_its_owner_alone(release: &str) {
    let store = Store::on(release);
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| store.person(email));
    let [live, gone] = ["live", "gone"].map(|name| store.folder(&ann, name, ""));
    let foreign = store.folder(&bob, "foreign", "");
    let image = store.image(&ann, "");
    let trashed = store.image(&ann, &live);
    delete(&ann, &gone);
    assert_eq!(ann.rest.patch(&record("images", &trashed), &json!({"deleted_at": DELETED})).0, 200);
    let mut answers = Vec::new();
    for folder in [json!(foreign), json!(gone), json!(NOBODYS), json!(image), json!("../../users"), json!([NOBODYS, foreign])] {
        let answer = ann.rest.patch(&record("images", &image), &json!({"folder_id": folder}));
        assert!([400, 404].contains(&answer.0), "{folder}: {answer:?}");
        answers.push(answer);
        for body in [json!({"folder_id+": folder}), json!({"deleted_at": "", "folder_id": folder})] {
            let restored = ann.rest.patch(&record("images", &trashed), &body);
            assert!([400, 404].contains(&restored.0), "{body}: {restored:?}");
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "a foreign folder is answered as an unknown one: {answers:?}");
    assert_eq!(store.row("images", &image)["folder_id"], "");
    assert_eq!(ann.rest.patch(&record("images", &image), &json!({"folder_id": live})).0, 200);
    for body in [json!({"folder_id": ""}), json!({"title": "t"}), json!({"deleted_at": DELETED})] {
        assert_eq!(ann.rest.patch(&record("images", &trashed), &body).0, 404, "deleted: {body}");
    }
}

fn what_is_not_the_owners_to_say_stays_as_it_is(release: &str) {
    let store = Store::on(release);
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| store.person(email));
    let folder = store.folder(&ann, "f", "");
    let image = store.image(&ann, &folder);
    let (before, picture) = (store.row("folders", &folder), store.row("images", &image));
    for time in ["created", "updated"] {
        let _ = ann.rest.patch(&record("folders", &folder), &json!({ time: "2001-01-01 00:00:00.000Z" }));
        let _ = ann.rest.patch(&record("images", &image), &json!({ time: "2001-01-01 00:00:00.000Z" }));
    }
    let sooner = json!({"name": "n", "user_id": ann.id, "created": "2001-01-01 00:00:00.000Z"});
    let made = ann.rest.post("/api/collections/folders/records", &sooner).1;
    assert!(made["created"].as_str().is_none_or(|created| created > "2026"), "{made}");
    assert_eq!(
        (&store.row("folders", &folder)["created"], &store.row("images", &image)["created"]),
        (&before["created"], &picture["created"])
    );

    for (collection, id) in [("folders", &folder), ("images", &image)] {
        for body in [json!({"user_id": bob.id}), json!({"user_id": ""}), json!({"id": NOBODYS})] {
            let (status, answer) = ann.rest.patch(&record(collection, id), &body);
            assert!(
                [400, 403, 404].contains(&status) || store.row(collection, id)["user_id"] == json!(ann.id),
                "{collection} {body}: {answer}"
            );
        }
        assert!([403, 404].contains(&ann.rest.delete(&record(collection, id)).0));
    }
    let batch = json!({"requests": [{"method": "PATCH", "url": record("folders", &folder), "body": {"name": "by a batch"}}]});
    assert_eq!(ann.rest.post("/api/batch", &batch).0, 403);
    for (collection, row) in [
        ("images", json!({"user_id": ann.id, "prompt": "p", "url": "/x"})),
        ("folders", json!({"user_id": bob.id, "name": "a present"})),
        ("folders", json!({"user_id": ann.id, "name": "gone at once", "deleted_at": DELETED})),
        ("model_preferences", json!({"user_id": ann.id, "model_name": "flux/schnell", "preferences": {}})),
        ("generations", json!({"user_id": ann.id, "status": "completed", "model": "m", "prompt": "p"})),
        ("spend_events", json!({"user_id": ann.id, "job_id": "j", "kind": "k", "amount_micros": -1})),
        ("spend_totals", json!({"user_id": ann.id, "spent_micros": 0})),
    ] {
        let (status, answer): (u16, Value) = ann.rest.post(&format!("/api/collections/{collection}/records"), &row);
        assert!([400, 403].contains(&status), "{collection}: {answer}");
    }
    assert_eq!(store.row("images", &image)["user_id"], json!(ann.id));
}
