//! Many requests at once.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Sim, ask, start, text};

const KEYS: usize = 20;
const JOBS: usize = 500;

#[derive(Clone)]
struct Job {
    key: String,
    url: String,
}

#[tokio::test]
async fn five_hundred_jobs_of_twenty_keys_are_each_billed_once_and_only_move_forward() {
    let sim = start().await;
    let jobs = submit_all(&sim).await;
    let mut last: HashMap<String, i64> = HashMap::new();
    loop {
        let seen = poll_all(&jobs).await;
        let mut running: HashMap<String, usize> = HashMap::new();
        for (job, place) in &seen {
            let before = last.insert(job.url.clone(), *place).unwrap_or(i64::MAX);
            assert!(*place <= before, "{} went from {before} to {place}", job.url);
            if *place == -1 {
                *running.entry(job.key.clone()).or_default() += 1;
            }
        }
        assert!(running.values().all(|count| *count <= 2), "{running:?}");
        if seen.iter().all(|(_, place)| *place == -2) {
            break;
        }
        sim.advance(0.2);
    }
    let mut results = JoinSet::new();
    for job in jobs.clone() {
        results.spawn(async move {
            let reply = ask("GET", &job.url).key(&job.key).send().await;
            assert_eq!((reply.status, reply.header("x-fal-billable-units")), (200, "1"));
        });
    }
    results.join_all().await;
    bills(&sim, &jobs).await;
}

async fn submit_all(sim: &Sim) -> Vec<Job> {
    let mut submits = JoinSet::new();
    for n in 0..JOBS {
        let sim = sim.clone();
        submits.spawn(async move {
            let key = format!("key{}:secret", n % KEYS);
            let job = sim.submit(&key, "fal-ai/flux/schnell", json!({ "prompt": format!("job {n}") })).await;
            Job { key, url: text(&job, "response_url").to_owned() }
        });
    }
    submits.join_all().await
}

/// Where each job is: its position, -1 running, -2 done.
async fn poll_all(jobs: &[Job]) -> Vec<(Job, i64)> {
    let mut polls = JoinSet::new();
    for job in jobs.iter().cloned() {
        polls.spawn(async move {
            let status = ask("GET", &format!("{}/status", job.url)).key(&job.key).send().await.json();
            let place = match text(&status, "status") {
                "IN_QUEUE" => status["queue_position"].as_i64().unwrap(),
                "IN_PROGRESS" => -1,
                "COMPLETED" => {
                    assert_eq!(status.get("error"), None);
                    -2
                }
                other => panic!("{other}"),
            };
            (job, place)
        });
    }
    polls.join_all().await
}

async fn bills(sim: &Sim, jobs: &[Job]) {
    let accounts = sim.sim("accounts").await;
    let mut billed = HashSet::new();
    for account in accounts["accounts"].as_array().unwrap() {
        let charges = account["charges"].as_array().unwrap();
        assert_eq!((charges.len(), &account["balance"]), (JOBS / KEYS, &json!(9.925)), "{}", account["key_id"]);
        for charge in charges {
            assert!(billed.insert(text(charge, "request_id").to_owned()), "billed twice: {charge}");
        }
    }
    let submitted: HashSet<String> = jobs.iter().map(|job| job.url.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(billed, submitted);
    let submits: Value = sim.sim("submits").await;
    assert!(submits["submits"].as_array().unwrap().iter().all(|submit| submit["accepted"] == 1));
}
