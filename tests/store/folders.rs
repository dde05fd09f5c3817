//! Folders: what is deleted together is restored together, and no folder ends up under itself.

use serde_json::{Value, json};

use crate::store::{Person, Store, code, on_oldest_and_newest};

on_oldest_and_newest! {
    a_tree_is_deleted_under_one_stamp_and_restored_by_it;
    two_deletions_in_one_moment_are_restored_apart;
    the_owner_does_the_same_with_a_plain_update;
    a_folder_whose_parent_is_gone_comes_back_at_the_top;
    what_cannot_be_moved_stays_where_it_is;
    opposite_moves_at_the_same_time_make_no_ring;
    a_name_is_checked_as_the_api_checks_it;
    sixteen_levels_and_a_thousand_folders_are_the_limit;
    images_are_put_into_a_folder_all_or_none;
    an_image_of_a_folder_that_is_gone_comes_back_at_the_top;
    a_live_folder_is_shown_to_superusers_with_the_number_of_its_live_images;
}

fn body(folder: &str, user: &Person) -> Value {
    json!({"folder": folder, "user": user.id})
}

fn deleted_at(store: &Store, collection: &str, id: &str) -> String {
    store.row(collection, id)["deleted_at"].as_str().unwrap().to_owned()
}

fn a_tree_is_deleted_under_one_stamp_and_restored_by_it(release: &str) {
    let store = Store::on(release);
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| store.person(email));
    let top = store.folder(&ann, "top", "");
    let [kept, gone] = ["kept", "gone before"].map(|name| store.folder(&ann, name, &top));
    let leaf = store.folder(&ann, "leaf", &kept);
    let [inside, early, within, outside] = [&leaf, &leaf, &gone, ""].map(|folder| store.image(&ann, folder));
    let title = json!({"deleted_at": "2026-01-01 00:00:00.000Z"});
    assert_eq!(ann.rest.patch(&format!("/api/collections/images/records/{early}"), &title).0, 200);
    assert_eq!(store.call("folders/delete", &body(&gone, &ann)).1["images"], 1);

    for unknown in
        [body(&top, &bob), body("abcdefghij01234", &ann), json!({"folder": top}), json!({"folder": 5, "user": ann.id}), json!({})]
    {
        assert_eq!(store.call("folders/delete", &unknown).0, 404, "{unknown}");
    }
    let (status, answer) = store.call("folders/delete", &body(&top, &ann));
    assert_eq!((status, &answer["folders"], &answer["images"]), (200, &json!(3), &json!(1)), "{answer}");
    let stamp = answer["deleted_at"].as_str().unwrap();
    for (collection, id) in [("folders", &top), ("folders", &kept), ("folders", &leaf), ("images", &inside)] {
        assert_eq!(deleted_at(&store, collection, id), stamp);
    }
    assert_ne!(deleted_at(&store, "folders", &gone), stamp);
    assert_eq!(deleted_at(&store, "images", &outside), "");
    assert_eq!(store.call("folders/delete", &body(&top, &ann)).0, 404);
    assert_eq!(store.call("folders/restore", &body(&top, &bob)).0, 404);

    let (status, answer) = store.call("folders/restore", &body(&top, &ann));
    assert_eq!((status, answer), (200, json!({"folders": 3, "images": 1, "parent_id": ""})));
    for (collection, id) in [("folders", &top), ("folders", &kept), ("folders", &leaf), ("images", &inside)] {
        assert_eq!(deleted_at(&store, collection, id), "");
    }
    assert_eq!(deleted_at(&store, "images", &early), "2026-01-01 00:00:00.000Z");
    assert!([deleted_at(&store, "folders", &gone), deleted_at(&store, "images", &within)].iter().all(|stamp| !stamp.is_empty()));
    assert_eq!(store.call("folders/restore", &body(&top, &ann)).0, 404);
}

