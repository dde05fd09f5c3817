//! How often anybody may come: counted by address and by user, before anything is done for them.
//!
//! A right password counts as a wrong one here; how often somebody may be *wrong* is counted where seals are opened. PocketBase's own limits
//! apply besides.

mod familiar;
mod limiter;
mod sketch;

use std::net::IpAddr;
use std::time::Duration;

use crate::address::Network;
use crate::config;
use crate::id::UserId;
use familiar::Familiar;
pub use limiter::{Allowance, Limiter};

/// What there was too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests of one address, whatever they ask for.
    RequestsPerAddress,
    /// Sign-ins from one address.
    LoginsPerAddress,
    /// Sign-ins to one account.
    LoginsPerUser,
    /// Requests from one address that need a password for a key.
    UnlocksPerAddress,
    /// The same of one user.
    UnlocksPerUser,
    /// Passwords that did not open a key, of one user or from one address.
    WrongPasswords,
    /// Passwords that are being looked at, of one user or from one address.
    UnlocksAtOnce,
    /// Generations that one user begins.
    Jobs,
    /// Generations of one user that wait for a slot.
    JobsWaiting,
    /// Whatever PocketBase's own limits count.
    PocketBase,
}

impl Limit {
    /// In logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestsPerAddress => "requests_per_address",
            Self::LoginsPerAddress => "logins_per_address",
            Self::LoginsPerUser => "logins_per_user",
            Self::UnlocksPerAddress => "unlocks_per_address",
            Self::UnlocksPerUser => "unlocks_per_user",
            Self::WrongPasswords => "wrong_passwords",
            Self::UnlocksAtOnce => "unlocks_at_once",
            Self::Jobs => "jobs",
            Self::JobsWaiting => "jobs_waiting",
            Self::PocketBase => "pocketbase",
        }
    }
}

/// Somebody came too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many: {}", limit.name())]
pub struct Exceeded {
    /// What there was too much of.
    pub limit: Limit,
    /// When the next one is let through, if nobody takes its place.
    pub retry_after: Duration,
}

/// What somebody signs in as, in whichever letters they write it.
#[derive(Hash)]
struct Identity(String);

impl From<&str> for Identity {
    fn from(text: &str) -> Self {
        Self(text.trim().to_lowercase())
    }
}

/// The limits of one sidecar that are not of generation.
pub struct Rates {
    /// Of everything, by address.
    pub requests: Limiter,
    logins_from: Limiter,
    logins_as: Limiter,
    unlocks_from: Limiter,
    unlocks_by: Limiter,
    familiar: Familiar,
}

impl Rates {
    /// With nobody here yet.
    pub fn new(rates: &config::Rates) -> Self {
        Self {
            requests: Limiter::per_second(Limit::RequestsPerAddress, rates.requests_per_second_per_address),
            logins_from: Limiter::per_minute(Limit::LoginsPerAddress, rates.logins_per_minute_per_address),
            logins_as: Limiter::per_minute(Limit::LoginsPerUser, rates.logins_per_minute_per_user),
            unlocks_from: Limiter::per_minute(Limit::UnlocksPerAddress, rates.unlocks_per_minute_per_address),
            unlocks_by: Limiter::per_minute(Limit::UnlocksPerUser, rates.unlocks_per_minute_per_user),
            familiar: Familiar::new(),
        }
    }

    /// One more sign-in. Who signed in from the same network before is not held back by what others try on their account.
    ///
    /// # Errors
    /// When there were too many from the address or to the account.
    pub fn login(&self, identity: &str, address: IpAddr) -> Result<(), Exceeded> {
        let (identity, network) = (Identity::from(identity), Network::from(address));
        self.logins_from.check(&network)?;
        if self.familiar.knows(&identity, network) { Ok(()) } else { self.logins_as.check(&identity) }
    }

    /// The sign-in worked.
    pub fn welcome(&self, identity: &str, address: IpAddr) {
        self.familiar.remember(&identity.into(), address.into());
    }

    /// One more request from this address that needs a password for a key.
    ///
    /// # Errors
    /// When there were too many.
    pub fn unlock_from(&self, address: IpAddr) -> Result<(), Exceeded> {
        self.unlocks_from.check(&Network::from(address))
    }

    /// The same by this user.
    ///
    /// # Errors
    /// When there were too many.
    pub fn unlock_by(&self, user: UserId) -> Result<(), Exceeded> {
        self.unlocks_by.check(&user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rate;

    fn rates() -> Rates {
        let rate = |number: u32| number.to_string().parse::<Rate>().expect("a rate");
        Rates::new(&config::Rates {
            requests_per_second_per_address: Rate::OFF,
            logins_per_minute_per_address: rate(5),
            logins_per_minute_per_user: rate(10),
            unlocks_per_minute_per_address: Rate::OFF,
            unlocks_per_minute_per_user: rate(2),
        })
    }

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn no_single_address_shuts_anybody_out_and_no_crowd_shuts_them_out_of_their_own_network() {
        let (rates, home) = (rates(), address(1));
        assert_eq!(rates.login("ann@example.com", home), Ok(()));
        rates.welcome("Ann@Example.com ", home);
        let refused = (0..100).filter(|_| rates.login("ann@example.com", address(2)).is_err()).count();
        assert_eq!(refused, 95);
        assert_eq!(rates.login("ann@example.com", address(3)), Ok(()), "from elsewhere, in spite of one attacker");
        for number in 10..20 {
            let _ = rates.login("ANN@example.com", address(number));
        }
        let limit = rates.login("ann@example.com", address(4)).map_err(|exceeded| exceeded.limit);
        assert_eq!(limit, Err(Limit::LoginsPerUser), "from elsewhere, while a crowd attacks");
        assert_eq!(rates.login("ann@example.com", home), Ok(()), "from where she signed in before");
        assert_eq!(rates.login("bob@example.com", address(5)), Ok(()), "somebody else");
    }

    #[test]
    fn what_is_off_refuses_nobody_and_users_are_counted_apart() {
        let rates = rates();
        assert!((0..10_000).all(|_| rates.unlock_from(address(1)).is_ok()));
        let [ann, bob] = ["abcdefghij01234", "abcdefghij01235"].map(|id| id.parse::<UserId>().expect("an id"));
        let answers: Vec<bool> = [ann, ann, ann, bob].into_iter().map(|user| rates.unlock_by(user).is_ok()).collect();
        assert_eq!(answers, [true, true, false, true]);
    }
}
