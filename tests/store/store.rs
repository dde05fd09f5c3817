//! A PocketBase with our store, and people in it.

use serde_json::{Value, json};

use crate::support::pocketbase::PocketBase;
use crate::support::rest::Rest;

/// The oldest release that we stand behind, and the newest.
pub const OLDEST: &str = "0.23.12";
pub const NEWEST: &str = "0.40.6";

pub struct Store {
    pub pocketbase: PocketBase,
    pub superuser: Rest,
}

/// Someone who has signed up and in.
pub struct Person {
    pub id: String,
    pub rest: Rest,
}

impl Store {
    pub fn on(release: &str) -> Self {
        Self::of(PocketBase::with_store_of(release))
    }

    pub fn of(pocketbase: PocketBase) -> Self {
        let superuser = pocketbase.superuser();
        Self { pocketbase, superuser }
    }

    pub fn person(&self, email: &str) -> Person {
        let nobody = Rest::new(self.pocketbase.address);
        let password = "12345678";
        let id = nobody.row("generatio_users", &json!({"email": email, "password": password, "passwordConfirm": password}));
        Person { id, rest: nobody.as_user("generatio_users", email, password) }
    }

    /// A folder made by its owner.
    pub fn folder(&self, owner: &Person, name: &str, parent: &str) -> String {
        owner.rest.row("folders", &json!({"name": name, "user_id": owner.id, "parent_id": parent}))
    }

    /// An image as a settlement leaves it.
    pub fn image(&self, owner: &Person, folder: &str) -> String {
        let image =
            json!({"user_id": owner.id, "folder_id": folder, "prompt": "a cat", "url": "/api/files/x", "job_id": "job", "cost_micros": 1});
        self.superuser.row("images", &image)
    }

    /// One row as a superuser sees it.
    pub fn row(&self, collection: &str, id: &str) -> Value {
        let (status, found) = self.superuser.get(&format!("/api/collections/{collection}/records/{id}"));
        assert_eq!(status, 200, "{collection}/{id}: {found}");
        found
    }

    /// One of the superuser's routes.
    pub fn call(&self, route: &str, body: &Value) -> (u16, Value) {
        self.superuser.post(&format!("/api/generatio/{route}"), body)
    }
}

/// The code under a field of a refusal.
pub fn code<'a>(answer: &'a (u16, Value), field: &str) -> (u16, &'a str) {
    (answer.0, answer.1["data"][field]["code"].as_str().unwrap_or("none"))
}

/// One batch that settles a job.
pub fn settlement(user: &str, job: &str, micros: u64) -> Value {
    json!({"requests": [
        {"method": "POST", "url": "/api/collections/spend_events/records",
            "body": {"user_id": user, "job_id": job, "kind": "charge", "amount_micros": micros, "images": 1, "model": "flux/schnell"}},
        {"method": "PATCH", "url": format!("/api/collections/spend_totals/records/{user}"), "body": {"spent_micros+": micros, "images+": 1}},
    ]})
}

/// A module of tests for each scenario, on the oldest release and on the newest.
macro_rules! on_oldest_and_newest {
    ($($scenario:ident;)*) => {$(
        mod $scenario {
            #[test] fn on_the_oldest() { super::$scenario(crate::store::OLDEST); }
            #[test] fn on_the_newest() { super::$scenario(crate::store::NEWEST); }
        }
    )*};
}
pub(crate) use on_oldest_and_newest;