/// In one batch both fall into the same millisecond more often than not.
fn two_deletions_in_one_moment_are_restored_apart(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    let top = store.folder(&ann, "top", "");
    for _ in 0..20 {
        let child = store.folder(&ann, "child", &top);
        let delete = |id: &str| json!({"method": "PATCH", "url": format!("/api/collections/folders/records/{id}"), "body": {"deleted_at": "2026-01-01"}});
        store.superuser.made("/api/batch", &json!({"requests": [delete(&child), delete(&top)]}));
        assert_ne!(deleted_at(&store, "folders", &child), deleted_at(&store, "folders", &top));
        assert_eq!(store.call("folders/restore", &body(&top, &ann)).1["folders"], 1);
    }
}

fn the_owner_does_the_same_with_a_plain_update(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    let top = store.folder(&ann, "top", "");
    let child = store.folder(&ann, "child", &top);
    let image = store.image(&ann, &child);
    let path = format!("/api/collections/folders/records/{top}");
    let (status, row) = ann.rest.patch(&path, &json!({"deleted_at": "2020-01-01 00:00:00.000Z"}));
    assert_eq!(status, 200, "{row}");
    let stamp = row["deleted_at"].as_str().unwrap();
    assert!(stamp > "2026", "the server says when: {stamp}");
    assert_eq!((deleted_at(&store, "folders", &child).as_str(), deleted_at(&store, "images", &image).as_str()), (stamp, stamp));
    assert_eq!(ann.rest.patch(&path, &json!({"deleted_at": "2021-01-01 00:00:00.000Z"})).0, 404, "what is deleted can only be restored");
    assert_eq!(ann.rest.patch(&path, &json!({"name": "other"})).0, 404);
    assert_eq!(ann.rest.patch(&path, &json!({"deleted_at": ""})).0, 200);
    for (collection, id) in [("folders", &top), ("folders", &child), ("images", &image)] {
        assert_eq!(deleted_at(&store, collection, id), "");
    }
}

fn a_folder_whose_parent_is_gone_comes_back_at_the_top(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    let top = store.folder(&ann, "top", "");
    let child = store.folder(&ann, "child", &top);
    store.call("folders/delete", &body(&top, &ann));
    let (status, answer) = store.call("folders/restore", &body(&child, &ann));
    assert_eq!((status, answer), (200, json!({"folders": 1, "images": 0, "parent_id": ""})));
    assert_eq!(store.row("folders", &child)["parent_id"], "");
    assert_eq!(store.call("folders/restore", &body(&top, &ann)).1["folders"], 1);
}

fn what_cannot_be_moved_stays_where_it_is(release: &str) {
    let store = Store::on(release);
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| store.person(email));
    let top = store.folder(&ann, "top", "");
    let child = store.folder(&ann, "child", &top);
    let leaf = store.folder(&ann, "leaf", &child);
    let [foreign, gone] = [store.folder(&bob, "foreign", ""), store.folder(&ann, "gone", "")];
    store.call("folders/delete", &body(&gone, &ann));
    for (parent, refusal) in [
        (&top, (409, "validation_cycle")),
        (&leaf, (409, "validation_cycle")),
        (&foreign, (400, "validation_missing_rel_records")),
        (&gone, (400, "validation_missing_rel_records")),
        (&"abcdefghij01234".to_owned(), (400, "validation_missing_rel_records")),
    ] {
        let moved = store.call("folders/move", &json!({"folder": top, "user": ann.id, "parent": parent}));
        assert_eq!(code(&moved, "parent_id"), refusal, "{moved:?}");
        let (native, _) = ann.rest.patch(&format!("/api/collections/folders/records/{top}"), &json!({"parent_id": parent}));
        assert!([400, 404, 409].contains(&native), "{native}");
        assert_eq!(store.row("folders", &top)["parent_id"], "");
    }
    assert_eq!(store.call("folders/move", &json!({"folder": top, "user": bob.id, "parent": ""})).0, 404);
    let moved = store.call("folders/move", &json!({"folder": leaf, "user": ann.id, "parent": ""}));
    assert_eq!((moved.0, &store.row("folders", &leaf)["parent_id"]), (200, &json!("")));
}

