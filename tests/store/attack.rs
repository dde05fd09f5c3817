//! An ordinary user against the store: whatever is tried, nothing beyond the table changes and no secret is told.

mod attempts;
mod reading;
mod spelling;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::schema::OURS;
use crate::store::{NEWEST, OLDEST, Person, Store};
use crate::support::Sidecar;
use crate::support::pocketbase::PocketBase;
use crate::support::rest::Rest;
use attempts::Attempt;

/// What an attacker must never be told: their own sealed token, and anything of the victim.
const SECRETS: [&str; 4] = ["sealed-of-ann", "sealed-of-bob", "secret-of-bob", "bob@example.com"];

/// Ann attacks, Bob is the victim; both have a row of everything.
pub struct Scene {
    pub store: Store,
    pub ann: Person,
    pub bob: Person,
    /// Rows of Ann and of Bob by collection.
    pub rows: BTreeMap<&'static str, [String; 2]>,
}

impl Scene {
    fn on(store: Store) -> Self {
        let [ann, bob] = ["ann@example.com", "bob@example.com"].map(|email| store.person(email));
        let mut rows = BTreeMap::from([("generatio_users", [ann.id.clone(), bob.id.clone()])]);
        let mut insert = |collection: &'static str, make: &dyn Fn(&Person, &str) -> Value| {
            let made = [(&ann, "ann"), (&bob, "bob")].map(|(person, name)| store.superuser.row(collection, &make(person, name)));
            rows.insert(collection, made);
        };
        insert("folders", &|owner, name| json!({"user_id": owner.id, "name": format!("secret-of-{name}")}));
        insert("images", &|owner, name| {
            json!({"user_id": owner.id, "prompt": format!("secret-of-{name}"), "title": format!("secret-of-{name}"),
            "url": "/api/files/x", "request_id": "r", "model": "m", "batch_number": 1, "image_size": {"width": 8},
            "other_info": {"note": format!("secret-of-{name}")}, "job_id": "job", "cost_micros": 3_000})
        });
        insert(
            "model_preferences",
            &|owner, name| json!({"user_id": owner.id, "model_name": "m", "preferences": {"note": format!("secret-of-{name}")}}),
        );
        insert("generations", &|owner, name| {
            json!({"user_id": owner.id, "status": "queued", "prompt": format!("secret-of-{name}"),
            "status_url": format!("https://queue.fal.run/sealed-of-{name}"), "key_fingerprint": format!("sealed-of-{name}"),
            "idempotency_key": format!("sealed-of-{name}"), "seed": format!("sealed-of-{name}"), "work": {"note": format!("sealed-of-{name}")}})
        });
        insert(
            "spend_events",
            &|owner, name| json!({"user_id": owner.id, "job_id": format!("secret-of-{name}"), "kind": "charge", "amount_micros": 3_000, "images": 1}),
        );
        for (person, name) in [(&ann, "ann"), (&bob, "bob")] {
            let path = format!("/api/collections/generatio_users/records/{}", person.id);
            let preferences = &rows["model_preferences"][usize::from(name == "bob")];
            let sealed = json!({"fal_token": format!("sealed-of-{name}"), "model_preferences": [preferences]});
            assert_eq!(store.superuser.patch(&path, &sealed).0, 200);
        }
        rows.insert("spend_totals", [ann.id.clone(), bob.id.clone()]);
        let batch = store.superuser.rows("generatio_meta").into_iter().find(|row| row["key"] == "batch").unwrap();
        let remembered = batch["id"].as_str().unwrap().to_owned();
        rows.insert("generatio_meta", [remembered.clone(), remembered]);
        Self { store, ann, bob, rows }
    }

    /// Everything that Ann may not change. What she may change of her own is left out.
    fn guarded(&self) -> Vec<(&'static str, Vec<Value>)> {
        OURS.iter().map(|name| (*name, self.guarded_rows(name))).collect()
    }

    fn guarded_rows(&self, collection: &str) -> Vec<Value> {
        let own: &[&str] = match collection {
            "images" => &["title", "folder_id", "deleted_at", "updated"],
            "folders" => &["name", "parent_id", "private", "deleted_at", "updated"],
            "generatio_users" => &["updated"],
            _ => &[],
        };
        let mut rows = self.store.superuser.rows(collection);
        for row in rows.iter_mut().filter(|row| row["user_id"] == self.ann.id || row["id"] == self.ann.id) {
            own.iter().for_each(|field| _ = row[*field].take());
        }
        rows
    }
}

/// Runs every attempt through `front`. Prints the table of attempts and answers.
fn attack(scene: &Scene, front: SocketAddr, attempts: &[Attempt]) {
    let ann = Rest::new(front).with_token(scene.ann.rest.token());
    let mut table = BTreeMap::<String, BTreeMap<u16, usize>>::new();
    let before = scene.guarded();
    // Looked at after every few; those few are then named.
    for few in attempts.chunk_by(|one, next| one.collection == next.collection).flat_map(|same| same.chunks(25)) {
        for attempt in few {
            let (status, answer) = ann.send(attempt.method, &attempt.path, &attempt.content_type, &attempt.body);
            let told = answer.to_string();
            assert!((200..500).contains(&status), "{}: {status} {told}", attempt.shown());
            assert!(!SECRETS.iter().any(|secret| told.contains(secret) && !attempt.tells(secret)), "{}\n{told}", attempt.shown());
            *table.entry(attempt.what.clone()).or_default().entry(status).or_default() += 1;
        }
        let was = &before.iter().find(|(name, _)| *name == few[0].collection).unwrap().1;
        assert_eq!(&scene.guarded_rows(few[0].collection), was, "{}", few.iter().map(Attempt::shown).collect::<Vec<_>>().join("\n"));
    }
    assert_eq!(scene.guarded(), before);
    println!("{} attempts; what was tried, and how often it was answered how:", attempts.len());
    table.iter().for_each(|(what, answers)| println!("  {what:<64} {answers:?}"));
}

