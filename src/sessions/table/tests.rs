//! What the table of sessions promises.

use super::*;
use crate::vault::graveyard;

const LIMITS: Limits = Limits { lifetime: Duration::from_secs(100), per_user: 5, total: 20 };

fn user(number: usize) -> UserId {
    format!("user{number:011}").parse().unwrap()
}

fn key(number: usize) -> Arc<Opened> {
    Arc::new(Opened::parse(format!("key-{number:011}")).unwrap())
}

fn sessions() -> Sessions<&'static str> {
    Sessions::new(LIMITS)
}

fn open(sessions: &Sessions<&'static str>, number: usize, now: Instant) -> SessionId {
    sessions.open(user(number), key(number), Arc::new("witness"), now, Timestamp::UNIX_EPOCH).0
}

/// Which key a session lends.
fn lent(sessions: &Sessions<&'static str>, id: &SessionId, number: usize, now: Instant) -> Result<String, NotYours> {
    sessions.find(id, user(number), now).map(|session| session.key.expose().to_owned())
}

#[test]
fn a_session_lends_its_key_to_its_user_alone() {
    let (sessions, now) = (sessions(), Instant::now());
    let (one, other) = (open(&sessions, 1, now), open(&sessions, 2, now));
    assert_eq!(lent(&sessions, &one, 1, now), Ok("key-00000000001".into()));
    assert_eq!(lent(&sessions, &other, 1, now), Err(NotYours::Foreign));
    assert_eq!(lent(&sessions, &SessionId::fresh(), 1, now), Err(NotYours::Missing));
    assert_eq!((sessions.end(&other, user(1), now), sessions.end(&one, user(1), now)), (Err(NotYours::Foreign), Ok(())));
    assert_eq!(sessions.end(&one, user(1), now), Err(NotYours::Missing));
}

#[test]
fn a_session_ends_with_its_lifetime_however_often_it_is_used() {
    let (sessions, start) = (sessions(), Instant::now());
    let clock = "2026-11-20T12:00:00Z".parse().unwrap();
    let (id, expires) = sessions.open(user(1), key(1), Arc::new(""), start, clock);
    assert_eq!(expires.to_string(), "2026-11-20T12:01:40Z");
    let (before, after) = (start + Duration::from_secs(99), start + LIMITS.lifetime);
    assert!(lent(&sessions, &id, 1, before).is_ok() && sessions.has_session(user(1), before));
    assert_eq!(sessions.statistics(after), Statistics { active: 0, total: 1 });
    assert!(!sessions.has_session(user(1), after) && sessions.key_of(user(1), after).is_none());
    assert_eq!(lent(&sessions, &id, 1, after), Err(NotYours::Missing));
    assert_eq!(sessions.statistics(after), Statistics { active: 0, total: 0 });
}

#[test]
fn the_sweep_ends_what_has_expired_and_nothing_else() {
    let (sessions, start) = (sessions(), Instant::now());
    let later = start + Duration::from_secs(50);
    open(&sessions, 1, start);
    let young = open(&sessions, 2, later);
    assert_eq!((sessions.sweep(later), sessions.sweep(start + LIMITS.lifetime)), (0, 1));
    assert!(sessions.users() == [user(2)] && lent(&sessions, &young, 2, later).is_ok());
}

#[test]
fn a_users_sixth_session_ends_the_first() {
    let (sessions, now) = (sessions(), Instant::now());
    let stranger = open(&sessions, 2, now);
    let ids: Vec<SessionId> = (0..6).map(|_| open(&sessions, 1, now)).collect();
    let found: Vec<bool> = ids.iter().map(|id| lent(&sessions, id, 1, now).is_ok()).collect();
    assert_eq!(found, [false, true, true, true, true, true]);
    assert!(lent(&sessions, &stranger, 2, now).is_ok());
}

#[test]
fn an_expired_session_makes_room_before_an_open_one() {
    let (sessions, start) = (sessions(), Instant::now());
    open(&sessions, 1, start);
    let later = start + Duration::from_secs(60);
    let ids: Vec<SessionId> = (0..4).map(|_| open(&sessions, 1, later)).collect();
    open(&sessions, 1, start + LIMITS.lifetime);
    assert!(ids.iter().all(|id| lent(&sessions, id, 1, later).is_ok()));
}

