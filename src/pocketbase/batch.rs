//! Several writes in one transaction.

use hyper::Method;
use serde::Serialize;
use serde_json::Value;

use super::admin::{Admin, Repeat, json, parse};
use super::refusal::Refusal;
use super::rows::Table;
use super::{Error, pool};

/// Writes that happen together or not at all. No files: they would hold PocketBase's only writer (`facts/store.md` B).
#[derive(Default, Serialize)]
pub struct Batch {
    requests: Vec<Item>,
    #[serde(skip)]
    tables: Vec<Table>,
}

#[derive(Serialize)]
struct Item {
    method: &'static str,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
}

impl Batch {
    /// Creates a row.
    #[must_use]
    pub fn create(self, admin: &Admin, table: Table, row: &impl Serialize) -> Self {
        self.with(table, Item { method: "POST", url: format!("/api/collections/{}/records", admin.name(table)), body: Some(value(row)) })
    }

    /// Sets fields of a row; `name+` adds to a number, exactly, since a batch is the only writer while it runs.
    #[must_use]
    pub fn update(self, admin: &Admin, table: Table, id: impl AsRef<str>, fields: &impl Serialize) -> Self {
        let url = format!("/api/collections/{}/records/{}", admin.name(table), id.as_ref());
        self.with(table, Item { method: "PATCH", url, body: Some(value(fields)) })
    }

    /// Sets a row's fields, or creates it with this id.
    #[must_use]
    pub fn upsert(self, admin: &Admin, table: Table, row: &impl Serialize) -> Self {
        self.with(table, Item { method: "PUT", url: format!("/api/collections/{}/records", admin.name(table)), body: Some(value(row)) })
    }

    fn with(mut self, table: Table, item: Item) -> Self {
        self.tables.push(table);
        self.requests.push(item);
        self
    }
}

impl Admin {
    /// Does all of a batch, or nothing. `repeat` is [`Repeat::Harmless`] where a unique key in it stands against a second time.
    ///
    /// # Errors
    /// A refusal names the item that failed, counted from 0, and its cause.
    pub async fn batch(&self, batch: &Batch, repeat: Repeat) -> Result<Vec<Value>, Error> {
        #[derive(serde::Deserialize)]
        struct Done {
            body: Value,
        }
        self.require_batch()?;
        batch.tables.iter().try_for_each(|table| self.require(*table))?;
        let answer = self.call(Method::POST, "/api/batch", Some(json(batch)), repeat).await.map_err(rolled_back)?;
        Ok(parse::<Vec<Done>>(&answer)?.into_iter().map(|done| done.body).collect())
    }
}

/// A batch that was rolled back for no item's fault was not refused: PocketBase had no time for it, or was going down.
fn rolled_back(error: Error) -> Error {
    if error.refusal().is_some_and(Refusal::blames_nothing) {
        tracing::warn!(error = &error as &dyn std::error::Error, "PocketBase rolled a batch back and blames nothing in it");
        return pool::Error::TimedOut.into();
    }
    error
}

fn value(row: &impl Serialize) -> Value {
    serde_json::to_value(row).expect("plain structs can always be written as JSON")
}
