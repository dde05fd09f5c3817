//! Mending what is ours, and nothing else.

use super::checks::{Examination, all_books};
use super::report::{Check, words};
use crate::pocketbase::inspect::{Believed, Trust};
use crate::pocketbase::{Error, Store};

/// Says what was done, and if that was not all, why.
pub(super) async fn fix(store: &Store, found: &Examination, trust: Trust) -> (Vec<String>, Option<Check>) {
    let mut done = Vec::new();
    let mended = mend(store, found, trust, &mut done).await;
    let failed = mended.err().map(|error| Check::broken("fix", format!("not everything was done: {}", words(&error)), "run it again"));
    (done, failed)
}

async fn mend(store: &Store, found: &Examination, trust: Trust, done: &mut Vec<String>) -> Result<(), Error> {
    if !found.has_hooks {
        // Nobody there could mend anything.
        return Ok(());
    }
    let trust = if matches!(found.believed, Some(Believed::Ours)) { Trust::AsIs } else { trust };
    if found.is_repairable || trust == Trust::XRealIp {
        done.extend(store.repair(trust).await?.done);
    }
    // What opened the ledger has changed sums.
    for books in all_books(store).await?.differing {
        if books.is_undercharged() && books.sums_agree() {
            continue;
        }
        store.recompute(&books.user).await?;
        done.push(format!("books: the sums of user {} were written anew from the ledger", books.user));
    }
    Ok(())
}
