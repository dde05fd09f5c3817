//! What must be true after every crash: one submit, one set of pictures, one charge, or a job that says why not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{Order, World};

/// A job that cannot be found out about is looked for at 1, 5, 20 and 80 s.
const END_WITHIN: Duration = Duration::from_secs(100);
const LATE_WITHIN: Duration = Duration::from_secs(30);

/// What is wrong, in words; nothing, if all is well.
pub type Violations = Vec<String>;

/// How the jobs of one blow ended.
#[derive(Default)]
pub struct Verdict {
    pub violations: Violations,
    /// By the word of their last state.
    pub ends: BTreeMap<String, usize>,
}

impl World {
    /// Waits until the jobs of these orders are over, or say that they are unknown while FAL has none of them; then looks at everything.
    pub fn judge(&self, orders: &[Order]) -> Verdict {
        let mut verdict = Verdict::default();
        for order in orders {
            let job = match self.repeated(order, &mut verdict.violations) {
                Some(id) => self.end_of(&id, order, &mut verdict.violations),
                None => continue,
            };
            *verdict.ends.entry(text(&job, "status").to_owned()).or_default() += 1;
            self.check_job(&job, order, &mut verdict.violations);
            self.check_repeat(&job, order, &mut verdict.violations);
        }
        self.check_submits(orders, &mut verdict.violations);
        self.check_totals(&mut verdict.violations);
        verdict
    }

    /// The job that the repeated request is answered with.
    fn repeated(&self, order: &Order, violations: &mut Violations) -> Option<String> {
        let start = Instant::now();
        let before = self.jobs(order);
        loop {
            let answer = self.repeat(order, "respond-async");
            match &answer {
                Some((200 | 202, job)) => {
                    let id = text(job, "id").to_owned();
                    if before.iter().any(|row| text(row, "id") != id) {
                        violations.push(format!("{}: the repeated request began another job", order.key));
                    }
                    return Some(id);
                }
                Some((503, _)) | None if start.elapsed() < Duration::from_secs(30) => std::thread::sleep(Duration::from_millis(50)),
                _ => {
                    violations.push(format!("{}: the repeated request was answered with {answer:?}", order.key));
                    return None;
                }
            }
        }
    }

