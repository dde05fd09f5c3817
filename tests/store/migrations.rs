//! The migrations on every release: on an empty PocketBase, on one with data, twice, and where a field is in the way.

use serde_json::{Value, json};

use crate::former::{self, Former, Ids};
use crate::schema::{collection, printed};
use crate::support::pocketbase::PocketBase;
use crate::support::rest::Rest;

/// What a fresh PocketBase has afterwards, on every release.
const SCHEMA: &str = include_str!("schema.txt");

macro_rules! on_every_release {
    ($($(#[$doc:meta])* $scenario:ident;)*) => {$(
        mod $scenario {
            #[test] fn on_0_23_12() { super::$scenario("0.23.12"); }
            #[test] fn on_0_28_4() { super::$scenario("0.28.4"); }
            #[test] fn on_0_36_9() { super::$scenario("0.36.9"); }
            #[test] fn on_0_39_11() { super::$scenario("0.39.11"); }
            #[test] fn on_0_40_6() { super::$scenario("0.40.6"); }
        }
    )*};
}

on_every_release! {
    an_empty_pocketbase_gets_the_whole_schema;
    collections_made_by_hand_are_completed_and_their_data_is_carried;
    ids_kept_as_text_are_as_good_as_relations;
    a_second_run_under_another_name_changes_nothing;
    a_field_of_another_type_is_named_and_its_collection_left_alone;
    what_an_index_or_a_setting_stands_against_is_named;
    without_hooks_the_migrations_do_nothing_and_the_repair_completes_them;
    what_is_unrelated_stays_as_it_is;
}

fn version(superuser: &Rest) -> Value {
    let (status, found) = superuser.get("/api/generatio/version");
    assert_eq!(status, 200, "{found}");
    found
}

fn problems(superuser: &Rest) -> Vec<Value> {
    version(superuser)["problems"].as_array().unwrap().clone()
}

fn repair(superuser: &Rest) -> Value {
    superuser.made("/api/generatio/repair", &json!({}))
}

fn an_empty_pocketbase_gets_the_whole_schema(release: &str) {
    let pocketbase = PocketBase::with_store_of(release);
    let superuser = pocketbase.superuser();
    let schema = printed(&superuser);
    println!("{release}\n{schema}");
    assert_eq!(schema, SCHEMA);
    let about = version(&superuser);
    assert_eq!(about["version"], 1);
    assert_eq!(about["problems"], json!([]));
    assert_eq!(about["batch"], json!({"enabled": true, "max_requests": 200, "timeout": 10, "max_body_size": 0}));
    assert_eq!((&about["opened_by_us"], &about["trusted_proxy"]), (&json!(true), &json!(false)));
    assert_eq!(repair(&superuser), json!({"done": [], "problems": []}));
    assert!(!pocketbase.log().contains("not done"), "{}", pocketbase.log());
}

/// A PocketBase with former data, and how it was before the migrations.
fn with_former_data(release: &str, ids: Ids) -> (PocketBase, Rest, Former) {
    let mut pocketbase = PocketBase::of(release);
    let superuser = pocketbase.superuser();
    former::unrelated(&superuser);
    let former = former::by_hand(&superuser, ids);
    pocketbase.install();
    pocketbase.restart();
    (pocketbase, superuser, former)
}

fn collections_made_by_hand_are_completed_and_their_data_is_carried(release: &str) {
    let (pocketbase, superuser, former) = with_former_data(release, Ids::Relation);
    assert_eq!(problems(&superuser), Vec::<Value>::new(), "{}", pocketbase.log());
    the_rules_are_both(&superuser);
    the_data_is_carried(&superuser, &former);
    nothing_else_was_changed(&superuser, &former);
}

fn ids_kept_as_text_are_as_good_as_relations(release: &str) {
    let (pocketbase, superuser, former) = with_former_data(release, Ids::Text);
    assert_eq!(problems(&superuser), Vec::<Value>::new(), "{}", pocketbase.log());
    the_rules_are_both(&superuser);
    the_data_is_carried(&superuser, &former);
    nothing_else_was_changed(&superuser, &former);
}

/// `null` stays, an empty rule becomes ours, any other is added to ours; and it is logged.
fn the_rules_are_both(superuser: &Rest) {
    let users = collection(superuser, "generatio_users");
    let own = format!(r#"user_id = @request.auth.id && @request.auth.collectionId = "{}""#, users["id"].as_str().unwrap());
    let images = collection(superuser, "images");
    assert_eq!(images["listRule"], json!(own));
    assert_eq!(images["viewRule"], json!(format!("({own}) && (user_id = @request.auth.id // his own\n)")));
    assert_eq!((&images["createRule"], &images["deleteRule"]), (&Value::Null, &Value::Null));
    assert!(images["updateRule"].as_str().unwrap().starts_with(&own));
    let folders = collection(superuser, "folders");
    assert_eq!(folders["listRule"], json!(format!("({own}) && (user_id = @request.auth.id)")));
    assert_eq!((&folders["viewRule"], &folders["updateRule"]), (&Value::Null, &Value::Null));
    assert!(folders["createRule"].as_str().unwrap().ends_with(" && (@request.auth.id != '')"));
    assert!(users["listRule"].as_str().unwrap().ends_with(" && (id = @request.auth.id || motto = 'friend')"));
    assert_eq!(users["deleteRule"], Value::Null);
    assert!(users["createRule"].as_str().unwrap().contains("@request.body.id:isset = false"));
}

fn the_data_is_carried(superuser: &Rest, former: &Former) {
    let [first, second, third] = &former.users;
    let [shared, double, own, nobodys] = &former.preferences;
    let preferences = superuser.rows("model_preferences");
    let owner = |id: &str| preferences.iter().find(|row| row["id"] == id).unwrap()["user_id"].as_str().unwrap().to_owned();
    assert_eq!((owner(shared), owner(own), owner(double), owner(nobodys)), (first.clone(), second.clone(), String::new(), String::new()));
    assert_eq!(preferences.len(), 5, "the shared row was copied once: {preferences:?}");
    let copy = preferences.iter().find(|row| !former.preferences.contains(&row["id"].as_str().unwrap().to_owned())).unwrap();
    assert_eq!((&copy["user_id"], &copy["model_name"], &copy["preferences"]["seed"]), (&json!(second), &json!("flux/schnell"), &json!(5)));

    let mut events = superuser.rows("spend_events");
    events.sort_by_key(|event| event["amount_micros"].as_i64());
    let opened: Vec<_> =
        events.iter().map(|e| (e["job_id"].clone(), e["kind"].clone(), e["amount_micros"].clone(), e["images"].clone())).collect();
    let opening = |user: &str, micros: u64, images: u64| (json!(format!("opening:{user}")), json!("opening"), json!(micros), json!(images));
    assert_eq!(opened, [opening(second, 0, 1), opening(first, 13_100, 2)]);
    for (user, micros, images, dollars) in [(first, 13_100, 2, 0.0131), (second, 0, 1, 0.0), (third, 0, 0, 0.0)] {
        let stats = superuser.get(&format!("/api/generatio/stats/{user}")).1;
        assert_eq!(stats, json!({"spent_micros": micros, "images": images, "recent_micros": 0}));
        let row = superuser.get(&format!("/api/collections/generatio_users/records/{user}")).1;
        assert_eq!(row["financial_data"]["total_images"], images);
        assert_eq!(row["financial_data"]["total_spent"].as_f64(), Some(dollars));
    }
    assert_eq!(superuser.get("/api/generatio/books").1, json!({"checked": 3, "users": [], "next": null}));
}

fn nothing_else_was_changed(superuser: &Rest, former: &Former) {
    let images = superuser.rows("images");
    let image = images.iter().find(|row| row["id"] == former.images[1]).unwrap();
    assert_eq!(
        (&image["url"], &image["folder_id"], &image["cost_micros"]),
        (&json!("https://fal.media/x.png"), &json!(former.folder), &json!(10_100))
    );
    let created: Vec<&str> =
        former.images.iter().map(|id| images.iter().find(|row| row["id"] == *id).unwrap()["created"].as_str().unwrap()).collect();
    assert!(created[0].len() == 24 && created.is_sorted(), "rows without a time get one in their order: {created:?}");
    assert_eq!(superuser.rows("folders")[0]["name"], "old/name");
    let indexes = collection(superuser, "images")["indexes"].to_string();
    assert!(indexes.contains("idx_images_model"), "{indexes}");
    // Their owner goes on as before: signs in, cannot see the sealed token, may change their own words.
    let user = Rest::new_like(superuser).as_user("generatio_users", "b@example.com", former::PASSWORD);
    let path = format!("/api/collections/generatio_users/records/{}", former.users[1]);
    let (status, row) = user.get(&path);
    assert_eq!((status, &row["fal_token"], &row["motto"]), (200, &Value::Null, &json!("hi")));
    assert_eq!(user.patch(&path, &json!({"motto": "new"})).1["motto"], "new");
    assert_eq!(superuser.get(&path).1["fal_token"], "bm9uY2U=.c2FsdA==");
    let change = json!({"oldPassword": former::PASSWORD, "password": "another one", "passwordConfirm": "another one"});
    assert_eq!(user.patch(&path, &change).0, 200);
}

/// Everything that a superuser can see of ours.
fn everything(superuser: &Rest) -> Vec<Value> {
    let rows = crate::schema::OURS.iter().map(|name| json!(superuser.rows(name)));
    let schema = crate::schema::OURS.iter().map(|name| collection(superuser, name));
    rows.chain(schema).chain([superuser.get("/api/settings").1]).collect()
}

fn a_second_run_under_another_name_changes_nothing(release: &str) {
    let (mut pocketbase, superuser, _) = with_former_data(release, Ids::Relation);
    let before = everything(&superuser);
    pocketbase.install_migrations("2_");
    pocketbase.restart();
    assert_eq!(everything(&superuser), before);
    assert_eq!(repair(&superuser), json!({"done": [], "problems": []}));
    assert_eq!(everything(&superuser), before);
}

fn a_field_of_another_type_is_named_and_its_collection_left_alone(release: &str) {
    let mut pocketbase = PocketBase::of(release);
    let superuser = pocketbase.superuser();
    let fields = json!([{"type": "number", "name": "url"}, {"type": "text", "name": "title"}]);
    superuser.made("/api/collections", &json!({"type": "base", "name": "images", "fields": fields, "listRule": "", "updateRule": ""}));
    superuser.row("images", &json!({"url": 5, "title": "mine"}));
    superuser.made("/api/collections", &json!({"type": "auth", "name": "generations"}));
    let there = |superuser: &Rest| [collection(superuser, "images"), json!(superuser.rows("images")), collection(superuser, "generations")];
    let before = there(&superuser);
    pocketbase.install();
    pocketbase.restart();
    assert_eq!(there(&superuser), before);
    let row = format!("/api/collections/images/records/{}", before[1][0]["id"].as_str().unwrap());
    assert_eq!(Rest::new(pocketbase.address).patch(&row, &json!({"url": 6})).1["url"], 6, "what is theirs works as before");
    assert!(pocketbase.log().contains("generatio: not done: images.url: it is a number field"), "{}", pocketbase.log());
    let found = problems(&superuser);
    let named: Vec<_> =
        found.iter().map(|p| (p["collection"].as_str().unwrap(), p["field"].as_str().unwrap(), p["fixable"] == true)).collect();
    assert_eq!(named, [("images", "url", false), ("generations", "", false)], "{found:?}");

    let renamed = json!({"fields": [{"id": field_id(&before[0], "url"), "type": "number", "name": "old_url"},
        {"id": field_id(&before[0], "title"), "type": "text", "name": "title"}]});
    assert_eq!(superuser.patch("/api/collections/images", &renamed).0, 200);
    assert_eq!(superuser.patch("/api/collections/generations", &json!({"name": "their_generations"})).0, 200);
    let repaired = repair(&superuser);
    assert_eq!(repaired["problems"], json!([]), "{repaired}");
    assert!(repaired["done"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().starts_with("images: url")), "{repaired}");
    assert_eq!(superuser.rows("images")[0]["old_url"], 6);
    assert!(collection(&superuser, "images")["listRule"].as_str().unwrap().starts_with("user_id = @request.auth.id"));
    assert!(collection(&superuser, "generations")["listRule"].as_str().unwrap().starts_with("user_id = @request.auth.id"));
}

/// Rows that a unique index does not allow, a field that is too narrow, a collection of another type that others point to.
fn what_an_index_or_a_setting_stands_against_is_named(release: &str) {
    let mut pocketbase = PocketBase::of(release);
    let superuser = pocketbase.superuser();
    let fields = json!([{"type": "text", "name": "request_id"}, {"type": "text", "name": "prompt", "required": true, "max": 80}]);
    superuser.made("/api/collections", &json!({"type": "base", "name": "generations", "fields": fields}));
    let twins = [1, 2].map(|_| superuser.row("generations", &json!({"request_id": "same", "prompt": "p"})));
    superuser.made("/api/collections", &json!({"type": "view", "name": "folders", "viewQuery": "SELECT id, request_id FROM generations"}));
    pocketbase.install();
    pocketbase.restart();
    let found = problems(&superuser);
    let named: Vec<_> = found.iter().map(|p| format!("{}.{}", p["collection"].as_str().unwrap(), p["field"].as_str().unwrap())).collect();
    assert_eq!(named, ["folders.", "generations.prompt", "images.folder_id", "images.", "generations."], "{found:?}");
    assert!(found[1]["problem"].as_str().unwrap().contains("at most 80 characters fit"), "{found:?}");
    assert_eq!(superuser.rows("generations").len(), 2);
    assert_eq!(superuser.get("/api/settings").1["batch"]["enabled"], true, "the other steps were done");

    assert_eq!(superuser.delete(&format!("/api/collections/generations/records/{}", twins[0])).0, 204);
    assert_eq!(superuser.delete("/api/collections/folders").0, 204);
    let left = repair(&superuser)["problems"].clone();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["field"]), (1, &json!("prompt")), "{left}");
}

