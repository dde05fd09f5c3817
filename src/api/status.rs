//! Whether the sidecar and what it needs are well.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::fal;
use crate::money::Dollars;

/// Answer of `GET /api/custom/status`.
#[derive(Serialize, ToSchema)]
pub(super) struct Status<'a> {
    status: &'static str,
    services: Services,
    #[schema(value_type = std::collections::HashMap<String, Model<'static>>)]
    available_models: BTreeMap<&'a str, Model<'a>>,
}

#[derive(Serialize, ToSchema)]
struct Services {
    encryption: &'static str,
    sessions: Sessions,
    pocketbase: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Sessions {
    active: usize,
    total: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AvailableModel)]
struct Model<'a> {
    name: &'a str,
    display_name: &'a str,
    cost_per_image: Dollars,
}

/// Answer of `GET /api/custom/test`.
#[derive(Serialize, ToSchema)]
pub(super) struct Test {
    status: &'static str,
    message: &'static str,
}

/// `degraded` while PocketBase does not answer.
pub(super) async fn status(app: &App) -> Status<'_> {
    let up = app.health.is_up().await;
    let sessions = app.keys.sessions.statistics(std::time::Instant::now());
    Status {
        status: if up { "ok" } else { "degraded" },
        services: Services {
            encryption: "AES-256-GCM with PBKDF2",
            sessions: Sessions { active: sessions.active, total: sessions.total },
            pocketbase: if up { "ok" } else { "unreachable" },
        },
        available_models: app.jobs.catalogue.models().iter().map(listed).collect(),
    }
}

fn listed(model: &fal::Model) -> (&str, Model<'_>) {
    let cost_per_image = model.cost_per_image.dollars();
    (&model.name, Model { name: &model.name, display_name: &model.display_name, cost_per_image })
}

/// A route that needs nothing but the sidecar itself.
pub(super) fn test() -> Test {
    Test { status: "ok", message: "Custom routes are working correctly" }
}
