//! Users, settings and what an operator asks for in PocketBase's environment.

use serde_json::{Value, json};

use crate::store::{NEWEST, Store, on_oldest_and_newest};
use crate::support::pocketbase::PocketBase;
use crate::support::rest::Rest;

on_oldest_and_newest! {
    a_batch_that_was_opened_for_us_is_closed_to_users;
    a_batch_that_was_open_before_stays_open_to_users;
    whoever_sends_back_what_they_read_changes_nothing;
    the_users_collection_can_be_another_one;
    a_rule_that_was_loosened_is_named_and_tightened_again;
    a_password_change_and_a_sealed_token_do_not_undo_each_other;
    a_file_that_is_attached_while_its_owner_renames_the_image_stays;
    the_address_is_believed_when_the_operator_asks;
}

fn rename(store: &Store, email: &str) -> (u16, Value) {
    let ann = store.person(email);
    let url = format!("/api/collections/generatio_users/records/{}", ann.id);
    ann.rest.post("/api/batch", &json!({"requests": [{"method": "PATCH", "url": url, "body": {"name": "Ann"}}]}))
}

fn a_batch_that_was_opened_for_us_is_closed_to_users(release: &str) {
    let store = Store::on(release);
    let (status, answer) = rename(&store, "ann@example.com");
    assert_eq!((status, &answer["message"]), (403, &json!("Batch requests are not allowed.")));
    let row = store.superuser.rows("generatio_meta").into_iter().find(|row| row["key"] == "batch").unwrap();
    assert_eq!(row["value"], json!({"opened_by_us": true}));
    let path = format!("/api/collections/generatio_meta/records/{}", row["id"].as_str().unwrap());
    assert_eq!(store.superuser.patch(&path, &json!({"value": {"opened_by_us": false}})).0, 200);
    assert_eq!(rename(&store, "bob@example.com").0, 200, "the operator may open it");
}

fn a_batch_that_was_open_before_stays_open_to_users(release: &str) {
    let mut pocketbase = PocketBase::of(release);
    let settings = json!({"batch": {"enabled": true, "maxRequests": 500, "timeout": 3}});
    assert_eq!(pocketbase.superuser().patch("/api/settings", &settings).0, 200);
    pocketbase.install_hooks();
    pocketbase.restart();
    let account = json!({"email": "eve@example.com", "password": "12345678", "passwordConfirm": "12345678"});
    let sign_up = json!({"requests": [{"method": "POST", "url": "/api/collections/users/records", "body": account}]});
    assert_eq!(Rest::new(pocketbase.address).post("/api/batch", &sign_up).0, 200, "hooks without migrations have opened nothing");
    pocketbase.install();
    pocketbase.restart();
    let store = Store::of(pocketbase);
    let about = store.superuser.get("/api/generatio/version").1;
    assert_eq!(about["batch"], json!({"enabled": true, "max_requests": 500, "timeout": 10, "max_body_size": 0}));
    assert_eq!((&about["opened_by_us"], &about["problems"]), (&json!(false), &json!([])));
    assert_eq!(rename(&store, "ann@example.com").0, 200);
}

fn whoever_sends_back_what_they_read_changes_nothing(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    let preferences = ["a", "b"].map(|model| store.superuser.row("model_preferences", &json!({"user_id": ann.id, "model_name": model})));
    let event = json!({"user_id": ann.id, "job_id": "j", "kind": "charge", "amount_micros": 10_000_001, "images": 1});
    store.superuser.row("spend_events", &event);
    let user = format!("generatio_users/records/{}", ann.id);
    assert_eq!(store.superuser.patch(&format!("/api/collections/{user}"), &json!({"model_preferences": preferences})).0, 200);
    let plain = store.image(&ann, "");
    let full = json!({"user_id": ann.id, "other_info": {"b": 1.5, "a": [1, "x"]}, "image_size": {"width": 8}, "cost_micros": 3});
    let full = store.superuser.row("images", &full);
    let folder = store.folder(&ann, "folder", "");
    for path in [user, format!("images/records/{plain}"), format!("images/records/{full}"), format!("folders/records/{folder}")] {
        let path = format!("/api/collections/{path}");
        let mut before = ann.rest.get(&path).1;
        let (status, mut after) = ann.rest.patch(&path, &before);
        assert_eq!(status, 200, "{path}: {after}");
        before["updated"].take();
        after["updated"].take();
        assert_eq!(after, before);
    }
}

