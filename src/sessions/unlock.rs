//! The guarded way from a seal to its key.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::{Attempts, Busy, Derivations};
use crate::metrics;
use crate::rates::Exceeded;
use crate::vault::{CannotOpen, Opened, Owner, Password, Sealed};

/// Opens seals, unless somebody was wrong too often or too many are waiting.
pub struct Unlocking {
    attempts: Attempts,
    derivations: Arc<Derivations>,
}

/// Why a seal was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotUnlock {
    /// Nobody looked at the password: there were too many wrong ones, or too many that may yet be wrong.
    #[error(transparent)]
    Throttled(#[from] Exceeded),
    /// Nobody looked at the password: too many are waiting.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The seal stays closed.
    #[error(transparent)]
    Closed(#[from] CannotOpen),
}

impl Unlocking {
    /// With nobody wrong yet.
    pub fn new(derivations: Arc<Derivations>) -> Self {
        Self { attempts: Attempts::default(), derivations }
    }

    /// Opens the seal of a user who calls from this address. Only a wrong password counts against either, and a caller who goes away
    /// before the answer: that may have been one.
    ///
    /// # Errors
    /// When the attempt was refused, or failed.
    pub async fn open(
        &self,
        sealed: Sealed,
        password: Password,
        owner: Owner,
        address: IpAddr,
        now: Instant,
    ) -> Result<Opened, CannotUnlock> {
        let user = owner.user;
        let attempt = self.attempts.in_turn(user, address, now).await.inspect_err(|_| {
            metrics::UNLOCKS.one(["throttled"]);
            tracing::info!(target: "audit", event = "unlock_throttled", %user, %address, "a password was not looked at: there were too many wrong ones, or too many at once");
        })?;
        let opened = self.derivations.open(sealed, password, owner).await;
        metrics::UNLOCKS.one([outcome(&opened)]);
        match &opened {
            Ok(Err(CannotOpen::Refused)) => drop(attempt),
            Ok(Ok(_) | Err(CannotOpen::NotAKey)) | Err(Busy) => attempt.forgive(),
        }
        Ok(opened??)
    }

    /// The threads that do the work.
    pub fn derivations(&self) -> &Derivations {
        &self.derivations
    }
}

fn outcome(opened: &Result<Result<Opened, CannotOpen>, Busy>) -> &'static str {
    match opened {
        Ok(Ok(_)) => "opened",
        Ok(Err(CannotOpen::Refused)) => "wrong_password",
        Ok(Err(CannotOpen::NotAKey)) => "malformed",
        Err(Busy) => "busy",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rates::Limit;
    use crate::sessions::Work;
    use crate::vault::{self, Method, NewPassword};

    const RIGHT: &str = "correct horse";

    fn owner(number: u32) -> Owner {
        Owner { collection: "_pb_users_auth_".parse().unwrap(), user: format!("user{number:011}").parse().unwrap() }
    }

    fn sealed() -> Sealed {
        let key = Opened::parse("0123456789".into()).unwrap();
        vault::seal(&key, &NewPassword::parse(RIGHT.to_owned().into()).unwrap(), &owner(1), Method::Former)
    }

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    fn unlocking(threads: usize, queue: usize) -> Unlocking {
        Unlocking::new(Arc::new(Derivations::start(threads, queue).unwrap()))
    }

    #[tokio::test]
    async fn the_fifth_wrong_attempt_derives_nothing() {
        let (unlocking, sealed, now) = (unlocking(1, 4), sealed(), Instant::now());
        let open = |password: &str, user, from| unlocking.open(sealed.clone(), password.to_owned().into(), owner(user), address(from), now);
        for from in 1..=4 {
            assert_eq!(open("wrong", 1, from).await.err(), Some(CannotUnlock::Closed(CannotOpen::Refused)));
        }
        for password in ["wrong", RIGHT] {
            let refused = open(password, 1, 5).await.err();
            assert_eq!(
                refused,
                Some(CannotUnlock::Throttled(Exceeded { limit: Limit::WrongPasswords, retry_after: Duration::from_secs(60) }))
            );
        }
        assert_eq!(unlocking.derivations().work().begun, 4);
        assert!(open(RIGHT, 2, 5).await.is_ok());
    }

    #[tokio::test]
    async fn right_passwords_are_never_throttled() {
        let (unlocking, sealed, now) = (unlocking(1, 4), sealed(), Instant::now());
        for _ in 0..8 {
            assert!(unlocking.open(sealed.clone(), RIGHT.to_owned().into(), owner(1), address(1), now).await.is_ok());
        }
    }

    #[tokio::test]
    async fn fifty_at_once_are_opened_or_told_to_come_again_and_none_was_wrong() {
        let (unlocking, sealed, now) = (Arc::new(unlocking(2, 8)), sealed(), Instant::now());
        let open = |number| {
            let (unlocking, sealed) = (Arc::clone(&unlocking), sealed.clone());
            async move { unlocking.open(sealed, RIGHT.to_owned().into(), owner(number), address(number), now).await.map(drop) }
        };
        let all: Vec<_> = (0..50).map(|number| tokio::spawn(open(number))).collect();
        let (mut opened, mut busy) = (0, 0);
        for answer in all {
            match answer.await.unwrap() {
                Ok(()) => opened += 1,
                Err(CannotUnlock::Busy(Busy)) => busy += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(opened >= 8 && busy > 0 && opened + busy == 50, "{opened} opened, {busy} busy");
        assert_eq!(unlocking.derivations().work(), Work { begun: opened, waiting: 0 });
        for _ in 0..5 {
            assert!(open(49).await.is_ok());
        }
    }
}
