//! What belongs to somebody: the one way from an id to a row.

use serde::{Deserialize, Deserializer};

use crate::app::App;
use crate::error::Error;
use crate::id::UserId;
use crate::pocketbase::rows::Row;

/// A row that says whose it is.
pub(super) trait Owned: Row {
    /// The user's id, as it is stored.
    fn owner(&self) -> &str;
}

/// The user's row of this id.
///
/// # Errors
/// Somebody else's is answered exactly as one that does not exist.
pub(super) async fn owned<R: Owned>(app: &App, user: UserId, id: impl AsRef<str>) -> Result<R, Error> {
    let row = app.store.admin.get::<R>(id).await?;
    row.filter(|row| row.owner() == user.as_str()).ok_or(Error::NotFound)
}

/// PocketBase keeps an unset json field as `null`.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `2026-11-20 09:08:07.065Z`; rows from before there were such fields have none.
pub(super) fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<jiff::Timestamp>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}