fn the_users_collection_can_be_another_one(release: &str) {
    let mut pocketbase = PocketBase::of(release);
    pocketbase.set("GENERATIO_USERS_COLLECTION", "users");
    pocketbase.install();
    pocketbase.restart();
    let superuser = pocketbase.superuser();
    let about = superuser.get("/api/generatio/version").1;
    let users = crate::schema::collection(&superuser, "users");
    assert_eq!(
        (&about["users_collection"], &about["users_collection_id"], &about["problems"]),
        (&json!("users"), &users["id"], &json!([]))
    );
    assert_eq!(superuser.get("/api/collections/generatio_users").0, 404);
    assert!(users["updateRule"].as_str().unwrap().ends_with(" && (id = @request.auth.id)"), "{users}");
    let nobody = Rest::new(pocketbase.address);
    let account = json!({"email": "ann@example.com", "password": "12345678", "passwordConfirm": "12345678"});
    let ann = nobody.row("users", &account);
    let rest = nobody.as_user("users", "ann@example.com", "12345678");
    assert_eq!(rest.get(&format!("/api/collections/users/records/{ann}")).1["financial_data"]["total_images"], 0);
    rest.row("folders", &json!({"name": "mine", "user_id": ann}));
}

fn a_rule_that_was_loosened_is_named_and_tightened_again(release: &str) {
    let store = Store::on(release);
    let before = crate::schema::printed(&store.superuser);
    let own = crate::schema::collection(&store.superuser, "images")["listRule"].as_str().unwrap().to_owned();
    let looser = [
        json!(""),
        json!(format!("{own} || title = 'open'")),
        json!(format!("({own}) && (title = 'a') || id != ''")),
        json!("user_id = @request.auth.id"),
    ];
    for rule in &looser {
        assert_eq!(store.superuser.patch("/api/collections/images", &json!({"listRule": rule})).0, 200);
        let problems = store.superuser.get("/api/generatio/version").1["problems"].clone();
        assert_eq!(
            (&problems[0]["collection"], &problems[0]["fixable"], problems.as_array().unwrap().len()),
            (&json!("images"), &json!(true), 1),
            "{rule}"
        );
        assert_eq!(store.call("repair", &json!({})).1["problems"], json!([]));
    }
    for rule in [Value::Null, json!(own), json!(format!("({own}) && (title = ')' || title = 'b')"))] {
        assert_eq!(store.superuser.patch("/api/collections/images", &json!({"listRule": rule})).0, 200);
        assert_eq!(store.superuser.get("/api/generatio/version").1["problems"], json!([]), "{rule}");
    }
    let broken = json!({"listRule": own, "indexes": []});
    assert_eq!(store.superuser.patch("/api/collections/images", &broken).0, 200);
    assert_eq!(store.superuser.patch("/api/settings", &json!({"batch": {"enabled": false}})).0, 200);
    assert_eq!(store.superuser.get("/api/generatio/version").1["problems"].as_array().unwrap().len(), 5);
    let repaired = store.call("repair", &json!({})).1;
    assert_eq!((repaired["done"].as_array().unwrap().len(), &repaired["problems"]), (5, &json!([])), "{repaired}");
    assert_eq!(crate::schema::printed(&store.superuser), before);
}

fn the_address_is_believed_when_the_operator_asks(release: &str) {
    let trusted = |superuser: &Rest| superuser.get("/api/generatio/version").1["trusted_proxy"] == true;
    let mut store = Store::on(release);
    assert!(!trusted(&store.superuser));
    store.pocketbase.set("GENERATIO_TRUST_X_REAL_IP", "yes");
    store.pocketbase.restart();
    store.call("repair", &json!({}));
    assert!(!trusted(&store.superuser), "1 alone asks for it");
    store.pocketbase.set("GENERATIO_TRUST_X_REAL_IP", "1");
    store.pocketbase.restart();
    assert!(trusted(&store.superuser), "asked for later, it holds from the next start");
    let other = Store::on(release);
    assert_eq!(other.call("repair", &json!({"trust_x_real_ip": true})).1["problems"], json!([]));
    assert!(trusted(&other.superuser));
}

