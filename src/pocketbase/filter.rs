//! Queries for PocketBase's record lists, built from what was parsed.

use std::fmt;

use form_urlencoded::byte_serialize;

use crate::id::{FolderId, ImageId, JobId, RowId, UserId};

/// A value that can stand in a filter as it is: it has neither quotes nor backslashes.
///
/// PocketBase's escaping changed in 0.39.9 (`facts/pocketbase.md` 10.4), so a filter holds nothing that would need any.
pub trait Literal: fmt::Display {}

impl Literal for UserId {}
impl Literal for FolderId {}
impl Literal for ImageId {}
impl Literal for JobId {}
impl Literal for RowId {}
impl Literal for i64 {}
impl Literal for Text {}
impl Literal for Moment {}
impl Literal for Word {}
impl Literal for crate::id::ForeignId {}
impl Literal for crate::vault::Fingerprint {}
/// Words of our own: states, and the names of models.
impl Literal for &'static str {}

/// A point in time as PocketBase writes it: `2026-11-20 09:08:07.065Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub jiff::Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%d %H:%M:%S.%3fZ"))
    }
}

/// Free text of a user that a filter can hold.
#[derive(Clone, Debug)]
pub struct Text(String);

/// The text has a backslash or a control character, or is too long.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("expected at most 200 characters without backslashes and control characters")]
pub struct NotText;

impl std::str::FromStr for Text {
    type Err = NotText;

    fn from_str(text: &str) -> Result<Self, NotText> {
        if text.chars().count() > 200 || text.contains('\\') || text.chars().any(char::is_control) {
            return Err(NotText);
        }
        Ok(Self(text.replace('\'', "\\'")))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that needs no escaping: letters, digits and `/._-`.
#[derive(Clone, Debug)]
pub struct Word(String);

impl std::str::FromStr for Word {
    type Err = NotText;

    fn from_str(text: &str) -> Result<Self, NotText> {
        let sane = (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        sane.then(|| Self(text.to_owned())).ok_or(NotText)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Conditions, all of which a row must meet.
#[derive(Clone, Debug, Default)]
pub struct Filter(String);

impl Filter {
    /// Every row.
    pub fn all() -> Self {
        Self::default()
    }

    /// `field` compared with a value.
    #[must_use]
    pub fn and(mut self, field: &'static str, comparison: Comparison, value: impl Literal) -> Self {
        if !self.0.is_empty() {
            self.0.push_str(" && ");
        }
        let mut value = value.to_string();
        // PocketBase looks for the text anywhere, unless there is a `%` in it: that stands for any text, where it is.
        if matches!(comparison, Comparison::Contains) && value.contains('%') {
            value = format!("%{value}%");
        }
        self.0.push_str(&format!("{field} {} '{value}'", comparison.sign()));
        self
    }

    /// `field` has one of these words.
    #[must_use]
    pub fn and_any(mut self, field: &'static str, words: &[&'static str]) -> Self {
        if !self.0.is_empty() {
            self.0.push_str(" && ");
        }
        let each: Vec<String> = words.iter().map(|word| format!("{field} = '{word}'")).collect();
        self.0.push_str(&format!("({})", each.join(" || ")));
        self
    }

    /// Whatever comes after a row in the order "newest first": `(created, id)` is smaller. A row without a time is older than any.
    #[must_use]
    pub fn after(mut self, created: Option<Moment>, id: impl Literal) -> Self {
        if !self.0.is_empty() {
            self.0.push_str(" && ");
        }
        let created = created.map(|created| created.to_string()).unwrap_or_default();
        // The first half alone is what an index can find.
        self.0.push_str(&format!("created <= '{created}' && (created < '{created}' || id < '{id}')"));
        self
    }
}

/// How a field and a value compare.
#[derive(Clone, Copy, Debug)]
pub enum Comparison {
    /// The same.
    Is,
    /// Not the same.
    IsNot,
    /// Later, or more.
    Above,
    /// Earlier, or less.
    Below,
    /// The text is in it, whatever the case.
    Contains,
}

impl Comparison {
    fn sign(self) -> &'static str {
        match self {
            Self::Is => "=",
            Self::IsNot => "!=",
            Self::Above => ">",
            Self::Below => "<",
            Self::Contains => "~",
        }
    }
}

/// True for superusers; for everybody else PocketBase refuses a filter that has it, where it would else answer with an empty list.
const AS_SUPERUSER: &str = "%40request.auth.collectionName+%3D+%27_superusers%27";

/// Which rows, in which order, how many.
#[derive(Clone, Debug)]
pub struct Query {
    filter: Filter,
    sort: &'static str,
    limit: u16,
}

impl Query {
    /// The first `limit` (1 to 1000) rows that pass, in PocketBase's notation for orders: `-created,-id`.
    pub fn new(filter: Filter, sort: &'static str, limit: u16) -> Self {
        Self { filter, sort, limit }
    }
}

impl fmt::Display for Query {
    /// The query string, escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipTotal=1&perPage={}", self.limit)?;
        if !self.sort.is_empty() {
            write!(f, "&sort={}", self.sort)?;
        }
        write!(f, "&filter={AS_SUPERUSER}")?;
        if !self.filter.0.is_empty() {
            let further = format!(" && ({})", self.filter.0);
            byte_serialize(further.as_bytes()).try_for_each(|piece| f.write_str(piece))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_escaped_as_a_whole() {
        let user: UserId = "abcdefghij01234".parse().expect("an id");
        let filter =
            Filter::all().and("user_id", Comparison::Is, user).and("prompt", Comparison::Contains, "a b".parse::<Text>().expect("text"));
        let query = Query::new(filter, "-created,-id", 30).to_string();
        let filter = "+%26%26+%28user_id+%3D+%27abcdefghij01234%27+%26%26+prompt+%7E+%27a+b%27%29";
        assert_eq!(query, format!("skipTotal=1&perPage=30&sort=-created,-id&filter={AS_SUPERUSER}{filter}"));
    }

    #[test]
    fn free_text_cannot_leave_its_quotes() {
        assert_eq!("it's".parse::<Text>().expect("text").to_string(), "it\\'s");
        for text in ["x\\' || id != \"\" // ", "tail\\", "a\nb", "\u{7f}", &"x".repeat(201)] {
            assert!(text.parse::<Text>().is_err(), "{text}");
        }
    }
}