    fn end_of(&self, id: &str, order: &Order, violations: &mut Violations) -> Value {
        let start = Instant::now();
        loop {
            // In this order: a job that is found between the two looks is not taken for lost.
            let nothing_is_left = self.accepted(order) == self.known(text(&order.body, "prompt"));
            let (_, job) = self.root.get(&format!("/api/collections/generations/records/{id}"));
            let lost = text(&job, "status") == "unknown" && nothing_is_left;
            if matches!(text(&job, "status"), "completed" | "failed" | "cancelled") || lost {
                return job;
            }
            if start.elapsed() > END_WITHIN {
                violations.push(format!("{}: the job does not end: {job}", order.key));
                return job;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    fn check_job(&self, job: &Value, order: &Order, violations: &mut Violations) {
        let mut wrong = |what: String| violations.push(format!("{}: {what}", order.key));
        let id = text(job, "id");
        let jobs = self.jobs(order);
        if jobs.len() != 1 {
            wrong(format!("{} rows of the job", jobs.len()));
        }
        let images = self.list("images", &format!("job_id='{id}'"));
        let ledger = self.list("spend_events", &format!("job_id='{id}'"));
        let micros = |row: &Value, name: &str| row[name].as_i64().unwrap_or(-1);
        if text(job, "status") != "completed" {
            if job["error"]["message"].as_str().is_none_or(str::is_empty) {
                wrong(format!("it is {} and does not say why", text(job, "status")));
            }
            if !images.is_empty() || !ledger.is_empty() {
                wrong(format!("it is {} with {} pictures and {} charges", text(job, "status"), images.len(), ledger.len()));
            }
            return;
        }
        if !job["error"].is_null() {
            wrong(format!("it is completed with an error: {}", job["error"]));
        }
        let wanted = order.body["parameters"]["num_images"].as_u64().unwrap_or(1) as usize;
        let linked = job["images"].as_array().map_or(0, Vec::len);
        if images.len() != wanted || linked != wanted {
            wrong(format!("{} pictures and {linked} links instead of {wanted}", images.len()));
        }
        let [charge] = ledger.as_slice() else {
            return wrong(format!("{} charges", ledger.len()));
        };
        let sum: i64 = images.iter().map(|image| micros(image, "cost_micros")).sum();
        let costs = [micros(charge, "amount_micros"), micros(job, "cost_micros"), sum];
        if costs[0] <= 0 || costs.iter().any(|cost| *cost != costs[0]) {
            wrong(format!("ledger, job and pictures cost {costs:?}"));
        }
        if micros(charge, "images") != wanted as i64 {
            wrong(format!("{} pictures are charged", charge["images"]));
        }
        for image in images {
            self.check_file(&self.with_file(image), &mut wrong);
        }
    }

    /// A picture that could not be fetched at once is fetched after ten seconds.
    fn with_file(&self, image: Value) -> Value {
        let start = Instant::now();
        let mut row = image;
        while text(&row, "file").is_empty() && start.elapsed() < LATE_WITHIN {
            std::thread::sleep(Duration::from_millis(100));
            row = self.root.get(&format!("/api/collections/images/records/{}", text(&row, "id"))).1;
        }
        row
    }

    fn check_file(&self, image: &Value, wrong: &mut impl FnMut(String)) {
        let url = text(image, "url");
        if text(image, "file").is_empty() || !url.starts_with("/api/files/") {
            return wrong(format!("a picture without a file: {image}"));
        }
        let (status, bytes) = self.file(url);
        let is_picture = bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9]);
        if status != 200 || !is_picture {
            wrong(format!("{url} is answered with {status} and {} bytes", bytes.len()));
        }
    }

    /// The same request is answered with the same pictures.
    fn check_repeat(&self, job: &Value, order: &Order, violations: &mut Violations) {
        if text(job, "status") != "completed" {
            return;
        }
        let ids =
            |images: &Value| -> Vec<String> { images.as_array().into_iter().flatten().map(|image| text(image, "id").to_owned()).collect() };
        match self.repeat(order, "wait=60") {
            Some((200, found)) if found["job_id"] == job["id"] && ids(&found["images"]) == ids(&job["images"]) => {}
            other => violations.push(format!("{}: afterwards the request is answered with {other:?}", order.key)),
        }
    }

    /// Nothing was sent twice, and what FAL took is what jobs have.
    fn check_submits(&self, orders: &[Order], violations: &mut Violations) {
        let mut prompts: Vec<&str> = orders.iter().map(|order| text(&order.body, "prompt")).collect();
        prompts.sort_unstable();
        prompts.dedup();
        for prompt in prompts {
            let submits = self.submits(prompt);
            let count = |name: &str| submits.iter().map(|submit| submit[name].as_u64().unwrap_or(0)).sum::<u64>();
            let jobs = self.list("generations", &format!("prompt='{prompt}'"));
            if count("posts") > jobs.len() as u64 {
                violations.push(format!("{prompt}: {} submits of {} jobs: {submits:?}", count("posts"), jobs.len()));
            }
            let known = self.known(prompt);
            if count("accepted") != known {
                violations.push(format!("{prompt}: FAL has {} jobs, of which {known} are known", count("accepted")));
            }
        }
    }

    /// How many jobs of a prompt know their request at FAL.
    fn known(&self, prompt: &str) -> u64 {
        let jobs = self.list("generations", &format!("prompt='{prompt}'"));
        jobs.iter().filter(|job| !text(job, "request_id").is_empty()).count() as u64
    }

    /// Totals and `financial_data` are the ledger's sums.
    fn check_totals(&self, violations: &mut Violations) {
        let ledger = self.list("spend_events", &format!("user_id='{}'", self.user));
        let sum = |name: &str| ledger.iter().map(|row| row[name].as_i64().unwrap_or(0)).sum::<i64>();
        let (micros, images) = (sum("amount_micros"), sum("images"));
        let totals = self.root.get(&format!("/api/collections/spend_totals/records/{}", self.user)).1;
        if !ledger.is_empty() && (totals["spent_micros"].as_i64(), totals["images"].as_i64()) != (Some(micros), Some(images)) {
            violations.push(format!("the ledger says {micros} and {images}, the totals say {totals}"));
        }
        let data = &self.root.get(&format!("/api/collections/generatio_users/records/{}", self.user)).1["financial_data"];
        let spent = data["total_spent"].as_f64().map_or(-1, |dollars| (dollars * 1e6).round() as i64);
        if spent != micros || data["total_images"].as_i64() != Some(images) {
            violations.push(format!("the ledger says {micros} and {images}, the user's record says {data}"));
        }
    }

    fn jobs(&self, order: &Order) -> Vec<Value> {
        self.list("generations", &format!("idempotency_key='{}'", order.key))
    }

    /// The word of the state that an order's job is in.
    pub fn state_of(&self, order: &Order) -> String {
        self.jobs(order).first().map(|job| text(job, "status").to_owned()).unwrap_or_default()
    }

    fn list(&self, collection: &str, filter: &str) -> Vec<Value> {
        let filter: String = filter.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut all = Vec::new();
        loop {
            let page = all.len() / 500 + 1;
            let (status, found) =
                self.root.get(&format!("/api/collections/{collection}/records?perPage=500&page={page}&sort=id&filter={filter}"));
            assert_eq!(status, 200, "{collection}: {found}");
            let items = found["items"].as_array().cloned().unwrap_or_default();
            let last = items.len() < 500;
            all.extend(items);
            if last {
                return all;
            }
        }
    }

    fn submits(&self, prompt: &str) -> Vec<Value> {
        let prompt: String = prompt.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.simulator(&format!("/_sim/submits?prompt={prompt}"))["submits"].as_array().cloned().unwrap_or_default()
    }

    /// How many jobs FAL has of an order's prompt.
    pub fn accepted(&self, order: &Order) -> u64 {
        self.submits(text(&order.body, "prompt")).iter().map(|submit| submit["accepted"].as_u64().unwrap_or(0)).sum()
    }
}

pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
