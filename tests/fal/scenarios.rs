//! Every way the simulator can misbehave that a client of ours would notice, and what the client says of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use generatio::fal::{Checked, Client, Error, Fetched, Handle, Key, Reached, State, Timeouts};
use generatio::simulator::KNOBS;

use super::support::{Fal, key, quick, schnell, settings, start, start_with};

/// A marker in the prompt, how many jobs came of it, and what the client said from the submit to the picture.
const JOBS: &[(&str, u64, &str)] = &[
    ("auth.bad_key", 0, "refused, FAL rejected the key: invalid key credentials"),
    ("auth.locked", 0, "refused, the FAL account is locked: Admin lock. Please contact hello@fal.ai."),
    ("auth.locked:Exhausted balance.", 0, "refused, the FAL account is locked: Exhausted balance."),
    ("auth.scope", 0, "refused, FAL does not let this key do that: Access denied"),
    ("submit.429", 0, "refused, FAL is asked too often: Too many requests"),
    ("submit.5xx", 0, "refused, FAL failed: Failed to schedule a runner"),
    ("submit.html502", 0, "unknown, FAL failed: HTTP 502"),
    ("submit.drop_before_accept", 0, "unknown, the connection to FAL ended before the answer did (submit)"),
    ("submit.drop_after_accept", 1, "unknown, the connection to FAL ended before the answer did (submit)"),
    ("submit.garbage_json", 1, "unknown, FAL's answer could not be understood (submit): it is not JSON"),
    ("queue.stuck_queue", 1, "queued at 0; queued at 0; pending"),
    ("queue.stuck_progress", 1, "queued at 0; running; pending"),
    ("queue.pos_jump", 1, "queued at 7; completed; 1 unit; a jpg of 1024x768"),
    ("queue.runner_retry", 1, "queued at 0; completed; 1 unit; a jpg of 1024x768"),
    (
        "queue.start_timeout",
        1,
        "completed: Request timed out; completed: Request timed out; failed, 0 units: FAL gave up on the request: Request timed out",
    ),
    ("status.404_until:1", 1, "FAL does not know this: NOT_FOUND; completed; 1 unit; a jpg of 1024x768"),
    ("status.500:1", 1, "FAL failed: Internal error; completed; 1 unit; a jpg of 1024x768"),
    (
        "status.unknown_status",
        1,
        "FAL's answer could not be understood (status): it names a state that FAL does not have; \
         FAL's answer could not be understood (status): it names a state that FAL does not have; 1 unit; a jpg of 1024x768",
    ),
    ("status.omit_logs", 1, "queued at 0; completed; 1 unit; a jpg of 1024x768"),
    (
        "result.422",
        1,
        "queued at 0; completed: The content could not be processed because it contained material flagged by a content checker.; \
         failed, 0 units: FAL refused the content: prompt: The content could not be processed because it contained material flagged by a \
         content checker.",
    ),
    (
        "result.422:image_too_small",
        1,
        "queued at 0; completed: image too small; failed, 0 units: FAL refused the input: prompt: image too small",
    ),
    (
        "result.422:generation_timeout",
        1,
        "queued at 0; completed: generation timeout; failed, 0 units: FAL gave up on the request: prompt: generation timeout",
    ),
    ("result.fail", 1, "queued at 0; completed: The runner failed; failed, 0 units: FAL failed: The runner failed"),
    (
        "result.fail:client_cancelled",
        1,
        "queued at 0; completed: The request was cancelled by the client; \
         failed, 0 units: the request was cancelled: The request was cancelled by the client",
    ),
    ("result.fail:bad_request", 1, "queued at 0; completed: Bad request; failed, 0 units: FAL refused: Bad request"),
    ("result.400_in_progress", 1, "queued at 0; completed; pending"),
    ("result.expired", 1, "queued at 0; completed; FAL does not know this: NOT_FOUND"),
    ("result.no_images", 1, "queued at 0; completed; 1 unit; no picture"),
    ("result.nsfw", 1, "queued at 0; completed; 1 unit; flagged; a jpg of 1024x768"),
    ("result.huge:20", 1, "queued at 0; completed; 1 unit; a jpg of 1024x768"),
    ("result.huge:40", 1, "queued at 0; completed; FAL's answer is larger than 33554432 bytes (result)"),
    ("result.missing_dims", 1, "queued at 0; completed; 1 unit; a jpg of 1024x768, which FAL did not say"),
    ("result.no_billable_header", 1, "queued at 0; completed; no units; a jpg of 1024x768"),
    ("result.wrong_billable", 1, "queued at 0; completed; 999999 units; a jpg of 1024x768"),
    ("media.404", 1, "queued at 0; completed; 1 unit; FAL does not know this: Not Found"),
    ("media.truncate", 1, "queued at 0; completed; 1 unit; the connection to FAL ended before the answer did (picture)"),
    (
        "media.wrong_type",
        1,
        "queued at 0; completed; 1 unit; FAL's answer could not be understood (picture): it is no PNG, JPEG, WebP or GIF",
    ),
    (
        "media.redirect_private",
        1,
        "queued at 0; completed; 1 unit; an address is not followed (picture): its host is not among the allowed ones",
    ),
    ("media.oversize:65", 1, "queued at 0; completed; 1 unit; FAL's answer is larger than 67108864 bytes (picture)"),
];

