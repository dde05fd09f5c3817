//! `/api/custom/preferences/*`

use serde_json::{Value, json};

use crate::gallery::{Gallery, Person, refused, strangers, wrong_from_outside};

const MODEL: &str = "flux/schnell";

fn kept(person: &Person, path: &str) -> Value {
    person.asks("GET", &format!("preferences/{path}"), Value::Null)
}

#[test]
fn both_styles_save_and_give_back_the_same() {
    let gallery = Gallery::open();
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| gallery.person(email));
    let saved = json!({"success": true, "message": "Preferences saved successfully"});
    let none = json!({"model_name": MODEL, "has_preferences": false, "preferences": {}});
    assert_eq!(ann.asks("POST", "preferences/get", json!({"model_name": MODEL})), none);
    assert_eq!(kept(&ann, MODEL), none);
    for (seed, method_path, body) in [
        (1, "preferences/save", json!({"model_name": MODEL, "preferences": {"seed": 1}})),
        (2, "preferences/flux/schnell", json!({"preferences": {"seed": 2}})),
        (3, "preferences/flux%2Fschnell", json!({"seed": 3})),
        (4, "preferences/flux%2fschnell", json!({"preferences": {"seed": 4}})),
        (5, "preferences/fal-ai/flux/schnell", json!({"seed": 5})),
    ] {
        assert_eq!(ann.asks("POST", method_path, body), saved);
        for path in [MODEL, "flux%2Fschnell", "%66lux/schnell"] {
            assert_eq!(kept(&ann, path), json!({"model_name": MODEL, "has_preferences": true, "preferences": {"seed": seed}}), "{path}");
        }
        let got = ann.asks("POST", "preferences/get", json!({"model_name": "fal-ai/flux/schnell"}));
        assert_eq!(got, json!({"model_name": "fal-ai/flux/schnell", "has_preferences": true, "preferences": {"seed": seed}}));
    }
    assert_eq!(kept(&bob, MODEL), none, "what others prefer is their own");
    assert_eq!(ann.asks("POST", "preferences/flux/schnell", json!({})), saved);
    assert_eq!(kept(&ann, MODEL), json!({"model_name": MODEL, "has_preferences": true, "preferences": {}}));
    let rows = gallery.superuser.rows("model_preferences");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["model_name"], &rows[0]["user_id"]), (&json!(MODEL), &json!(ann.id)));
    assert_eq!(gallery.row("generatio_users", &ann.id)["model_preferences"], json!([rows[0]["id"]]), "linked as it was");
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_kept() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    for (body, field) in [
        (json!({}), "model_name"),
        (json!({"model_name": ""}), "model_name"),
        (json!({"model_name": null}), "model_name"),
        (json!({"model_name": 5}), "model_name"),
        (json!({"model_name": ["flux/schnell"]}), "model_name"),
        (json!({"model_name": "a\\b"}), "model_name"),
        (json!({"model_name": "a\u{0}b"}), "model_name"),
        (json!({"model_name": "x".repeat(201)}), "model_name"),
    ] {
        refused(&ann.tries("POST", "preferences/get", body.clone()), 400, "validation_error", field);
        let mut save = body;
        save["preferences"] = json!({});
        refused(&ann.tries("POST", "preferences/save", save), 400, "validation_error", field);
    }
    for (preferences, field) in [
        (json!(null), "preferences"),
        (json!([]), "preferences"),
        (json!("x"), "preferences"),
        (json!({"seed": "five"}), "preferences.seed"),
        (json!({"num_images": 1000}), "preferences.num_images"),
        (json!({"x": "y".repeat(16 * 1024)}), "preferences"),
    ] {
        let body = json!({"model_name": MODEL, "preferences": preferences});
        refused(&ann.tries("POST", "preferences/save", body), 400, "validation_error", field);
        if preferences.is_object() {
            refused(&ann.tries("POST", "preferences/flux/schnell", preferences.clone()), 400, "validation_error", field);
            refused(&ann.tries("POST", "preferences/flux/schnell", json!({"preferences": preferences})), 400, "validation_error", field);
        }
    }
    refused(&ann.tries("POST", "preferences/save", json!({"model_name": MODEL})), 400, "validation_error", "preferences");
    refused(&ann.tries("POST", "preferences/flux/schnell", json!({"preferences": 5})), 400, "validation_error", "preferences");
    refused(&ann.tries("POST", "preferences/no/model", json!({})), 400, "validation_error", "model_name");
    for path in ["preferences/a%5Cb", "preferences/a%00b", &format!("preferences/{}", "x".repeat(201))] {
        refused(&ann.tries("GET", path, Value::Null), 400, "validation_error", "model_name");
    }
    for path in ["preferences/get", "preferences/save", "preferences/flux/schnell"] {
        wrong_from_outside(&gallery, &ann, "POST", path);
    }
    strangers(&gallery, "GET", "preferences/flux/schnell");
    refused(&ann.tries("GET", "preferences", Value::Null), 404, "not_found", "");
    refused(&ann.tries("DELETE", "preferences/flux/schnell", Value::Null), 404, "not_found", "");
    assert!(gallery.superuser.rows("model_preferences").is_empty());
}

#[test]
fn any_name_can_be_asked_for_and_none_reaches_others() {
    let gallery = Gallery::open();
    let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| gallery.person(email));
    bob.asks("POST", "preferences/flux/schnell", json!({"seed": 7}));
    for name in ["no/model", "it's", "' || user_id != '", "\") || (\"\"=\"", "../../users", "猫", "%25", "// x", "get"] {
        let got = ann.asks("POST", "preferences/get", json!({"model_name": name}));
        assert_eq!(got, json!({"model_name": name, "has_preferences": false, "preferences": {}}));
    }
}

#[test]
fn whatever_a_row_of_the_former_extension_holds_can_be_read_and_replaced() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    for (model, stored, shown) in [
        ("flux/schnell", json!({"seed": 5, "of_old": [1]}), json!({"seed": 5, "of_old": [1]})),
        ("hidream/hidream-i1-dev", Value::Null, json!({})),
        ("hidream/hidream-i1-fast", json!([1, 2]), json!({})),
        ("gone/model", json!("text"), json!({})),
    ] {
        let row = json!({"user_id": ann.id, "model_name": model, "preferences": stored});
        let id = gallery.superuser.row("model_preferences", &row);
        assert_eq!(kept(&ann, model)["preferences"], shown, "{model}");
        if model != "gone/model" {
            ann.asks("POST", &format!("preferences/{model}"), json!({"seed": 6}));
            assert_eq!(gallery.row("model_preferences", &id)["preferences"], json!({"seed": 6}), "the same row");
        }
    }
    assert_eq!(gallery.superuser.rows("model_preferences").len(), 4);
}

#[test]
fn sixty_four_who_save_at_once_leave_one_row() {
    let gallery = Gallery::open();
    let ann = gallery.person("ann@example.com");
    std::thread::scope(|scope| {
        for seed in 0..64 {
            let ann = &ann;
            scope.spawn(move || ann.asks("POST", "preferences/flux/schnell", json!({"seed": seed})));
        }
    });
    let rows = gallery.superuser.rows("model_preferences");
    assert_eq!(rows.len(), 1);
    assert!(rows[0]["preferences"]["seed"].as_u64().is_some_and(|seed| seed < 64));
    assert_eq!(gallery.row("generatio_users", &ann.id)["model_preferences"], json!([rows[0]["id"]]));
}
