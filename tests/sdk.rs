//! An independent Rust client that knows nothing of the sidecar, within what it can do against today's PocketBase.
//!
//! `pocketbase-sdk` 0.1.1 (2023) signs in, lists, views, creates and deletes; it creates only where the collection has `created` and
//! `updated`, has no time-out, and does not escape ids. It blocks, which a test thread may.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;

use pocketbase_sdk::client::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;
use support::pocketbase::{EMAIL, PASSWORD, PocketBase};
use support::{Sidecar, body, status};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Note {
    id: String,
    title: String,
}

#[derive(Clone, Debug, Serialize)]
struct NewNote {
    title: String,
}

/// What the client saw, without ids and the server's address.
fn journey(address: SocketAddr) -> Vec<String> {
    let url = format!("http://{address}");
    let mut seen = vec![format!("{:?}", Client::new(&url).health_check().map(|health| health.message).map_err(|error| error.to_string()))];
    let client = Client::new(&url).auth_with_password("_superusers", EMAIL, PASSWORD).expect("a sign-in");
    let mut ids = Vec::new();
    for title in ["first", "second 'quoted' <>&", "third äöü"] {
        let created = client.records("notes").create(NewNote { title: title.into() }).call().expect("a new record");
        ids.push(created.id);
    }
    for id in &ids {
        let note: Note = client.records("notes").view(id).call().expect("a record");
        seen.push(note.title);
    }
    let listed = client.records("notes").list().sort("title").filter("title != \"first\"").call::<Note>().expect("a list");
    seen.push(format!("{} {:?}", listed.total_items, listed.items.iter().map(|note| &note.title).collect::<Vec<_>>()));
    seen.push(format!("{}", client.records("notes").view("nosuchrecord000").call::<Note>().expect_err("no such record")));
    let refused = Client::new(&url).auth_with_password("_superusers", EMAIL, "wrong");
    seen.push(refused.err().map(|error| error.to_string()).unwrap_or_default());
    for id in &ids {
        client.records("notes").destroy(id).call().expect("a deletion");
    }
    let left = client.records("notes").list().call::<Note>().expect("a list");
    seen.push(left.total_items.to_string());
    seen.into_iter().map(|line| line.replace(&address.to_string(), "ADDRESS")).collect()
}

#[test]
fn an_independent_client_sees_the_same_through_the_sidecar() {
    let pocketbase = PocketBase::start();
    let sidecar = Sidecar::start(pocketbase.address, &[]);
    make_notes(&sidecar);
    let direct = journey(pocketbase.address);
    let through = journey(sidecar.address);
    assert_eq!(through, direct);
    assert_eq!(direct.len(), 8, "{direct:?}");
    assert_eq!(direct[3], "third äöü");
}

/// A collection with the autodate fields that this client insists on, made through the sidecar.
fn make_notes(sidecar: &Sidecar) {
    let post = |path: &str, token: &str, value: serde_json::Value| {
        let text = value.to_string();
        let answer = sidecar.raw(
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}", text.len())
                .as_bytes(),
        );
        assert_eq!(status(&answer), 200, "{answer}");
        serde_json::from_str::<serde_json::Value>(body(&answer)).expect("JSON")
    };
    let signed_in = post("/api/collections/_superusers/auth-with-password", "", json!({"identity": EMAIL, "password": PASSWORD}));
    let token = signed_in["token"].as_str().expect("a token");
    let field = |name: &str, kind: &str| json!({"name": name, "type": kind, "onCreate": true, "onUpdate": name == "updated"});
    let fields = [field("title", "text"), field("created", "autodate"), field("updated", "autodate")];
    post("/api/collections", token, json!({"name": "notes", "type": "base", "fields": fields}));
}
