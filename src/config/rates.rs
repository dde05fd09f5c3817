//! How often is too often.

use std::num::NonZeroU32;
use std::str::FromStr;

use clap::Args;

/// How often is too often.
#[derive(Args, Clone, Debug)]
pub struct Rates {
    /// Requests from one address in a second, whatever they ask for, and ten times as many at once; trusted proxies and loopback are exempt
    #[arg(long, env = "GENERATIO_REQUESTS_PER_SECOND_PER_ADDRESS", default_value = "1000", value_name = "N|off")]
    pub requests_per_second_per_address: Rate,

    /// Sign-ins by /api/custom/auth/login from one address (an IPv6 /64 counts as one) in a minute
    #[arg(long, env = "GENERATIO_LOGINS_PER_MINUTE_PER_ADDRESS", default_value = "60", value_name = "N|off")]
    pub logins_per_minute_per_address: Rate,

    /// Sign-ins by /api/custom/auth/login to one account in a minute, from where nobody has signed in to it before; keep it above the limit for
    /// an address, and no single address can shut anybody out
    #[arg(long, env = "GENERATIO_LOGINS_PER_MINUTE_PER_USER", default_value = "120", value_name = "N|off")]
    pub logins_per_minute_per_user: Rate,

    /// Requests from one address in a minute that open or seal a key with a password
    #[arg(long, env = "GENERATIO_UNLOCKS_PER_MINUTE_PER_ADDRESS", default_value = "60", value_name = "N|off")]
    pub unlocks_per_minute_per_address: Rate,

    /// The same by one user
    #[arg(long, env = "GENERATIO_UNLOCKS_PER_MINUTE_PER_USER", default_value = "30", value_name = "N|off")]
    pub unlocks_per_minute_per_user: Rate,
}

/// A number for some span of time, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(Option<NonZeroU32>);

/// More is no limit.
const HIGHEST: u32 = 1_000_000;

impl Rate {
    /// No limit.
    pub const OFF: Self = Self(None);

    /// The number, if there is a limit.
    pub const fn number(self) -> Option<NonZeroU32> {
        self.0
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::OFF);
        }
        let number: u32 = text.parse().ok().filter(|number| *number <= HIGHEST).ok_or("expected a number up to 1000000, or off")?;
        Ok(Self(NonZeroU32::new(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_or_off() {
        assert_eq!("60".parse(), Ok(Rate(NonZeroU32::new(60))));
        assert_eq!(("off".parse(), "0".parse()), (Ok(Rate::OFF), Ok(Rate::OFF)));
        for text in ["", "-1", "1.5", "1000001", "many", "OFF"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