fn field_id(collection: &Value, name: &str) -> String {
    let field = collection["fields"].as_array().unwrap().iter().find(|field| field["name"] == name).unwrap();
    field["id"].as_str().unwrap().to_owned()
}

fn without_hooks_the_migrations_do_nothing_and_the_repair_completes_them(release: &str) {
    let mut pocketbase = PocketBase::of(release);
    let superuser = pocketbase.superuser();
    pocketbase.install_migrations("");
    pocketbase.restart();
    assert!(pocketbase.log().contains("generatio: collections not done"), "{}", pocketbase.log());
    assert_eq!(superuser.get("/api/collections/images").0, 404);
    assert_eq!(superuser.get("/api/settings").1["batch"]["enabled"], false);
    pocketbase.install_hooks();
    pocketbase.restart();
    assert!(problems(&superuser).iter().all(|problem| problem["fixable"] == true));
    assert_eq!(repair(&superuser)["problems"], json!([]));
    assert_eq!(printed(&superuser), SCHEMA);
}

fn what_is_unrelated_stays_as_it_is(release: &str) {
    let mut pocketbase = PocketBase::of(release);
    let superuser = pocketbase.superuser();
    former::unrelated(&superuser);
    let of_theirs = |superuser: &Rest| {
        let mut settings = superuser.get("/api/settings").1;
        settings["batch"].take();
        (["notes", "users", "_superusers"].map(|name| collection(superuser, name)), superuser.rows("notes"), settings)
    };
    let before = of_theirs(&superuser);
    pocketbase.install();
    pocketbase.restart();
    assert_eq!(problems(&superuser), Vec::<Value>::new());
    repair(&superuser);
    assert_eq!(of_theirs(&superuser), before);
}
