//! A PocketBase with our store, a sidecar before it, and people who have something there.

use serde_json::{Value, json};

use crate::support::pocketbase::{EMAIL, PASSWORD, PocketBase};
use crate::support::rest::Rest;
use crate::support::{Sidecar, until};

/// An id that could be somebody's and is nobody's.
pub const NOBODYS: &str = "abcdefghij01234";

/// What stands where an id should, as the path of a URL holds it.
pub const NO_IDS: &[&str] = &[
    "..%2F..%2Fusers",
    "%2E%2E%2F%2E%2E%2Fgeneratio_users%2Frecords",
    "abcdefghij01234%2F..",
    "abcdefghij01234%3Ffields=*",
    "ABCDEFGHIJ01234",
    "abcdefghij0123",
    "abcdefghij012345",
    "%C3%A9bcdefghij0123",
    "%F0%9F%90%88",
    "%00",
    "%FF%FE",
    "abcdefghij0123'",
    "id%20!=%20''",
];

pub struct Gallery {
    pub pocketbase: PocketBase,
    pub superuser: Rest,
    pub sidecar: Sidecar,
}

/// Someone who has signed up, at the sidecar and at PocketBase itself.
pub struct Person {
    pub id: String,
    pub api: Rest,
    pub native: Rest,
}

impl Gallery {
    pub fn open() -> Self {
        Self::of(PocketBase::with_store(), &[])
    }

    pub fn of(pocketbase: PocketBase, flags: &[&str]) -> Self {
        let flags = [&["--pocketbase-email", EMAIL, "--pocketbase-password", PASSWORD], flags].concat();
        let sidecar = Sidecar::start(pocketbase.address, &flags);
        Self { superuser: pocketbase.superuser(), pocketbase, sidecar }
    }

    pub fn person(&self, email: &str) -> Person {
        let password = "12345678";
        let id = self.superuser.row("generatio_users", &json!({"email": email, "password": password, "passwordConfirm": password}));
        self.known(id, email, password)
    }

    /// Someone who was there before.
    pub fn known(&self, id: String, email: &str, password: &str) -> Person {
        let native = Rest::new(self.pocketbase.address).as_user("generatio_users", email, password);
        let api = Rest::new(self.sidecar.address).with_token(native.token());
        until("the sidecar is ready", || api.get("/api/custom/collections").0 == 200);
        Person { id, api, native }
    }

    /// An image as a settlement leaves it, with further fields.
    pub fn image(&self, owner: &Person, more: Value) -> String {
        let mut row = json!({"user_id": owner.id, "prompt": "a cat", "model": "flux/schnell", "url": "/api/files/images/x/y.png",
            "job_id": "job", "request_id": "r-1", "batch_number": 1, "image_size": {"width": 8, "height": 4}, "cost_micros": 3000});
        for (name, value) in more.as_object().expect("fields") {
            row[name] = value.clone();
        }
        self.superuser.row("images", &row)
    }

    /// One row as a superuser sees it.
    pub fn row(&self, collection: &str, id: &str) -> Value {
        let (status, found) = self.superuser.get(&format!("/api/collections/{collection}/records/{id}"));
        assert_eq!(status, 200, "{collection}/{id}: {found}");
        found
    }
}

impl Person {
    /// A folder made through the API.
    pub fn folder(&self, name: &str, parent: &str) -> String {
        let made = self.api.made("/api/custom/collections/create", &json!({"name": name, "parent_id": parent}));
        made["id"].as_str().expect("an id").to_owned()
    }

    /// A request that must succeed; answers the body.
    pub fn asks(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, found) = self.tries(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {found}");
        found
    }

    /// A request below `/api/custom/`; `null` is no body.
    pub fn tries(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let bytes = if body.is_null() { String::new() } else { body.to_string() };
        self.api.send(method, &format!("/api/custom/{path}"), "application/json", bytes.as_bytes())
    }

    /// The ids of a list.
    pub fn ids(&self, path: &str, list: &str) -> Vec<String> {
        self.asks("GET", path, Value::Null)[list].as_array().expect("a list").iter().map(|each| text(&each["id"])).collect()
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The answer is a refusal in the contract's shape, naming this field; `""` for none.
#[track_caller]
pub fn refused(answer: &(u16, Value), status: u16, error: &str, field: &str) {
    let (said, body) = answer;
    assert_eq!((*said, &body["status"], &body["error"]), (status, &json!(status), &json!(error)), "{body}");
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(4), "{body}");
    assert!(body["message"].as_str().is_some_and(|words| !words.is_empty()), "{body}");
    let data = body["data"].as_object().expect("data");
    assert_eq!(data.keys().collect::<Vec<_>>(), Vec::from_iter((!field.is_empty()).then_some(field)), "{body}");
    for fault in data.values() {
        assert!(fault["code"].as_str().is_some_and(|code| code.starts_with("validation_")) && fault["message"].is_string(), "{body}");
    }
}

/// Refuses bodies that are wrong as a whole, and whoever may not call; nothing may have happened afterwards.
#[track_caller]
pub fn wrong_from_outside(gallery: &Gallery, person: &Person, method: &str, path: &str) {
    let whole = format!("/api/custom/{path}");
    for body in ["", "null", "[]", "\"x\"", "{", "{}x", "\u{0}", "nul"] {
        refused(&person.api.send(method, &whole, "application/json", body.as_bytes()), 400, "validation_error", "");
    }
    refused(&person.api.send(method, &whole, "application/json", &[b'{', b'"', 0xff, 0xfe, b'"']), 400, "validation_error", "");
    refused(&person.api.send(method, &whole, "multipart/form-data; boundary=x", b"--x--"), 415, "validation_error", "");
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(64 * 1024));
    refused(&person.api.send(method, &whole, "application/json", long.as_bytes()), 413, "validation_error", "");
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    // An unknown field is ignored, however deep it is.
    assert!([200, 400].contains(&person.api.send(method, &whole, "application/json", deep.as_bytes()).0));
    strangers(gallery, method, path);
}

/// Nobody, a liar and a superuser are refused before a body is read.
#[track_caller]
pub fn strangers(gallery: &Gallery, method: &str, path: &str) {
    let nobody = Rest::new(gallery.sidecar.address);
    let body: &[u8] = if method == "GET" { b"" } else { b"{" };
    for stranger in
        [nobody.clone(), nobody.with_token("Bearer x"), nobody.with_token("Bearer "), nobody.with_token(gallery.superuser.token())]
    {
        refused(&stranger.send(method, &format!("/api/custom/{path}"), "application/json", body), 401, "authentication_error", "");
    }
}
