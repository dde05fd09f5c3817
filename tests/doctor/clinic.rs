//! Deployments to look at, and what the doctor says of them.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::pocketbase::{EMAIL, PASSWORD, PocketBase};
use crate::support::rest::Rest;
use crate::support::upstream::Upstream;

pub const OLDEST: &str = "0.23.12";
pub const NEWEST: &str = "0.40.6";

/// A deployment, well until something is done to it.
pub struct Clinic {
    pub pocketbase: PocketBase,
    pub fal: Upstream,
}

/// What the doctor said.
pub struct Said {
    pub status: i32,
    pub answer: Value,
}

impl Clinic {
    pub fn on(release: &str) -> Self {
        let clinic = Self { pocketbase: PocketBase::with_store_of(release), fal: Upstream::ok() };
        let trusted = clinic.superuser().made("/api/generatio/repair", &json!({"trust_x_real_ip": true}));
        assert_eq!(trusted["problems"], json!([]));
        clinic
    }

    pub fn superuser(&self) -> Rest {
        self.pocketbase.superuser()
    }

    /// The doctor's answer with the right credentials and these flags.
    pub fn doctor(&self, flags: &[&str]) -> Said {
        self.doctor_with(PASSWORD, flags)
    }

    pub fn doctor_with(&self, password: &str, flags: &[&str]) -> Said {
        let flags = [&["--pocketbase-email", EMAIL, "--pocketbase-password", password], flags].concat();
        doctor(self.pocketbase.address, self.fal.address, &flags)
    }

    /// Changes one collection of PocketBase's as an administrator would.
    pub fn change(&self, collection: &str, change: impl Fn(&mut Value)) {
        let superuser = self.superuser();
        let path = format!("/api/collections/{collection}");
        let mut there = superuser.get(&path).1;
        change(&mut there);
        let (status, said) = superuser.patch(&path, &there);
        assert_eq!(status, 200, "{said}");
    }

    pub fn user(&self, email: &str) -> String {
        let account = json!({"email": email, "password": "12345678", "passwordConfirm": "12345678"});
        Rest::new(self.pocketbase.address).row("generatio_users", &account)
    }
}

pub fn doctor(pocketbase: SocketAddr, fal: SocketAddr, flags: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_generatio"));
    command.args(["doctor", "--json", "--pocketbase-url", &format!("http://{pocketbase}")]);
    // A flag goes before a variable.
    for part in ["QUEUE", "REST", "API"] {
        command.env(format!("GENERATIO_FAL_{part}_URL"), format!("http://{fal}/{part}"));
    }
    let output = command.args(flags).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answer = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    assert!(!text.contains(PASSWORD), "{text}");
    Said { status: output.status.code().unwrap(), answer }
}

impl Said {
    /// The line of one check.
    pub fn line(&self, name: &str) -> &Value {
        let mut lines = self.answer["checks"].as_array().unwrap().iter();
        lines.find(|line| line["name"] == name).unwrap_or_else(|| panic!("no {name} in {}", self.answer))
    }

    /// Names of the lines with this status.
    pub fn named(&self, status: &str) -> Vec<&str> {
        let lines = self.answer["checks"].as_array().unwrap().iter();
        lines.filter(|line| line["status"] == status).map(|line| line["name"].as_str().unwrap()).collect()
    }

    /// What was mended.
    pub fn done(&self) -> &Vec<Value> {
        self.answer["done"].as_array().unwrap()
    }

    /// This line alone is broken; it holds these words, and says what to do.
    pub fn is_broken_in(&self, name: &str, words: &[&str]) {
        assert_eq!((self.status, self.named("broken")), (1, vec![name]), "{:#}", self.answer);
        self.says(name, words);
    }

    /// The same for a warning.
    pub fn warns_of(&self, name: &str, words: &[&str]) {
        assert_eq!((self.status, self.named("broken"), self.named("warning")), (2, vec![], vec![name]), "{:#}", self.answer);
        self.says(name, words);
    }

    fn says(&self, name: &str, words: &[&str]) {
        let line = self.line(name);
        for word in words {
            assert!(line.to_string().contains(word), "{word} is not in {line}");
        }
        assert!(line["do"].as_str().is_some_and(|remedy| !remedy.is_empty()), "what is to be done? {line}");
    }

    pub fn is_well(&self) {
        assert_eq!((self.status, self.named("broken"), self.named("warning")), (0, vec![], vec![]), "{:#}", self.answer);
    }
}

/// A module of tests for each scenario, on the oldest release and on the newest.
macro_rules! on_oldest_and_newest {
    ($($scenario:ident;)*) => {$(
        mod $scenario {
            #[test] fn on_the_oldest() { super::$scenario(crate::clinic::OLDEST); }
            #[test] fn on_the_newest() { super::$scenario(crate::clinic::NEWEST); }
        }
    )*};
}
pub(crate) use on_oldest_and_newest;
