//! PocketBase restarts, reloads its hooks and forgets its superuser's tokens while the sidecar writes: nothing is lost, nothing is doubled.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use generatio::config::{Credentials, Superuser};
use generatio::id::UserId;
use generatio::pocketbase::admin::Repeat;
use generatio::pocketbase::batch::Batch;
use generatio::pocketbase::filter::{Comparison, Filter, Query};
use generatio::pocketbase::outage::Outage;
use generatio::pocketbase::rows::{Table, UserRow};
use generatio::pocketbase::{Error, Store};
use serde_json::{Value, json};

use crate::support::pocketbase::{EMAIL, PASSWORD, PocketBase};
use crate::support::rest::Rest;
use crate::support::{Sidecar, until, until_within};

const WORKERS: usize = 8;
const SECOND: (&str, &str) = ("second@example.com", "another horse");

/// One that restarts itself when its hooks change, with a second superuser.
fn pocketbase() -> PocketBase {
    let mut pocketbase = PocketBase::with_store();
    pocketbase.watch_hooks();
    pocketbase.run(&["superuser", "create", SECOND.0, SECOND.1]);
    pocketbase.restart();
    pocketbase
}

/// What an operator does to PocketBase while the sidecar works; in between it works for a while.
fn upheavals(pocketbase: &mut PocketBase, work: &dyn Fn(&str)) {
    work("at first");
    pocketbase.run(&["superuser", "upsert", EMAIL, PASSWORD]);
    work("after the superuser's tokens were forgotten");
    pocketbase.kill();
    pocketbase.serve();
    work("after kill -9 and a start");
    reload_hooks(pocketbase);
    work("after the hooks were loaded anew");
    let second = Rest::new(pocketbase.address).as_superuser(SECOND.0, SECOND.1);
    let id = second.rows("_superusers").into_iter().find(|row| row["email"] == EMAIL).unwrap()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/collections/_superusers/records/{id}");
    assert_eq!(second.patch(&path, &json!({"password": "a third horse", "passwordConfirm": "a third horse"})).0, 200);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(second.patch(&path, &json!({"password": PASSWORD, "passwordConfirm": PASSWORD})).0, 200);
    work("after the superuser's password was another one for two seconds");
    pocketbase.run(&["superuser", "upsert", EMAIL, PASSWORD]);
    reload_hooks(pocketbase);
    work("after both at once");
}

/// It is away for a second, and answers by the new hooks when it is back.
fn reload_hooks(pocketbase: &PocketBase) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let path = format!("/reloaded{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let hook = format!("routerAdd('GET', '{path}', (e) => e.json(200, {{}}))");
    fs::write(pocketbase.hooks().join(format!("{}.pb.js", &path[1..])), hook).unwrap();
    until("the hooks are loaded anew", || pocketbase.answers_at(&path));
}

/// One settlement, told apart by its job.
fn settlement(store: &Store, user: &str, job: &str) -> Batch {
    let event = json!({"user_id": user, "job_id": job, "kind": "charge", "amount_micros": 3, "images": 1, "model": "flux/schnell"});
    let add = json!({"spent_micros+": 3, "images+": 1});
    Batch::default().create(&store.admin, Table::SpendEvents, &event).update(&store.admin, Table::SpendTotals, user, &add)
}

/// A store with the superuser's password, and where its work runs.
fn store(pocketbase: &PocketBase) -> (Arc<Store>, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let credentials: Option<Credentials> = Superuser::with_password(EMAIL, PASSWORD).unwrap().credentials().unwrap();
    let url = format!("http://{}", pocketbase.address).parse().unwrap();
    let store = Arc::new(Store::new(&url, "generatio_users".parse().unwrap(), credentials, Arc::<Outage>::default()));
    let watched = Arc::clone(&store);
    runtime.spawn(async move { watched.watch().await });
    until("the store is ready", || store.readiness.found().is_ok());
    (store, runtime)
}

