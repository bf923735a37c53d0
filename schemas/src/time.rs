//! Instants, in milliseconds since the Unix epoch, as Kafka and Avro keep them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// An instant in UTC, in milliseconds since the Unix epoch.
///
/// Its text, in JSON as everywhere else, is RFC 3339 with three decimals and `Z`: `2025-12-02T10:15:30.123Z`. In Avro it
/// is a `timestamp-millis`. From JSON a number of milliseconds is taken too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The first and the last instant that RFC 3339 can write, whatever the offset from UTC: years 0 to 9999, but for the
    /// last 26 hours.
    pub const RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_207_200_000;

    /// What the machine's clock says.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Milliseconds since the Unix epoch.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// The time from `earlier` until this instant; zero if that lies later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Instants outside of what RFC 3339 can write are clamped: `codec` refuses them at the door.
        let millis = self.0.clamp(*Self::RANGE.start(), *Self::RANGE.end());
        let instant = jiff::Timestamp::from_millisecond(millis).map_err(|_| fmt::Error)?;
        write!(f, "{instant:.3}")
    }
}

/// The text is not an instant.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not an RFC 3339 instant such as 2025-12-02T10:15:30.123Z")]
pub struct ParseTimestampError {
    text: String,
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<jiff::Timestamp>() {
            Ok(instant) => Ok(Timestamp(instant.as_millisecond())),
            Err(_) => Err(ParseTimestampError { text: text.chars().take(64).collect() }),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimestampVisitor;

        impl Visitor<'_> for TimestampVisitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 instant or milliseconds since the Unix epoch")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, millis: i64) -> Result<Timestamp, E> {
                Ok(Timestamp(millis))
            }

            fn visit_u64<E: Error>(self, millis: u64) -> Result<Timestamp, E> {
                i64::try_from(millis).map(Timestamp).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(TimestampVisitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn instants_survive_their_text(millis in Timestamp::RANGE) {
            let text = Timestamp(millis).to_string();
            prop_assert_eq!(text.len(), "2025-12-02T10:15:30.123Z".len());
            prop_assert_eq!(text.parse::<Timestamp>().unwrap(), Timestamp(millis));
            let json = serde_json::to_string(&Timestamp(millis)).unwrap();
            prop_assert_eq!(json.trim_matches('"'), text);
            prop_assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), Timestamp(millis));
            prop_assert_eq!(serde_json::from_str::<Timestamp>(&millis.to_string()).unwrap(), Timestamp(millis));
        }

        #[test]
        fn any_text_is_an_instant_or_an_error(text in ".*") {
            drop(text.parse::<Timestamp>());
        }

        #[test]
        fn any_number_has_a_text(millis in any::<i64>()) {
            let clamped = millis.clamp(*Timestamp::RANGE.start(), *Timestamp::RANGE.end());
            prop_assert_eq!(Timestamp(millis).to_string(), Timestamp(clamped).to_string());
        }
    }

    #[test]
    fn texts_are_what_clients_expect() {
        assert_eq!(Timestamp(1_764_670_530_123).to_string(), "2025-12-02T10:15:30.123Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(*Timestamp::RANGE.start()).to_string(), "0000-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(*Timestamp::RANGE.end()).to_string(), "9999-12-30T22:00:00.000Z");
        assert_eq!(*Timestamp::RANGE.end(), jiff::Timestamp::MAX.as_second() * 1000);
        assert_eq!("2025-12-02T12:15:30.1239+02:00".parse::<Timestamp>().unwrap(), Timestamp(1_764_670_530_123));
        let error = "2025-12-02".parse::<Timestamp>().unwrap_err().to_string();
        assert_eq!(error, r#""2025-12-02" is not an RFC 3339 instant such as 2025-12-02T10:15:30.123Z"#);
        assert!(serde_json::from_str::<Timestamp>("18446744073709551615").is_err());
    }

    #[test]
    fn an_earlier_instant_is_no_time_ago() {
        assert_eq!(Timestamp(5).since(Timestamp(3)), Duration::from_millis(2));
        assert_eq!(Timestamp(3).since(Timestamp(5)), Duration::ZERO);
        assert_eq!(Timestamp(i64::MAX).since(Timestamp(i64::MIN)), Duration::from_millis(i64::MAX as u64));
        assert!(Timestamp::RANGE.contains(&Timestamp::now().millis()));
    }
}
