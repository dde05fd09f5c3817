//! `fal.run`: the same models on the caller's own connection, without the queue.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use serde_json::{Value, json};

use super::accounts::Key;
use super::answer::{Answer, Cut, Stop};
use super::call::{Call, USUAL_BODY};
use super::faults::Knob;
use super::intake::{self, Target};
use super::job::Job;
use super::world::World;
use super::{output, queue, sse};

/// `POST /{owner}/{app}[/…]`, or the same with `/stream` for events whose last is the output.
pub(super) async fn run(world: Arc<World>, mut call: Call) -> Answer {
    let body = call.body(USUAL_BODY).await?;
    let mut target = Target::of(&call);
    let streamed = target.sub == "stream" || target.sub.ends_with("/stream");
    if streamed {
        target.sub = target.sub.trim_end_matches("stream").trim_end_matches('/').to_owned();
    }
    let (key, job, attempt) = start(&world, &call, &target, &body)?;
    if job.faults.acts(Knob::DropAfterAccept, attempt) {
        return Err(Stop::Cut);
    }
    if streamed && job.outcome.is_ok() {
        let (sender, body) = Channel::<Bytes, Cut>::new(8);
        tokio::spawn(narrate(world, key, job, sender));
        return Ok(sse::stream(body.boxed()));
    }
    let job = ended(&world, &key, job).await;
    Ok(queue::finished(&world, &job).await)
}

/// A wrong input fails here and now; anything else takes one of the account's slots, or is refused.
fn start(world: &World, call: &Call, target: &Target, body: &Bytes) -> Result<(Key, Job, u64), Stop> {
    world.act(|state, now| {
        let mut accepted = intake::check(world, state, now, call, target, body)?;
        let (key, attempt) = (accepted.key.clone(), accepted.attempt);
        if accepted.job.outcome.is_err() {
            let outcome = accepted.job.outcome.clone();
            accepted.job.finish(now, outcome);
        } else if let Some(account) = state.accounts.get_mut(&key)
            && !account.lane.start_at_once(&mut accepted.job, now)
        {
            return Err(intake::too_many_at_once(world.options.concurrency));
        }
        Ok((key, accepted.enter(state)?, attempt))
    })
}

async fn ended(world: &World, key: &Key, job: Job) -> Job {
    let mut changes = world.changes();
    loop {
        let seen = world.look(|state, _| {
            let (account, id) = state.job(key, job.id)?;
            let next = account.lane.next_moment(&account.jobs);
            account.jobs.get(&id).map(|job| (job.clone(), next))
        });
        match seen {
            Some((job, _)) if job.ended().is_some() => return job,
            Some((_, next)) => world.change_or(&mut changes, next).await,
            None => return job,
        }
    }
}

async fn narrate(world: Arc<World>, key: Key, job: Job, mut sender: Sender<Bytes, Cut>) {
    if sender.send_data(sse::event(&json!({ "progress": 0.0, "request_id": job.id.to_string() }))).await.is_err() {
        return;
    }
    let job = ended(&world, &key, job).await;
    let last = match job.ended() {
        Some((_, Ok(order))) => output::body(&world, &job, order).await,
        Some((_, Err(failure))) => failure.body.clone(),
        None => Value::Null,
    };
    // Nobody left to tell is no failure: the work is done and billed.
    let _ = sender.send_data(sse::event(&last)).await;
}