fn opposite_moves_at_the_same_time_make_no_ring(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    let [one, other] = ["one", "other"].map(|name| store.folder(&ann, name, ""));
    for round in 0..20 {
        let answers = std::thread::scope(|scope| {
            let put = |folder: &str, parent: &str| {
                let [folder, parent] = [folder, parent].map(str::to_owned);
                let (store, ann) = (&store, &ann);
                scope.spawn(move || match round % 2 {
                    0 => store.call("folders/move", &json!({"folder": folder, "user": ann.id, "parent": parent})).0,
                    _ => ann.rest.patch(&format!("/api/collections/folders/records/{folder}"), &json!({"parent_id": parent})).0,
                })
            };
            [put(&one, &other), put(&other, &one)].map(|thread| thread.join().unwrap())
        });
        let parents = [&one, &other].map(|folder| store.row("folders", folder)["parent_id"].as_str().unwrap().to_owned());
        assert_eq!(parents.iter().filter(|parent| parent.is_empty()).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        for folder in [&one, &other] {
            assert_eq!(store.call("folders/move", &json!({"folder": folder, "user": ann.id, "parent": ""})).0, 200);
        }
    }
}

fn a_name_is_checked_as_the_api_checks_it(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    let folder = store.folder(&ann, &"é".repeat(100), "");
    let long = "é".repeat(101);
    for name in ["", "a/b", "a\\b", "a:b", "a*b", "a?b", "a\"b", "a<b", "a>b", "a|b", "a\nb", "a\u{7f}b", "a\u{85}b", &long] {
        for caller in [&ann.rest, &store.superuser] {
            let made = caller.post("/api/collections/folders/records", &json!({"name": name, "user_id": ann.id}));
            assert_eq!(made.0, 400, "{name:?}: {made:?}");
            assert_ne!(code(&made, "name").1, "none", "{made:?}");
            let renamed = caller.patch(&format!("/api/collections/folders/records/{folder}"), &json!({"name": name}));
            assert_eq!(renamed.0, 400, "{name:?}: {renamed:?}");
        }
    }
    assert_eq!(store.superuser.rows("folders").len(), 1);
}

fn sixteen_levels_and_a_thousand_folders_are_the_limit(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    let mut path = vec![store.folder(&ann, "1", "")];
    while path.len() < 16 {
        path.push(store.folder(&ann, "next", path.last().unwrap()));
    }
    let below = json!({"name": "17", "user_id": ann.id, "parent_id": path[15]});
    assert_eq!(code(&ann.rest.post("/api/collections/folders/records", &below), "parent_id"), (400, "validation_too_deep"));
    let pair = store.folder(&ann, "a", "");
    store.folder(&ann, "b", &pair);
    let moved = store.call("folders/move", &json!({"folder": pair, "user": ann.id, "parent": path[14]}));
    assert_eq!(code(&moved, "parent_id"), (400, "validation_too_deep"));
    assert_eq!(store.call("folders/move", &json!({"folder": pair, "user": ann.id, "parent": path[13]})).0, 200);

    for many in [200, 200, 200, 200, 182] {
        let one = json!({"method": "POST", "url": "/api/collections/folders/records", "body": {"name": "n", "user_id": ann.id}});
        store.superuser.made("/api/batch", &json!({"requests": vec![one; many]}));
    }
    let another = json!({"name": "1001", "user_id": ann.id});
    assert_eq!(code(&ann.rest.post("/api/collections/folders/records", &another), "name"), (400, "validation_too_many"));
    assert_eq!(store.call("folders/delete", &body(&path[15], &ann)).0, 200);
    assert_eq!(ann.rest.post("/api/collections/folders/records", &another).0, 200);
    assert_eq!(code(&store.call("folders/restore", &body(&path[15], &ann)), "name"), (400, "validation_too_many"));
}

fn images_are_put_into_a_folder_all_or_none(release: &str) {
    let store = Store::on(release);
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| store.person(email));
    let folder = store.folder(&ann, "folder", "");
    let [one, two, foreign, gone] = [&ann, &ann, &bob, &ann].map(|owner| store.image(owner, ""));
    let trash = json!({"deleted_at": "2026-01-01 00:00:00.000Z"});
    assert_eq!(ann.rest.patch(&format!("/api/collections/images/records/{gone}"), &trash).0, 200);
    let add = |user: &Person, images: Value| store.call("images/add", &json!({"folder": folder, "user": user.id, "images": images}));
    for bad in [&foreign, &gone, "abcdefghij01234", ""] {
        let answer = add(&ann, json!([one, bad, two]));
        assert_eq!(
            (code(&answer, "images"), &answer.1["data"]["images"]["position"]),
            ((400, "validation_missing_rel_records"), &json!(1))
        );
    }
    for bad in [json!([]), json!("x"), json!(null), json!(vec![&one; 101])] {
        assert_eq!(add(&ann, bad).0, 400);
    }
    assert_eq!(add(&ann, json!([{"id": one}])).0, 400);
    assert_eq!(add(&bob, json!([foreign])).0, 404);
    assert_eq!(store.row("images", &one)["folder_id"], "");
    assert_eq!(add(&ann, json!([one, two, one])), (200, json!({"added": 2})));
    assert_eq!(store.row("images", &two)["folder_id"], json!(folder));
}

