//! What PocketBase says when it refuses.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Deserialize;

use super::http::Said;

/// A 4xx or 5xx of PocketBase, parsed from its error body.
#[derive(Debug, thiserror::Error)]
#[error("{status} {message}{}", Fields(&self.fields))]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// PocketBase's own words.
    pub message: String,
    /// The code of each field at fault, like `validation_not_unique`.
    pub fields: BTreeMap<String, String>,
    /// In a batch: which item failed, and how.
    pub item: Option<(usize, Box<Refusal>)>,
}

struct Fields<'a>(&'a BTreeMap<String, String>);

impl std::fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|(field, code)| write!(f, "; {field}: {code}"))
    }
}

/// PocketBase's error body, facts/pocketbase.md 7 "Error shape".
#[derive(Default, Deserialize)]
#[serde(default)]
struct Shape {
    message: String,
    data: BTreeMap<String, serde_json::Value>,
}

impl Refusal {
    /// Reads the error body; one that cannot be read is a refusal without words.
    pub(super) fn parse(said: &Said) -> Self {
        Self::of(said.status, serde_json::from_slice(&said.body).unwrap_or_default())
    }

    fn of(status: StatusCode, shape: Shape) -> Self {
        let item = shape.data.get("requests").and_then(failed_item);
        let fields = shape.data.iter().filter_map(|(field, fault)| Some((field.clone(), fault.get("code")?.as_str()?.to_owned())));
        Self { status, fields: fields.collect(), message: shape.message, item }
    }

    /// The code of a field, of this refusal or of the batch item that caused it.
    pub fn code(&self, field: &str) -> Option<&str> {
        match &self.item {
            Some((_, cause)) => cause.code(field),
            None => self.fields.get(field).map(String::as_str),
        }
    }

    /// Whether a unique index, or a taken id, stood against it.
    ///
    /// Up to 0.24.2 other fields' violations name the id too: that an id is taken is certain only once its row was read.
    pub fn is_not_unique(&self) -> bool {
        let cause = self.item.as_ref().map_or(self, |(_, cause)| cause);
        cause.fields.values().any(|code| code == "validation_not_unique")
    }

    /// Whether a number would have fallen below its minimum.
    pub fn is_below_minimum(&self) -> bool {
        let cause = self.item.as_ref().map_or(self, |(_, cause)| cause);
        cause.fields.values().any(|code| code == "validation_min_number_constraint")
    }

    /// Whether a batch ended without anything that would end the next one too (facts/pocketbase.md 2: its time-out).
    pub(super) fn blames_nothing(&self) -> bool {
        self.status == StatusCode::BAD_REQUEST && self.item.is_none() && self.fields.is_empty()
    }

    /// Whether there is no such row.
    pub fn is_not_found(&self) -> bool {
        let cause = self.item.as_ref().map_or(self, |(_, cause)| cause);
        cause.status == StatusCode::NOT_FOUND
    }
}

/// `{"1": {"response": {"status": 400, "message": "...", "data": {...}}}}`, the first one.
fn failed_item(requests: &serde_json::Value) -> Option<(usize, Box<Refusal>)> {
    let (index, fault) = requests.as_object()?.iter().find_map(|(index, fault)| Some((index.parse().ok()?, fault)))?;
    let response = fault.get("response")?;
    let status = response.get("status").and_then(serde_json::Value::as_u64).and_then(|status| u16::try_from(status).ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::BAD_REQUEST);
    let shape = Shape::deserialize(response).unwrap_or_default();
    Some((index, Box::new(Refusal::of(status, shape))))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn parsed(status: u16, body: &'static str) -> Refusal {
        Refusal::parse(&Said { status: StatusCode::from_u16(status).expect("a status"), body: Bytes::from_static(body.as_bytes()) })
    }

    #[test]
    fn a_refusal_names_its_fields() {
        let refusal = parsed(
            400,
            r#"{"status":400,"message":"Failed to create record.","data":{"id":{"code":"validation_not_unique","message":"Value must be unique."}}}"#,
        );
        assert!(refusal.is_not_unique() && !refusal.is_not_found() && refusal.item.is_none());
        assert_eq!(refusal.to_string(), "400 Bad Request Failed to create record.; id: validation_not_unique");
    }

    #[test]
    fn a_batch_names_the_item_and_its_cause() {
        let refusal = parsed(
            400,
            r#"{"status":400,"message":"Batch transaction failed.","data":{"requests":{"1":{"code":"batch_request_failed","message":"Batch request failed.",
            "response":{"status":400,"message":"Failed to update record.","data":{"micro":{"code":"validation_min_number_constraint","message":"x","params":{"min":0}}}}}}}}"#,
        );
        assert_eq!(refusal.item.as_ref().map(|(index, _)| *index), Some(1));
        assert!(refusal.is_below_minimum() && !refusal.is_not_unique());
        assert_eq!(refusal.code("micro"), Some("validation_min_number_constraint"));
    }

    #[test]
    fn a_batch_that_ran_out_of_time_blames_nothing_and_one_that_is_too_long_does() {
        assert!(parsed(400, r#"{"status":400,"message":"Batch transaction failed.","data":{}}"#).blames_nothing());
        let too_long = r#"{"status":400,"message":"x","data":{"requests":{"code":"validation_length_too_long","message":"x"}}}"#;
        assert!(!parsed(400, too_long).blames_nothing());
    }

    #[test]
    fn a_body_that_is_no_json_is_a_refusal_all_the_same() {
        assert!(parsed(404, "<html>").is_not_found());
        assert!(parsed(400, r#"{"data":[]}"#).fields.is_empty());
    }
}
