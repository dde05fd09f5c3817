//! `/api/custom/collections*`

use serde_json::{Value, json};

use crate::gallery::{Gallery, NO_IDS, NOBODYS, Person, refused, strangers, text, wrong_from_outside};

fn folders(person: &Person, query: &str) -> Vec<String> {
    person.ids(&format!("collections{query}"), "collections")
}

#[test]
fn a_folder_is_made_listed_viewed_changed_moved_deleted_and_restored() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let made = ann.asks("POST", "collections/create", json!({"name": "Cats & co. 猫", "parent_id": null, "unknown": 1}));
    let top = text(&made["id"]);
    assert_eq!(made, json!({"id": top, "name": "Cats & co. 猫", "parent_id": "", "created": made["created"]}));
    assert!(text(&made["created"]).parse::<jiff::Timestamp>().is_ok());
    let inner = ann.folder("inner", &top);
    assert_eq!(folders(&ann, ""), [inner.clone(), top.clone()], "newest first");

    let image = gallery.image(&ann, json!({"folder_id": top}));
    gallery.image(&ann, json!({"folder_id": top, "deleted_at": "2026-01-01 00:00:00.000Z"}));
    let viewed = ann.asks("GET", &format!("collections/{top}"), Value::Null);
    let updated = &viewed["updated"];
    let created = &made["created"];
    assert_eq!(
        viewed,
        json!({"id": top, "user_id": ann.id, "name": "Cats & co. 猫", "parent_id": "", "private": false, "created": created,
            "updated": updated, "image_count": 1})
    );
    let mut listed = viewed.clone();
    listed.as_object_mut().unwrap().remove("image_count");
    assert_eq!(ann.asks("GET", "collections?deleted=false", Value::Null)["collections"][1], listed);

    let changed = ann.asks("PATCH", &format!("collections/{top}"), json!({"name": "n", "private": true}));
    assert_eq!((&changed["name"], &changed["private"], &changed["id"]), (&json!("n"), &json!(true), &json!(top)));
    let changed = ann.asks("PATCH", &format!("collections/{top}"), json!({"private": false}));
    assert_eq!((&changed["name"], &changed["private"]), (&json!("n"), &json!(false)));
    assert_eq!(ann.asks("PATCH", &format!("collections/{top}"), json!({}))["name"], "n");

    let moved = ann.asks("POST", &format!("collections/{inner}/move"), json!({"parent_id": ""}));
    assert_eq!((&moved["parent_id"], &moved["id"]), (&json!(""), &json!(inner)));
    let moved = ann.asks("POST", &format!("collections/{inner}/move"), json!({"parent_id": top}));
    assert_eq!(moved["parent_id"], json!(top));

    assert_eq!(ann.asks("DELETE", &format!("collections/{top}"), Value::Null)["success"], true);
    assert_eq!(folders(&ann, ""), [""; 0]);
    assert_eq!(folders(&ann, "?deleted=true"), [inner.clone(), top.clone()]);
    assert!(ann.ids("images", "images").is_empty());
    let restored = ann.asks("POST", &format!("collections/{top}/restore"), Value::Null);
    assert_eq!((&restored["id"], &restored["name"]), (&json!(top), &json!("n")));
    assert_eq!(folders(&ann, "").len(), 2);
    assert_eq!(ann.ids("images", "images"), [image]);
    assert!(folders(&ann, "?deleted=true").is_empty());
    let private = ann.asks("POST", "collections/create", json!({"name": "p", "private": true}));
    assert_eq!(gallery.row("folders", &text(&private["id"]))["private"], true);
}

