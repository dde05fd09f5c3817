//! `/_sim`: what FAL has not. Tests count, move the clock, set balances and turn knobs here.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::SPECIAL_KEYS;
use super::answer::{Answer, Stop, detail, dollars, json as reply};
use super::call::Call;
use super::dice::Dice;
use super::faults::{Faults, KNOBS};
use super::platform;
use super::rules::Rule;
use super::world::{State, World};

/// Rules kept at most.
const MOST_RULES: usize = 100;

/// `GET /_sim/log`: requests and webhook deliveries, oldest first; `?kind=` for one kind.
pub(super) async fn log(world: Arc<World>, call: Call) -> Answer {
    let wanted = call.query("kind");
    Ok(world.look(|state, _| {
        let entries: Vec<_> = state.journal.entries().iter().filter(|entry| wanted.is_none_or(|kind| kind == entry.kind)).collect();
        reply(200, &json!({ "entries": entries }))
    }))
}

/// `GET /_sim/counters`: how many of each kind since the start.
pub(super) async fn counters(world: Arc<World>, _: Call) -> Answer {
    Ok(world.look(|state, _| reply(200, state.journal.counters())))
}

/// `GET /_sim/submits`: every distinct input with how often it was posted and accepted; `?prompt=` for one prompt.
pub(super) async fn submits(world: Arc<World>, call: Call) -> Answer {
    let wanted = call.query("prompt");
    Ok(world.look(|state, _| {
        let submits: Vec<_> = state.journal.submits().iter().filter(|submit| wanted.is_none_or(|prompt| submit.prompt == prompt)).collect();
        reply(200, &json!({ "submits": submits }))
    }))
}

/// `GET /_sim/accounts`: balances and bills by key id.
pub(super) async fn accounts(world: Arc<World>, _: Call) -> Answer {
    Ok(world.look(|state, _| {
        let accounts: Vec<Value> = state
            .accounts
            .values()
            .map(|account| {
                let charges: Vec<Value> = account.charges.iter().map(platform::bill).collect();
                let balance = dollars(account.balance_micros);
                json!({ "key_id": account.key_id, "user_id": account.user_id, "balance": balance, "charges": charges,
                    "waiting": account.lane.waiting(), "requests": account.jobs.len() })
            })
            .collect();
        reply(200, &json!({ "accounts": accounts }))
    }))
}

#[derive(Deserialize)]
struct NewAccount {
    key: String,
    balance: Option<f64>,
    faults: Option<Vec<String>>,
}

/// `PUT /_sim/accounts` `{"key","balance"?,"faults"?}`: sets a balance in dollars, and the faults of one key.
pub(super) async fn set_account(world: Arc<World>, mut call: Call) -> Answer {
    let wish: NewAccount = read(&mut call).await?;
    let key = wish.key.parse().map_err(|_| detail(422, "key must be id:secret"))?;
    let faults = wish.faults.map(|names| Faults::in_list(&names)).transpose().map_err(|unknown| detail(422, &unknown.to_string()))?;
    world.act(|state, now| {
        let account = state.account(&key, now)?;
        if let Some(balance) = wish.balance {
            account.balance_micros = (balance * 1e6).round() as i64;
        }
        if let Some(faults) = faults {
            account.faults = faults;
        }
        Ok(reply(200, &json!({ "balance": dollars(account.balance_micros) })))
    })
}

#[derive(Deserialize)]
struct NewRule {
    faults: Vec<String>,
    key_id: Option<String>,
    rate: Option<f64>,
    seed: Option<u64>,
}

/// `POST /_sim/faults` `{"faults":[…],"key_id"?,"rate"?,"seed"?}`: for everybody or one key id, always or at that rate.
pub(super) async fn add_rule(world: Arc<World>, mut call: Call) -> Answer {
    let wish: NewRule = read(&mut call).await?;
    let faults = Faults::in_list(&wish.faults).map_err(|unknown| detail(422, &unknown.to_string()))?;
    let rule = Rule { faults, key_id: wish.key_id, rate: wish.rate.unwrap_or(1.0), dice: Dice::new(wish.seed.unwrap_or(0)) };
    world.act(|state: &mut State, _| {
        if state.rules.len() >= MOST_RULES {
            return Err(detail(507, "The simulator keeps no more rules").into());
        }
        state.rules.push(rule);
        Ok(reply(200, &json!({ "rules": state.rules.len() })))
    })
}

/// `DELETE /_sim/faults`: no rule acts any more. Faults of prompts and keys stay.
pub(super) async fn clear_rules(world: Arc<World>, _: Call) -> Answer {
    world.act(|state, _| state.rules.clear());
    Ok(reply(200, &json!({ "rules": 0 })))
}

/// `GET /_sim/clock`.
pub(super) async fn clock(world: Arc<World>, _: Call) -> Answer {
    Ok(reply(200, &json!({ "now": world.clock.now().iso() })))
}

#[derive(Deserialize)]
struct Advance {
    seconds: f64,
}

/// `POST /_sim/clock` `{"seconds"}`: time moves forward by that much, and everything due happens.
pub(super) async fn advance(world: Arc<World>, mut call: Call) -> Answer {
    let wish: Advance = read(&mut call).await?;
    let span = Duration::try_from_secs_f64(wish.seconds).map_err(|_| detail(422, "seconds must not be negative"))?;
    world.clock.advance(span);
    Ok(world.act(|_, now| reply(200, &json!({ "now": now.iso() }))))
}

/// `GET /_sim/knobs`: every fault there is.
pub(super) async fn knobs(_: Arc<World>, _: Call) -> Answer {
    let entry = |entry: &super::faults::Entry| {
        let argument = Some(entry.argument).filter(|argument| !argument.is_empty());
        json!({ "knob": format!("{}.{}", entry.group, entry.name), "argument": argument, "seen": entry.seen })
    };
    Ok(reply(200, &json!({ "knobs": KNOBS.iter().map(entry).collect::<Vec<_>>() })))
}

/// `GET /_sim/keys`: the keys that mean something.
pub(super) async fn keys(_: Arc<World>, _: Call) -> Answer {
    let keys: Vec<Value> = SPECIAL_KEYS.iter().map(|key| json!({ "key": format!("{}:any-secret", key.id), "seen": key.seen })).collect();
    Ok(reply(200, &json!({ "keys": keys })))
}

async fn read<T: for<'de> Deserialize<'de>>(call: &mut Call) -> Result<T, Stop> {
    let body = call.json().await?;
    serde_json::from_value(body).map_err(|error| detail(422, &error.to_string()).into())
}
