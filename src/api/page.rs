//! Lists, page by page: newest first, and stable while rows are added.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::error::{Error, Fault};
use crate::pocketbase::filter::{Filter, Literal, Moment};

/// Where the next page begins: after this row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cursor<I> {
    /// None in rows from before there were times; they come last.
    created: Option<Timestamp>,
    id: I,
}

impl<I: FromStr + Literal> Cursor<I> {
    pub(super) fn at(created: Option<Timestamp>, id: I) -> Self {
        Self { created, id }
    }

    /// # Errors
    /// When it is none of ours.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let read = || {
            let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
            let (millis, id) = text.split_once('.')?;
            let created = match millis {
                "" => None,
                millis => Some(Timestamp::from_millisecond(millis.parse().ok()?).ok()?),
            };
            Some(Self { created, id: id.parse().ok()? })
        };
        read().ok_or_else(|| Fault::invalid("cursor", "validation_invalid_value", "is not one of ours").into())
    }

    /// Only what comes after.
    pub(super) fn restrict(self, filter: Filter) -> Filter {
        filter.after(self.created.map(Moment), self.id)
    }
}

impl<I: fmt::Display> Serialize for Cursor<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = self.created.map(|created| created.as_millisecond().to_string()).unwrap_or_default();
        let text = format!("{millis}.{}", self.id);
        serializer.serialize_str(&BASE64_URL_SAFE_NO_PAD.encode(text))
    }
}

/// Rows on a page: 30 unless asked for, at most 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit(u16);

impl Limit {
    /// # Errors
    /// When it is not a number from 1 to 100.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Error> {
        let Some(text) = text else { return Ok(Self(30)) };
        let limit = text.parse().ok().filter(|limit| (1..=100).contains(limit));
        limit.map(Self).ok_or_else(|| Fault::invalid("limit", "validation_invalid_value", "must be a number from 1 to 100").into())
    }

    /// One more row tells whether there is a next page.
    pub(super) fn and_one(self) -> u16 {
        self.0 + 1
    }

    /// The page, and where the next one begins.
    pub(super) fn cut<R, I>(self, mut rows: Vec<R>, cursor: impl Fn(&R) -> Cursor<I>) -> (Vec<R>, Option<Cursor<I>>) {
        let more = rows.len() > usize::from(self.0);
        rows.truncate(self.0.into());
        let next = rows.last().filter(|_| more).map(cursor);
        (rows, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JobId;

    #[test]
    fn a_cursor_survives_its_way_and_nothing_else_does() {
        for created in [Some("2026-11-21T02:02:09.028Z".parse().expect("a time")), None] {
            let cursor = Cursor::at(created, "abcdefghij01234".parse::<JobId>().expect("an id"));
            let text = serde_json::to_value(cursor).expect("JSON");
            assert_eq!(Cursor::parse(text.as_str().expect("a string")).expect("a cursor"), cursor);
        }
        for text in ["", "x", "MTIz", "!!", "MS4uLi8uLi9h"] {
            assert!(Cursor::<JobId>::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_page_has_a_next_one_only_if_there_is_more() {
        let limit = Limit::parse(Some("2")).expect("a limit");
        let at = |row: &i64| {
            let created = Timestamp::from_millisecond(*row).expect("a time");
            Cursor::at(Some(created), "abcdefghij01234".parse::<JobId>().expect("an id"))
        };
        assert!(
            matches!(limit.cut(vec![3, 2, 1], at), (rows, Some(next)) if rows == [3, 2] && next.created.map(Timestamp::as_millisecond) == Some(2))
        );
        assert!(matches!(limit.cut(vec![3, 2], at), (rows, None) if rows == [3, 2]));
        assert!(["0", "101", "-1", "x", ""].iter().all(|text| Limit::parse(Some(text)).is_err()));
    }
}
