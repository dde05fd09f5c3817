//! Whether the sidecar and what it needs are well.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::app::App;

/// Answer of `GET /api/custom/status`.
#[derive(Serialize)]
pub(super) struct Status {
    status: &'static str,
    services: Services,
    available_models: BTreeMap<&'static str, Model>,
}

#[derive(Serialize)]
struct Services {
    encryption: &'static str,
    sessions: Sessions,
    pocketbase: &'static str,
}

#[derive(Serialize)]
struct Sessions {
    active: usize,
    total: usize,
}

#[derive(Serialize)]
struct Model {
    name: &'static str,
    display_name: &'static str,
    cost_per_image: f64,
}

/// Answer of `GET /api/custom/test`.
#[derive(Serialize)]
pub(super) struct Test {
    status: &'static str,
    message: &'static str,
}

/// `degraded` while PocketBase does not answer. No model can be used yet, so there are none to list.
pub(super) async fn status(app: &App) -> Status {
    let up = app.health.is_up().await;
    let sessions = app.keys.sessions.statistics(std::time::Instant::now());
    Status {
        status: if up { "ok" } else { "degraded" },
        services: Services {
            encryption: "AES-256-GCM with PBKDF2",
            sessions: Sessions { active: sessions.active, total: sessions.total },
            pocketbase: if up { "ok" } else { "unreachable" },
        },
        available_models: BTreeMap::new(),
    }
}

/// A route that needs nothing but the sidecar itself.
pub(super) fn test() -> Test {
    Test { status: "ok", message: "Custom routes are working correctly" }
}