#[test]
fn what_is_wrong_with_a_new_folder_is_named() {
    let gallery = Gallery::open();
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| gallery.person(email));
    let foreign = bob.folder("foreign", "");
    let gone = ann.folder("gone", "");
    ann.asks("DELETE", &format!("collections/{gone}"), Value::Null);
    let live = ann.folder("live", "");
    for name in [
        json!("a/b"),
        json!("a\\b"),
        json!("a:b"),
        json!("a*"),
        json!("a?"),
        json!("\""),
        json!("<"),
        json!(">"),
        json!("|"),
        json!("a\nb"),
        json!("\u{7f}"),
        json!("\u{85}"),
        json!("\u{0}"),
        json!("é".repeat(101)),
        json!(""),
        json!(5),
        json!([]),
        json!({}),
    ] {
        refused(&ann.tries("POST", "collections/create", json!({"name": name})), 400, "validation_error", "name");
        refused(&ann.tries("PATCH", &format!("collections/{live}"), json!({"name": name})), 400, "validation_error", "name");
    }
    for body in [json!({}), json!({"name": null})] {
        refused(&ann.tries("POST", "collections/create", body), 400, "validation_error", "name");
    }
    for private in [json!("yes"), json!(1), json!([])] {
        refused(&ann.tries("POST", "collections/create", json!({"name": "n", "private": private})), 400, "validation_error", "private");
        refused(&ann.tries("PATCH", &format!("collections/{live}"), json!({"private": private})), 400, "validation_error", "private");
    }
    let mut answers = Vec::new();
    for parent in [foreign.as_str(), NOBODYS, &gone, "../../users", "猫", "ABCDEFGHIJ01234", "x"] {
        let made = ann.tries("POST", "collections/create", json!({"name": "n", "parent_id": parent}));
        refused(&made, 400, "validation_error", "parent_id");
        let moved = ann.tries("POST", &format!("collections/{live}/move"), json!({"parent_id": parent}));
        refused(&moved, 400, "validation_error", "parent_id");
        answers.extend([made, moved]);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "a foreign folder is answered as an unknown one: {answers:?}");
    for parent in [json!(5), json!([]), json!({}), json!(true)] {
        refused(&ann.tries("POST", "collections/create", json!({"name": "n", "parent_id": parent})), 400, "validation_error", "parent_id");
        refused(
            &ann.tries("POST", &format!("collections/{live}/move"), json!({"parent_id": parent})),
            400,
            "validation_error",
            "parent_id",
        );
    }
    for body in [json!({}), json!({"parent_id": null})] {
        refused(&ann.tries("POST", &format!("collections/{live}/move"), body), 400, "validation_error", "parent_id");
    }
    assert_eq!(ann.asks("POST", "collections/create", json!({"name": "é".repeat(100), "parent_id": ""}))["name"], "é".repeat(100));
    assert_eq!(folders(&ann, "").len(), 2);
}

#[test]
fn every_route_refuses_what_is_wrong_from_outside() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let id = ann.folder("f", "");
    wrong_from_outside(&gallery, &ann, "POST", "collections/create");
    wrong_from_outside(&gallery, &ann, "PATCH", &format!("collections/{id}"));
    wrong_from_outside(&gallery, &ann, "POST", &format!("collections/{id}/move"));
    wrong_from_outside(&gallery, &ann, "POST", &format!("collections/{id}/add-images"));
    for (method, path) in [("GET", ""), ("GET", "/ID"), ("GET", "/ID/images"), ("DELETE", "/ID"), ("POST", "/ID/restore")] {
        strangers(&gallery, method, &format!("collections{}", path.replace("ID", &id)));
    }
    for query in ["?deleted=yes", "?deleted=1", "?deleted=TRUE"] {
        refused(&ann.tries("GET", &format!("collections{query}"), Value::Null), 400, "validation_error", "deleted");
    }
    for (method, path) in [("PUT", "/ID"), ("POST", "/ID"), ("POST", ""), ("GET", "/ID/move"), ("GET", "/ID/nothing"), ("GET", "/ID/")] {
        refused(&ann.tries(method, &format!("collections{}", path.replace("ID", &id)), Value::Null), 404, "not_found", "");
    }
    assert_eq!(gallery.superuser.rows("folders").len(), 1);
    assert_eq!(gallery.row("folders", &id)["name"], "f");
}

