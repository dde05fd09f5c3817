//! What a look finds, line by line.

use serde::Serialize;

use crate::pocketbase;

/// How bad it is, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// It could not be looked at, for a reason that has a line of its own.
    Skipped,
    /// As it should be.
    Well,
    /// It works, and somebody should know.
    Warning,
    /// Something does not work, or is not safe.
    Broken,
}

/// One line.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    /// What was looked at, in one word.
    pub(super) name: &'static str,
    pub(super) status: Status,
    /// What was found.
    pub(super) says: String,
    /// One by one, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) details: Vec<String>,
    /// What to do about it; empty where nothing is to be done.
    #[serde(rename = "do", skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
}

impl Check {
    pub(super) fn well(name: &'static str, says: impl Into<String>) -> Self {
        Self { name, status: Status::Well, says: says.into(), details: Vec::new(), remedy: String::new() }
    }

    pub(super) fn skipped(name: &'static str, why: &str) -> Self {
        Self { status: Status::Skipped, ..Self::well(name, format!("not looked at: {why}")) }
    }

    pub(super) fn warning(name: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Warning, remedy: remedy.into(), ..Self::well(name, says) }
    }

    pub(super) fn broken(name: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Broken, remedy: remedy.into(), ..Self::well(name, says) }
    }

    pub(super) fn with(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }

    /// PocketBase did not answer a question of ours.
    pub(super) fn unanswered(name: &'static str, error: &pocketbase::Error) -> Self {
        Self::broken(name, format!("could not be looked at: {}", words(error)), "look at PocketBase's log")
    }
}

/// An error with its causes.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}
