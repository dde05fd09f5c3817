//! Everything that can go wrong with FAL, in one type that keeps FAL's own words.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, header};

use super::said::Said;
use crate::metrics;

/// Why FAL did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// FAL does not know the key.
    #[error("FAL rejected the key: {0}")]
    KeyRejected(Box<Said>),
    /// FAL knows the key, and it may not do this.
    #[error("FAL does not let this key do that: {0}")]
    Forbidden(Box<Said>),
    /// The account may not spend: an empty balance, a budget, an administrator's lock.
    #[error("the FAL account is locked: {reason}")]
    Locked {
        /// FAL's reason.
        reason: String,
        /// All of FAL's words.
        said: Box<Said>,
    },
    /// The prompt or the picture was flagged.
    #[error("FAL refused the content: {0}")]
    ContentPolicy(Box<Said>),
    /// The input is not what the model takes; [`Said::faults`] lists what is wrong.
    #[error("FAL refused the input: {0}")]
    Invalid(Box<Said>),
    /// No such request, endpoint or file, or none any more.
    #[error("FAL does not know this: {0}")]
    NotFound(Box<Said>),
    /// Too many requests.
    #[error("FAL is asked too often: {said}")]
    RateLimited {
        /// How long FAL wants to be left alone.
        retry_after: Option<Duration>,
        /// FAL's words.
        said: Box<Said>,
    },
    /// The request was cancelled.
    #[error("the request was cancelled: {0}")]
    Cancelled(Box<Said>),
    /// FAL gave up on the request: it did not start or end in time.
    #[error("FAL gave up on the request: {0}")]
    TookTooLong(Box<Said>),
    /// FAL failed.
    #[error("FAL failed: {0}")]
    Unavailable(Box<Said>),
    /// FAL said no, in some other way.
    #[error("FAL refused: {0}")]
    Refused(Box<Said>),
    /// FAL did not answer in time.
    #[error("FAL did not answer in time ({0})")]
    TimedOut(What),
    /// No connection came about, so nothing was sent.
    #[error("FAL cannot be reached ({what})")]
    Unreachable {
        /// What was asked.
        what: What,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// The connection ended before the answer did.
    #[error("the connection to FAL ended before the answer did ({what})")]
    Cut {
        /// What was asked.
        what: What,
        /// How it ended.
        #[source]
        source: reqwest::Error,
    },
    /// An answer that is not what FAL's documentation promises.
    #[error("FAL's answer could not be understood ({what}): {why}")]
    Malformed {
        /// What was asked.
        what: What,
        /// What was missing or strange.
        why: &'static str,
    },
    /// More bytes than such an answer may have.
    #[error("FAL's answer is larger than {limit} bytes ({what})")]
    TooLarge {
        /// What was asked.
        what: What,
        /// The bound.
        limit: usize,
    },
    /// An address that FAL gave, or was redirected to, and that we do not follow.
    #[error("an address is not followed ({what}): {why}")]
    Untrusted {
        /// What it was for.
        what: What,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What FAL was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A new job.
    Submit,
    /// How a job stands.
    Status,
    /// What a job gave.
    Result,
    /// To cancel a job.
    Cancel,
    /// A picture.
    Picture,
    /// What a model costs.
    Prices,
    /// What is left on an account.
    Balance,
    /// Earlier requests.
    History,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Status => "status",
            Self::Result => "result",
            Self::Cancel => "cancel",
            Self::Picture => "picture",
            Self::Prices => "prices",
            Self::Balance => "balance",
            Self::History => "history",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Before FAL's reason in its 403. There is no code beside it: a wrong scope is 403 as well (facts: fal.md 2).
const LOCKED: &str = "User is locked";
/// FAL's types for having waited too long.
const TIMEOUTS: [&str; 3] = ["request_timeout", "startup_timeout", "generation_timeout"];

impl Error {
    /// What an answer that is not a success means.
    pub(super) fn answered(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let said = Box::new(Said::read(status, headers, body));
        match status {
            401 => Self::KeyRejected(said),
            402 => Self::Locked { reason: said.message.clone(), said },
            403 => match said.message.strip_prefix(LOCKED) {
                Some(rest) => Self::Locked { reason: reason(rest), said },
                None => Self::Forbidden(said),
            },
            _ if said.is(&["content_policy_violation"]) => Self::ContentPolicy(said),
            _ if status == 499 || said.is(&["client_cancelled"]) => Self::Cancelled(said),
            _ if status == 504 || said.is(&TIMEOUTS) => Self::TookTooLong(said),
            404 | 410 => Self::NotFound(said),
            422 => Self::Invalid(said),
            429 => Self::RateLimited { retry_after: retry_after(headers), said },
            500.. => Self::Unavailable(said),
            _ => Self::Refused(said),
        }
    }

    /// What a failure of the connection means.
    pub(super) fn transport(what: What, source: reqwest::Error) -> Self {
        // An address may carry a user's prompt one day, and is in our own log line already.
        let source = source.without_url();
        if source.is_connect() || source.is_builder() {
            Self::Unreachable { what, source }
        } else if source.is_timeout() {
            Self::TimedOut(what)
        } else {
            Self::Cut { what, source }
        }
    }

    /// Counts it.
    pub(super) fn counted(self, what: What) -> Self {
        metrics::FAL_ERRORS.one([what.word(), self.kind()]);
        self
    }

    /// The kind in one word.
    fn kind(&self) -> &'static str {
        match self {
            Self::KeyRejected(_) => "key_rejected",
            Self::Forbidden(_) => "forbidden",
            Self::Locked { .. } => "locked",
            Self::ContentPolicy(_) => "content_policy",
            Self::Invalid(_) => "invalid",
            Self::NotFound(_) => "not_found",
            Self::RateLimited { .. } => "rate_limited",
            Self::Cancelled(_) => "cancelled",
            Self::TookTooLong(_) => "took_too_long",
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
            Self::TimedOut(_) => "timed_out",
            Self::Unreachable { .. } => "unreachable",
            Self::Cut { .. } => "cut",
            Self::Malformed { .. } => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::Untrusted { .. } => "untrusted",
        }
    }

    /// FAL's own words, where it was FAL that refused.
    pub fn said(&self) -> Option<&Said> {
        match self {
            Self::KeyRejected(said)
            | Self::Forbidden(said)
            | Self::Locked { said, .. }
            | Self::ContentPolicy(said)
            | Self::Invalid(said)
            | Self::NotFound(said)
            | Self::RateLimited { said, .. }
            | Self::Cancelled(said)
            | Self::TookTooLong(said)
            | Self::Unavailable(said)
            | Self::Refused(said) => Some(said),
            Self::TimedOut(_)
            | Self::Unreachable { .. }
            | Self::Cut { .. }
            | Self::Malformed { .. }
            | Self::TooLarge { .. }
            | Self::Untrusted { .. } => None,
        }
    }

    /// Whether asking again, for something that costs nothing to ask, may go better.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::TookTooLong(_)
            | Self::Unavailable(_)
            | Self::TimedOut(_)
            | Self::Unreachable { .. }
            | Self::Cut { .. }
            | Self::Malformed { .. } => true,
            Self::KeyRejected(_)
            | Self::Forbidden(_)
            | Self::Locked { .. }
            | Self::ContentPolicy(_)
            | Self::Invalid(_)
            | Self::NotFound(_)
            | Self::Cancelled(_)
            | Self::Refused(_)
            | Self::TooLarge { .. }
            | Self::Untrusted { .. } => false,
        }
    }
}

