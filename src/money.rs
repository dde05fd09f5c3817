//! Money, exact to the millionth of a US dollar.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount in micro-dollars.
///
/// PocketBase keeps numbers as doubles: integers are exact to 2^53, which is nine thousand million dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroUsd(i64);

impl MicroUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that PocketBase keeps exactly.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// From micro-dollars; what cannot be kept exactly is cut to what can.
    pub const fn new(micros: i64) -> Self {
        let max = Self::MAX.0;
        Self(if micros > max {
            max
        } else if micros < -max {
            -max
        } else {
            micros
        })
    }

    /// In micro-dollars.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// In dollars, for JSON: the double next to the exact amount, which prints with at most six decimals.
    pub fn dollars(self) -> Dollars {
        Dollars(self)
    }

    /// One of `count` equal parts, rounded to the nearest micro-dollar; nothing of no parts.
    pub fn per(self, count: u32) -> Self {
        let count = i64::from(count);
        if count == 0 { Self::ZERO } else { Self((self.0 + count / 2).div_euclid(count)) }
    }

    /// The equal parts of an amount, the remainder on the first ones; they add up to it.
    pub fn shares(self, parts: u32) -> impl Iterator<Item = Self> {
        let count = i64::from(parts);
        (0..count).map(move |index| Self(self.0 / count + i64::from(index < self.0 % count)))
    }
}

impl Add for MicroUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::new(self.0.saturating_add(other.0))
    }
}

impl Sub for MicroUsd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self::new(self.0.saturating_sub(other.0))
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for MicroUsd {
    /// `$0.003`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, micros) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let decimals = format!("{:06}", micros % 1_000_000);
        let decimals = decimals.trim_end_matches('0');
        let point = if decimals.is_empty() { "" } else { "." };
        write!(f, "{sign}${}{point}{decimals}", micros / 1_000_000)
    }
}

impl Serialize for MicroUsd {
    /// As an integer, the way PocketBase keeps it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for MicroUsd {
    /// From a whole number, which may be written like `3e3`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53 is exact in both")]
        let exact = (number.fract() == 0.0 && number.abs() <= Self::MAX.0 as f64).then_some(number as i64);
        exact.map(Self).ok_or_else(|| serde::de::Error::custom(format_args!("{number} is not a whole number of micro-dollars")))
    }
}

/// An amount that is written as dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dollars(MicroUsd);

impl Serialize for Dollars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The quotient of two exact doubles is the double nearest to the true one, and that prints as the shortest decimal: six places.
        serializer.serialize_f64(self.0.0 as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_have_at_most_six_decimals() {
        for (micros, json, text) in [
            (3_000, "0.003", "$0.003"),
            (0, "0.0", "$0"),
            (1, "1e-6", "$0.000001"),
            (83 * 3_000, "0.249", "$0.249"),
            (9_007_199_254_740_991, "9007199254.740992", "$9007199254.740991"),
            (-1_500_000, "-1.5", "-$1.5"),
        ] {
            let amount = MicroUsd::new(micros);
            assert_eq!(amount.to_string(), text);
            if micros < 1 << 50 {
                assert_eq!(serde_json::to_string(&amount.dollars()).expect("a number"), json);
            }
        }
    }

    #[test]
    fn shares_add_up_and_the_first_ones_take_the_remainder() {
        let shares: Vec<i64> = MicroUsd::new(10_001).shares(4).map(MicroUsd::micros).collect();
        assert_eq!(shares, [2_501, 2_500, 2_500, 2_500]);
        assert_eq!(MicroUsd::new(5).shares(0).count(), 0);
    }

    #[test]
    fn an_average_is_rounded_and_that_of_nothing_is_nothing() {
        assert_eq!((MicroUsd::new(250_000).per(83).micros(), MicroUsd::new(250_000).per(0)), (3_012, MicroUsd::ZERO));
        assert_eq!((MicroUsd::new(5).per(2).micros(), MicroUsd::new(4).per(3).micros()), (3, 1));
    }

    #[test]
    fn only_whole_micro_dollars_are_read() {
        let read = |text| serde_json::from_str::<MicroUsd>(text).ok().map(MicroUsd::micros);
        assert_eq!((read("3000"), read("3e3"), read("-1")), (Some(3000), Some(3000), Some(-1)));
        assert_eq!((read("0.5"), read("1e300"), read("\"1\"")), (None, None, None));
    }
}
