//! Wrong ones, open ones, and those that wait.

use super::*;

fn user(number: usize) -> UserId {
    format!("user{number:011}").parse().unwrap()
}

fn address(number: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(number).into()
}

fn wrong(attempts: &Attempts, user: UserId, address: IpAddr, now: Instant) -> Result<(), Exceeded> {
    attempts.begin(user, address, now).map(drop)
}

#[test]
fn the_fifth_wrong_attempt_in_a_minute_is_refused_for_a_user_and_says_when_to_come_again() {
    let (attempts, start) = (Attempts::default(), Instant::now());
    for second in 0..4 {
        assert!(wrong(&attempts, user(1), address(u32::try_from(second).unwrap()), start + Duration::from_secs(second)).is_ok());
    }
    let now = start + Duration::from_secs(10);
    assert_eq!(
        wrong(&attempts, user(1), address(99), now),
        Err(Exceeded { limit: Limit::WrongPasswords, retry_after: Duration::from_secs(50) })
    );
    assert!(wrong(&attempts, user(2), address(99), now).is_ok(), "another user from the same address");
    assert!(wrong(&attempts, user(1), address(99), start + Duration::from_secs(59)).is_err());
    assert!(wrong(&attempts, user(1), address(99), start + Duration::from_secs(60)).is_ok(), "the first is over");
    assert!(wrong(&attempts, user(1), address(99), start + Duration::from_secs(60)).is_err(), "the second is not");
}

#[test]
fn the_fifth_wrong_attempt_in_a_minute_is_refused_for_an_address() {
    let (attempts, now) = (Attempts::default(), Instant::now());
    let network = |end: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, end]);
    for number in 0..4 {
        assert!(wrong(&attempts, user(number.into()), network(number), now).is_ok());
    }
    assert!(wrong(&attempts, user(5), network(77), now).is_err(), "the same /64");
    assert!(wrong(&attempts, user(5), IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1]), now).is_ok());
    for number in 10..14 {
        assert!(wrong(&attempts, user(number), IpAddr::from([192, 0, 2, 1]), now).is_ok());
    }
    assert!(wrong(&attempts, user(15), "::ffff:192.0.2.1".parse().unwrap(), now).is_err(), "the same address in other clothes");
}

#[test]
fn a_refused_attempt_does_not_make_the_wait_longer() {
    let (attempts, start) = (Attempts::default(), Instant::now());
    for _ in 0..4 {
        assert!(wrong(&attempts, user(1), address(1), start).is_ok());
    }
    for second in 0..60 {
        assert!(wrong(&attempts, user(1), address(1), start + Duration::from_secs(second)).is_err());
    }
    assert!(wrong(&attempts, user(1), address(1), start + WINDOW).is_ok());
}

#[test]
fn right_attempts_use_nothing_up() {
    let (attempts, now) = (Attempts::default(), Instant::now());
    for _ in 0..100 {
        attempts.begin(user(1), address(1), now).unwrap().forgive();
    }
    assert!(attempts.tables.lock().users.0.is_empty() && attempts.tables.lock().addresses.0.is_empty());
}

#[test]
fn attempts_at_the_same_time_cannot_be_wrong_more_often() {
    let (attempts, now) = (Attempts::default(), Instant::now());
    let mut open: Vec<_> = (0..4).map(|_| attempts.begin(user(1), address(1), now).unwrap()).collect();
    assert_eq!(wrong(&attempts, user(1), address(2), now), Err(Exceeded { limit: Limit::UnlocksAtOnce, retry_after: IN_A_MOMENT }));
    open.remove(0).forgive();
    assert!(wrong(&attempts, user(1), address(2), now).is_ok(), "one of them was right");
    drop(open);
    assert_eq!(wrong(&attempts, user(1), address(3), now), Err(Exceeded { limit: Limit::WrongPasswords, retry_after: WINDOW }));
}

#[test]
fn the_tables_do_not_grow_beyond_their_bound() {
    let (attempts, start) = (Attempts::default(), Instant::now());
    for number in 0..MAX_REMEMBERED + 500 {
        let now = start + Duration::from_millis(u64::try_from(number).unwrap());
        assert!(wrong(&attempts, user(number), address(u32::try_from(number).unwrap()), now).is_ok());
    }
    let tables = attempts.tables.lock();
    assert!(tables.users.0.len() <= MAX_REMEMBERED && tables.addresses.0.len() <= MAX_REMEMBERED);
    assert!(!tables.users.0.contains_key(&user(0)) && tables.users.0.contains_key(&user(MAX_REMEMBERED + 499)));
}

#[tokio::test]
async fn more_at_once_than_may_be_wrong_wait_for_each_other_and_are_let_through_when_those_before_them_are_right() {
    let (attempts, now) = (std::sync::Arc::new(Attempts::default()), Instant::now());
    let mut before: Vec<_> = (0..4).map(|number| attempts.begin(user(number), address(1), now).unwrap()).collect();
    let mut waiting: Vec<_> = (10..10 + MOST_WAITING).map(|number| Box::pin(attempts.in_turn(user(number), address(1), now))).collect();
    for one in &mut waiting {
        assert!(futures_util::poll!(one).is_pending());
    }
    let late = attempts.in_turn(user(99), address(1), now).await.map(drop);
    assert_eq!(late, Err(Exceeded { limit: Limit::UnlocksAtOnce, retry_after: IN_A_MOMENT }), "one more than may wait");
    attempts.in_turn(user(99), address(2), now).await.expect("a place, from elsewhere").forgive();
    before.drain(..).for_each(Attempt::forgive);
    for one in waiting {
        one.await.unwrap().forgive();
    }
    assert!(attempts.tables.lock().addresses.0.is_empty(), "nobody was wrong");
}

#[tokio::test]
async fn those_who_wait_are_refused_when_those_before_them_are_wrong() {
    let (attempts, now) = (Attempts::default(), Instant::now());
    let before: Vec<_> = (0..4).map(|number| attempts.begin(user(number), address(1), now).unwrap()).collect();
    let mut waiting = Box::pin(attempts.in_turn(user(5), address(1), now));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(before);
    assert_eq!(waiting.await.map(drop).unwrap_err().limit, Limit::WrongPasswords);
    assert_eq!(attempts.tables.lock().addresses.0.len(), 1);
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let (attempts, now) = (Attempts::default(), Instant::now());
    let _before: Vec<_> = (0..4).map(|number| attempts.begin(user(number), address(1), now).unwrap()).collect();
    let given_up = attempts.within(Duration::from_millis(20), user(5), address(1), now).await.map(drop);
    assert_eq!(given_up, Err(Exceeded { limit: Limit::UnlocksAtOnce, retry_after: IN_A_MOMENT }));
}
