//! `/api/custom/images*`

use serde_json::{Value, json};

use crate::gallery::{Gallery, NO_IDS, NOBODYS, Person, refused, strangers, text};
use crate::support::pocketbase::PocketBase;
use crate::support::rest::Rest;

const DELETED: &str = "2026-01-01 00:00:00.000Z";

fn found(person: &Person, query: &[(&str, &str)]) -> Vec<String> {
    let query: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    person.ids(&format!("images?{query}"), "images")
}

#[test]
fn an_image_is_listed_viewed_deleted_and_restored() {
    let gallery = Gallery::of(PocketBase::with_store(), &["--public-url", "https://pictures.example"]);
    let ann = gallery.person("ann@example.com");
    let folder = ann.folder("f", "");
    let id = gallery.image(&ann, json!({"folder_id": folder, "title": "t"}));
    let created = gallery.row("images", &id)["created"].as_str().unwrap().replace(' ', "T");
    let image = json!({"id": id, "title": "t", "url": "https://pictures.example/api/files/images/x/y.png",
        "thumbnail_url": "https://pictures.example/api/files/images/x/y.png?thumb=256x256", "prompt": "a cat", "model": "flux/schnell",
        "request_id": "r-1", "batch_number": 1, "image_size": {"width": 8, "height": 4}, "collection_id": folder, "cost": 0.003,
        "created": created});
    assert_eq!(ann.asks("GET", &format!("images/{id}"), Value::Null), image);
    assert_eq!(ann.asks("GET", "images", Value::Null), json!({"images": [image], "next": null}));
    let stats = ann.asks("GET", "financial/stats", Value::Null);
    for _ in 0..2 {
        assert_eq!(ann.asks("DELETE", &format!("images/{id}"), Value::Null)["success"], true);
        assert!(found(&ann, &[]).is_empty());
        assert_eq!(found(&ann, &[("deleted", "true")]), [id.as_str()]);
        assert_eq!(found(&ann, &[("deleted", "true"), ("collection_id", &folder)]), [id.as_str()]);
    }
    for _ in 0..2 {
        assert_eq!(ann.asks("POST", &format!("images/{id}/restore"), Value::Null), image);
        assert_eq!(found(&ann, &[]), [id.as_str()]);
    }
    assert_eq!(ann.asks("GET", "financial/stats", Value::Null), stats, "money stays as it is");
    ann.asks("DELETE", &format!("images/{id}"), Value::Null);
    ann.asks("DELETE", &format!("collections/{folder}"), Value::Null);
    let restored = ann.asks("POST", &format!("images/{id}/restore"), Value::Null);
    assert_eq!(restored["collection_id"], Value::Null, "its folder went meanwhile");
}

#[test]
fn each_filter_alone_and_all_together() {
    let gallery = Gallery::open();
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| gallery.person(email));
    let [folder, foreign] = [ann.folder("f", ""), bob.folder("g", "")];
    let mut ids = Vec::new();
    for (prompt, model, folder, deleted) in [
        ("A Cat's 100% best_day", "flux/schnell", &folder, ""),
        ("a dog", "flux/schnell", &folder, ""),
        ("a cat", "hidream/hidream-i1-dev", &folder, ""),
        ("a cat", "flux/schnell", &String::new(), ""),
        ("a cat", "flux/schnell", &folder, DELETED),
        ("猫 \"quoted\" <b> && || // (x)", "gone/model", &String::new(), ""),
    ] {
        ids.push(gallery.image(&ann, json!({"prompt": prompt, "model": model, "folder_id": folder, "deleted_at": deleted})));
    }
    gallery.image(&bob, json!({"folder_id": foreign}));
    let f = folder.as_str();
    for (query, wanted) in [
        (&[][..], &[5, 3, 2, 1, 0][..]),
        (&[("collection_id", f)], &[2, 1, 0]),
        (&[("model", "flux/schnell")], &[3, 1, 0]),
        (&[("model", "fal-ai/flux/schnell")], &[3, 1, 0]),
        (&[("model", "gone/model")], &[5]),
        (&[("model", "no/model")], &[]),
        (&[("q", "cat")], &[3, 2, 0]),
        (&[("q", "CAT")], &[3, 2, 0]),
        (&[("q", "")], &[5, 3, 2, 1, 0]),
        (&[("q", "Cat's")], &[0]),
        (&[("q", "100%")], &[0]),
        (&[("q", "t_d")], &[0]),
        (&[("q", "t_c")], &[]),
        (&[("q", "猫")], &[5]),
        (&[("q", "\"quoted\" <b> && || // (x)")], &[5]),
        (&[("deleted", "true")], &[4]),
        (&[("deleted", "false")], &[5, 3, 2, 1, 0]),
        (&[("collection_id", f), ("model", "flux/schnell")], &[1, 0]),
        (&[("collection_id", f), ("q", "cat")], &[2, 0]),
        (&[("model", "flux/schnell"), ("q", "cat")], &[3, 0]),
        (&[("collection_id", f), ("model", "flux/schnell"), ("q", "cat")], &[0]),
        (&[("collection_id", f), ("model", "flux/schnell"), ("q", "cat"), ("deleted", "true"), ("limit", "1")], &[4]),
        (&[("collection_id", &foreign)], &[]),
        (&[("collection_id", NOBODYS)], &[]),
        (&[("unknown", "x")], &[5, 3, 2, 1, 0]),
    ] {
        let wanted: Vec<&str> = wanted.iter().map(|index| ids[*index].as_str()).collect();
        assert_eq!(found(&ann, query), wanted, "{query:?}");
    }
}

