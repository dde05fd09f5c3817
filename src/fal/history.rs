//! Earlier requests of an account, to find the job behind a submit whose answer was lost (facts: fal.md 4.3).

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Client;
use super::call::{Bounds, PAGE, ask};
use super::error::{Error, What};
use super::key::Key;
use super::urls::{EndpointId, RequestId};

/// Requests on a page: FAL's most.
const PAGE_LENGTH: &str = "100";
/// Pages that are read. Whoever submits more than this in one window has to look for themselves.
const MOST_PAGES: usize = 10;

/// From when to when requests were sent.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The earliest moment.
    pub start: Timestamp,
    /// The latest.
    pub end: Timestamp,
}

/// One request that FAL remembers.
#[derive(Clone, Debug, PartialEq)]
pub struct Earlier {
    /// FAL's id of it.
    pub request_id: RequestId,
    /// When FAL got it.
    pub sent_at: Option<Timestamp>,
    /// The status of its result; `None` while there is none.
    pub status_code: Option<u16>,
    /// What was asked for, where FAL kept it.
    pub input: Option<Map<String, Value>>,
}

impl Earlier {
    /// Whether it asked for what we sent: every member of ours, with our value. FAL may have filled in the others.
    pub fn asked_for(&self, sent: &Map<String, Value>) -> bool {
        self.input.as_ref().is_some_and(|input| sent.iter().all(|(name, value)| input.get(name).is_some_and(|theirs| same(theirs, value))))
    }
}

impl Client {
    /// The account's requests to an endpoint within a window, newest first, with their inputs where FAL kept them.
    ///
    /// # Errors
    /// When FAL did not tell all of them: half a history is none, since the one that matters may be in the other half.
    pub async fn history(&self, key: Key<'_>, endpoint: &EndpointId, window: Window) -> Result<Vec<Earlier>, Error> {
        let bounds = Bounds { what: What::History, time: self.settings.timeouts.platform, size: PAGE };
        let (start, end) = (window.start.to_string(), window.end.to_string());
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let query =
                [("endpoint_id", endpoint.as_str()), ("start", &start), ("end", &end), ("expand", "payloads"), ("limit", PAGE_LENGTH)];
            let mut request = self.follower.get(self.settings.api.at("v1/models/requests/by-endpoint")).query(&query);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let (_, mut body) = ask(request, key, bounds).await?.success(What::History)?;
            found.extend(items(&mut body)?);
            cursor = body["next_cursor"].as_str().filter(|cursor| !cursor.is_empty()).map(str::to_owned);
            if cursor.is_none() {
                return Ok(found);
            }
        }
        Err(Error::Malformed { what: What::History, why: "it does not end" })
    }
}

fn items(body: &mut Value) -> Result<Vec<Earlier>, Error> {
    let malformed = |why| Error::Malformed { what: What::History, why };
    let Some(Value::Array(items)) = body.get_mut("items").map(Value::take) else { return Err(malformed("it has no items")) };
    let read = |mut item: Value| {
        let input = match item.get_mut("json_input").map(Value::take) {
            Some(Value::Object(input)) => Some(input),
            Some(_) | None => None,
        };
        Ok(Earlier {
            request_id: item["request_id"].as_str().and_then(|id| id.parse().ok()).ok_or_else(|| malformed("an item has no request_id"))?,
            sent_at: item["sent_at"].as_str().and_then(|at| at.parse().ok()),
            status_code: item["status_code"].as_u64().and_then(|status| status.try_into().ok()),
            input,
        })
    };
    items.into_iter().map(read).collect()
}

/// Whether two values are equal, numbers by their value: 1 and 1.0 are.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => one.as_f64() == other.as_f64(),
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(name, value)| other.get(name).is_some_and(|theirs| same(value, theirs)))
        }
        (Value::Array(one), Value::Array(other)) => one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other)),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn earlier(input: Value) -> Earlier {
        let input = input.as_object().cloned();
        Earlier { request_id: "1".parse().expect("an id"), sent_at: None, status_code: None, input }
    }

    #[test]
    fn a_request_is_recognised_by_everything_that_was_sent() {
        let sent = json!({ "prompt": "a cat", "seed": 18_446_744_073_709_551_615_u64, "guidance_scale": 3, "image_size": { "width": 512, "height": 512 } });
        let sent = sent.as_object().expect("an object");
        let mut stored = json!({
            "prompt": "a cat", "seed": 18_446_744_073_709_551_615_u64, "guidance_scale": 3.0, "image_size": { "width": 512.0, "height": 512 },
            "num_images": 1,
        });
        assert!(earlier(stored.clone()).asked_for(sent));
        stored["seed"] = json!(18_446_744_073_709_551_614_u64);
        assert!(!earlier(stored).asked_for(sent), "a seed is exact");
        assert!(!earlier(json!({ "prompt": "a cat" })).asked_for(sent));
        assert!(!earlier(Value::Null).asked_for(sent), "FAL kept no input");
    }
}