#[test]
fn a_full_table_admits_everybody_and_lets_the_least_used_go() {
    let (sessions, now) = (sessions(), Instant::now());
    let ids: Vec<SessionId> = (0..20).map(|number| open(&sessions, number, now)).collect();
    assert!(lent(&sessions, &ids[0], 0, now).is_ok());
    for number in 20..29 {
        let new = open(&sessions, number, now);
        assert!(lent(&sessions, &new, number, now).is_ok(), "a new session was refused");
    }
    let gone: Vec<usize> = (0..20).filter(|number| lent(&sessions, &ids[*number], *number, now).is_err()).collect();
    assert_eq!(gone, (1..10).collect::<Vec<_>>());
    assert_eq!(sessions.statistics(now), Statistics { active: 20, total: 20 });
    let table = sessions.table.lock();
    assert_eq!((table.by_use.len(), table.by_user.len()), (20, 20));
}

#[test]
fn ending_a_user_ends_all_of_theirs_and_leaves_nothing_behind() {
    let (sessions, now) = (sessions(), Instant::now());
    let ids: Vec<SessionId> = (0..3).map(|_| open(&sessions, 1, now)).collect();
    open(&sessions, 2, now);
    assert_eq!(
        (
            sessions.end_user(user(1), Ending::KeyDeleted),
            sessions.end_user(user(1), Ending::KeyDeleted),
            sessions.end_user(user(2), Ending::KeyDeleted)
        ),
        (3, 0, 1)
    );
    assert!(ids.iter().all(|id| lent(&sessions, id, 1, now) == Err(NotYours::Missing)));
    let table = sessions.table.lock();
    assert!(table.sessions.is_empty() && table.by_user.is_empty() && table.by_use.is_empty());
}

#[test]
fn a_replaced_key_reaches_every_open_session_of_its_user() {
    let (sessions, now) = (sessions(), Instant::now());
    let ids = [open(&sessions, 1, now), open(&sessions, 1, now)];
    let other = open(&sessions, 2, now);
    let running = sessions.find(&ids[0], user(1), now).unwrap().key;
    sessions.replace_key(user(1), &key(7));
    assert!(ids.iter().all(|id| lent(&sessions, id, 1, now) == Ok("key-00000000007".into())));
    assert_eq!(sessions.key_of(user(1), now).unwrap().expose(), "key-00000000007");
    assert_eq!((running.expose(), lent(&sessions, &other, 2, now)), ("key-00000000001", Ok("key-00000000002".into())));
}

#[test]
fn a_witness_that_fails_ends_the_sessions_it_was_made_for() {
    let (sessions, now) = (sessions(), Instant::now());
    let old = Arc::new("old");
    for witness in [&old, &old, &Arc::new("young")] {
        sessions.open(user(1), key(1), Arc::clone(witness), now, Timestamp::UNIX_EPOCH);
    }
    assert_eq!(sessions.witnesses(user(1)).iter().map(|witness| **witness).collect::<Vec<_>>(), ["old", "young"]);
    assert_eq!((sessions.end_witnessed(user(1), &old), sessions.statistics(now).active), (2, 1));
    assert_eq!(sessions.witnesses(user(1)), [Arc::new("young")]);
}

#[test]
fn a_key_is_zeroed_with_the_last_who_uses_it() {
    let (sessions, now) = (sessions(), Instant::now());
    let id = open(&sessions, 1, now);
    let job = sessions.find(&id, user(1), now).unwrap().key;
    assert!(graveyard::during(|| assert!(sessions.end(&id, user(1), now).is_ok())).is_empty(), "a running job lost its key");
    assert_eq!(graveyard::during(|| drop(job)), [vec![0; 15]]);
    open(&sessions, 1, now);
    assert_eq!(graveyard::during(|| assert_eq!(sessions.end_user(user(1), Ending::KeyDeleted), 1)), [vec![0; 15]]);
}