#[test]
fn hostile_text_finds_nothing_of_others_and_breaks_nothing() {
    let gallery = Gallery::open();
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| gallery.person(email));
    gallery.image(&bob, json!({}));
    for text in [
        "' || user_id != '",
        "'",
        "''",
        "\"",
        "') || ('' = '",
        "%' || id ~ '%",
        "// x",
        "' // ",
        "@request.auth.id",
        "%00",
        "%",
        "_",
        "%%%",
        "$1",
        "{:x}",
        "x' && (created < '2030' || id < 'z') || '1'='1",
        "'; DROP TABLE images; --",
        &"'".repeat(200),
        &"猫".repeat(200),
    ] {
        assert!(found(&ann, &[("q", text)]).is_empty(), "{text}");
    }
    for text in ["\\", "\\' || user_id != '", "a\u{0}", "a\nb", "a\u{7f}", "a\u{85}b", &"x".repeat(201)] {
        let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("q", text).finish();
        refused(&ann.tries("GET", &format!("images?{query}"), Value::Null), 400, "validation_error", "q");
    }
    for (query, field) in [
        ("collection_id=../../users", "collection_id"),
        ("collection_id=", "collection_id"),
        ("collection_id=%F0%9F%90%88", "collection_id"),
        ("model=%27", "model"),
        ("model=a%20b", "model"),
        ("deleted=yes", "deleted"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=MTIzLicgfHwgaWQgIT0gJw", "cursor"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=1e1", "limit"),
        ("limit=", "limit"),
        ("limit=99999999999999999999", "limit"),
    ] {
        refused(&ann.tries("GET", &format!("images?{query}"), Value::Null), 400, "validation_error", field);
    }
    assert_eq!(ann.tries("GET", "images?%FF=%FE&q&&=&limit=100", Value::Null).0, 200);
}

#[test]
fn pages_lose_and_repeat_nothing_while_rows_are_added() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let batch = |count: usize| {
        let row = json!({"user_id": ann.id, "prompt": "p", "job_id": "job", "url": "/x"});
        let one = json!({"method": "POST", "url": "/api/collections/images/records", "body": row});
        gallery.superuser.made("/api/batch", &json!({"requests": vec![one; count]}));
    };
    batch(45);
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    loop {
        let page = ann.asks("GET", &format!("images?limit=7{cursor}"), Value::Null);
        seen.extend(page["images"].as_array().unwrap().iter().map(|image| text(&image["id"])));
        batch(3);
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let all: Vec<String> = found(&ann, &[("limit", "100")]).split_off(21);
    assert_eq!(seen.len(), 45, "many of one millisecond");
    assert_eq!(seen, all);
}

#[test]
fn someone_elses_image_answers_exactly_as_one_that_does_not_exist() {
    let gallery = Gallery::open();
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| gallery.person(email));
    let foreign = gallery.image(&bob, json!({}));
    let gone = gallery.image(&bob, json!({"deleted_at": DELETED}));
    let folder = ann.folder("f", "");
    let before = gallery.superuser.rows("images");
    for (method, path) in [("GET", ""), ("DELETE", ""), ("POST", "/restore")] {
        let unknown = ann.tries(method, &format!("images/{NOBODYS}{path}"), Value::Null);
        refused(&unknown, 404, "not_found", "");
        for id in [foreign.as_str(), &gone, &folder, &bob.id].iter().chain(NO_IDS) {
            assert_eq!(ann.tries(method, &format!("images/{id}{path}"), Value::Null), unknown, "{method} {id}{path}");
        }
        strangers(&gallery, method, &format!("images/{foreign}{path}"));
    }
    strangers(&gallery, "GET", "images");
    assert_eq!(gallery.superuser.rows("images"), before);
    for (method, path) in [("PATCH", format!("images/{foreign}")), ("POST", "images".into()), ("POST", format!("images/{foreign}"))] {
        refused(&ann.tries(method, &path, json!({})), 404, "not_found", "");
    }
}

