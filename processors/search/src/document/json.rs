//! JSON that borrows from its text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Json<'a> {
    Null,
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// A whole number above all that fit.
    Large(u64),
    /// Any other number.
    Float(f64),
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    /// In the order of the text; a key may be there more than once.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads a JSON text.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::Text(text) => Ok(Key(text)),
            _ => Err(D::Error::custom("a key is a string")),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Json<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Json<'de>, E> {
                Ok(Json::Bool(value))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Json<'de>, E> {
                Ok(Json::Int(value))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Json<'de>, E> {
                Ok(i64::try_from(value).map_or(Json::Large(value), Json::Int))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'de>, E> {
                Ok(Json::Float(value))
            }

            fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Borrowed(value)))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Owned(value.to_owned())))
            }

            fn visit_string<E: Error>(self, value: String) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Owned(value)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Json<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(value) = values.next_element()? {
                    all.push(value);
                }
                Ok(Json::Array(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(Key(key)) = members.next_key()? {
                    all.push((key, members.next_value()?));
                }
                Ok(Json::Object(all))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn values_are_read_in_place() {
        let text = r#"{"a":[1,-2,1.5,18446744073709551615],"b":null,"c":true,"d\n":"x","a":"y\t"}"#;
        let Json::Object(members) = Json::parse(text).unwrap() else { panic!("no object") };
        assert_eq!(
            members[0].1,
            Json::Array(vec![Json::Int(1), Json::Int(-2), Json::Float(1.5), Json::Large(u64::MAX)])
        );
        assert_eq!(members[1..3].iter().map(|(_, value)| value).collect::<Vec<_>>(), [&Json::Null, &Json::Bool(true)]);
        let borrowed = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
        assert!(matches!(&members[3], (key, Json::Text(value)) if !borrowed(key) && borrowed(value)));
        assert!(matches!(&members[4], (key, Json::Text(value)) if key == "a" && value == "y\t"));
        assert!(Json::parse("{").is_err());
    }
}