#[test]
fn someone_elses_folder_answers_exactly_as_one_that_does_not_exist() {
    let gallery = Gallery::open();
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| gallery.person(email));
    let foreign = bob.folder("foreign", "");
    let gone = bob.folder("gone", "");
    let image = gallery.image(&ann, json!({}));
    bob.asks("DELETE", &format!("collections/{gone}"), Value::Null);
    let before = gallery.superuser.rows("folders");
    for (method, path, body) in [
        ("GET", "", Value::Null),
        ("PATCH", "", json!({"name": "mine"})),
        ("POST", "/move", json!({"parent_id": ""})),
        ("POST", "/add-images", json!({"image_ids": [image]})),
        ("GET", "/images", Value::Null),
        ("DELETE", "", Value::Null),
        ("POST", "/restore", Value::Null),
    ] {
        let unknown = ann.tries(method, &format!("collections/{NOBODYS}{path}"), body.clone());
        refused(&unknown, 404, "not_found", "");
        for id in [foreign.as_str(), &gone, &image, &bob.id].iter().chain(NO_IDS) {
            assert_eq!(ann.tries(method, &format!("collections/{id}{path}"), body.clone()), unknown, "{method} {id}{path}");
        }
    }
    assert_eq!(gallery.superuser.rows("folders"), before);
    assert_eq!(gallery.row("images", &image)["folder_id"], "");
}

#[test]
fn a_deleted_folder_is_as_good_as_none_until_it_is_restored() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let [top, other] = ["top", "other"].map(|name| ann.folder(name, ""));
    let [kept, early] = ["kept", "early"].map(|name| ann.folder(name, &top));
    let [inside, before] = [&kept, &early].map(|folder| gallery.image(&ann, json!({"folder_id": folder})));
    ann.asks("DELETE", &format!("collections/{early}"), Value::Null);
    ann.asks("DELETE", &format!("collections/{top}"), Value::Null);
    for (method, path, body) in [
        ("GET", "", Value::Null),
        ("PATCH", "", json!({"name": "x"})),
        ("POST", "/move", json!({"parent_id": ""})),
        ("POST", "/add-images", json!({"image_ids": [inside]})),
        ("GET", "/images", Value::Null),
        ("DELETE", "", Value::Null),
    ] {
        refused(&ann.tries(method, &format!("collections/{top}{path}"), body), 404, "not_found", "");
    }
    refused(&ann.tries("POST", &format!("collections/{other}/restore"), Value::Null), 404, "not_found", "");
    ann.asks("POST", &format!("collections/{top}/restore"), Value::Null);
    let mut live = folders(&ann, "");
    live.sort();
    let mut wanted = vec![top.clone(), other, kept];
    wanted.sort();
    assert_eq!(live, wanted, "what was deleted before stays deleted");
    assert_eq!(ann.ids("images", "images"), [inside]);
    assert_eq!(ann.ids("images?deleted=true", "images"), [before]);
    let restored = ann.asks("POST", &format!("collections/{early}/restore"), Value::Null);
    assert_eq!(restored["parent_id"], json!(top));
}

#[test]
fn a_folder_cannot_go_under_itself_or_too_deep() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let mut path = vec![ann.folder("1", "")];
    while path.len() < 16 {
        path.push(ann.folder("next", path.last().unwrap()));
    }
    for below in [&path[0], &path[1], &path[15]] {
        refused(&ann.tries("POST", &format!("collections/{}/move", path[0]), json!({"parent_id": below})), 409, "conflict_error", "");
    }
    let too_deep = ann.tries("POST", "collections/create", json!({"name": "17", "parent_id": path[15]}));
    refused(&too_deep, 400, "validation_error", "parent_id");
    assert!(text(&too_deep.1["message"]).contains("16"), "{too_deep:?}");
    let pair = ann.folder("a", "");
    ann.folder("b", &pair);
    refused(&ann.tries("POST", &format!("collections/{pair}/move"), json!({"parent_id": path[14]})), 400, "validation_error", "parent_id");
    ann.asks("POST", &format!("collections/{pair}/move"), json!({"parent_id": path[13]}));
    assert_eq!(gallery.row("folders", &path[0])["parent_id"], "");
}

#[test]
fn a_thousand_folders_are_all_listed_and_one_more_is_refused() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    for _ in 0..5 {
        let one = json!({"method": "POST", "url": "/api/collections/folders/records", "body": {"name": "n", "user_id": ann.id}});
        gallery.superuser.made("/api/batch", &json!({"requests": vec![one; 200]}));
    }
    let all = folders(&ann, "");
    assert_eq!(all.len(), 1000);
    let too_many = ann.tries("POST", "collections/create", json!({"name": "one more"}));
    refused(&too_many, 400, "validation_error", "");
    assert!(text(&too_many.1["message"]).contains("1000"), "{too_many:?}");
    ann.asks("DELETE", &format!("collections/{}", all[0]), Value::Null);
    ann.folder("fits again", "");
    refused(&ann.tries("POST", &format!("collections/{}/restore", all[0]), Value::Null), 400, "validation_error", "");
}

