//! What is counted, for whoever watches: plain numbers that nothing but `monitor` reads.
//!
//! What happens on the way of every request that passes is counted by each worker for itself, in its own [`Traffic`]. All else is rare, and
//! counted here, for the whole process: a number that a client could read nowhere needs no way through every constructor.

mod class;
mod family;
mod histogram;
mod traffic;

pub use class::Class;
pub use family::{Family, Rare, Word};
pub use histogram::{Histogram, Reading};
pub use traffic::{Connection, Stream, Traffic, code};

/// Requests to our own endpoints. The route is the pattern of the route table, or `none`.
pub static REQUESTS: Family<2> =
    Family::new("generatio_own_requests", "Requests to our own endpoints that were answered", ["route", "code"], &[]);

/// Refused before they had a worker.
pub static CONNECTIONS_REFUSED: Family<0> =
    Family::new("generatio_client_connections_refused", "Client connections refused because there were too many", [], &[[]]);

/// What kept a request, or a call of our own, from PocketBase's answer.
pub static UPSTREAM_ERRORS: Family<2> = Family::new(
    "generatio_upstream_errors",
    "Requests to PocketBase that got no whole answer, by whose request it was and what happened",
    ["by", "kind"],
    &[["passed", "unreachable"], ["passed", "cut"], ["passed", "timed_out"], ["own", "unreachable"], ["own", "cut"], ["own", "timed_out"]],
);

/// Attempts to connect to PocketBase.
pub static UPSTREAM_CONNECTS: Family<1> =
    Family::new("generatio_upstream_connects", "Attempts to connect to PocketBase", ["outcome"], &[["connected"], ["failed"]]);

/// How it was found out whose a token is.
pub static TOKEN_CHECKS: Family<1> = Family::new(
    "generatio_token_checks",
    "Checks of users' tokens: answered from memory, by PocketBase, refused, or failed because PocketBase could not be asked",
    ["outcome"],
    &[["remembered"], ["asked"], ["refused"], ["failed"]],
);

/// Sessions that began.
pub static SESSIONS_OPENED: Family<0> = Family::new("generatio_sessions_opened", "Sessions that were opened", [], &[[]]);

/// Sessions that ended, by the words of `sessions::Ending`.
pub static SESSIONS_ENDED: Family<1> = Family::new(
    "generatio_sessions_ended",
    "Sessions that ended, and why",
    ["reason"],
    &[["logged_out"], ["expired"], ["displaced"], ["key_deleted"], ["key_replaced"], ["password_changed"], ["user_changed"]],
);

/// Attempts to open a seal.
pub static UNLOCKS: Family<1> = Family::new(
    "generatio_unlocks",
    "Attempts to open a user's sealed FAL key",
    ["outcome"],
    &[["opened"], ["wrong_password"], ["malformed"], ["throttled"], ["busy"]],
);

/// Derivations that found the queue full.
pub static DERIVATIONS_REFUSED: Family<0> =
    Family::new("generatio_derivations_refused", "Key derivations refused because too many were waiting", [], &[[]]);

/// Jobs that were begun, by the catalogue's name of the model.
pub static JOBS_BEGUN: Family<1> = Family::new("generatio_jobs_begun", "Generation jobs that were begun", ["model"], &[]);

/// What came of POSTs to FAL's queue.
pub static SUBMITS: Family<1> = Family::new(
    "generatio_submits",
    "Jobs submitted to FAL, by what came of it",
    ["outcome"],
    &[["accepted"], ["refused"], ["not_sent"], ["unknown"]],
);

/// Jobs that ended here, by the catalogue's name of the model and the state they ended in.
pub static SETTLEMENTS: Family<2> = Family::new("generatio_settlements", "Jobs that were settled", ["model", "status"], &[]);

/// What they were charged.
pub static SETTLED_MICRODOLLARS: Family<1> =
    Family::new("generatio_settled_microdollars", "Charged for settled jobs, in millionths of a US dollar", ["model"], &[]);

/// Pictures fetched from FAL.
pub static DOWNLOADS: Family<1> =
    Family::new("generatio_downloads", "Downloads of pictures from FAL", ["outcome"], &[["fetched"], ["failed"]]);

/// By what was asked and the words of `fal::Error`.
pub static FAL_ERRORS: Family<2> =
    Family::new("generatio_fal_errors", "Requests to FAL that failed or were refused", ["what", "kind"], &[]);

/// Answers of 429, by `rates::Limit`.
pub static RATE_LIMITED: Family<1> = Family::new(
    "generatio_rate_limited",
    "Requests refused by a rate limit",
    ["limit"],
    &[
        ["requests_per_address"],
        ["logins_per_address"],
        ["logins_per_user"],
        ["unlocks_per_address"],
        ["unlocks_per_user"],
        ["wrong_passwords"],
        ["unlocks_at_once"],
        ["jobs"],
        ["jobs_waiting"],
        ["pocketbase"],
    ],
);

/// All of the above.
pub static RARE: [&(dyn Rare + Sync); 16] = [
    &REQUESTS,
    &CONNECTIONS_REFUSED,
    &UPSTREAM_ERRORS,
    &UPSTREAM_CONNECTS,
    &TOKEN_CHECKS,
    &SESSIONS_OPENED,
    &SESSIONS_ENDED,
    &UNLOCKS,
    &DERIVATIONS_REFUSED,
    &JOBS_BEGUN,
    &SUBMITS,
    &SETTLEMENTS,
    &SETTLED_MICRODOLLARS,
    &DOWNLOADS,
    &FAL_ERRORS,
    &RATE_LIMITED,
];