/// To PocketBase, whoever comes with a token that it forgot is nobody: what nobody may see is not there.
fn a_token_that_was_forgotten_hides_nothing(release: &str) {
    let pocketbase = PocketBase::with_store_of(release);
    let superuser = pocketbase.superuser();
    let account = json!({"email": "ann@example.com", "password": "12345678", "passwordConfirm": "12345678", "fal_token": "sealed.salt"});
    let ann = superuser.row("generatio_users", &account);
    let (store, runtime) = store(&pocketbase);
    let user: UserId = ann.parse().unwrap();
    let forget = || pocketbase.run(&["superuser", "upsert", EMAIL, PASSWORD]);
    for _ in 0..2 {
        let found = runtime.block_on(store.admin.get::<UserRow>(user)).unwrap();
        assert_eq!(found.map(|row| row.fal_token).as_deref(), Some("sealed.salt"));
        forget();
    }
    let query = || Query::new(Filter::all().and("id", Comparison::Is, user), "id", 10);
    for _ in 0..2 {
        assert_eq!(runtime.block_on(store.admin.list::<UserRow>(&query())).unwrap().len(), 1);
        forget();
    }
    for number in 0..2 {
        let batch = settlement(&store, &ann, &format!("job-{number}"));
        assert_eq!(runtime.block_on(store.admin.batch(&batch, Repeat::Never)).unwrap().len(), 2);
        forget();
    }
    for name in ["Ann", "Bea"] {
        runtime.block_on(store.admin.update(Table::Users, user, &json!({"name": name}))).unwrap();
        assert_eq!(pocketbase.superuser().get(&format!("/api/collections/generatio_users/records/{ann}")).1["name"], name);
        forget();
    }
    let nobody: UserId = "nobody012345678".parse().unwrap();
    assert!(runtime.block_on(store.admin.get::<UserRow>(nobody)).unwrap().is_none(), "what is not there is not there");
    runtime.shutdown_background();
}

#[test]
fn a_forgotten_token_hides_nothing_on_the_oldest() {
    a_token_that_was_forgotten_hides_nothing("0.23.12");
}

#[test]
fn a_forgotten_token_hides_nothing_on_the_newest() {
    a_token_that_was_forgotten_hides_nothing("0.40.6");
}

#[derive(Default)]
struct Tally {
    settled: AtomicUsize,
    done: AtomicBool,
}

