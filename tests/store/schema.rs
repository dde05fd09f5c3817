//! The schema of a PocketBase as text that can be read and compared.

use std::fmt::Write as _;

use serde_json::Value;

use crate::support::rest::Rest;

/// Ours, in the order in which they are made.
pub const OURS: [&str; 8] =
    ["generatio_meta", "generatio_users", "folders", "images", "model_preferences", "generations", "spend_events", "spend_totals"];

/// A collection as PocketBase describes it.
pub fn collection(superuser: &Rest, name: &str) -> Value {
    let (status, found) = superuser.get(&format!("/api/collections/{name}"));
    assert_eq!(status, 200, "{name}: {found}");
    found
}

/// All of ours: fields, indexes and rules, with names in the place of collection ids.
pub fn printed(superuser: &Rest) -> String {
    let all: Vec<Value> = OURS.iter().map(|name| collection(superuser, name)).collect();
    let mut text: String = all.iter().map(one).collect();
    for each in &all {
        text = text.replace(each["id"].as_str().unwrap(), &format!("<{}>", each["name"].as_str().unwrap()));
    }
    text
}

fn one(collection: &Value) -> String {
    let mut text = format!("{} ({})\n", collection["name"].as_str().unwrap(), collection["type"].as_str().unwrap());
    for field in collection["fields"].as_array().unwrap() {
        // What PocketBase adds by itself differs from release to release.
        if field["system"] != true {
            writeln!(text, "  {}", described(field)).unwrap();
        }
    }
    for index in collection["indexes"].as_array().unwrap().iter().filter_map(Value::as_str).filter(|text| text.contains("idx_generatio_")) {
        writeln!(text, "  {}", index.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ")).unwrap();
    }
    for rule in ["listRule", "viewRule", "createRule", "updateRule", "deleteRule"] {
        writeln!(text, "  {rule}: {}", collection[rule].as_str().unwrap_or("superusers")).unwrap();
    }
    text
}

fn described(field: &Value) -> String {
    let mut text = format!("{} {}", field["name"].as_str().unwrap(), field["type"].as_str().unwrap());
    for flag in ["hidden", "required", "onlyInt", "cascadeDelete", "protected", "onUpdate"] {
        if field[flag] == true {
            write!(text, " {flag}").unwrap();
        }
    }
    for setting in ["collectionId", "maxSelect", "max", "maxSize", "thumbs", "values"] {
        // A file of one is maxSelect 1 or 0, a text without a bound max 0.
        if !field[setting].is_null() && field[setting] != 0 && field[setting] != 1 && field[setting] != "" {
            write!(text, " {setting}={}", field[setting].to_string().replace('"', "")).unwrap();
        }
    }
    text
}
