//! Every check, in the order in which one depends on another.

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;

use super::Patient;
use super::report::{Check, words};
use crate::pocketbase::inspect::{Believed, Books, Release};
use crate::pocketbase::readiness::{Found, Problem};
use crate::pocketbase::{Error, Store};

/// TEST-NET-1 of RFC 5737: nobody's.
const SOMEBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Clocks that are kept by the network agree much better.
const SKEW_SECONDS: i64 = 10;
/// From here on tokens and sessions end at the wrong time.
const BAD_SKEW_SECONDS: i64 = 300;
/// An impersonation token that ends within so many days must be replaced soon.
const SOON_DAYS: i64 = 14;
const DAY: i64 = 86_400;

const FIX: &str = "run `generatio doctor --fix`";

/// What a look found.
pub(super) struct Examination {
    pub(super) checks: Vec<Check>,
    /// Whether our hooks are there, to mend anything.
    pub(super) has_hooks: bool,
    /// Whether they say that they can.
    pub(super) is_repairable: bool,
    pub(super) believed: Option<Believed>,
}

/// All users whose books disagree.
pub(super) struct AllBooks {
    checked: usize,
    pub(super) differing: Vec<Books>,
}

/// How far a clock is from ours, in seconds, at least.
type Skew = Option<(String, i64)>;

impl Patient<'_> {
    /// Looks at everything; changes nothing.
    pub(super) async fn examine(&self) -> Examination {
        let mut found = Examination { checks: vec![self.settings()], has_hooks: false, is_repairable: false, believed: None };
        let mut skews = Vec::new();
        self.examine_pocketbase(&mut found, &mut skews).await;
        found.checks.push(self.reach_fal(&mut skews).await);
        found.checks.push(clock(&skews));
        found
    }

    fn settings(&self) -> Check {
        let insecure = self.config.fal.insecure;
        match self.faults.as_slice() {
            [] if insecure => Check::warning(
                "settings",
                "GENERATIO_FAL_INSECURE is on: FAL keys may travel in clear text",
                "switch it off, unless FAL is a simulator in a network of your own",
            ),
            [] => Check::well("settings", format!("can be followed; users are in `{}`", self.config.users_collection)),
            faults => Check::broken("settings", "cannot be followed", "`generatio serve --help` names every setting").with(faults.to_vec()),
        }
    }

    async fn examine_pocketbase(&self, found: &mut Examination, skews: &mut Vec<Skew>) {
        let url = &self.config.pocketbase_url;
        let asked = Timestamp::now();
        let greeting = match self.store.greet().await {
            Ok(greeting) if greeting.genuine => greeting,
            Ok(_) => {
                let remedy = "GENERATIO_POCKETBASE_URL must name PocketBase itself";
                found.checks.push(Check::broken("pocketbase", format!("what answers at {url} is not PocketBase"), remedy));
                return skip(found, &["version", "superuser", "hooks"], "there is no PocketBase to ask");
            }
            Err(error) => {
                let says = format!("does not answer at {url}: {}", words(&error));
                let remedy = "start it, or set GENERATIO_POCKETBASE_URL to where it listens";
                found.checks.push(Check::broken("pocketbase", says, remedy));
                return skip(found, &["version", "superuser", "hooks"], "PocketBase does not answer");
            }
        };
        skews.push(skew("PocketBase", greeting.clock, asked));
        found.checks.push(Check::well("pocketbase", format!("answers at {url}")));
        match self.store.sign_in_as_superuser().await {
            Ok(until) => {
                let superuser = superuser(until.expires, until.renewable);
                found.checks.push(version(self.store.release(&greeting).await));
                found.checks.push(superuser);
                self.examine_store(found).await;
            }
            Err(error) => {
                found.checks.push(Check::skipped("version", "the superuser cannot sign in"));
                found.checks.push(Check::broken("superuser", words(&error), cannot_sign_in(&error)));
                skip(found, &["hooks"], "the superuser cannot sign in");
            }
        }
    }

    /// Everything that a superuser sees.
    async fn examine_store(&self, found: &mut Examination) {
        let believed = self.store.believed(SOMEBODY).await;
        let address = match &believed {
            Ok(believed) => address(believed),
            Err(error) => Check::unanswered("address", error),
        };
        found.believed = believed.ok();
        let looked = match self.store.look().await {
            Ok(looked) => looked,
            Err(error) => {
                let says = if let Error::NotReady(words) = &error { format!("PocketBase: {words}") } else { words(&error) };
                found.checks.push(Check::broken("hooks", says, "until then requests pass through, and our endpoints answer 503"));
                found.checks.push(address);
                return skip(found, &[], "our hooks are not there to ask");
            }
        };
        found.has_hooks = true;
        found.is_repairable = looked.problems.iter().any(|problem| problem.fixable);
        found.checks.push(Check::well("hooks", format!("version {} is loaded", looked.version)));
        let asked_for = looked.problems.iter().find(|problem| problem.collection == "settings.trustedProxy");
        found.checks.push(asked_for.map_or(address, |problem| Check::broken("address", problem.to_string(), FIX)));
        found.checks.extend(problems(&looked));
        let stands_against = looked.problems.iter().any(|problem| problem.step == "collections" && problem.is_blocking());
        found.checks.push(if stands_against {
            Check::skipped("books", "the collections come first")
        } else {
            match all_books(&self.store).await {
                Ok(books) => self::books(&books),
                Err(error) => Check::unanswered("books", &error),
            }
        });
    }

    async fn reach_fal(&self, skews: &mut Vec<Skew>) -> Check {
        let Some(fal) = &self.fal else { return Check::skipped("fal", "the settings do not allow it") };
        let asked = Timestamp::now();
        let mut away = Vec::new();
        let mut queue_is_away = false;
        for part in fal.reach().await {
            match part.answer {
                Ok(clock) => skews.push(skew(&format!("FAL ({})", part.url), clock, asked)),
                Err(error) => {
                    queue_is_away |= part.what == "the queue";
                    away.push(format!("{} at {}: {}", part.what, part.url, words(&error.without_url())));
                }
            }
        }
        let remedy = "let the sidecar out to the Internet: DNS, firewall, certificates; or correct GENERATIO_FAL_*_URL";
        match (away.is_empty(), queue_is_away) {
            (true, _) => Check::well("fal", format!("answers at {}", self.config.fal.queue)),
            (false, true) => Check::broken("fal", "does not answer, so nothing can be generated", remedy).with(away),
            (false, false) => Check::warning("fal", "answers in part, so costs are estimated", remedy).with(away),
        }
    }
}