/// PocketBase writes a row as it was read: without the hook one of the two is lost time and again.
fn a_password_change_and_a_sealed_token_do_not_undo_each_other(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    let path = format!("/api/collections/generatio_users/records/{}", ann.id);
    let mut old = "12345678".to_owned();
    for round in 0..8 {
        let new = format!("password {round}");
        let user = Rest::new(store.pocketbase.address).as_user("generatio_users", "ann@example.com", &old);
        let change = json!({"oldPassword": old, "password": new, "passwordConfirm": new});
        let last = std::thread::scope(|scope| {
            let changing = scope.spawn(|| user.patch(&path, &change).0);
            let mut sealed = 0;
            while sealed == 0 || !changing.is_finished() {
                sealed += 1;
                assert_eq!(store.superuser.patch(&path, &json!({"fal_token": format!("sealed {round} {sealed}")})).0, 200);
            }
            assert_eq!(changing.join().unwrap(), 200);
            sealed
        });
        assert_eq!(store.row("generatio_users", &ann.id)["fal_token"], json!(format!("sealed {round} {last}")));
        assert_eq!(user.post("/api/collections/generatio_users/auth-refresh", &json!({})).0, 401, "the old token is dead");
        old = new;
    }
    Rest::new(store.pocketbase.address).as_user("generatio_users", "ann@example.com", &old);
}

fn a_file_that_is_attached_while_its_owner_renames_the_image_stays(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    let part =
        "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\nbytes\r\n--x--\r\n";
    for _ in 0..40 {
        let image = store.image(&ann, "");
        let path = format!("/api/collections/images/records/{image}");
        std::thread::scope(|scope| {
            let attaching = scope.spawn(|| store.superuser.send("PATCH", &path, "multipart/form-data; boundary=x", part.as_bytes()).0);
            while !attaching.is_finished() {
                assert_eq!(ann.rest.patch(&path, &json!({"title": "new"})).0, 200);
            }
            assert_eq!(attaching.join().unwrap(), 200);
        });
        let file = store.row("images", &image)["file"].as_str().unwrap().to_owned();
        assert_eq!(ann.rest.get(&format!("/api/files/images/{image}/{file}")), (200, json!("bytes")));
    }
}

#[test]
fn deleted_rows_are_purged_only_when_asked_and_money_never() {
    let mut store = Store::on(NEWEST);
    let ann = store.person("ann@example.com");
    let purge = |store: &Store| store.superuser.post("/api/crons/generatio_purge", &json!({})).0;
    assert_eq!(purge(&store), 404);
    store.superuser.made("/api/batch", &crate::store::settlement(&ann.id, "job", 3_000));
    let folder = store.folder(&ann, "folder", "");
    let [old, young, live] = [&folder, "", ""].map(|folder| store.image(&ann, folder));
    let yesterday = "strftime('%Y-%m-%d %H:%M:%fZ', 'now', '-1 days', '-1 hours')";
    assert_eq!(store.call("folders/delete", &json!({"folder": folder, "user": ann.id})).0, 200);
    for table in ["folders", "images"] {
        let query = format!("UPDATE {table} SET deleted_at = {yesterday} WHERE deleted_at != ''");
        store.superuser.made("/api/sql", &json!({"query": query}));
    }
    let now = json!({"deleted_at": store.row("images", &live)["created"]});
    assert_eq!(ann.rest.patch(&format!("/api/collections/images/records/{young}"), &now).0, 200);
    store.pocketbase.set("GENERATIO_PURGE_DAYS", "1");
    store.pocketbase.restart();
    assert_eq!(purge(&store), 204);
    crate::support::until("the old rows are gone", || store.superuser.rows("folders").is_empty());
    let mut left: Vec<_> = store.superuser.rows("images").iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    left.sort_unstable();
    let mut expected = [young, live];
    expected.sort_unstable();
    assert!(left == expected && !left.contains(&old), "{left:?}");
    assert_eq!((store.superuser.rows("spend_events").len(), store.superuser.rows("spend_totals").len()), (1, 1));
}