/// Told below, since they need another time, another call or another key.
const ELSEWHERE: [&str; 7] =
    ["submit.slow", "media.slow", "cancel.202_but_completes", "cancel.400", "cancel.404", "platform.pricing_down", "platform.balance_html"];
/// What a client that neither streams nor is called back never sees.
const UNSEEN: [&str; 7] =
    ["status.drop_sse", "webhook.dup", "webhook.late", "webhook.bad_sig", "webhook.old_ts", "webhook.payload_null", "webhook.never"];

#[test]
fn every_knob_of_the_simulator_has_a_row() {
    let rows = JOBS.iter().map(|(marker, ..)| marker.split(':').next().unwrap());
    let told: BTreeSet<&str> = rows.chain(ELSEWHERE).chain(UNSEEN).collect();
    let known: Vec<String> = KNOBS.iter().map(|knob| format!("{}.{}", knob.group, knob.name)).collect();
    assert_eq!(told, known.iter().map(String::as_str).collect::<BTreeSet<_>>());
}

#[tokio::test]
async fn a_job_whose_way_is_strewn_with_faults_ends_in_the_words_of_the_table() {
    for (marker, jobs, expected) in JOBS {
        let fal = start();
        let (told, cause) = story(&fal, &format!("a cat [[sim:{marker}]]")).await;
        assert_eq!(told, *expected, "{marker}");
        assert_eq!((fal.count("submit").await, fal.count("accepted").await), (1, *jobs), "{marker}");
        assert!(!cause.contains("s3cret") && !told.contains("s3cret"), "{marker}: the key is in {cause}");
    }
}

/// What the client says of a job from its submit to its first picture; and of its errors, everything.
async fn story(fal: &Fal, prompt: &str) -> (String, String) {
    let mut causes = String::new();
    let mut told = Vec::new();
    let job = match fal.submit(prompt).await {
        Ok(job) => job,
        Err(failed) => return (format!("{}, {failed}", reached(&failed.reached)), format!("{failed:?}")),
    };
    told.push(status(fal, &job, &mut causes).await);
    fal.advance(60);
    told.push(status(fal, &job, &mut causes).await);
    match fal.client.result(key(), &job).await {
        Ok(Fetched::Pending) => told.push("pending".into()),
        Ok(Fetched::Failed(error)) => {
            let said = error.said().unwrap();
            assert_eq!(said.request_id.as_deref(), Some(job.request_id.as_str()));
            told.push(format!("failed, {} units: {error}", said.units.unwrap().nanos()));
            causes.push_str(&format!("{error:?}"));
        }
        Ok(Fetched::Done(output)) => told.extend(pictures(fal, &output).await),
        Err(error) => told.push(error.to_string()),
    }
    (told.join("; "), causes)
}

fn reached(reached: &Reached) -> &'static str {
    match reached {
        Reached::NotSent => "not sent",
        Reached::Refused => "refused",
        Reached::Unknown { .. } => "unknown",
    }
}

async fn status(fal: &Fal, job: &Handle, causes: &mut String) -> String {
    match fal.client.status(key(), job).await {
        Ok(State::Queued { position }) => format!("queued at {}", position.unwrap()),
        Ok(State::Running) => "running".into(),
        Ok(State::Completed { error: None }) => "completed".into(),
        Ok(State::Completed { error: Some(words) }) => format!("completed: {words}"),
        Err(error) => {
            causes.push_str(&format!("{error:?}"));
            error.to_string()
        }
    }
}

