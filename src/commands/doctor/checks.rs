//! Every check, in the order in which one depends on another.

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;

use super::lines::{FIX, Skew, address, cannot_sign_in, clock, problems, skew, superuser, version};
use super::report::{Check, words};
use super::{Patient, lines};
use crate::pocketbase::inspect::{Believed, Books};
use crate::pocketbase::{Error, Store};

/// TEST-NET-1 of RFC 5737: nobody's.
const SOMEBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

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
    pub(super) checked: usize,
    pub(super) differing: Vec<Books>,
}

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
                Ok(books) => lines::books(&books),
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