/// Settles one job after the other. A settlement whose outcome is not known is made again: the ledger stands against a second one.
async fn settle(store: Arc<Store>, user: String, worker: usize, tally: Arc<Tally>) -> Vec<String> {
    let mut booked = Vec::new();
    for number in 0.. {
        if tally.done.load(Ordering::Relaxed) {
            break;
        }
        let job = format!("job-{worker}-{number}");
        let batch = settlement(&store, &user, &job);
        loop {
            match store.admin.batch(&batch, Repeat::Harmless).await {
                Ok(_) => break,
                Err(error) if error.refusal().is_some_and(|refusal| refusal.is_not_unique()) => break,
                Err(error) => {
                    let expected = matches!(error, Error::Exchange(_) | Error::Credentials(_) | Error::NotReady(_))
                        || error.refusal().is_some_and(|refusal| refusal.item.is_none() && refusal.fields.is_empty());
                    assert!(expected, "{job}: {error:?}");
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tally.settled.fetch_add(1, Ordering::Relaxed);
        booked.push(job);
    }
    booked
}

#[test]
fn settlements_are_neither_lost_nor_doubled() {
    let mut pocketbase = pocketbase();
    let nobody = Rest::new(pocketbase.address);
    let account = |n: usize| json!({"email": format!("u{n}@example.com"), "password": "12345678", "passwordConfirm": "12345678"});
    let users: Vec<String> = (0..2).map(|n| nobody.row("generatio_users", &account(n))).collect();
    let (store, runtime) = store(&pocketbase);
    let tally = Arc::<Tally>::default();
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| runtime.spawn(settle(Arc::clone(&store), users[worker % users.len()].clone(), worker, Arc::clone(&tally))))
        .collect();
    upheavals(&mut pocketbase, &|when| {
        let before = tally.settled.load(Ordering::Relaxed);
        until_within(Duration::from_secs(30), &format!("work goes on {when}"), || tally.settled.load(Ordering::Relaxed) >= before + 200);
    });
    tally.done.store(true, Ordering::Relaxed);
    let mut booked: Vec<String> = workers.into_iter().flat_map(|worker| runtime.block_on(worker).unwrap()).collect();
    runtime.shutdown_background();

    let superuser = pocketbase.superuser();
    let mut ledger = Vec::new();
    for page in 1.. {
        let (status, found) =
            superuser.get(&format!("/api/collections/spend_events/records?perPage=1000&page={page}&sort=id&fields=job_id"));
        assert_eq!(status, 200);
        let items = found["items"].as_array().unwrap();
        ledger.extend(items.iter().map(|row| row["job_id"].as_str().unwrap().to_owned()));
        if items.len() < 1000 {
            break;
        }
    }
    booked.sort_unstable();
    ledger.sort_unstable();
    assert!(booked.len() > 1_000, "{}", booked.len());
    assert_eq!(ledger, booked);
    let totals: Vec<Value> = users.iter().map(|user| superuser.get(&format!("/api/collections/spend_totals/records/{user}")).1).collect();
    assert_eq!(totals.iter().map(|row| row["images"].as_u64().unwrap()).sum::<u64>(), ledger.len() as u64);
    assert_eq!(superuser.get("/api/generatio/books").1["users"], json!([]), "{totals:?}");
}

/// The answer to one request through the sidecar.
fn stored(user: &Rest, password: &str) -> u16 {
    user.post("/api/custom/tokens/setup", &json!({"fal_token": "0123456789abcdef:0123456789abcdef", "password": password})).0
}

#[test]
fn a_key_that_was_said_to_be_stored_opens_with_its_password() {
    let mut pocketbase = pocketbase();
    let nowhere = ["queue", "rest", "api"].map(|part| format!("--fal-{part}-url=http://127.0.0.1:1"));
    let mut flags = vec!["--pocketbase-email", EMAIL, "--pocketbase-password", PASSWORD, "--kdf-iterations", "100000"];
    flags.extend(nowhere.iter().map(String::as_str));
    let sidecar = Sidecar::start(pocketbase.address, &flags);
    let nobody = Rest::new(sidecar.address);
    let account = |n: usize| json!({"email": format!("u{n}@example.com"), "password": "12345678", "passwordConfirm": "12345678"});
    let users: Vec<Rest> = (0..3)
        .map(|n| {
            nobody.row("generatio_users", &account(n));
            nobody.clone().as_user("generatio_users", &format!("u{n}@example.com"), "12345678")
        })
        .collect();
    let (done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let workers: Vec<_> = users
            .iter()
            .map(|user| {
                let (done, count) = (&done, &count);
                scope.spawn(move || {
                    // Since the last success: one of these is what is stored.
                    let mut possible = Vec::new();
                    for number in 0.. {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        let password = format!("password {number}");
                        let start = Instant::now();
                        match stored(user, &password) {
                            200 => {
                                possible.clear();
                                count.fetch_add(1, Ordering::Relaxed);
                            }
                            503 => {}
                            status => panic!("{status} for {password}"),
                        }
                        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
                        possible.push(password);
                    }
                    possible
                })
            })
            .collect();
        upheavals(&mut pocketbase, &|when| {
            let before = count.load(Ordering::Relaxed);
            until_within(Duration::from_secs(40), &format!("work goes on {when}"), || count.load(Ordering::Relaxed) >= before + 12);
        });
        done.store(true, Ordering::Relaxed);
        for (user, worker) in users.iter().zip(workers) {
            let possible = worker.join().unwrap();
            let opens = |password: &String| {
                let (status, said) = user.post("/api/custom/tokens/verify", &json!({"password": password}));
                assert_eq!((status, &said["has_token"]), (200, &json!(true)), "{said}");
                said["can_decrypt"] == true
            };
            assert_eq!(possible.iter().filter(|password| opens(password)).count(), 1, "{possible:?}");
        }
    });
}
