//! Spans of time.

use std::str::FromStr;
use std::time::Duration;

/// A span of time of at least a second, written like `30s`, `5m` or `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(Duration);

impl Timeout {
    /// The span.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = humantime::parse_duration(text).map_err(|_| "expected a time like 30s, 5m or 1h".to_owned())?;
        if span < Duration::from_secs(1) || span > Duration::from_secs(30 * 24 * 3600) {
            return Err("expected a time from 1s to 30d".into());
        }
        Ok(Self(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_a_unit_and_a_bound() {
        assert_eq!("5m".parse(), Ok(Timeout(Duration::from_secs(300))));
        for text in ["", "5", "0s", "-1s", "31d", "soon"] {
            assert!(text.parse::<Timeout>().is_err(), "{text}");
        }
    }
}
