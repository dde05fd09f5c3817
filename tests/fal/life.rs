//! Jobs that go well, and one that is found again after its answer was lost.

use std::pin::pin;
use std::time::Instant;

use futures_util::StreamExt;
use generatio::fal::{Catalogue, Facts, Fetched, Handle, Links, Output, Size, State, Window};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::support::{Fal, START, key, map, schnell, start};

async fn output(fal: &Fal, job: &Handle) -> Output {
    match fal.client.result(key(), job).await.unwrap() {
        Fetched::Done(output) => *output,
        Fetched::Pending => panic!("it has not ended"),
        Fetched::Failed(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn each_model_gives_what_was_asked_for_and_costs_what_fal_bills() {
    for (model, parameters, sizes, format, micros) in [
        ("flux/schnell", json!({}), vec![(1024, 768)], "jpg", 3_000),
        ("flux/schnell", json!({ "num_images": 4, "output_format": "png", "image_size": "square" }), vec![(512, 512); 4], "png", 12_000),
        ("flux/schnell", json!({ "image_size": { "width": 1100, "height": 1000 } }), vec![(1100, 1000)], "jpg", 6_000),
        ("hidream/hidream-i1-dev", json!({ "num_images": 2, "negative_prompt": "dogs" }), vec![(1024, 1024); 2], "jpg", 8_000),
        ("hidream/hidream-i1-fast", json!({ "image_size": "portrait_16_9", "output_format": "png" }), vec![(576, 1024)], "png", 3_000),
    ] {
        let (fal, catalogue) = (start(), Catalogue::built_in());
        let model = catalogue.find(model).unwrap();
        let mut send = model.validate(&map(parameters)).unwrap().send;
        let wanted = model.wanted(&send);
        send.insert("prompt".into(), "a cat on a mat".into());
        let job = fal.client.submit(key(), &model.endpoint, &send).await.unwrap();
        fal.advance(60);
        let output = output(&fal, &job).await;
        let mut found = Vec::new();
        for image in &output.images {
            let picture = fal.client.download(&image.url).await.unwrap();
            assert_eq!(picture.bytes, reqwest::get(&image.url).await.unwrap().bytes().await.unwrap(), "byte for byte");
            assert_eq!((picture.format.extension(), picture.size), (format, image.size()));
            found.push(picture.size.unwrap());
        }
        assert_eq!(found, sizes.iter().map(|(width, height)| Size { width: *width, height: *height }).collect::<Vec<_>>());
        assert_eq!((wanted.images as usize, wanted.size), (found.len(), found[0]));
        let price = fal.client.price(key(), &model.endpoint, Instant::now()).await;
        let facts = Facts { images: &found, units: output.units, price: price.as_ref(), fallback: model.fallback() };
        assert_eq!((facts.completed().amount.micros(), facts.completed().estimated), (micros, false));
        let guess = Facts { units: None, ..facts }.completed();
        assert_eq!((guess.amount.micros(), guess.estimated), (micros, true), "the estimate agrees");
        let bills = &fal.sim("accounts").await["accounts"][0]["charges"];
        assert_eq!(bills.as_array().map(Vec::len), Some(1), "{bills}");
        assert_eq!(bills[0]["cost_estimate_nano_usd"], micros * 1000, "FAL's bill agrees");
    }
}

#[tokio::test]
async fn a_job_is_followed_from_the_queue_to_its_end_and_again_from_a_stored_row() {
    let fal = start();
    let job = fal.submit("a cat").await.unwrap();
    assert_eq!(fal.client.status(key(), &job).await.unwrap(), State::Queued { position: Some(0) });
    assert!(matches!(fal.client.result(key(), &job).await.unwrap(), Fetched::Pending));
    fal.advance(60);
    let [status, response, cancel] = [&job.status_url, &job.response_url, &job.cancel_url].map(ToString::to_string);
    let links = Links { status: Some(&status), response: Some(&response), cancel: Some(&cancel) };
    let stored = fal.client.handle(&schnell(), job.request_id.clone(), links);
    assert_eq!(stored, job);
    let bare = fal.client.handle(&schnell(), job.request_id.clone(), Links::default());
    for handle in [&stored, &bare] {
        assert_eq!(fal.client.status(key(), handle).await.unwrap(), State::Completed { error: None });
        assert_eq!(output(&fal, handle).await.seed, Some(1.into()));
    }
}

#[tokio::test]
async fn a_seed_comes_back_to_the_last_bit() {
    let fal = start();
    let seed = 18_446_744_073_709_551_615_u64;
    let job = fal.client.submit(key(), &schnell(), &map(json!({ "prompt": "a cat", "seed": seed }))).await.unwrap();
    fal.advance(60);
    assert_eq!(output(&fal, &job).await.seed, Some(seed.into()));
}

#[tokio::test]
async fn a_lost_submit_is_found_in_the_history_by_its_seed() {
    let fal = start();
    let ours = map(json!({ "prompt": "a cat [[sim:drop_after_accept]]", "seed": 4711, "num_images": 2 }));
    for seed in 0..3 {
        let other = map(json!({ "prompt": "a cat [[sim:drop_after_accept]]", "seed": seed, "num_images": 2 }));
        fal.client.submit(key(), &schnell(), &other).await.unwrap_err();
    }
    fal.client.submit(key(), &schnell(), &ours).await.unwrap_err();
    let start = Timestamp::from_millisecond(i64::try_from(START).unwrap()).unwrap();
    let window = Window { start, end: start + SignedDuration::from_secs(60) };
    let history = fal.client.history(key(), &schnell(), window).await.unwrap();
    assert_eq!(history.len(), 4);
    let found: Vec<_> = history.iter().filter(|earlier| earlier.asked_for(&ours)).collect();
    assert_eq!((found.len(), found[0].sent_at, found[0].status_code), (1, Some(start), None));
    fal.advance(60);
    let job = fal.client.handle(&schnell(), found[0].request_id.clone(), Links::default());
    assert_eq!(output(&fal, &job).await.images.len(), 2);
    let later = Window { start: start + SignedDuration::from_secs(1), ..window };
    assert_eq!(fal.client.history(key(), &schnell(), later).await.unwrap(), []);
}

#[tokio::test]
async fn a_long_history_is_read_to_its_end() {
    let fal = start();
    for seed in 0..230 {
        fal.client.submit(key(), &schnell(), &map(json!({ "prompt": "a cat", "seed": seed }))).await.unwrap();
    }
    let start = Timestamp::from_millisecond(i64::try_from(START).unwrap()).unwrap();
    let history = fal.client.history(key(), &schnell(), Window { start, end: start }).await.unwrap();
    let mut seeds: Vec<_> = history.iter().filter_map(|earlier| earlier.input.as_ref()?["seed"].as_u64()).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, (0..230).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_submits_are_two_jobs() {
    let fal = start();
    let [one, other] = [fal.submit("a cat").await.unwrap(), fal.submit("a cat").await.unwrap()];
    assert_ne!(one.request_id, other.request_id);
    assert_eq!((fal.count("submit").await, fal.count("accepted").await), (2, 2));
}

#[tokio::test]
async fn fal_says_by_itself_how_a_job_stands_until_it_has_ended() {
    let fal = start();
    let job = fal.submit("a cat").await.unwrap();
    let mut states = pin!(fal.client.states(key(), &job));
    assert!(!matches!(states.next().await, None | Some(State::Completed { .. })));
    fal.advance(60);
    let rest: Vec<State> = states.collect().await;
    assert_eq!(rest.last(), Some(&State::Completed { error: None }));
}

#[tokio::test]
async fn where_fal_says_nothing_by_itself_there_is_nothing_to_wait_for() {
    for (prompt, said) in [
        ("a [[sim:status.drop_sse]] cat", 1),
        ("a [[sim:status.404_until:5]] cat", 0),
        ("a [[sim:status.500:5]] cat", 0),
        ("a [[sim:status.unknown_status]] cat", 0),
    ] {
        let fal = start();
        let job = fal.submit(prompt).await.unwrap();
        let states: Vec<State> = fal.client.states(key(), &job).collect().await;
        assert!(states.len() <= said, "{prompt}: {states:?}");
    }
}
