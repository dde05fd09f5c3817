//! How a job fails: FAL's two kinds of error body, the model's own and the infrastructure's.

use serde_json::{Value, json};

/// A failure that a result request, a run or a webhook will show.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The HTTP status of the result.
    pub status: u16,
    /// Its body.
    pub body: Value,
    /// What a status answer calls it.
    pub error: String,
    /// The type of the first item, or FAL's own error type.
    pub kind: String,
    /// `x-fal-error-type` and its like.
    pub headers: Vec<(&'static str, String)>,
}

/// FAL's closed set of infrastructure errors ("Request errors"), with the status of each.
pub const INFRASTRUCTURE: [(&str, u16, &str); 13] = [
    ("request_timeout", 504, "Request timed out"),
    ("startup_timeout", 504, "Runner did not start in time"),
    ("runner_scheduling_failure", 503, "Failed to schedule a runner"),
    ("runner_connection_timeout", 503, "Timed out connecting to the runner"),
    ("runner_disconnected", 503, "The runner disconnected"),
    ("runner_connection_refused", 503, "The runner refused the connection"),
    ("runner_connection_error", 503, "Could not connect to the runner"),
    ("runner_incomplete_response", 502, "The runner sent an incomplete response"),
    ("runner_server_error", 500, "The runner failed"),
    ("client_disconnected", 499, "The client disconnected"),
    ("client_cancelled", 499, "The request was cancelled by the client"),
    ("bad_request", 400, "Bad request"),
    ("internal_error", 500, "Internal error"),
];

/// The model errors that are not 422 ("Model errors").
const OTHER_STATUS: [(&str, u16); 4] = [
    ("internal_server_error", 500),
    ("generation_timeout", 504),
    ("downstream_service_error", 400),
    ("downstream_service_unavailable", 500),
];

const FLAGGED: &str = "The content could not be processed because it contained material flagged by a content checker.";

impl Failure {
    /// 422 with one item for each wrong input.
    pub fn validation(items: Vec<Value>) -> Self {
        let first = |member: &str| items.first().and_then(|item| item[member].as_str()).unwrap_or_default().to_owned();
        Failure {
            status: 422,
            error: first("msg"),
            kind: first("type"),
            body: json!({ "detail": items }),
            headers: vec![("x-fal-retryable", "false".to_owned())],
        }
    }

    /// A model error of any type FAL documents; unknown types are 422 as most of them are.
    pub fn model(kind: &str, input: &Value) -> Self {
        let status = OTHER_STATUS.iter().find(|(name, _)| *name == kind).map_or(422, |(_, status)| *status);
        let msg = if kind == "content_policy_violation" { FLAGGED.to_owned() } else { kind.replace('_', " ") };
        let url = format!("https://docs.fal.ai/errors#{kind}");
        let item = json!({ "loc": ["body", "prompt"], "msg": msg, "type": kind, "url": url, "input": input });
        let retryable = matches!(kind, "internal_server_error" | "generation_timeout" | "downstream_service_unavailable");
        let headers = vec![("x-fal-retryable", retryable.to_string())];
        Failure { status, headers, ..Failure::validation(vec![item]) }
    }

    /// An infrastructure error; one FAL does not have becomes `internal_error`.
    pub fn infrastructure(kind: &str) -> Self {
        let known = INFRASTRUCTURE.iter().find(|(name, ..)| *name == kind);
        let (kind, status, words) = known.copied().unwrap_or(INFRASTRUCTURE[12]);
        Failure {
            status,
            body: json!({ "detail": words, "error_type": kind }),
            error: words.to_owned(),
            kind: kind.to_owned(),
            headers: vec![("x-fal-error-type", kind.to_owned())],
        }
    }

    /// The request did not start before its caller's deadline.
    pub fn start_timeout() -> Self {
        let mut failure = Failure::infrastructure("request_timeout");
        failure.headers.push(("x-fal-request-timeout-type", "user".to_owned()));
        failure
    }

    /// The app exists, this path under it does not. Only the running app can know, so it comes as a result.
    pub fn no_such_path(path: &str) -> Self {
        let words = format!("Path {path} not found");
        let body = json!({ "detail": words });
        Failure { status: 404, body, error: words, kind: "not_found".to_owned(), headers: Vec::new() }
    }
}
