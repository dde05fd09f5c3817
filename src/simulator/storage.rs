//! Uploads: `rest.fal.ai/storage/…` hands out addresses, `v3.fal.media` takes the bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::{Answer, Stop, detail, json as reply, set};
use super::call::{Call, UPLOAD_BODY};
use super::clock::Moment;
use super::intake::media_lifetime;
use super::journal::hex;
use super::world::{State, World};

/// Bytes kept at most; an upload beyond them is refused.
const MOST_BYTES: usize = 256 << 20;
/// Files and tokens kept at most.
const MOST_FILES: usize = 10_000;
/// How long a CDN token is good for.
const TOKEN_LIFETIME: Duration = Duration::from_secs(600);

/// What callers uploaded, or were about to.
#[derive(Debug, Default)]
pub struct Uploads {
    files: HashMap<String, Upload>,
    tokens: HashMap<String, Moment>,
    bytes: usize,
}

/// One file, whole or in parts.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its content type.
    pub content_type: String,
    /// When it goes.
    pub expires: Option<Moment>,
    /// What it holds, once all of it came.
    pub content: Option<Bytes>,
    parts: BTreeMap<u32, Bytes>,
}

impl Uploads {
    /// The file of this id, unless it has expired.
    pub fn file(&self, id: &str, now: Moment) -> Option<&Upload> {
        self.files.get(id).filter(|file| file.expires.is_none_or(|end| now < end))
    }

    fn expect(&mut self, content_type: &str, lifetime: Option<Duration>, now: Moment) -> Result<String, Stop> {
        if self.files.len() >= MOST_FILES {
            return Err(detail(507, "The simulator keeps no more files").into());
        }
        let id = Uuid::new_v4().simple().to_string();
        let file = Upload {
            content_type: content_type.to_owned(),
            expires: lifetime.map(|span| now.plus(span)),
            content: None,
            parts: BTreeMap::new(),
        };
        self.files.insert(id.clone(), file);
        Ok(id)
    }

    fn fill(&mut self, id: &str, part: Option<u32>, body: Bytes) -> Result<(), Stop> {
        self.bytes += body.len();
        if self.bytes > MOST_BYTES {
            self.bytes -= body.len();
            return Err(detail(507, "The simulator keeps no more bytes").into());
        }
        let file = self.files.get_mut(id).ok_or_else(|| detail(404, "Upload not found"))?;
        match part {
            None => file.content = Some(body),
            Some(number) => {
                file.parts.insert(number, body);
            }
        }
        Ok(())
    }

    fn complete(&mut self, id: &str) -> Result<(), Stop> {
        let file = self.files.get_mut(id).ok_or_else(|| detail(404, "Upload not found"))?;
        let mut whole = BytesMut::new();
        for part in std::mem::take(&mut file.parts).into_values() {
            whole.extend_from_slice(&part);
        }
        file.content = Some(whole.freeze());
        Ok(())
    }
}

/// `POST /storage/upload/initiate` and `/initiate-multipart`: where to put a file, and where it will then be.
pub(super) async fn initiate(world: Arc<World>, mut call: Call) -> Answer {
    let wish = call.json().await?;
    let name = file_name(wish["file_name"].as_str());
    let content_type = wish["content_type"].as_str().unwrap_or("application/octet-stream");
    let lifetime = media_lifetime(&call);
    let id = world.act(|state, now| {
        admitted(state, &call, now)?;
        state.uploads.expect(content_type, lifetime, now)
    })?;
    let media = &call.bases.media;
    Ok(reply(200, &json!({ "file_url": format!("{media}/files/u/{id}/{name}"), "upload_url": format!("{media}/upload/{id}") })))
}

/// `POST /storage/auth/token`: a token for the CDN's own upload endpoints.
pub(super) async fn token(world: Arc<World>, call: Call) -> Answer {
    world.act(|state, now| {
        admitted(state, &call, now)?;
        state.uploads.tokens.retain(|_, expires| now < *expires);
        if state.uploads.tokens.len() >= MOST_FILES {
            return Err(detail(429, "Too many tokens").into());
        }
        let (token, expires) = (Uuid::new_v4().simple().to_string(), now.plus(TOKEN_LIFETIME));
        state.uploads.tokens.insert(token.clone(), expires);
        let base = &call.bases.media;
        Ok(reply(200, &json!({ "token": token, "token_type": "Bearer", "base_url": base, "expires_at": expires.iso() })))
    })
}

