//! PocketBase's own realtime shows a job's progress to its owner, and to nobody else.

use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};

use crate::simulator::Simulator;
use crate::world::{SOON, User, World, picture};

/// An open stream of events, through the sidecar.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn subscribe(world: &World, user: &User, topic: &str) -> Self {
        let response = reqwest::get(format!("{}/api/realtime", world.origin())).await.unwrap();
        let mut events = Self { response, text: String::new() };
        let connected = events.next().await.unwrap();
        let body = json!({ "clientId": connected["clientId"], "subscriptions": [topic] });
        let subscribed =
            reqwest::Client::new().post(format!("{}/api/realtime", world.origin())).header("authorization", &user.token).json(&body).send();
        assert_eq!(subscribed.await.unwrap().status(), 204);
        events
    }

    /// The data of the next event; none when nothing comes for a while.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data:")).map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                if data.is_some() {
                    return data;
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(8), self.response.chunk()).await.ok()?.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// All records until nothing comes any more.
    async fn records(&mut self) -> Vec<Value> {
        let mut records = Vec::new();
        let all = async {
            while let Some(event) = self.next().await {
                records.push(event["record"].clone());
            }
        };
        tokio::time::timeout(SOON, all).await.unwrap();
        records
    }
}

const ORDER: [&str; 6] = ["created", "submitting", "queued", "running", "storing", "completed"];

#[tokio::test]
async fn a_user_sees_the_states_of_their_own_jobs_in_order_and_nobody_elses() {
    let world = World::with(Simulator::start(&["--queue-delay", "10ms", "--run-time", "7s"]), &[]);
    let (user, stranger) = (world.user().await, world.user().await);
    let mut mine = Events::subscribe(&world, &user, "generations/*").await;
    let mut theirs = Events::subscribe(&world, &stranger, "generations/*").await;
    let job = user.begin(&picture("watched")).await;
    let mut spied = Events::subscribe(&world, &stranger, &format!("generations/{job}")).await;
    let strangers = stranger.begin(&picture("not for you")).await;
    let (mine, theirs, spied) = tokio::join!(mine.records(), theirs.records(), spied.records());
    for (records, job) in [(&mine, &job), (&theirs, &strangers)] {
        assert!(records.iter().all(|record| record["id"] == **job), "somebody else's job: {records:?}");
        let mut states: Vec<(u64, &str)> =
            records.iter().map(|record| (record["seq"].as_u64().unwrap(), record["status"].as_str().unwrap())).collect();
        states.sort_by_key(|(seq, _)| *seq);
        states.dedup();
        assert!(states.windows(2).all(|two| two[0].0 < two[1].0), "one number, one state: {states:?}");
        let places: Vec<usize> = states.iter().map(|(_, state)| ORDER.iter().position(|name| name == state).unwrap()).collect();
        assert!(places.is_sorted(), "{states:?}");
        for state in ["submitting", "queued", "running", "completed"] {
            assert!(states.iter().any(|(_, seen)| *seen == state), "{state} was not seen: {states:?}");
        }
    }
    assert_eq!(spied, Vec::<Value>::new());
}
