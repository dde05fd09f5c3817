//! Calls that meet: whatever the order, what is stored opens with the password of a call that was answered with success, or is gone.

use std::sync::Barrier;
use std::thread;

use generatio::vault::Method;
use serde_json::json;

use crate::stage::{Person, Stage, USERS};

/// Users at once, and rounds for each.
const USERS_AT_ONCE: usize = 16;
const ROUNDS: usize = 3;

/// A password and the key that it must open.
type Sealed = Option<(String, String)>;

/// One side of a race: the status of its answer.
type Call<'a> = Box<dyn Fn() -> u16 + Send + Sync + 'a>;

/// Both at once; the second with a head start for the first that grows with the round.
fn both(first: &Call<'_>, second: &Call<'_>, round: usize) -> (u16, u16) {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            start.wait();
            // Not for luck: another order of the same two calls in each round.
            thread::sleep(std::time::Duration::from_millis(15 * round as u64));
            second()
        });
        start.wait();
        let status = first();
        (status, other.join().unwrap())
    })
}

fn set_up<'a>(stage: &'a Stage, person: &'a Person, password: &'a str, key: &'a str) -> Call<'a> {
    Box::new(move || stage.setup(person, key, password).status)
}

fn change<'a>(stage: &'a Stage, person: &'a Person, old: &'a str, new: &'a str) -> Call<'a> {
    let body = json!({"old_password": old, "new_password": new});
    Box::new(move || stage.ask("POST", "/api/custom/tokens/change-password").by(person).json(&body).send().status)
}

fn delete<'a>(stage: &'a Stage, person: &'a Person) -> Call<'a> {
    Box::new(move || stage.ask("DELETE", "/api/custom/tokens").by(person).send().status)
}

fn unlock<'a>(stage: &'a Stage, person: &'a Person, password: &'a str) -> Call<'a> {
    let body = json!({"password": password});
    Box::new(move || stage.ask("POST", "/api/custom/auth/create-session").by(person).json(&body).send().status)
}

fn pass<'a>(stage: &'a Stage, person: &'a Person, new: &'a str) -> Call<'a> {
    let body = json!({"oldPassword": person.password, "password": new, "passwordConfirm": new});
    let path = format!("{USERS}/records/{}", person.id);
    Box::new(move || stage.ask("PATCH", &path).by(person).json(&body).send().status)
}

/// Runs a race for many users at once. `prepare` gives the key that is stored before each round, `round` what may be stored after it.
fn race(
    prepare: impl Fn(&Stage, &Person) -> String + Sync,
    round: impl Fn(&Stage, &mut Person, &str, usize) -> Vec<Sealed> + Sync,
) -> Stage {
    let stage = Stage::new();
    thread::scope(|scope| {
        for _ in 0..USERS_AT_ONCE {
            scope.spawn(|| {
                let mut person = stage.person();
                for number in 0..ROUNDS {
                    let key = prepare(&stage, &person);
                    let allowed = round(&stage, &mut person, &key, number);
                    let holds = |sealed: &Sealed| match sealed {
                        None => stage.seal(&person).is_empty(),
                        Some((password, key)) => stage.opened(&person, password).as_ref() == Some(key),
                    };
                    let shown: Vec<_> = allowed.iter().map(|sealed| sealed.as_ref().map(|(password, _)| password)).collect();
                    assert!(allowed.iter().any(holds), "round {number}: {:?} does not hold {shown:?}", stage.seal(&person));
                }
            });
        }
    });
    stage.assert_secrets_are_kept();
    stage
}

/// A key under the person's own password.
fn own(stage: &Stage, person: &Person) -> String {
    let key = format!("{}:the-first-key", person.id);
    stage.setup(person, &key, &person.password).expect(200);
    key
}

/// The same as the former extension sealed it.
fn former(stage: &Stage, person: &Person) -> String {
    stage.seal_elsewhere(person, Method::Former)
}

fn sealed(password: &str, key: &str) -> Sealed {
    Some((password.to_owned(), key.to_owned()))
}

