//! `api.fal.ai/v1`: the catalogue, prices, the caller's requests and bills; and a model's OpenAPI document.

use std::sync::Arc;

use serde_json::{Value, json};

use super::accounts::{Account, Charge, Key, Standing};
use super::answer::{Answer, Stop, dollars, json as reply, platform_error};
use super::call::{Call, Credentials};
use super::clock::Moment;
use super::faults::{Faults, Knob};
use super::models::{self, MODELS, Model};
use super::world::{State, World};

/// `GET /models`: open to everybody.
pub(super) async fn catalogue(_: Arc<World>, call: Call) -> Answer {
    let wanted = |model: &&Model| {
        let id = call.query("endpoint_id").is_none_or(|ids| ids.split(',').any(|id| id == model.id));
        let words = call.query("q").map(str::to_lowercase);
        id && words.is_none_or(|words| model.id.contains(&words) || model.title.to_lowercase().contains(&words))
    };
    let expand = call.query("expand").is_some_and(|what| what.starts_with("openapi"));
    let models: Vec<Value> = MODELS.iter().filter(wanted).map(|model| described(model, expand)).collect();
    Ok(reply(200, &json!({ "models": models, "next_cursor": null, "has_more": false })))
}

fn described(model: &Model, expand: bool) -> Value {
    let mut body = json!({
        "endpoint_id": model.id,
        "metadata": {
            "display_name": model.title, "category": "text-to-image", "status": "active", "tags": [],
            "description": format!("{} as the simulator plays it", model.title),
            "model_url": format!("https://fal.run/{}", model.id),
        },
    });
    if expand {
        body["openapi"] = document(model);
    }
    body
}

/// `GET /models/pricing?endpoint_id=a,b`: 1 to 50 of them.
pub(super) async fn pricing(world: Arc<World>, call: Call) -> Answer {
    allowed(&world, &call)?;
    let ids: Vec<&str> = call.query("endpoint_id").unwrap_or_default().split(',').filter(|id| !id.is_empty()).collect();
    if ids.is_empty() || ids.len() > 50 {
        return Ok(platform_error(400, "validation_error", "endpoint_id must name 1 to 50 endpoints"));
    }
    let mut prices = Vec::new();
    for id in ids {
        let Some(model) = models::find(id) else {
            return Ok(platform_error(404, "not_found", &format!("Endpoint {id} not found")));
        };
        let price = dollars(model.unit_price_micros.cast_signed());
        prices.push(json!({ "endpoint_id": id, "unit_price": price, "unit": "megapixels", "currency": "USD" }));
    }
    Ok(reply(200, &json!({ "prices": prices, "next_cursor": null, "has_more": false })))
}

/// `POST /models/pricing/estimate`.
pub(super) async fn estimate(world: Arc<World>, mut call: Call) -> Answer {
    allowed(&world, &call)?;
    let wish = call.json().await?;
    let kind = wish["estimate_type"].as_str().unwrap_or_default().to_owned();
    let quantity = match kind.as_str() {
        "unit_price" => "unit_quantity",
        "historical_api_price" => "call_quantity",
        _ => {
            return Ok(platform_error(400, "validation_error", "estimate_type must be unit_price or historical_api_price"));
        }
    };
    let mut micros = 0.0;
    for (id, wanted) in wish["endpoints"].as_object().into_iter().flatten() {
        let Some(model) = models::find(id) else {
            return Ok(platform_error(404, "not_found", &format!("Endpoint {id} not found")));
        };
        micros += wanted[quantity].as_f64().unwrap_or(0.0) * model.unit_price_micros as f64;
    }
    Ok(reply(200, &json!({ "estimate_type": kind, "total_cost": dollars(micros.round() as i64), "currency": "USD" })))
}

/// `GET /models/usage` and `/models/billing-events`: ADMIN only.
pub(super) async fn billing_events(world: Arc<World>, call: Call) -> Answer {
    let items = administered(&world, &call, |account| account.charges.iter().map(bill).collect::<Vec<_>>())?;
    Ok(reply(200, &json!({ "items": items, "next_cursor": null, "has_more": false })))
}

