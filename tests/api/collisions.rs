//! Sixty-four at once: nothing is lost, nothing goes in circles.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::gallery::{Gallery, Person, text};

/// The same work for 0 to 63, all at once; answers their statuses.
fn at_once(work: impl Fn(usize) -> (u16, Value) + Sync) -> Vec<u16> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64).map(|number| scope.spawn(move || work(number).0)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Every live folder's way up ends at the top, through live folders.
fn no_ring_and_no_orphan(gallery: &Gallery) {
    let rows = gallery.superuser.rows("folders");
    let live: BTreeMap<String, String> =
        rows.iter().filter(|row| row["deleted_at"] == "").map(|row| (text(&row["id"]), text(&row["parent_id"]))).collect();
    for id in live.keys() {
        let (mut at, mut seen) = (id, BTreeSet::new());
        while !at.is_empty() {
            assert!(seen.insert(at), "a ring through {id}");
            at = live.get(at).unwrap_or_else(|| panic!("{id} is out of sight: {at} is not live"));
        }
        assert!(seen.len() <= 16);
    }
}

fn only(statuses: &[u16], may: &[u16]) {
    assert!(statuses.iter().all(|status| may.contains(status)), "{statuses:?}");
}

#[test]
fn folders_moved_under_each_other() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let folders: Vec<String> = (0..8).map(|number| ann.folder(&format!("{number}"), "")).collect();
    for round in 1..4 {
        let statuses = at_once(|number| {
            let (folder, parent) = (&folders[number % 8], &folders[(number * 3 + number / 8 + round) % 8]);
            let wish = json!({ "parent_id": parent });
            // Half of them with PocketBase's own API.
            match number % 2 {
                0 => ann.tries("POST", &format!("collections/{folder}/move"), wish),
                _ => ann.native.patch(&format!("/api/collections/folders/records/{folder}"), &wish),
            }
        });
        only(&statuses, &[200, 409]);
        assert!(statuses.contains(&200));
        no_ring_and_no_orphan(&gallery);
    }
    assert_eq!(ann.ids("collections", "collections").len(), 8);
}

#[test]
fn a_tree_deleted_and_restored_while_its_folders_move() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let top = ann.folder("top", "");
    let folders: Vec<String> = (0..8).map(|number| ann.folder(&format!("{number}"), &top)).collect();
    let images: Vec<String> = folders.iter().map(|folder| gallery.image(&ann, json!({"folder_id": folder}))).collect();
    let statuses = at_once(|number| match number % 4 {
        0 => ann.tries("DELETE", &format!("collections/{top}"), Value::Null),
        1 => ann.tries("POST", &format!("collections/{top}/restore"), Value::Null),
        2 => ann.tries("POST", &format!("collections/{}/move", folders[number % 8]), json!({"parent_id": folders[(number + 1) % 8]})),
        _ => ann.tries("POST", &format!("collections/{}/move", folders[number % 8]), json!({"parent_id": ""})),
    });
    only(&statuses, &[200, 400, 404, 409]);
    no_ring_and_no_orphan(&gallery);
    restore_all(&ann);
    no_ring_and_no_orphan(&gallery);
    assert_eq!(ann.ids("collections", "collections").len(), 9, "no folder is lost");
    assert_eq!(ann.ids("images", "images").len(), images.len(), "no image is lost");
}

fn restore_all(ann: &Person) {
    while let Some(id) = ann.ids("collections?deleted=true", "collections").pop() {
        ann.asks("POST", &format!("collections/{id}/restore"), Value::Null);
    }
}

#[test]
fn one_deletion_is_restored_once() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let top = ann.folder("top", "");
    ann.folder("inner", &top);
    ann.asks("DELETE", &format!("collections/{top}"), Value::Null);
    let statuses = at_once(|_| ann.tries("POST", &format!("collections/{top}/restore"), Value::Null));
    only(&statuses, &[200, 404]);
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(ann.ids("collections", "collections").len(), 2);
}

#[test]
fn the_last_folders_that_a_user_may_have() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    for many in [200, 200, 200, 200, 190] {
        let one = json!({"method": "POST", "url": "/api/collections/folders/records", "body": {"name": "n", "user_id": ann.id}});
        gallery.superuser.made("/api/batch", &json!({"requests": vec![one; many]}));
    }
    let row = json!({"name": "one of the last", "user_id": ann.id});
    let statuses = at_once(|number| match number % 2 {
        0 => ann.tries("POST", "collections/create", row.clone()),
        _ => ann.native.post("/api/collections/folders/records", &row),
    });
    only(&statuses, &[200, 400]);
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 10, "{statuses:?}");
    assert_eq!(ann.ids("collections", "collections").len(), 1000);
}

#[test]
fn images_deleted_and_restored_with_and_without_their_folder() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let folder = ann.folder("f", "");
    let image = gallery.image(&ann, json!({"folder_id": folder}));
    let statuses = at_once(|number| match number % 4 {
        0 => ann.tries("DELETE", &format!("images/{image}"), Value::Null),
        1 => ann.tries("POST", &format!("images/{image}/restore"), Value::Null),
        2 => ann.tries("DELETE", &format!("collections/{folder}"), Value::Null),
        _ => ann.tries("POST", &format!("collections/{folder}/restore"), Value::Null),
    });
    only(&statuses, &[200, 404]);
    let row = gallery.row("images", &image);
    let within = row["folder_id"] == json!(folder);
    if row["deleted_at"] == "" && within {
        assert_eq!(gallery.row("folders", &folder)["deleted_at"], "", "a live image is never out of sight");
    }
    ann.asks("POST", &format!("images/{image}/restore"), Value::Null);
    assert_eq!(ann.ids("images", "images"), [image]);
}

#[test]
fn images_added_to_two_folders_are_whole_in_one_of_them() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let folders = ["one", "other"].map(|name| ann.folder(name, ""));
    let images: Vec<String> = (0..10).map(|_| gallery.image(&ann, json!({}))).collect();
    let statuses =
        at_once(|number| ann.tries("POST", &format!("collections/{}/add-images", folders[number % 2]), json!({"image_ids": images})));
    only(&statuses, &[200]);
    let counts = folders.each_ref().map(|folder| ann.ids(&format!("collections/{folder}/images"), "images").len());
    assert!(counts == [10, 0] || counts == [0, 10], "{counts:?}");
}