#[test]
fn images_are_added_all_or_none() {
    let gallery = Gallery::open();
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| gallery.person(email));
    let folder = ann.folder("f", "");
    let [one, two, foreign] = [&ann, &ann, &bob].map(|owner| gallery.image(owner, json!({})));
    let gone = gallery.image(&ann, json!({"deleted_at": "2026-01-01 00:00:00.000Z"}));
    let path = format!("collections/{folder}/add-images");
    let mut answers = Vec::new();
    for bad in [foreign.as_str(), NOBODYS, &gone, "../../users", "", "猫", &folder] {
        let answer = ann.tries("POST", &path, json!({"image_ids": [one, bad, two]}));
        refused(&answer, 400, "validation_error", "image_ids");
        answers.push(answer);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "a foreign image is answered as an unknown one: {answers:?}");
    for bad in [json!([]), json!(null), json!("x"), json!({}), json!(vec![&one; 101])] {
        refused(&ann.tries("POST", &path, json!({"image_ids": bad})), 400, "validation_error", "image_ids");
    }
    for bad in [json!([5]), json!([null]), json!([{"id": one}]), json!([one, 5])] {
        let (status, body) = ann.tries("POST", &path, json!({"image_ids": bad}));
        assert!(status == 400 && body["data"].as_object().unwrap().keys().all(|field| field.starts_with("image_ids[")), "{body}");
    }
    refused(&ann.tries("POST", &path, json!({})), 400, "validation_error", "image_ids");
    assert_eq!(gallery.row("images", &one)["folder_id"], "");
    assert_eq!(ann.asks("POST", &path, json!({"image_ids": [one, two, one]})), json!({"success": true, "added": 2}));
    assert_eq!(ann.ids(&format!("collections/{folder}/images"), "images"), [two.clone(), one.clone()]);
    assert_eq!(ann.asks("GET", &format!("collections/{folder}"), Value::Null)["image_count"], 2);
    let other = ann.folder("other", "");
    let page = ann.asks("GET", &format!("collections/{folder}/images?limit=1&collection_id={other}"), Value::Null);
    assert_eq!(page["images"][0]["id"], json!(two), "the path decides");
    let next = ann.ids(&format!("collections/{folder}/images?limit=1&cursor={}", text(&page["next"])), "images");
    assert_eq!(next, [one]);
}

#[test]
fn what_the_owner_writes_natively_obeys_the_same_rules() {
    let gallery = Gallery::open();
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| gallery.person(email));
    let [top, foreign] = [ann.folder("top", ""), bob.folder("foreign", "")];
    let inner = ann.folder("inner", &top);
    let image = gallery.image(&ann, json!({"folder_id": inner}));
    let record = |id: &str| format!("/api/collections/folders/records/{id}");
    for (id, body) in [
        (&top, json!({"parent_id": inner})),
        (&top, json!({"parent_id": top})),
        (&top, json!({"parent_id": foreign})),
        (&top, json!({"name": "a/b"})),
        (&top, json!({"user_id": bob.id})),
        (&foreign, json!({"name": "mine"})),
    ] {
        let (status, answer) = ann.native.patch(&record(id), &body);
        assert!([400, 403, 404, 409].contains(&status), "{body}: {answer}");
    }
    let (status, answer) = ann.native.patch(&format!("/api/collections/images/records/{image}"), &json!({"folder_id": foreign}));
    assert!([400, 404].contains(&status), "{answer}");
    assert_eq!(ann.native.patch(&record(&top), &json!({"name": "renamed"})).0, 200);
    assert_eq!(ann.asks("GET", &format!("collections/{top}"), Value::Null)["name"], "renamed");
    assert_eq!(ann.native.patch(&record(&top), &json!({"deleted_at": "2026-01-01 00:00:00.000Z"})).0, 200);
    assert!(folders(&ann, "").is_empty() && ann.ids("images", "images").is_empty());
    ann.asks("POST", &format!("collections/{top}/restore"), Value::Null);
    assert_eq!((folders(&ann, "").len(), ann.ids("images", "images")), (2, vec![image]));
    assert_eq!(ann.native.delete(&record(&top)).0, 403);
}
