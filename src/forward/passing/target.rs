//! Which requests can change a user's password, by method and path.

use std::borrow::Cow;

use hyper::Method;

use crate::id::{CollectionId, UserId};
use crate::wire;

/// What a request is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// One user's record.
    Record(UserId),
    /// Whatever its body says.
    Batch,
}

/// How PocketBase lets the users collection be named.
pub(super) struct Users<'a> {
    pub(super) name: &'a str,
    /// Known once PocketBase was looked at.
    pub(super) id: Option<CollectionId>,
}

impl Target {
    /// As PocketBase's router would read it: each segment of the path is decoded on its own. `users` is asked only about a record.
    pub(super) fn of<'a>(method: &Method, path: &str, users: impl FnOnce() -> Users<'a>) -> Option<Self> {
        let escaped = path.contains('%');
        if *method == Method::POST {
            let is_batch = path == "/api/batch" || escaped && decoded(path) == ["", "api", "batch"];
            return is_batch.then_some(Self::Batch);
        }
        if !escaped && !path.starts_with("/api/collections/") {
            return None;
        }
        let segments = decoded(path);
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        match segments.as_slice() {
            ["", "api", "collections", collection, "records", id] if users().are(collection) => id.parse().ok().map(Self::Record),
            _ => None,
        }
    }
}

impl Users<'_> {
    /// An id to the letter; a name in any case, as Go folds it: two letters beyond ASCII are others of it in disguise.
    pub(super) fn are(&self, name_or_id: &str) -> bool {
        if self.id.as_ref().is_some_and(|id| id.as_str() == name_or_id) {
            return true;
        }
        if name_or_id.is_ascii() {
            return name_or_id.eq_ignore_ascii_case(self.name);
        }
        name_or_id.replace('\u{17f}', "s").replace('\u{212a}', "k").eq_ignore_ascii_case(self.name)
    }

    /// The user of one item of a batch, whose method and URL PocketBase reads as they stand, without decoding. `id` is what its body says.
    pub(super) fn of_item(&self, method: &str, url: &str, id: Option<&str>) -> Option<UserId> {
        let path = url.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.split('/').collect();
        match (method, segments.as_slice()) {
            ("PATCH", ["", "api", "collections", collection, "records", id]) if self.are(collection) => id.parse().ok(),
            ("PUT", ["", "api", "collections", collection, "records"]) if self.are(collection) => id?.parse().ok(),
            _ => None,
        }
    }
}

fn decoded(path: &str) -> Vec<Cow<'_, str>> {
    path.split('/').map(wire::decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "abcdefghij01234";

    fn users() -> Users<'static> {
        Users { name: "generatio_users", id: "pbc_1234567890".parse().ok() }
    }

    #[test]
    fn every_spelling_of_a_users_record_counts_and_nothing_else() {
        let record = Some(Target::Record(ID.parse().expect("an id")));
        for (path, expected) in [
            ("/api/collections/generatio_users/records/abcdefghij01234", &record),
            ("/api/collections/pbc_1234567890/records/abcdefghij01234", &record),
            ("/api/collections/Generatio_USERS/records/abcdefghij01234", &record),
            ("/api/collections/generatio_u%C5%BFers/records/abcdefghij01234", &record),
            ("/%61pi/collections/generatio%5Fusers/record%73/%61bcdefghij01234", &record),
            ("/api/collections/PBC_1234567890/records/abcdefghij01234", &None),
            ("/api/collections/users/records/abcdefghij01234", &None),
            ("/api/collections/generatio_users/records/ABCDEFGHIJ01234", &None),
            ("/api/collections/generatio_users/records/abcdefghij01234/", &None),
            ("/api/collections/generatio_users/records", &None),
            ("/api/collections%2Fgeneratio_users/records/abcdefghij01234", &None),
            ("/api/batch", &None),
        ] {
            assert_eq!(Target::of(&Method::PATCH, path, users), *expected, "{path}");
        }
        for (path, expected) in [("/api/batch", true), ("/api/%62atch", true), ("/api/batch/", false), ("/api/Batch", false)] {
            assert_eq!(Target::of(&Method::POST, path, users).is_some(), expected, "{path}");
        }
    }

    #[test]
    fn a_batchs_item_is_read_as_it_stands() {
        let record = "/api/collections/generatio_users/records/abcdefghij01234";
        for (method, url, id, expected) in [
            ("PATCH", record, None, true),
            ("PATCH", &format!("{record}?fields=id"), None, true),
            ("PATCH", "/api/collections/pbc_1234567890/records/abcdefghij01234", None, true),
            ("PUT", "/api/collections/GENERATIO_users/records?fields=id", Some(ID), true),
            ("PUT", "/api/collections/generatio_users/records", None, false),
            ("POST", "/api/collections/generatio_users/records", Some(ID), false),
            ("PATCH", "/api/collections/generatio%5Fusers/records/abcdefghij01234", None, false),
            ("PATCH", "/api/collections/images/records/abcdefghij01234", None, false),
            ("PATCH", "", None, false),
        ] {
            assert_eq!(users().of_item(method, url, id).is_some(), expected, "{method} {url}");
        }
    }
}
