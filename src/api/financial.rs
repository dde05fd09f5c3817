//! What a user has spent.

use hyper::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::error::Error;
use crate::money::{Dollars, MicroUsd};
use crate::pocketbase::admin::Repeat;
use crate::pocketbase::callers::User;
use crate::pocketbase::rows::Table;

/// Answer of `GET /api/custom/financial/stats`.
#[derive(Serialize, ToSchema)]
pub(super) struct Stats {
    total_spent: Dollars,
    total_images: u32,
    recent_spending: Dollars,
    average_cost: Dollars,
}

/// The ledger's sums, which our hooks make.
#[derive(Deserialize)]
struct Sums {
    spent_micros: MicroUsd,
    images: u32,
    /// Of the last 30 days.
    recent_micros: MicroUsd,
}

/// From the ledger: deleting images changes nothing.
pub(super) async fn stats(app: &App, user: User) -> Result<Stats, Error> {
    let path = format!("stats/{}", user.id);
    let sums: Sums = app.store.admin.hook(Method::GET, &path, &[Table::SpendEvents], None::<&()>, Repeat::Harmless).await?;
    Ok(Stats {
        total_spent: sums.spent_micros.dollars(),
        total_images: sums.images,
        recent_spending: sums.recent_micros.dollars(),
        average_cost: sums.spent_micros.per(sums.images).dollars(),
    })
}
