//! From what was found to a line that says it.

use jiff::Timestamp;

use super::checks::AllBooks;
use super::report::Check;
use crate::pocketbase::Error;
use crate::pocketbase::inspect::{Believed, Release};
use crate::pocketbase::readiness::{Found, Problem};

/// Clocks that are kept by the network agree much better.
const SKEW_SECONDS: i64 = 10;
/// From here on tokens and sessions end at the wrong time.
const BAD_SKEW_SECONDS: i64 = 300;
/// An impersonation token that ends within so many days must be replaced soon.
const SOON_DAYS: i64 = 14;
const DAY: i64 = 86_400;

pub(super) const FIX: &str = "run `generatio doctor --fix`";

/// How far a clock is from ours, in seconds, at least.
pub(super) type Skew = Option<(String, i64)>;

pub(super) fn version(release: Result<Release, Error>) -> Check {
    let words = match release {
        Ok(Release::From0_23) => "0.23",
        Ok(Release::From0_24) => "between 0.24 and 0.37",
        Ok(Release::From0_38) => "0.38",
        Ok(Release::From0_39) => "0.39",
        Ok(Release::From0_40) => "0.40 or newer",
        Err(error) => return Check::unanswered("version", &error),
    };
    Check::well("version", format!("PocketBase is {words}, by what it can do; 0.23 to 0.40 are supported"))
}

pub(super) fn superuser(expires: i64, renewable: bool) -> Check {
    let left = expires - Timestamp::now().as_second();
    if renewable || left > SOON_DAYS * DAY {
        return Check::well("superuser", "signs in");
    }
    Check::warning(
        "superuser",
        format!("signs in, with a token that ends in {} days and cannot be renewed", left / DAY),
        "make a new impersonation token in the admin UI and set GENERATIO_POCKETBASE_TOKEN to it",
    )
}

pub(super) fn cannot_sign_in(error: &Error) -> &'static str {
    match error {
        Error::NoSuperuser => "without one, requests pass through and our endpoints answer 503",
        Error::Credentials(_) => "correct GENERATIO_POCKETBASE_EMAIL and _PASSWORD, or set GENERATIO_POCKETBASE_TOKEN in their place",
        Error::Exchange(_) | Error::NotReady(_) | Error::Refused(_) | Error::Unexpected(_) => "look at PocketBase's log",
    }
}

pub(super) fn address(believed: &Believed) -> Check {
    match believed {
        Believed::Ours => Check::well("address", "PocketBase takes each client's address from the sidecar"),
        Believed::Peer(seen) => Check::warning(
            "address",
            format!("PocketBase takes every client for {seen}, the sidecar: all share one rate limit and one name in its log"),
            "if PocketBase is reachable through the sidecar alone, set GENERATIO_TRUST_X_REAL_IP=1 in its environment, or run \
             `generatio doctor --fix --trust-x-real-ip`",
        ),
        Believed::Forgeable(header) => Check::broken(
            "address",
            format!("PocketBase takes clients' addresses from {header}, which clients can send through the sidecar"),
            "in the admin UI, Settings, Application, name X-Real-IP alone as the header of the trusted proxy",
        ),
    }
}

/// What our hooks say is not as it should be, kind by kind.
pub(super) fn problems(looked: &Found) -> Vec<Check> {
    let of = |kind: &dyn Fn(&Problem) -> bool| looked.problems.iter().filter(|problem| kind(problem)).collect::<Vec<_>>();
    let is_settings = |problem: &Problem| problem.step == "settings";
    let is_batch = |problem: &Problem| problem.collection == "settings.batch";
    let is_data = |problem: &Problem| problem.step == "data";
    let batch = of(&is_batch);
    let rules = of(&|problem| problem.is_rule());
    let data = of(&is_data);
    let schema = of(&|problem| !is_settings(problem) && !is_data(problem) && !problem.is_rule());
    vec![
        kind("batch", &batch, "on, and large enough", "is not as the books need it", Check::broken),
        kind("collections", &schema, "all fields and indexes are there", "something is missing or in the way", Check::broken),
        kind("rules", &rules, "let through nobody whom ours refuse", "let through whom ours refuse", Check::broken),
        kind("data", &data, "what was there before is carried over", "not all of what was there before is carried over", Check::warning),
    ]
}

fn kind(name: &'static str, there: &[&Problem], well: &str, ill: &str, check: fn(&'static str, String, String) -> Check) -> Check {
    if there.is_empty() {
        return Check::well(name, well);
    }
    let fixable = there.iter().filter(|problem| problem.fixable).count();
    let remedy = match fixable {
        0 => "make room as each line says; nothing of yours is changed without you".into(),
        _ if fixable == there.len() => FIX.to_owned(),
        _ => format!("{FIX} for some of it, and make room as the other lines say"),
    };
    check(name, ill.to_owned(), remedy).with(there.iter().map(ToString::to_string).collect())
}

pub(super) fn books(books: &AllBooks) -> Check {
    let AllBooks { checked, differing } = books;
    let of_these = differing.len();
    if of_these == 0 {
        return Check::well("books", format!("ledger, totals and financial_data agree for all {checked} users"));
    }
    let lines = differing.iter().map(ToString::to_string).collect();
    let says = format!("disagree for {of_these} of {checked} users");
    let remedy = if differing.iter().all(|books| books.sums_agree()) {
        "look at these images: their jobs were never charged, or their cost_micros was changed by hand".to_owned()
    } else {
        format!("{FIX}: the ledger is the truth, and the sums are written anew from it")
    };
    Check::broken("books", says, remedy).with(lines)
}

/// None where no clock was told.
pub(super) fn skew(whose: &str, theirs: Option<Timestamp>, asked: Timestamp) -> Skew {
    let theirs = theirs?.as_second();
    let (asked, answered) = (asked.as_second(), Timestamp::now().as_second());
    Some((whose.to_owned(), if theirs > answered { theirs - answered } else { (theirs - asked).min(0) }))
}

pub(super) fn clock(skews: &[Skew]) -> Check {
    let known: Vec<&(String, i64)> = skews.iter().flatten().collect();
    let Some((whose, seconds)) = known.iter().max_by_key(|(_, seconds)| seconds.abs()) else {
        return Check::skipped("clock", "nobody told the time");
    };
    let away = seconds.abs();
    if away <= SKEW_SECONDS {
        return Check::well("clock", "agrees with those of PocketBase and FAL, as far as they answered");
    }
    let direction = if *seconds > 0 { "behind" } else { "ahead of" };
    let check = if away > BAD_SKEW_SECONDS { Check::broken } else { Check::warning };
    check(
        "clock",
        format!("this machine's is {away} s {direction} that of {whose}"),
        "keep the clocks of both machines by the network (NTP): tokens and sessions end by them".to_owned(),
    )
}
