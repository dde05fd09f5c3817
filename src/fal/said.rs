//! FAL's own words about a failure, from whichever of its three shapes they come in.

use std::fmt;

use http::HeaderMap;
use serde_json::Value;

use super::charge::Units;

/// More of FAL's words than this help nobody.
const LONGEST: usize = 500;
/// More wrong inputs than this are not listed.
const MOST_FAULTS: usize = 20;

/// What FAL said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The HTTP status.
    pub status: u16,
    /// One line of FAL's own words, or the status where it had none. Not ours, so not to be trusted in HTML.
    pub message: String,
    /// `content_policy_violation`, `runner_disconnected`, `authorization_error`…
    pub kind: Option<String>,
    /// FAL's id of the request.
    pub request_id: Option<String>,
    /// What FAL billed for the failure.
    pub units: Option<Units>,
    /// The inputs that FAL found wrong.
    pub faults: Vec<InputFault>,
}

/// One input that FAL found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFault {
    /// `image_size.width`; empty where FAL names none.
    pub at: String,
    /// FAL's words.
    pub message: String,
    /// FAL's type, `less_than_equal`.
    pub kind: String,
}

impl Said {
    /// Reads an answer that is not a success. A body in none of the shapes, like a proxy's page, says nothing.
    pub(super) fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let faults = faults(&body["detail"]);
        let kind = words(&body["error_type"])
            .or_else(|| words(&body["error"]["type"]))
            .or_else(|| faults.first().map(|fault| fault.kind.clone()).filter(|kind| !kind.is_empty()))
            .or_else(|| text("x-fal-error-type").map(line));
        Self {
            status,
            message: message(&body, &faults).unwrap_or_else(|| format!("HTTP {status}")),
            kind,
            request_id: text("x-fal-request-id").map(line),
            units: text("x-fal-billable-units").and_then(Units::read),
            faults,
        }
    }

    /// Whether FAL itself speaks about the request, rather than something on the way to it.
    pub(super) fn is_about_the_request(&self) -> bool {
        self.request_id.is_some() || self.kind.is_some()
    }

    pub(super) fn is(&self, kinds: &[&str]) -> bool {
        self.kind.as_deref().is_some_and(|kind| kinds.contains(&kind))
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn message(body: &Value, faults: &[InputFault]) -> Option<String> {
    let listed = || {
        let said: Vec<String> = faults.iter().take(3).map(InputFault::to_string).collect();
        (!said.is_empty()).then(|| line(&said.join("; ")))
    };
    words(&body["detail"])
        .or_else(listed)
        .or_else(|| words(&body["detail"]["msg"]))
        .or_else(|| words(&body["error"]["message"]))
        .or_else(|| words(&body["error"]))
        .or_else(|| words(&body["message"]))
        .or_else(|| words(&body["status"]))
}

/// The items of a model's error. Its `input` is left out: that is the user's own, and may be long.
fn faults(detail: &Value) -> Vec<InputFault> {
    let items = detail.as_array().map(Vec::as_slice).unwrap_or_default();
    let read = |item: &Value| {
        let steps = item["loc"].as_array().map(Vec::as_slice).unwrap_or_default();
        let steps: Vec<String> = steps.iter().map(step).skip_while(|step| step == "body").collect();
        InputFault {
            at: line(&steps.join(".")),
            message: words(&item["msg"]).unwrap_or_default(),
            kind: words(&item["type"]).unwrap_or_default(),
        }
    };
    items.iter().take(MOST_FAULTS).map(read).collect()
}

fn step(step: &Value) -> String {
    step.as_str().map_or_else(|| step.to_string(), str::to_owned)
}

impl fmt::Display for InputFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.at.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.at, self.message)
    }
}

fn words(value: &Value) -> Option<String> {
    value.as_str().map(line).filter(|words| !words.is_empty())
}

/// One line of bounded length, whatever was sent.
fn line(text: &str) -> String {
    let letters = text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    letters.take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(status: u16, body: &str) -> Said {
        Said::read(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn fals_words_are_found_in_each_shape() {
        let list = json!({ "detail": [
            { "loc": ["body", "num_inference_steps"], "msg": "Input should be less than or equal to 12", "type": "less_than_equal" },
            { "loc": ["body", "loras", 0, "path"], "msg": "Field required", "type": "missing", "input": "s3cret" },
        ] });
        for (body, message, kind) in [
            (json!({ "detail": "invalid key credentials" }).to_string(), "invalid key credentials", None),
            (json!({ "detail": "Timed out", "error_type": "request_timeout" }).to_string(), "Timed out", Some("request_timeout")),
            (
                list.to_string(),
                "num_inference_steps: Input should be less than or equal to 12; loras.0.path: Field required",
                Some("less_than_equal"),
            ),
            (
                json!({ "error": { "type": "authorization_error", "message": "Access denied" } }).to_string(),
                "Access denied",
                Some("authorization_error"),
            ),
            (json!({ "status": "NOT_FOUND" }).to_string(), "NOT_FOUND", None),
            ("<html>502</html>".into(), "HTTP 502", None),
            ("".into(), "HTTP 502", None),
            ("[1]".into(), "HTTP 502", None),
            (r#"{"detail":{"a":1}}"#.into(), "HTTP 502", None),
        ] {
            let said = said(502, &body);
            assert_eq!((said.message.as_str(), said.kind.as_deref()), (message, kind), "{body}");
            assert!(!format!("{said:?}").contains("s3cret"));
        }
    }

    #[test]
    fn words_are_one_line_of_bounded_length() {
        let long = said(400, &json!({ "detail": format!("a\r\nb\u{1b}[31m{}", "x".repeat(5000)) }).to_string());
        assert_eq!(long.message.chars().count(), LONGEST);
        assert!(!long.message.chars().any(char::is_control));
        assert_eq!(said(422, &json!({ "detail": vec![json!({}); 1000] }).to_string()).faults.len(), MOST_FAULTS);
    }
}
