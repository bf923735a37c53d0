//! Numbers of JSON, compared as numbers whatever they were written as.

use std::cmp::Ordering;
use std::fmt;

/// A finite number. Whole ones that fit are integers, so that `500` and `500.0` are one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number.
    I64(i64),
    /// A whole number above those.
    U64(u64),
    /// Any other.
    F64(f64),
}

impl Number {
    /// A number from a float; `None` if it is infinite or none at all.
    pub fn from_f64(value: f64) -> Option<Number> {
        // The first doubles beyond the integers.
        const I64_END: f64 = 9_223_372_036_854_775_808.0;
        const U64_END: f64 = 18_446_744_073_709_551_616.0;
        match value {
            _ if !value.is_finite() => None,
            _ if value.fract() != 0.0 => Some(Number::F64(value)),
            _ if (-I64_END..I64_END).contains(&value) => Some(Number::I64(value as i64)),
            _ if (0.0..U64_END).contains(&value) => Some(Number::U64(value as u64)),
            _ => Some(Number::F64(value)),
        }
    }

    /// A number as JSON writes it; `None` for all else, and for what no double can hold.
    pub fn parse(text: &str) -> Option<Number> {
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        let plain = digits.iter().all(u8::is_ascii_digit);
        // What Rust takes for a float beyond JSON: `inf`, `nan`, `+1`, `.5`, `1.`
        if !digits.first()?.is_ascii_digit() || !digits.last()?.is_ascii_digit() {
            return None;
        }
        if plain {
            if let Ok(value) = text.parse() {
                return Some(Number::I64(value));
            }
            if let Ok(value) = text.parse() {
                return Some(Number::U64(value));
            }
        }
        Number::from_f64(text.parse().ok()?)
    }

    fn whole(self) -> Result<i128, f64> {
        match self {
            Number::I64(value) => Ok(value.into()),
            Number::U64(value) => Ok(value.into()),
            Number::F64(value) => Err(value),
        }
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Number::I64(value)
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.whole(), other.whole()) {
            (Ok(left), Ok(right)) => left.cmp(&right),
            (Err(left), Err(right)) => left.total_cmp(&right),
            (Ok(left), Err(right)) => compare(left, right),
            (Err(left), Ok(right)) => compare(right, left).reverse(),
        }
    }
}

/// Compares without rounding. An integer is below 2^64 here, and a float beyond the range of `i128` is cut to its end.
fn compare(whole: i128, float: f64) -> Ordering {
    let below = float.floor();
    whole.cmp(&(below as i128)).then(if float > below { Ordering::Less } else { Ordering::Equal })
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::I64(value) => write!(f, "{value}"),
            Number::U64(value) => write!(f, "{value}"),
            // The shortest that is read as the same double.
            Number::F64(value) => write!(f, "{value:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_numbers_of_json_are_numbers() {
        for text in ["", "-", "inf", "nan", "NaN", "+1", ".5", "1.", "0x10", "1e999", "1_000", "٣", "1 ", "--1", "e5"]
        {
            assert_eq!(Number::parse(text), None, "{text:?}");
        }
        assert_eq!(Number::parse("500.0"), Some(Number::I64(500)));
        assert_eq!(Number::parse("5e2"), Some(Number::I64(500)));
        assert_eq!(Number::parse("-0.0"), Some(Number::I64(0)));
        assert_eq!(Number::parse("-0"), Some(Number::I64(0)));
        assert_eq!(Number::parse("18446744073709551615"), Some(Number::U64(u64::MAX)));
        assert_eq!(Number::parse("9223372036854775808.0"), Some(Number::U64(1 << 63)));
        assert_eq!(Number::parse("18446744073709551616"), Some(Number::F64(18_446_744_073_709_551_616.0)));
        assert!(Number::I64(i64::MAX) < Number::U64(1 << 63) && Number::U64(u64::MAX) < Number::F64(1e300));
        assert!(Number::F64(-1e300) < Number::I64(i64::MIN) && Number::F64(-0.5) < Number::I64(0));
        assert!(Number::I64((1 << 53) + 1) > Number::F64(9_007_199_254_740_991.5));
    }

    proptest! {
        #[test]
        fn numbers_survive_their_text(value in any::<f64>(), whole in any::<i64>()) {
            for number in Number::from_f64(value).into_iter().chain([Number::I64(whole)]) {
                prop_assert_eq!(Number::parse(&number.to_string()), Some(number));
            }
        }

        #[test]
        fn order_is_that_of_the_values(left in -1e6..1e6, right in -1_000_000..1_000_000i64) {
            let (a, b) = (Number::from_f64(left).unwrap(), Number::I64(right));
            prop_assert_eq!(a.cmp(&b), left.partial_cmp(&(right as f64)).unwrap());
            prop_assert_eq!(b.cmp(&a), a.cmp(&b).reverse());
        }
    }
}