async fn pictures(fal: &Fal, output: &generatio::fal::Output) -> Vec<String> {
    let mut told = vec![match output.units.map(|units| units.nanos()) {
        None => "no units".into(),
        Some(1_000_000_000) => "1 unit".into(),
        Some(nanos) => format!("{} units", nanos / 1_000_000_000),
    }];
    if output.flagged.contains(&true) {
        told.push("flagged".into());
    }
    let Some(image) = output.images.first() else {
        told.push("no picture".into());
        return told;
    };
    told.push(match fal.client.download(&image.url).await {
        Err(error) => error.to_string(),
        Ok(picture) => {
            let size = picture.size.unwrap();
            assert!(image.size().is_none_or(|said| said == size), "FAL said {:?}", image.size());
            let unsaid = if image.size().is_none() { ", which FAL did not say" } else { "" };
            format!("a {} of {}x{}{unsaid}", picture.format.extension(), size.width, size.height)
        }
    });
    told
}

#[tokio::test]
async fn a_submit_that_takes_too_long_may_have_arrived() {
    let fal = start_with(Timeouts { submit: Duration::from_millis(300), ..quick() });
    let failed = fal.submit("a cat [[sim:submit.slow:60]]").await.unwrap_err();
    assert_eq!((reached(&failed.reached), failed.to_string().as_str()), ("unknown", "FAL did not answer in time (submit)"));
    let submits = &fal.sim("submits").await["submits"];
    assert_eq!((&submits[0]["posts"], &submits[0]["accepted"]), (&1.into(), &1.into()), "{submits}");
}

#[tokio::test]
async fn a_picture_that_trickles_is_given_up() {
    for timeouts in [Timeouts { picture: Duration::from_millis(500), ..quick() }, Timeouts { stall: Duration::from_millis(100), ..quick() }]
    {
        let fal = start_with(timeouts);
        let job = fal.ended("a cat [[sim:media.slow:10]]").await;
        let Fetched::Done(output) = fal.client.result(key(), &job).await.unwrap() else { panic!("it has ended well") };
        let begun = Instant::now();
        let error = fal.client.download(&output.images[0].url).await.unwrap_err();
        assert!(matches!(error, Error::TimedOut(_)), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn cancelling_says_no_more_than_fal_does() {
    for (marker, first, then) in [
        ("", "Requested", "completed: The request was cancelled by the client"),
        ("[[sim:202_but_completes]]", "Requested", "completed"),
        ("[[sim:cancel.400]]", "TooLate", "completed"),
        ("[[sim:cancel.404]]", "NotFound", "completed"),
    ] {
        let fal = start();
        let job = fal.submit(&format!("a cat {marker}")).await.unwrap();
        assert_eq!(format!("{:?}", fal.client.cancel(key(), &job).await.unwrap()), first, "{marker}");
        fal.advance(60);
        assert_eq!(status(&fal, &job, &mut String::new()).await, then, "{marker}");
        if marker.is_empty() {
            assert_eq!(format!("{:?}", fal.client.cancel(key(), &job).await.unwrap()), "TooLate");
            let ended = fal.client.result(key(), &job).await.unwrap();
            assert!(matches!(ended, Fetched::Failed(Error::Cancelled(_))), "{ended:?}");
        }
    }
}

#[tokio::test]
async fn where_prices_are_down_there_is_none_and_the_balance_decides_about_a_key() {
    let fal = start();
    let now = Instant::now();
    for (key, priced, expected) in [
        ("team:s3cret", true, "Valid, $10"),
        ("team:[[sim:pricing_down]]", false, "Valid, $10"),
        ("team:[[sim:balance_html]]", true, "Valid"),
        ("team:[[sim:pricing_down]][[sim:balance_html]]", false, "Unreachable"),
    ] {
        let key = Key::new(key).unwrap();
        assert_eq!(fal.client.price(key, &schnell(), now).await.is_some(), priced);
        assert_eq!(told(fal.client.check_key(key, &schnell()).await), expected);
    }
    assert_eq!(fal.count("submit").await, 0);
}

pub fn told(checked: Checked) -> String {
    let balance = checked.balance.map(|balance| format!(", {balance}")).unwrap_or_default();
    format!("{:?}{balance}", checked.verdict)
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::new(settings(&format!("http://{port}"), quick())).unwrap();
    let failed = client.submit(key(), &schnell(), &super::support::input("a cat")).await.unwrap_err();
    assert_eq!((failed.reached, failed.error.to_string().as_str()), (Reached::NotSent, "FAL cannot be reached (submit)"));
    assert_eq!(told(client.check_key(key(), &schnell()).await), "Unreachable");
    assert_eq!(client.price(key(), &schnell(), Instant::now()).await, None);
}