/// `. Reason: Exhausted balance. Top up…` without what stands before the reason.
fn reason(rest: &str) -> String {
    let words = rest.trim_start_matches(['.', ' ']);
    words.strip_prefix("Reason:").unwrap_or(words).trim().to_owned()
}

/// Seconds; the form with a date is not worth a clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Error {
        Error::answered(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn a_locked_account_is_told_from_a_key_without_the_right() {
        let empty = "Exhausted balance. Top up your balance at fal.ai/dashboard/billing.";
        let locked = read(403, &format!(r#"{{"detail":"User is locked. Reason: {empty}"}}"#));
        assert!(matches!(locked, Error::Locked { reason, .. } if reason == empty));
        assert!(matches!(read(403, r#"{"detail":"Access denied"}"#), Error::Forbidden(_)));
        assert!(matches!(read(403, r#"{"error":{"type":"authorization_error","message":"Access denied"}}"#), Error::Forbidden(_)));
    }

    #[test]
    fn a_type_says_more_than_a_status() {
        let typed = |status, kind: &str| read(status, &format!(r#"{{"detail":"x","error_type":"{kind}"}}"#));
        assert!(matches!(typed(422, "content_policy_violation"), Error::ContentPolicy(_)));
        assert!(matches!(typed(400, "client_cancelled"), Error::Cancelled(_)));
        assert!(matches!(typed(503, "startup_timeout"), Error::TookTooLong(_)));
        assert!(matches!(typed(503, "runner_disconnected"), Error::Unavailable(_)));
        assert!(matches!(typed(400, "bad_request"), Error::Refused(_)));
        assert!(matches!(read(504, "<html>"), Error::TookTooLong(_)));
    }

    #[test]
    fn fals_wish_to_be_left_alone_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "7".parse().expect("a value"));
        let error = Error::answered(429, &headers, b"{}");
        assert!(matches!(error, Error::RateLimited { retry_after: Some(wait), .. } if wait == Duration::from_secs(7)));
        assert!(matches!(read(429, "{}"), Error::RateLimited { retry_after: None, .. }));
    }
}