fn an_image_of_a_folder_that_is_gone_comes_back_at_the_top(release: &str) {
    let store = Store::on(release);
    let ann = store.person("ann@example.com");
    let folder = store.folder(&ann, "folder", "");
    let [one, two] = [&folder, &folder].map(|folder| store.image(&ann, folder));
    store.call("folders/delete", &body(&folder, &ann));
    for (caller, image) in [(&ann.rest, &one), (&store.superuser, &two)] {
        let (status, row) = caller.patch(&format!("/api/collections/images/records/{image}"), &json!({"deleted_at": ""}));
        assert_eq!((status, &row["folder_id"], &row["deleted_at"]), (200, &json!(""), &json!("")), "{row}");
    }
    assert_eq!(store.call("folders/restore", &body(&folder, &ann)).1["images"], 0);
}

fn a_live_folder_is_shown_to_superusers_with_the_number_of_its_live_images(release: &str) {
    let store = Store::on(release);
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| store.person(email));
    let top = store.folder(&ann, "top", "");
    let [folder, gone] = ["folder", "gone"].map(|name| store.folder(&ann, name, &top));
    let images = [&folder, &folder, &folder, ""].map(|folder| store.image(&ann, folder));
    let trash = json!({"deleted_at": "2026-01-01 00:00:00.000Z"});
    assert_eq!(ann.rest.patch(&format!("/api/collections/images/records/{}", images[0]), &trash).0, 200);
    assert_eq!(store.call("folders/delete", &body(&gone, &ann)).0, 200);
    let path = |folder: &str, user: &str| format!("/api/generatio/folders/{folder}?user={user}");
    let (status, shown) = store.superuser.get(&path(&folder, &ann.id));
    let mut row = store.row("folders", &folder);
    for more in ["collectionId", "collectionName"] {
        row.as_object_mut().unwrap().remove(more);
    }
    assert_eq!((status, shown), (200, json!({"folder": row, "images": 2})));
    assert_eq!(store.superuser.get(&path(&top, &ann.id)).1["images"], 0);
    for (folder, user) in
        [(folder.as_str(), bob.id.as_str()), (&gone, &ann.id), ("abcdefghij01234", &ann.id), (&folder, ""), ("%20", "%20")]
    {
        assert_eq!(store.superuser.get(&path(folder, user)).0, 404, "{folder} {user}");
    }
    assert_eq!(ann.rest.get(&path(&folder, &ann.id)).0, 403);
    assert_eq!(crate::support::rest::Rest::new(store.pocketbase.address).get(&path(&folder, &ann.id)).0, 401);
}
