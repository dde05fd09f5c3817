//! `generatio fal-sim` as a process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A running simulator; killed when dropped.
pub struct Simulator {
    pub url: String,
    child: Child,
}

impl Simulator {
    /// One whose requests take no time to speak of.
    pub fn quick() -> Self {
        Self::start(&["--queue-delay", "10ms", "--run-time", "20ms"])
    }

    pub fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_generatio"))
            .args(["fal-sim", "--listen", "127.0.0.1:0", "--concurrency", "1000", "--balance", "100000"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let url = lines.next().unwrap().strip_prefix("FAL simulator listening on ").unwrap().to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        Self { url, child }
    }

    /// The sidecar's flags that make this its FAL.
    pub fn flags(&self) -> [String; 8] {
        let part = |name: &str| format!("{}/{name}", self.url);
        [
            "--fal-queue-url",
            &part("queue"),
            "--fal-rest-url",
            &part("rest"),
            "--fal-api-url",
            &part("api"),
            "--fal-media-hosts",
            "127.0.0.1",
        ]
        .map(str::to_owned)
    }

    /// What `/_sim/…` says.
    pub async fn ask(&self, path: &str) -> Value {
        reqwest::get(format!("{}/_sim/{path}", self.url)).await.unwrap().json().await.unwrap()
    }

    /// How often an input with exactly this prompt came, and how often it became a job.
    pub async fn submits(&self, prompt: &str) -> (u64, u64) {
        let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("prompt", prompt).finish();
        let found = self.ask(&format!("submits?{query}")).await;
        let sum = |name: &str| found["submits"].as_array().unwrap().iter().map(|submit| submit[name].as_u64().unwrap()).sum();
        (sum("posts"), sum("accepted"))
    }

    /// Turns knobs for one key from now on.
    pub async fn set_faults(&self, key: &str, faults: &[&str]) {
        let body = json!({ "key": key, "faults": faults });
        let answer = reqwest::Client::new().put(format!("{}/_sim/accounts", self.url)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
