//! Whether FAL knows a key, found out for nothing: never by asking for a picture (facts: fal.md 6).

use super::Client;
use super::call::{Bounds, SMALL, ask};
use super::decimal;
use super::error::{Error, What};
use super::key::Key;
use super::urls::EndpointId;
use crate::money::MicroUsd;

/// What a check of a key found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether the key is one.
    pub verdict: Verdict,
    /// What is left on the account, where FAL said. Not above zero means that FAL would refuse to generate.
    pub balance: Option<MicroUsd>,
}

/// Whether FAL knows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does, even if the account is empty or locked.
    Valid,
    /// It does not.
    Rejected,
    /// It could not be asked.
    Unreachable,
}

impl Client {
    /// Checks a key. The pricing endpoint is official and decides; the balance is undocumented, and decides only where prices are down.
    pub async fn check_key(&self, key: Key<'_>, endpoint: &EndpointId) -> Checked {
        let known = match self.ask_price(key, endpoint).await {
            Ok(_) => Some(Verdict::Valid),
            Err(Error::KeyRejected(_)) => return Checked { verdict: Verdict::Rejected, balance: None },
            // Who may not do this is known. Nor is a model that FAL has no price for the key's fault.
            Err(Error::Forbidden(_) | Error::Locked { .. } | Error::NotFound(_)) => Some(Verdict::Valid),
            Err(_) => None,
        };
        match (known, self.balance(key).await) {
            (Some(verdict), balance) => Checked { verdict, balance: balance.ok() },
            (None, Ok(balance)) => Checked { verdict: Verdict::Valid, balance: Some(balance) },
            (None, Err(Error::KeyRejected(_))) => Checked { verdict: Verdict::Rejected, balance: None },
            (None, Err(Error::Forbidden(_) | Error::Locked { .. })) => Checked { verdict: Verdict::Valid, balance: None },
            (None, Err(_)) => Checked { verdict: Verdict::Unreachable, balance: None },
        }
    }

    /// What is left on an account: a bare number of dollars.
    async fn balance(&self, key: Key<'_>) -> Result<MicroUsd, Error> {
        let bounds = Bounds { what: What::Balance, time: self.settings.timeouts.platform, size: SMALL };
        let request = self.follower.get(self.settings.rest.at("billing/user_balance"));
        let (_, body) = ask(request, key, bounds).await?.success(What::Balance)?;
        let number = body.as_number().map(ToString::to_string);
        number.as_deref().and_then(dollars).ok_or(Error::Malformed { what: What::Balance, why: "it is no number" })
    }
}

/// Dollars that may be less than none.
fn dollars(text: &str) -> Option<MicroUsd> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let micros = i64::try_from(decimal::nanos(digits)? / 1000).ok()?;
    Some(MicroUsd::new(sign * micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balance_may_be_less_than_nothing() {
        let micros = |text| dollars(text).map(MicroUsd::micros);
        assert_eq!((micros("7.3747928"), micros("0.0"), micros("-1.5")), (Some(7_374_792), Some(0), Some(-1_500_000)));
        assert_eq!((micros("--1"), micros("")), (None, None));
    }
}
