//! What FAL's refusals mean to the user who waits.

use serde_json::json;

use super::row::Failure;
use crate::fal;

impl Failure {
    fn new(status: u16, error: &str, message: impl Into<String>) -> Self {
        Self { error: error.into(), message: message.into(), status, fal: None }
    }

    /// FAL's own words, with what a user can do about it (api.md, "FAL refusals").
    pub(super) fn of(error: &fal::Error) -> Self {
        let mut failure = match error {
            fal::Error::KeyRejected(_) => Self::key_rejected(),
            fal::Error::Locked { reason, .. } => Self::new(402, "external_error", format!("FAL has locked the account: {reason}")),
            fal::Error::ContentPolicy(said) => Self::new(422, "external_error", format!("FAL refused the content: {said}")),
            fal::Error::TookTooLong(_) | fal::Error::TimedOut(_) => Self::new(504, "external_error", error.to_string()),
            fal::Error::Unreachable { .. } => {
                Self::new(503, "unavailable_error", "FAL cannot be reached right now. Nothing was submitted.")
            }
            fal::Error::RateLimited { said, .. } => Self::new(503, "unavailable_error", format!("FAL is asked too often: {said}")),
            fal::Error::Forbidden(_)
            | fal::Error::Invalid(_)
            | fal::Error::NotFound(_)
            | fal::Error::Cancelled(_)
            | fal::Error::Unavailable(_)
            | fal::Error::Refused(_)
            | fal::Error::Cut { .. }
            | fal::Error::Malformed { .. }
            | fal::Error::TooLarge { .. }
            | fal::Error::Untrusted { .. } => Self::new(502, "external_error", error.to_string()),
        };
        failure.fal = error.said().map(|said| json!({ "status": said.status, "type": said.kind, "request_id": said.request_id }));
        failure
    }

    /// FAL does not take the key any more.
    pub(super) fn key_rejected() -> Self {
        Self::new(502, "external_error", "FAL rejected the stored key")
    }

    /// FAL made nothing.
    pub(super) fn no_pictures() -> Self {
        Self::new(502, "external_error", "FAL completed the request without a picture")
    }

    /// FAL keeps saying what makes no sense of a request that it took.
    pub(super) fn lost(error: &fal::Error) -> Self {
        if matches!(error, fal::Error::NotFound(_)) {
            return Self::forgotten();
        }
        Self::new(502, "external_error", format!("{error}. It may have been billed; FAL's own history shows it."))
    }

    /// Too late.
    pub(super) fn forgotten() -> Self {
        Self::new(502, "external_error", "FAL does not know the request any more. It may have been billed; FAL's own history shows it.")
    }

    /// Nobody ever found out.
    pub(super) fn never_known() -> Self {
        Self::new(
            502,
            "external_error",
            "Whether FAL received the request could not be found out within a day. It may have been billed; FAL's own history shows it.",
        )
    }
}