#[test]
fn images_of_the_former_extension_are_shown_whatever_their_rows_hold() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let url = "https://v3.fal.media/files/x.png";
    for (more, cost, batch, size) in [
        (json!({"other_info": {"cost_usd": 0.0101}}), json!(0.0101), 1, json!({"width": 8, "height": 4})),
        (json!({"other_info": {"cost_usd": "0.003"}, "image_size": "square_hd"}), json!(0.003), 1, json!("square_hd")),
        (json!({"other_info": {"cost_usd": 5}, "cost_micros": 3000}), json!(0.003), 1, json!({"width": 8, "height": 4})),
        (json!({"other_info": {"cost_usd": "x"}, "batch_number": -5, "image_size": null}), json!(0), 0, Value::Null),
        (json!({"other_info": {"cost_usd": -1}, "batch_number": 1.5}), json!(0), 0, json!({"width": 8, "height": 4})),
        (json!({"other_info": {"cost_usd": 1e300}, "batch_number": 1e18}), json!(0), 0, json!({"width": 8, "height": 4})),
        (json!({"other_info": [1], "prompt": "", "model": "", "request_id": ""}), json!(0), 1, json!({"width": 8, "height": 4})),
        (json!({"other_info": "text"}), json!(0), 1, json!({"width": 8, "height": 4})),
        (json!({"other_info": null}), json!(0), 1, json!({"width": 8, "height": 4})),
    ] {
        let mut row = json!({"job_id": "", "cost_micros": 0, "url": url});
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let id = gallery.image(&ann, row.clone());
        let shown = ann.asks("GET", &format!("images/{id}"), Value::Null);
        assert_eq!((&shown["url"], &shown["thumbnail_url"]), (&json!(url), &json!(url)));
        assert_eq!(shown["cost"].as_f64(), cost.as_f64(), "{row}");
        assert_eq!((&shown["batch_number"], &shown["image_size"]), (&json!(batch), &size), "{row}");
    }
    assert_eq!(found(&ann, &[]).len(), 9);
}

#[test]
fn rows_without_a_time_are_not_lost_between_pages() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let mut ids: Vec<String> = (0..5).map(|_| gallery.image(&ann, json!({}))).collect();
    if gallery.superuser.post("/api/sql", &json!({"query": "UPDATE images SET created = ''"})).0 != 200 {
        return;
    }
    ids.sort();
    ids.reverse();
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    loop {
        let page = ann.asks("GET", &format!("images?limit=2{cursor}"), Value::Null);
        seen.extend(page["images"].as_array().unwrap().iter().map(|image| text(&image["id"])));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ids);
}

#[test]
fn what_the_owner_changes_natively_shows_here() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    let [folder, id] = [ann.folder("f", ""), gallery.image(&ann, json!({}))];
    let record = format!("/api/collections/images/records/{id}");
    for locked in [json!({"cost_micros": 1}), json!({"url": "https://evil.example"}), json!({"user_id": NOBODYS}), json!({"prompt": "x"})] {
        assert!([400, 403, 404].contains(&ann.native.patch(&record, &locked).0), "{locked}");
    }
    assert_eq!(ann.native.patch(&record, &json!({"title": "mine", "folder_id": folder})).0, 200);
    let shown = ann.asks("GET", &format!("images/{id}"), Value::Null);
    assert_eq!((&shown["title"], &shown["collection_id"]), (&json!("mine"), &json!(folder)));
    assert_eq!(ann.native.patch(&record, &json!({"deleted_at": DELETED})).0, 200);
    assert_eq!(found(&ann, &[("deleted", "true")]), [id.as_str()]);
    ann.asks("POST", &format!("images/{id}/restore"), Value::Null);
    assert_eq!(found(&ann, &[("collection_id", &folder)]), [id]);
    assert_eq!(Rest::new(gallery.pocketbase.address).get(&record).0, 404);
}
