//! A limiter under a clock that tests move, and under many threads.

use governor::clock::FakeRelativeClock;

use super::*;

fn limiter(quota: Quota) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Limiter::by(Limit::Jobs, Some(quota), clock.clone()), clock)
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn passed(limiter: &Limiter<FakeRelativeClock>, key: &impl Hash, times: u32) -> u32 {
    (0..times).map(|_| u32::from(limiter.check(key).is_ok())).sum()
}

#[test]
fn the_wait_that_is_named_is_the_wait_that_helps() {
    let (limiter, clock) = limiter(Quota::per_minute(number(3)));
    assert_eq!(passed(&limiter, &"ann", 10), 3);
    let exceeded = limiter.check(&"ann").unwrap_err();
    assert_eq!(exceeded, Exceeded { limit: Limit::Jobs, retry_after: Duration::from_secs(20) });
    clock.advance(exceeded.retry_after - Duration::from_millis(1));
    assert_eq!(limiter.check(&"ann").unwrap_err().retry_after, Duration::from_millis(1));
    clock.advance(Duration::from_millis(1));
    assert_eq!(passed(&limiter, &"ann", 10), 1, "one place is free, and refusals used none up");
    clock.advance(Duration::from_secs(3600));
    assert_eq!(passed(&limiter, &"ann", 10), 3, "an hour of absence saves up no more than there is room for");
}

proptest::proptest! {
    /// Whatever the order of requests and pauses: never more than the burst and what the time has brought since.
    #[test]
    fn nobody_gets_more_than_their_share(steps in proptest::collection::vec((0_u64..5_000, 0_u32..20), 1..60)) {
        let (limiter, clock) = limiter(Quota::per_second(number(2)).allow_burst(number(7)));
        let (mut passed_in_all, mut elapsed) = (0, 0);
        for (pause_ms, requests) in steps {
            clock.advance(Duration::from_millis(pause_ms));
            elapsed += pause_ms;
            passed_in_all += u64::from(passed(&limiter, &"ann", requests));
            proptest::prop_assert!(passed_in_all <= 7 + elapsed / 500, "{passed_in_all} in {elapsed} ms");
        }
    }

    /// The same, when several connections of one key are granted beforehand; and who keeps to the share is not refused.
    #[test]
    fn connections_together_get_no_more_than_their_share(steps in proptest::collection::vec((0_u64..200, 0_usize..4, 0_u32..100), 1..60)) {
        let (limiter, clock) = limiter(Quota::per_second(number(1000)).allow_burst(number(500)));
        let connections: Vec<Allowance> = (0..4).map(|_| limiter.allowance(&"ann")).collect();
        let (mut passed_in_all, mut elapsed) = (0, 0);
        for (pause_ms, connection, requests) in steps {
            clock.advance(Duration::from_millis(pause_ms));
            elapsed += pause_ms;
            passed_in_all += (0..requests).filter(|_| limiter.spend(&connections[connection]).is_ok()).count() as u64;
            proptest::prop_assert!(passed_in_all <= 500 + elapsed, "{passed_in_all} in {elapsed} ms");
        }
    }
}

#[test]
fn a_connection_looks_at_the_table_of_all_ever_less_often_and_wastes_nothing() {
    let (limiter, _clock) = limiter(Quota::per_second(number(1)).allow_burst(number(100)));
    let (busy, other) = (limiter.allowance(&"ann"), limiter.allowance(&"ann"));
    assert_eq!((0..70).filter(|_| limiter.spend(&busy).is_ok()).count(), 70);
    // 1 + 2 + 4 + 8 + 16 + 32 are 63; of the next 32 seven are spent. Five are left for all.
    assert_eq!((0..70).filter(|_| limiter.spend(&other).is_ok()).count(), 5);
    assert_eq!((0..70).filter(|_| limiter.spend(&busy).is_ok()).count(), 25);
}

#[test]
fn a_flood_of_keys_takes_no_memory_and_lets_no_offender_go() {
    let (limiter, clock) = limiter(Quota::per_minute(number(60)));
    assert_eq!(passed(&limiter, &"offender", 1000), 60);
    let refused = (0..100_000_u32).filter(|key| limiter.check(key).is_err()).count();
    assert_eq!(refused, 0, "each of them came once");
    assert_eq!(passed(&limiter, &"offender", 1000), 0, "after a flood from a hundred thousand");
    clock.advance(Duration::from_secs(1));
    assert_eq!(passed(&limiter, &"offender", 1000), 1);
}

#[test]
fn a_hundred_offenders_are_in_hardly_anybodys_way() {
    let (limiter, _clock) = limiter(Quota::per_minute(number(5)));
    (0..100).for_each(|offender: u32| assert_eq!(passed(&limiter, &("offender", offender), 50), 5));
    let held_back = (0..10_000_u32).filter(|key| limiter.check(key).is_err()).count();
    assert!(held_back < 20, "{held_back} of ten thousand; 1.5 are to be expected");
}

#[test]
fn threads_at_once_get_one_more_at_most_for_each_of_them() {
    let limiter = Limiter::per_minute(Limit::Jobs, "1000".parse().unwrap());
    let passed: usize = std::thread::scope(|scope| {
        let work = || (0..1000).filter(|_| limiter.check(&"ann").is_ok()).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    // A slow machine brings a few more: one every 60 ms.
    assert!((1000..1100).contains(&passed), "{passed}");
}
