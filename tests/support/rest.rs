//! A small JSON client for PocketBase's REST API: one connection a request, an answer is its status and its body.

use std::io::{Read, Write};
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::canary;

/// A caller: nobody, a superuser or a user.
#[derive(Clone)]
pub struct Rest {
    address: SocketAddr,
    token: Option<String>,
}

impl Rest {
    /// Nobody in particular, at PocketBase or at a sidecar.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, token: None }
    }

    /// Nobody in particular, where another one is.
    pub fn new_like(other: &Self) -> Self {
        Self::new(other.address)
    }

    /// Signs in at `_superusers`.
    pub fn as_superuser(&self, email: &str, password: &str) -> Self {
        self.as_user("_superusers", email, password)
    }

    /// Signs in at a collection of users.
    pub fn as_user(&self, collection: &str, email: &str, password: &str) -> Self {
        let path = format!("/api/collections/{collection}/auth-with-password");
        let (status, found) = self.post(&path, &json!({"identity": email, "password": password}));
        assert_eq!(status, 200, "{email} could not sign in: {found}");
        self.with_token(found["token"].as_str().expect("a token"))
    }

    /// Whoever the token says.
    pub fn with_token(&self, token: &str) -> Self {
        canary::plant(token);
        Self { address: self.address, token: Some(token.to_owned()) }
    }

    /// The token, for requests that are put together by hand.
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, "application/json", b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, "application/json", body.to_string().as_bytes())
    }

    pub fn patch(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("PATCH", path, "application/json", body.to_string().as_bytes())
    }

    pub fn delete(&self, path: &str) -> (u16, Value) {
        self.send("DELETE", path, "application/json", b"")
    }

    /// A POST that must succeed; answers the body.
    pub fn made(&self, path: &str, body: &Value) -> Value {
        let (status, found) = self.post(path, body);
        assert_eq!(status, 200, "POST {path} {body}: {found}");
        found
    }

    /// A new row of a collection; answers its id.
    pub fn row(&self, collection: &str, body: &Value) -> String {
        let made = self.made(&format!("/api/collections/{collection}/records"), body);
        made["id"].as_str().expect("an id").to_owned()
    }

    /// All rows of a collection, by id.
    pub fn rows(&self, collection: &str) -> Vec<Value> {
        let (status, found) = self.get(&format!("/api/collections/{collection}/records?perPage=500&sort=id"));
        assert_eq!(status, 200, "{collection}: {found}");
        found["items"].as_array().expect("a list").clone()
    }

    /// Any body under any content type. A body that is not JSON is answered as text.
    pub fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> (u16, Value) {
        canary::plant_sent(path, &serde_json::from_slice(body).unwrap_or_default());
        let mut stream = super::connect(self.address);
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: {token}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Type: {content_type}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        stream.write_all(&[head.as_bytes(), body].concat()).expect("a request is written");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        let text = String::from_utf8_lossy(&bytes);
        let found = match super::header(&text, "transfer-encoding") {
            Some(_) => dechunked(super::body(&text)),
            None => super::body(&text).to_owned(),
        };
        let status = super::status(&text);
        canary::assert_kept_in_refusal(status, &text);
        let answer = serde_json::from_str(&found).unwrap_or(Value::String(found));
        canary::plant_given(&answer);
        (status, answer)
    }
}

/// A chunked body without its framing.
fn dechunked(body: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = body.as_bytes();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let length = std::str::from_utf8(&rest[..end]).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok()).unwrap_or(0);
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 4 + length..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