/// The person after their password was changed, once nobody works on their seal any more.
fn settled(stage: &Stage, person: &mut Person, new: String) {
    person.password = new;
    stage.sign_in(person);
    let busy =
        || stage.ask("POST", "/api/custom/tokens/verify").by(person).json(&json!({"password": person.password})).send().status == 503;
    crate::support::until("the user's lock is free", || !busy());
}

fn wish(person: &Person, number: usize) -> (String, String) {
    (format!("password {number} of {}", person.id), format!("{}:key-{number}", person.id))
}

#[test]
fn two_setups() {
    race(own, |stage, ann, _, round| {
        let (one, two) = (wish(ann, 1), wish(ann, 2));
        let statuses = both(&set_up(stage, ann, &one.0, &one.1), &set_up(stage, ann, &two.0, &two.1), round);
        match statuses {
            (200, 200) => vec![Some(one), Some(two)],
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_setup_and_a_change_of_its_password() {
    race(own, |stage, ann, key, round| {
        let (one, two) = (wish(ann, 1), wish(ann, 2));
        let statuses = both(&change(stage, ann, &ann.password, &one.0), &set_up(stage, ann, &two.0, &two.1), round);
        match statuses {
            (200 | 401, 200) => vec![Some(two)],
            (200, 503) => vec![sealed(&one.0, key)],
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_renewal_and_a_deletion() {
    let stage = race(former, |stage, ann, _, round| {
        let statuses = both(&unlock(stage, ann, &ann.password), &delete(stage, ann), round);
        match statuses {
            (200 | 400, 200) => vec![None],
            other => panic!("{other:?}"),
        }
    });
    let sessions = stage.ask("GET", "/api/custom/status").send().expect(200)["services"]["sessions"]["active"].clone();
    assert_eq!(sessions, 0, "no session outlives its key");
}

#[test]
fn a_password_change_in_passing_and_a_setup() {
    race(own, |stage, ann, key, round| {
        let (new, other) = (stage.secret(&format!("new {round} of {}", ann.id)), wish(ann, 3));
        let statuses = both(&pass(stage, ann, &new), &set_up(stage, ann, &other.0, &other.1), round * 5);
        settled(stage, ann, new.clone());
        match statuses {
            (200, 200) => vec![Some(other)],
            // The change had ended the token.
            (200, 401) => vec![sealed(&new, key)],
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_password_change_in_passing_and_a_deletion() {
    race(own, |stage, ann, key, round| {
        let new = stage.secret(&format!("new {round} of {}", ann.id));
        let statuses = both(&pass(stage, ann, &new), &delete(stage, ann), round * 5);
        settled(stage, ann, new.clone());
        match statuses {
            (200, 200) => vec![None],
            (200, 401) => vec![sealed(&new, key)],
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_password_change_in_passing_and_a_session() {
    race(own, |stage, ann, key, round| {
        let new = stage.secret(&format!("new {round} of {}", ann.id));
        let (changed, _) = both(&pass(stage, ann, &new), &unlock(stage, ann, &ann.password), round * 5);
        assert_eq!(changed, 200);
        settled(stage, ann, new.clone());
        crate::support::until("no session has outlived the password", || !stage.has_session(ann));
        vec![sealed(&new, key)]
    });
}

#[test]
fn sixteen_setups_of_one_user() {
    let stage = Stage::new();
    let (ann, _) = stage.person_with_key();
    for round in 0..ROUNDS {
        let wishes: Vec<_> =
            (0..16).map(|number| (format!("password {round} {number}"), format!("{}:key-{round}-{number}", ann.id))).collect();
        let statuses: Vec<u16> = thread::scope(|scope| {
            let calls: Vec<_> = wishes.iter().map(|(password, key)| scope.spawn(|| stage.setup(&ann, key, password).status)).collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        let acknowledged = wishes.iter().zip(&statuses).filter(|(_, status)| **status == 200).map(|(wish, _)| wish);
        let opening: Vec<_> = acknowledged.filter(|(password, key)| stage.opened(&ann, password).as_ref() == Some(key)).collect();
        assert_eq!(opening.len(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    }
    stage.assert_secrets_are_kept();
}