/// `GET /account/billing`: ADMIN only.
pub(super) async fn account(world: Arc<World>, call: Call) -> Answer {
    let body = administered(&world, &call, |account| {
        let credits = json!({ "current_balance": dollars(account.balance_micros), "currency": "USD" });
        json!({ "username": account.key_id, "credits": credits })
    })?;
    Ok(reply(200, &body))
}

/// One bill, as FAL writes it.
pub(super) fn bill(charge: &Charge) -> Value {
    let micros = charge.units * charge.unit_price_micros;
    json!({
        "request_id": charge.request.to_string(), "endpoint_id": charge.endpoint, "timestamp": charge.at.iso(),
        "output_units": charge.units, "unit_price": dollars(charge.unit_price_micros.cast_signed()), "percent_discount": 0,
        "cost_total": dollars(micros.cast_signed()), "cost_estimate_nano_usd": micros * 1000,
    })
}

/// `GET /meta`: open to everybody.
pub(super) async fn meta(_: Arc<World>, _: Call) -> Answer {
    Ok(reply(200, &json!({ "webhook_ip_ranges": ["127.0.0.1/32"] })))
}

/// `GET /api/openapi/queue/openapi.json?endpoint_id=`: public, one document for each endpoint.
pub(super) async fn openapi(_: Arc<World>, call: Call) -> Answer {
    match call.query("endpoint_id").and_then(models::find) {
        Some(model) => Ok(reply(200, &document(model))),
        None => Ok(super::answer::detail(404, "Endpoint not found")),
    }
}

fn document(model: &Model) -> Value {
    let image = json!({ "type": "object", "properties": {
        "url": { "type": "string" }, "width": { "type": "integer" }, "height": { "type": "integer" },
        "content_type": { "type": "string" },
    } });
    let output = json!({ "type": "object", "required": ["images", "seed", "has_nsfw_concepts", "prompt"], "properties": {
        "images": { "type": "array", "items": image }, "timings": { "type": "object" }, "seed": { "type": "integer" },
        "has_nsfw_concepts": { "type": "array", "items": { "type": "boolean" } }, "prompt": { "type": "string" },
    } });
    let body = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Input" } } });
    let post = json!({ "post": { "requestBody": { "required": true, "content": body }, "responses": { "200": {
        "description": "The request is queued." } } } });
    json!({
        "openapi": "3.0.4",
        "info": { "title": format!("Queue OpenAPI for {}", model.id), "version": "1.0.0",
            "x-fal-metadata": { "endpointId": model.id, "category": "text-to-image" } },
        "servers": [{ "url": "https://queue.fal.run" }],
        "paths": { format!("/{}", model.id): post },
        "components": { "schemas": { "Input": model.input_schema(), "Output": output } },
    })
}

/// The caller, in the platform's own words where it may not call. An empty account may still ask for prices.
pub(super) fn allowed(world: &World, call: &Call) -> Result<Key, Stop> {
    world.act(|state, now| {
        let (key, faults, standing) = standing(state, call, now)?;
        if faults.has(Knob::PricingDown) && call.path.contains("/pricing") {
            return Err(platform_error(503, "server_error", "Pricing is unavailable").into());
        }
        match standing {
            Standing::OutOfScope => Err(platform_error(403, "authorization_error", "Access denied").into()),
            Standing::Good | Standing::Locked(_) | Standing::Unknown => Ok(key),
        }
    })
}

fn standing(state: &mut State, call: &Call, now: Moment) -> Result<(Key, Faults, Standing), Stop> {
    let unknown = || platform_error(401, "authorization_error", "Authentication is required to access this endpoint");
    if !matches!(call.credentials(), Credentials::Key(_)) {
        return Err(unknown().into());
    }
    let key = state.caller(call, "platform", now)?;
    let faults = state.faults(&key);
    match state.accounts.get(&key).map(|account| account.standing(&faults)) {
        Some(Standing::Unknown) | None => Err(unknown().into()),
        Some(standing) => Ok((key, faults, standing)),
    }
}

fn administered<T>(world: &World, call: &Call, read: impl FnOnce(&Account) -> T) -> Result<T, Stop> {
    let key = allowed(world, call)?;
    world.look(|state, _| match state.accounts.get(&key) {
        Some(account) if account.is_admin() => Ok(read(account)),
        Some(_) | None => Err(platform_error(403, "authorization_error", "Access denied").into()),
    })
}
