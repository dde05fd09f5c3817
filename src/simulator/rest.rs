//! `rest.fal.ai`, without its storage: who the caller is, what is left, and the key webhooks are signed with.

use std::sync::Arc;

use serde_json::json;

use super::accounts::Standing;
use super::answer::{Answer, bytes, detail, dollars, json as reply};
use super::call::{Call, Credentials};
use super::faults::Knob;
use super::world::World;

/// `GET /billing/user_balance`: dollars, as a bare number. Undocumented at FAL, and in wide use.
pub(super) async fn balance(world: Arc<World>, call: Call) -> Answer {
    world.act(|state, now| {
        let unknown = || detail(401, "No user found for Key ID and Secret");
        if !matches!(call.credentials(), Credentials::Key(_)) {
            return Ok(unknown());
        }
        let key = state.caller(&call, "billing", now)?;
        let faults = state.faults(&key);
        let Some(account) = state.accounts.get(&key) else {
            return Ok(unknown());
        };
        Ok(match account.standing(&faults) {
            Standing::Unknown => unknown(),
            _ if faults.has(Knob::BalanceHtml) => bytes(200, "text/html", "<!doctype html><title>fal.ai</title>"),
            Standing::Good | Standing::Locked(_) | Standing::OutOfScope => reply(200, &dollars(account.balance_micros)),
        })
    })
}

/// `GET /users/current`.
pub(super) async fn user(world: Arc<World>, call: Call) -> Answer {
    world.act(|state, now| {
        let key = state.caller(&call, "users", now)?;
        let faults = state.faults(&key);
        state.identify(&key)?;
        let Some(account) = state.accounts.get(&key) else { return Ok(detail(401, "invalid key credentials")) };
        let reason = match account.standing(&faults) {
            Standing::Locked(reason) => Some(reason),
            Standing::Good | Standing::Unknown | Standing::OutOfScope => None,
        };
        Ok(reply(
            200,
            &json!({
                "full_name": account.key_id, "nickname": account.key_id, "user_id": account.user_id, "is_personal": true,
                "is_locked": reason.is_some(), "lock_reason": reason, "is_paying": true,
            }),
        ))
    })
}

/// `GET /.well-known/jwks.json`: the public half of the webhook key.
pub(super) async fn jwks(world: Arc<World>, _: Call) -> Answer {
    Ok(reply(200, &world.signer.jwks()))
}