/// What cannot be looked at, and why.
fn skip(found: &mut Examination, first: &[&'static str], why: &str) {
    let has_address = found.checks.iter().any(|check| check.name == "address");
    let rest = ["address", "batch", "collections", "rules", "data", "books"];
    let names = first.iter().chain(&rest).filter(|name| !(has_address && **name == "address"));
    found.checks.extend(names.map(|name| Check::skipped(name, why)));
}

fn version(release: Result<Release, Error>) -> Check {
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

fn superuser(expires: i64, renewable: bool) -> Check {
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

fn cannot_sign_in(error: &Error) -> &'static str {
    match error {
        Error::NoSuperuser => "without one, requests pass through and our endpoints answer 503",
        Error::Credentials(_) => "correct GENERATIO_POCKETBASE_EMAIL and _PASSWORD, or set GENERATIO_POCKETBASE_TOKEN in their place",
        Error::Exchange(_) | Error::NotReady(_) | Error::Refused(_) | Error::Unexpected(_) => "look at PocketBase's log",
    }
}

fn address(believed: &Believed) -> Check {
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
fn problems(looked: &Found) -> Vec<Check> {
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

/// Every user's books, page by page.
pub(super) async fn all_books(store: &Store) -> Result<AllBooks, Error> {
    let mut all = AllBooks { checked: 0, differing: Vec::new() };
    let mut after = String::new();
    loop {
        let page = store.books(&after).await?;
        all.checked += page.checked;
        all.differing.extend(page.users);
        match page.next {
            Some(next) if next > after => after = next,
            Some(_) | None => return Ok(all),
        }
    }
}

fn books(books: &AllBooks) -> Check {
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
fn skew(whose: &str, theirs: Option<Timestamp>, asked: Timestamp) -> Skew {
    let theirs = theirs?.as_second();
    let (asked, answered) = (asked.as_second(), Timestamp::now().as_second());
    Some((whose.to_owned(), if theirs > answered { theirs - answered } else { (theirs - asked).min(0) }))
}

fn clock(skews: &[Skew]) -> Check {
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