fn attack_directly(release: &str) {
    let scene = Scene::on(Store::on(release));
    let all = attempts::all(&scene);
    assert!(all.len() > 1_500, "{} attempts", all.len());
    attack(&scene, scene.store.pocketbase.address, &all);
    reading::side_channels(&scene, scene.store.pocketbase.address);
    reading::realtime(&scene, scene.store.pocketbase.address);
}

#[test]
fn nothing_can_be_written_or_read_beyond_the_table_on_the_oldest() {
    attack_directly(OLDEST);
}

#[test]
fn nothing_can_be_written_or_read_beyond_the_table_on_the_newest() {
    attack_directly(NEWEST);
}

#[test]
fn nothing_can_be_written_or_read_beyond_the_table_through_the_sidecar() {
    let scene = Scene::on(Store::on(NEWEST));
    let sidecar = Sidecar::start(scene.store.pocketbase.address, &[]);
    attack(&scene, sidecar.address, &attempts::all(&scene));
    reading::side_channels(&scene, sidecar.address);
    reading::realtime(&scene, sidecar.address);
}

/// The operator had batches open to users: the rules and the hooks hold in there too.
fn attack_by_batch(release: &str) {
    let mut pocketbase = PocketBase::of(release);
    assert_eq!(pocketbase.superuser().patch("/api/settings", &json!({"batch": {"enabled": true}})).0, 200);
    pocketbase.install();
    pocketbase.restart();
    let scene = Scene::on(Store::of(pocketbase));
    attack(&scene, scene.store.pocketbase.address, &attempts::batches(&scene));
}

#[test]
fn nothing_can_be_written_by_open_batches_on_the_oldest() {
    attack_by_batch(OLDEST);
}

#[test]
fn nothing_can_be_written_by_open_batches_on_the_newest() {
    attack_by_batch(NEWEST);
}

/// The rules alone, as they live in the database, and the hooks alone, behind rules that an administrator opened.
fn each_lock_holds_alone(release: &str) {
    let mut scene = Scene::on(Store::on(release));
    scene.store.pocketbase.remove_hooks();
    scene.store.pocketbase.restart();
    attack(&scene, scene.store.pocketbase.address, &attempts::all(&scene));

    scene.store.pocketbase.install_hooks();
    scene.store.pocketbase.restart();
    for collection in ["images", "folders", "generatio_users"] {
        let open = json!({"updateRule": "@request.auth.id != ''"});
        assert_eq!(scene.store.superuser.patch(&format!("/api/collections/{collection}"), &open).0, 200);
    }
    let updates: Vec<Attempt> = attempts::all(&scene).into_iter().filter(|each| each.method == "PATCH" && each.is_own).collect();
    attack(&scene, scene.store.pocketbase.address, &updates);
}

#[test]
fn the_rules_hold_without_hooks_and_the_hooks_without_rules_on_the_oldest() {
    each_lock_holds_alone(OLDEST);
}

#[test]
fn the_rules_hold_without_hooks_and_the_hooks_without_rules_on_the_newest() {
    each_lock_holds_alone(NEWEST);
}

/// PocketBase keeps ids apart among auth collections, but a deleted user's id is free again: who takes it elsewhere is nobody here.
#[test]
fn a_namesake_of_a_deleted_user_in_another_collection_is_a_stranger() {
    for release in [OLDEST, NEWEST] {
        let scene = Scene::on(Store::on(release));
        assert_eq!(scene.bob.rest.delete(&format!("/api/collections/generatio_users/records/{}", scene.bob.id)).0, 204);
        let nobody = Rest::new(scene.store.pocketbase.address);
        let account = json!({"id": scene.bob.id, "email": "eve@example.com", "password": "12345678", "passwordConfirm": "12345678"});
        assert_eq!(nobody.post("/api/collections/generatio_users/records", &account).0, if release == OLDEST { 403 } else { 400 });
        nobody.row("users", &account);
        let eve = nobody.as_user("users", "eve@example.com", "12345678");
        let before = scene.guarded();
        assert_eq!(scene.store.superuser.rows("spend_events").len(), 2, "the ledger remembers Bob");
        for collection in OURS {
            let path = format!("/api/collections/{collection}/records");
            let (_, listed) = eve.get(&path);
            assert!(listed["totalItems"].as_u64().unwrap_or(0) == 0, "{release} {collection}: {listed}");
            let made = eve.post(&path, &json!({"user_id": scene.bob.id, "name": "eve", "model_name": "m"}));
            assert!([400, 403].contains(&made.0), "{release} {collection}: {made:?}");
        }
        assert_eq!(scene.guarded(), before);
    }
}
