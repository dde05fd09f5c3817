//! Decimal numbers as FAL writes them, read to the thousand-millionth and never through a float.

/// One, in thousand-millionths.
pub(super) const ONE: u64 = 1_000_000_000;
/// Nothing that FAL counts or charges comes near this.
const MOST: u128 = 1_000_000_000 * ONE as u128;

/// Reads `12`, `0.0031`, `1e-5`: not negative, less than a thousand million. Digits past the ninth decimal round up.
pub(super) fn nanos(text: &str) -> Option<u64> {
    let (mantissa, exponent) = match text.trim().split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok().filter(|exponent| exponent.abs() <= 40)?),
        None => (text.trim(), 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if !(1..=38).contains(&digits().count()) || !digits().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = digits().fold(0_u128, |number, digit| number * 10 + u128::from(digit - b'0'));
    let shift = 9 + exponent - i32::try_from(fraction.len()).ok()?;
    let power = 10_u128.checked_pow(shift.unsigned_abs());
    let scaled = match (shift >= 0, power) {
        (true, Some(power)) => number.checked_mul(power)?,
        (true, None) => (number == 0).then_some(0)?,
        (false, Some(power)) => number.div_ceil(power),
        (false, None) => u128::from(number > 0),
    };
    u64::try_from(scaled).ok().filter(|nanos| u128::from(*nanos) < MOST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_read_as_they_are_written() {
        for (text, read) in [
            ("0", Some(0)),
            ("1", Some(ONE)),
            ("0.003", Some(3_000_000)),
            (" 12.5 ", Some(12_500_000_000)),
            ("1e-5", Some(10_000)),
            ("2.5E2", Some(250 * ONE)),
            ("0.0000000001", Some(1)),
            ("0.1000000001", Some(100_000_001)),
            ("1e-40", Some(1)),
            ("0e40", Some(0)),
            (".5", Some(500_000_000)),
            ("999999999.999999999", Some(999_999_999_999_999_999)),
            ("1000000000", None),
            ("1e40", None),
            ("1e999999999", None),
            ("-1", None),
            ("+1", None),
            ("", None),
            (".", None),
            ("e5", None),
            ("1.2.3", None),
            ("0x10", None),
            ("1_000", None),
            ("NaN", None),
            ("inf", None),
            ("１", None),
            ("99999999999999999999999999999999999999999999", None),
        ] {
            assert_eq!(nanos(text), read, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nine_decimals_are_exact(whole in 0_u64..999_999_999, fraction in 0_u64..ONE) {
            prop_assert_eq!(nanos(&format!("{whole}.{fraction:09}")), Some(whole * ONE + fraction));
        }

        #[test]
        fn a_double_of_up_to_fifteen_digits_comes_back_as_it_was_written(digits in 0_u64..1_000_000_000_000) {
            let text = format!("{}.{:09}", digits / ONE, digits % ONE);
            let number: serde_json::Number = serde_json::from_str(&text).expect("a number");
            prop_assert_eq!(nanos(&number.to_string()), Some(digits));
        }

        #[test]
        fn no_text_is_a_panic(text in ".{0,60}") {
            let _ = nanos(&text);
        }
    }
}
