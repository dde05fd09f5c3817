//! A PocketBase whose administrator made the former extension's collections by hand, with data in them.

use serde_json::{Value, json};

use crate::support::rest::Rest;

pub const PASSWORD: &str = "12345678";

/// How the administrator kept ids of other rows.
#[derive(Clone, Copy, PartialEq)]
pub enum Ids {
    Text,
    Relation,
}

/// Three users: the first two share a row of preferences, the third has none of anything.
pub struct Former {
    pub users: [String; 3],
    pub folder: String,
    /// Of user 0 twice, of user 1 once.
    pub images: [String; 3],
    /// Shared by users 0 and 1; an older double of the next; of user 1 alone; nobody's.
    pub preferences: [String; 4],
}

/// A collection that is none of our business, with a row, rules and an index.
pub fn unrelated(superuser: &Rest) {
    let index = "CREATE UNIQUE INDEX `idx_notes_title` ON `notes` (`title`)";
    let fields = json!([{"type": "text", "name": "title"}, {"type": "json", "name": "body"}]);
    let rule = "@request.auth.id != '' || title = 'open'";
    let notes = json!({"type": "base", "name": "notes", "fields": fields, "indexes": [index], "listRule": rule, "createRule": ""});
    superuser.made("/api/collections", &notes);
    superuser.row("notes", &json!({"title": "one", "body": {"b": 1, "a": [2]}}));
}

/// The collections as the former extension's manual had them, and rows as it wrote them.
pub fn by_hand(superuser: &Rest, ids: Ids) -> Former {
    collections(superuser, ids);
    let users = ["a@example.com", "b@example.com", "c@example.com"].map(|email| {
        let sealed = "bm9uY2U=.c2FsdA==";
        let wrong = json!({"total_spent": 99.5, "total_images": 7});
        superuser.row(
            "generatio_users",
            &json!({"email": email, "password": PASSWORD, "passwordConfirm": PASSWORD, "fal_token": sealed, "financial_data": wrong, "motto": "hi"}),
        )
    });
    let preferences = ["flux/schnell", "hidream", "hidream", "nobody's"]
        .map(|model| superuser.row("model_preferences", &json!({"model_name": model, "preferences": {"seed": 5}})));
    let [shared, double, own, _] = &preferences;
    link(superuser, &users[0], &[shared]);
    link(superuser, &users[1], &[shared, double, own]);
    let folder = superuser.row("folders", &json!({"name": "old/name", "user_id": users[0]}));
    let images = [(0, json!({"cost_usd": 0.003})), (0, json!({"cost_usd": "0.0101", "x": 1})), (1, json!({"note": "no price"}))].map(
        |(user, other_info)| {
            let image: Value = json!({"title": "t", "url": "https://fal.media/x.png", "user_id": users[user], "prompt": "a cat",
                "request_id": "r", "model": "flux/schnell", "batch_number": 1, "image_size": {"width": 8}, "other_info": other_info,
                "folder_id": if user == 0 { folder.as_str() } else { "" }});
            superuser.row("images", &image)
        },
    );
    Former { users, folder, images, preferences }
}

fn link(superuser: &Rest, user: &str, rows: &[&String]) {
    let path = format!("/api/collections/generatio_users/records/{user}");
    assert_eq!(superuser.patch(&path, &json!({"model_preferences": rows})).0, 200);
}

fn collections(superuser: &Rest, ids: Ids) {
    let make = |body: Value| superuser.made("/api/collections", &body)["id"].as_str().unwrap().to_owned();
    let text = |name: &str| json!({"type": "text", "name": name});
    let preferences = make(json!({"type": "base", "name": "model_preferences", "listRule": "", "viewRule": "@request.auth.id != ''",
        "fields": [text("model_name"), {"type": "json", "name": "preferences"}]}));
    let users = make(json!({"type": "auth", "name": "generatio_users", "listRule": "id = @request.auth.id || motto = 'friend'",
        "viewRule": "id = @request.auth.id", "createRule": "", "updateRule": "id = @request.auth.id", "deleteRule": null,
        "fields": [text("fal_token"), text("motto"), {"type": "json", "name": "financial_data"},
            {"type": "relation", "name": "model_preferences", "collectionId": preferences, "maxSelect": 99}]}));
    let one = |name: &str, collection: &str| match ids {
        Ids::Text => text(name),
        Ids::Relation => json!({"type": "relation", "name": name, "collectionId": collection, "maxSelect": 1}),
    };
    let folders = make(
        json!({"type": "base", "name": "folders", "listRule": "user_id = @request.auth.id", "createRule": "@request.auth.id != ''",
        "fields": [text("name"), one("user_id", &users), text("parent_id"), {"type": "bool", "name": "private"}, {"type": "date", "name": "deleted_at"}]}),
    );
    make(json!({"type": "base", "name": "images", "listRule": "", "viewRule": "user_id = @request.auth.id // his own", "updateRule": "",
        "createRule": "@request.auth.id != ''",
        "fields": [text("title"), text("url"), one("user_id", &users), text("prompt"), text("request_id"), text("model"),
            {"type": "number", "name": "batch_number"}, {"type": "json", "name": "image_size"}, {"type": "json", "name": "other_info"},
            one("folder_id", &folders), {"type": "date", "name": "deleted_at"}],
        "indexes": ["CREATE INDEX `idx_images_model` ON `images` (`model`)"]}));
}