/// `PUT /upload/{id}`: the bytes. The address is the permission, as it is at FAL.
pub(super) async fn put(world: Arc<World>, mut call: Call) -> Answer {
    let body = call.body(UPLOAD_BODY).await?;
    world.act(|state, _| state.uploads.fill(call.param("id"), None, body))?;
    Ok(reply(200, &json!({})))
}

/// `PUT …/{part}`: one part; the answer names its ETag in the body for JavaScript and in the header for Python.
pub(super) async fn put_part(world: Arc<World>, mut call: Call) -> Answer {
    let body = call.body(UPLOAD_BODY).await?;
    let number: u32 = call.param("part").parse().map_err(|_| detail(422, "part number"))?;
    let etag = format!("\"{}\"", &hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body).as_ref())[..32]);
    world.act(|state, _| state.uploads.fill(call.param("id"), Some(number), body))?;
    let mut response = reply(200, &json!({ "partNumber": number, "etag": etag }));
    set(&mut response, header::ETAG.as_str(), &etag);
    Ok(response)
}

/// `POST …/complete`: the parts become the file.
pub(super) async fn complete(world: Arc<World>, call: Call) -> Answer {
    world.act(|state, _| state.uploads.complete(call.param("id")))?;
    Ok(reply(200, &json!({})))
}

/// `POST /files/upload` at the CDN, with its token.
pub(super) async fn upload(world: Arc<World>, mut call: Call) -> Answer {
    let body = call.body(UPLOAD_BODY).await?;
    let name = file_name(call.header("x-fal-file-name"));
    let id = world.act(|state, now| {
        let id = announced(state, &call, now)?;
        state.uploads.fill(&id, None, body)?;
        Ok::<_, Stop>(id)
    })?;
    Ok(reply(200, &json!({ "access_url": format!("{}/files/u/{id}/{name}", call.bases.media) })))
}

/// `POST /files/upload/multipart` at the CDN.
pub(super) async fn upload_multipart(world: Arc<World>, call: Call) -> Answer {
    let name = file_name(call.header("x-fal-file-name"));
    let id = world.act(|state, now| announced(state, &call, now))?;
    let url = format!("{}/files/u/{id}/{name}", call.bases.media);
    Ok(reply(200, &json!({ "access_url": url, "uploadId": id })))
}

fn announced(state: &mut State, call: &Call, now: Moment) -> Result<String, Stop> {
    let token = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let good = token.and_then(|token| state.uploads.tokens.get(token)).is_some_and(|expires| now < *expires);
    if !good {
        return Err(detail(401, "Invalid token").into());
    }
    let content_type = call.header("content-type").unwrap_or("application/octet-stream");
    state.uploads.expect(content_type, media_lifetime(call), now)
}

/// As a submit is: 401, then 403.
pub(super) fn admitted(state: &mut State, call: &Call, now: Moment) -> Result<super::accounts::Key, Stop> {
    let key = state.caller(call, "storage", now)?;
    let faults = state.faults(&key);
    state.admit(&key, &faults)?;
    Ok(key)
}

/// Letters, digits, dots, dashes and underscores of what the caller called it.
fn file_name(wish: Option<&str>) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }
    };
    let name: String = wish.unwrap_or_default().chars().take(100).map(plain).collect();
    if name.trim_matches('.').is_empty() { "file".to_owned() } else { name }
}

/// `POST /tokens/`: a short-lived token for browsers, as a bare JSON string.
pub(super) async fn temporary(world: Arc<World>, call: Call) -> Answer {
    world.act(|state, now| {
        admitted(state, &call, now)?;
        Ok(reply(200, &Value::from(Uuid::new_v4().simple().to_string())))
    })
}
