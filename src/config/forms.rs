//! How values are written: times, sizes, lists, maps and secrets.
//!
//! Each form is read from a string, for that is all the environment and flags can give; files may also use TOML's own
//! numbers, arrays and tables.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// What is shown in the place of a secret.
pub(crate) const REDACTED: &str = "(secret)";

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hidden(String);

impl Hidden {
    /// The value itself, for the client that needs it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Hidden {
    fn from(value: String) -> Self {
        Hidden(value)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Hidden)
    }
}

/// A time: `500ms`, `30s`, `5m`, `24h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) Duration);

const TIME: &str = "a time with its unit: 500ms, 30s, 5m, 24h or 7d";
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Time {
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Time(Duration::from_secs(seconds))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (number, unit) = number_and_unit(text).ok_or(TIME)?;
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(TIME)?;
        number.checked_mul(*millis).map(|millis| Time(Duration::from_millis(millis))).ok_or(TIME)
    }
}

impl From<Duration> for Time {
    fn from(duration: Duration) -> Self {
        Time(duration)
    }
}

/// In the largest unit that gives a whole number.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let whole = |(_, unit): &&(&str, u64)| millis > 0 && millis.is_multiple_of(u128::from(*unit));
        let (name, unit) = UNITS.iter().find(whole).unwrap_or(&("ms", 1));
        write!(f, "{}{name}", millis / u128::from(*unit))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl Visitor<'_> for Form {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(TIME)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
                Time::parse(text).map_err(|wanted| E::custom(format_args!("expected {wanted}")))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// A number of bytes: `65536`, `64KiB`, `128MiB`, `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) usize);

const SIZE: &str = "a number of bytes: 65536, 64KiB, 128MiB or 2GiB";
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

impl Size {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (number, unit) = number_and_unit(text).ok_or(SIZE)?;
        let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit).ok_or(SIZE)?;
        number.checked_mul(*bytes).and_then(|bytes| usize::try_from(bytes).ok()).map(Size).ok_or(SIZE)
    }
}

/// In the largest unit that gives a whole number.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as u64;
        let whole = |(_, unit): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*unit);
        let (name, unit) = SIZES.iter().find(whole).unwrap_or(&("", 1));
        write!(f, "{}{name}", bytes / unit)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl Visitor<'_> for Form {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SIZE)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).map_err(|wanted| E::custom(format_args!("expected {wanted}")))
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Size, E> {
                let bytes = usize::try_from(bytes);
                bytes.map(Size).map_err(|_| E::custom(format_args!("expected {SIZE}")))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// Several values: an array, or a string of them separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct List(pub(crate) Vec<String>);

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.join(","))
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = List;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list: [\"a\", \"b\"], or \"a,b\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<List, E> {
                Ok(List(parts(text).map(str::to_owned).collect()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(List(values))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// Values by name: a table, or a string `name=value,name=value`. The names are free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named<T>(pub(crate) BTreeMap<String, T>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named(BTreeMap::new())
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Form<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table, or \"name=value,name=value\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Named<T>, E> {
                let mut values = BTreeMap::new();
                for part in parts(text) {
                    let (name, value) =
                        part.split_once('=').ok_or_else(|| E::custom("expected name=value,name=value"))?;
                    let value = T::deserialize(serde::de::value::StrDeserializer::<E>::new(value.trim()))?;
                    values.insert(name.trim().to_owned(), value);
                }
                Ok(Named(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut values = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    values.insert(name, value);
                }
                Ok(Named(values))
            }
        }
        deserializer.deserialize_any(Form(std::marker::PhantomData))
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn times_and_sizes_are_shown_as_they_are_written() {
        for text in ["0ms", "500ms", "30s", "5m", "24h", "25h", "7d", "1500ms"] {
            let shown = Time::parse(text).unwrap().to_string();
            assert_eq!(shown, if text == "24h" { "1d" } else { text });
        }
        for text in ["0", "65537", "64KiB", "128MiB", "2GiB"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["", "12", "h", "-1h", "1.5h", "1h30m", "99999999999999999999d", "18446744073709551615d"] {
            assert!(Time::parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "KiB", "-1", "1.5MiB", "64kb", "18446744073709551615GiB"] {
            assert!(Size::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_and_maps_come_from_strings_too() {
        let list: List = serde_json::from_str(r#""a, b,""#).unwrap();
        assert_eq!(list, serde_json::from_str(r#"["a", "b"]"#).unwrap());
        let named: Named<Time> = serde_json::from_str(r#""acme=3d, other = 1d""#).unwrap();
        assert_eq!(named, serde_json::from_str(r#"{"acme": "3d", "other": "1d"}"#).unwrap());
        assert!(serde_json::from_str::<Named<Time>>(r#""acme""#).is_err());
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Hidden::from("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), REDACTED);
        assert_eq!(serde_json::to_string(&secret).unwrap(), format!("{REDACTED:?}"));
    }
}
