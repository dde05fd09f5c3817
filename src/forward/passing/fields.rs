//! What a body says about passwords, read as PocketBase reads it.
//!
//! PocketBase takes JSON, and forms of both kinds, whose fields may come as JSON text under `@jsonPayload` too. Go's decoder lets the last
//! of two equal keys win and does not look beyond the end of the first value; both are kept here.

use std::fmt;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::HeaderValue;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use zeroize::Zeroizing;

use super::target::Users;
use crate::id::UserId;
use crate::vault::Password;

/// Fields of a form whose value is JSON text of more fields.
const JSON_PAYLOAD: &str = "@jsonPayload";

/// How a body is to be read.
#[derive(Clone, Copy)]
pub(super) struct Form<'a> {
    pub(super) content_type: Option<&'a HeaderValue>,
    pub(super) query: Option<&'a str>,
}

/// Something that a body can be read as.
pub(super) trait Body: Default {
    /// Takes one field of JSON.
    fn take_json<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;

    /// Takes all values of one field of a form.
    fn take_text(&mut self, _key: &str, _values: &[String]) {}
}

impl Form<'_> {
    /// None if nothing can be made of it: PocketBase has refused it then.
    pub(super) async fn read<T: Body>(self, body: Zeroizing<Vec<u8>>) -> Option<T> {
        let kind = self.content_type?.to_str().ok()?;
        let mut read = T::default();
        if kind.starts_with("application/json") {
            add_json(&mut read, &body)?;
            return Some(read);
        }
        let mut values = if kind.starts_with("multipart/form-data") {
            multipart(kind, body).await?
        } else if kind.starts_with("application/x-www-form-urlencoded") {
            form_urlencoded::parse(&body).into_owned().collect()
        } else {
            return None;
        };
        // Go's forms hold what the query says too, after the body.
        values.extend(form_urlencoded::parse(self.query.unwrap_or_default().as_bytes()).into_owned());
        for (key, _) in &values {
            let same: Vec<String> = values.iter().filter(|(other, _)| other == key).map(|(_, value)| value.clone()).collect();
            read.take_text(key, &same);
        }
        for (_, text) in values.iter().filter(|(key, _)| key == JSON_PAYLOAD) {
            add_json(&mut read, text.as_bytes())?;
        }
        Some(read)
    }
}

/// The fields of a form; its files are none.
async fn multipart(kind: &str, body: Zeroizing<Vec<u8>>) -> Option<Vec<(String, String)>> {
    let boundary = multer::parse_boundary(kind).ok()?;
    let whole = Full::new(Bytes::from_owner(body)).into_data_stream();
    let mut parts = multer::Multipart::new(whole, boundary);
    let mut values = Vec::new();
    while let Some(part) = parts.next_field().await.ok()? {
        let name = part.name().map(str::to_owned);
        let is_file = part.file_name().is_some_and(|name| !name.is_empty());
        if let Some(name) = name.filter(|_| !is_file) {
            values.push((name, String::from_utf8_lossy(&part.bytes().await.ok()?).into_owned()));
        }
    }
    Some(values)
}

fn add_json<T: Body>(read: &mut T, json: &[u8]) -> Option<()> {
    let mut json = serde_json::Deserializer::from_slice(json);
    json.deserialize_any(Object(read)).ok()
}

/// Adds the fields of a JSON object.
struct Object<'a, T>(&'a mut T);

impl<'de, T: Body> Visitor<'de> for Object<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            self.0.take_json(&key, &mut map)?;
        }
        Ok(())
    }
}

/// An object within another.
#[derive(Default)]
struct Nested<T>(T);

impl<'de, T: Body> Deserialize<'de> for Nested<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut read = T::default();
        deserializer.deserialize_any(Object(&mut read))?;
        Ok(Self(read))
    }
}

/// The fields of a user's record that matter here.
#[derive(Default)]
pub(super) struct Fields {
    id: Option<Password>,
    old: Option<Password>,
    new: Option<Password>,
}

impl Fields {
    /// Whether PocketBase, having taken this, has changed the password: an empty one changes nothing.
    pub(super) fn changes_password(&self) -> bool {
        self.new.as_ref().is_some_and(|new| !new.expose().is_empty())
    }

    /// The password before, if it was sent.
    pub(super) fn old(&self) -> Option<Password> {
        self.old.clone().filter(|old| !old.expose().is_empty())
    }

    /// The password after.
    pub(super) fn into_new(self) -> Option<Password> {
        self.new
    }

    fn field(&mut self, key: &str) -> Option<&mut Option<Password>> {
        match key {
            "id" => Some(&mut self.id),
            "oldPassword" => Some(&mut self.old),
            "password" => Some(&mut self.new),
            _ => None,
        }
    }
}

impl Body for Fields {
    fn take_json<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match self.field(key) {
            Some(field) => *field = Some(map.next_value::<Scalar>()?.0),
            None => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }

    /// Two values are a list, and a list is no text.
    fn take_text(&mut self, key: &str, values: &[String]) {
        if let Some(field) = self.field(key) {
            *field = if let [value] = values { Some(value.clone().into()) } else { None };
        }
    }
}

/// What PocketBase makes a text of: numbers and the like as it writes them, lists and objects as nothing.
struct Scalar(Password);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

fn scalar<E>(text: impl Into<String>) -> Result<Scalar, E> {
    Ok(Scalar(Password::from(text.into())))
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        scalar(text)
    }

    fn visit_string<E>(self, text: String) -> Result<Scalar, E> {
        scalar(text)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        scalar(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        scalar((value as f64).to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        scalar((value as f64).to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        scalar(value.to_string())
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        scalar("")
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        scalar("")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        scalar("")
    }
}

/// The body of `POST /api/batch`. Go knows the names of its fields in any case.
#[derive(Default)]
pub(super) struct Batch {
    items: Vec<Nested<Item>>,
}

#[derive(Default)]
struct Item {
    method: String,
    url: String,
    body: Nested<Fields>,
}

impl Batch {
    /// The items that are about users, in their order.
    pub(super) fn users(self, users: &Users<'_>) -> Vec<(UserId, Fields)> {
        let of_item = |Nested(item): Nested<Item>| {
            let Nested(fields) = item.body;
            let id = users.of_item(&item.method, &item.url, fields.id.as_ref().map(Password::expose))?;
            Some((id, fields))
        };
        self.items.into_iter().filter_map(of_item).collect()
    }
}

impl Body for Batch {
    fn take_json<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key.eq_ignore_ascii_case("requests") {
            true => self.items = map.next_value()?,
            false => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

impl Body for Item {
    fn take_json<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key.to_ascii_lowercase().as_str() {
            "method" => self.method = map.next_value()?,
            "url" => self.url = map.next_value()?,
            "body" => self.body = map.next_value()?,
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
