//! A JSON object taken apart, so that what is wrong with one member can be said of it by name.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::text::{Text, describe, excerpt};

/// More members than any message has; so that looking for double ones stays cheap.
const MAX_MEMBERS: usize = 64;

/// The members of a JSON object that nobody has taken yet.
pub(super) struct Members<'a>(Vec<(Text<'a>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Takes a member that must be there.
    pub(super) fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, String> {
        match self.raw(name) {
            Some(raw) => parse(name, raw),
            None => Err(format!("field {name} is required")),
        }
    }

    /// Takes a member that may be absent or null.
    pub(super) fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, String> {
        self.raw(name).map_or(Ok(None), |raw| parse(name, raw))
    }

    /// Takes the text of a member.
    pub(super) fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let index = self.0.iter().position(|(found, _)| *found == name)?;
        Some(self.0.swap_remove(index).1)
    }

    /// Ends the object: all that it has was taken.
    pub(super) fn finish(self) -> Result<(), String> {
        match self.0.first() {
            Some((name, _)) => Err(format!("field {:?} is unknown here", excerpt(name))),
            None => Ok(()),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members: Vec<(Text<'de>, &'de RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, _>()? {
                    if members.len() == MAX_MEMBERS {
                        return Err(A::Error::custom(format_args!("more than {MAX_MEMBERS} fields")));
                    }
                    if members.iter().any(|(found, _)| *found == name) {
                        return Err(A::Error::custom(format_args!("field {:?} is there twice", excerpt(&name))));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Parses the member `name`. If it is an object whose fields may all be left out, an error names the field in it.
fn parse<T: DeserializeOwned>(name: &str, raw: &RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|error| match culprit::<T>(raw) {
        Some((inner, error)) => format!("field {name}.{}: {}", excerpt(&inner), describe(&error)),
        None => format!("field {name}: {}", describe(&error)),
    })
}

/// The first member of an object that alone doesn't parse either.
fn culprit<T: DeserializeOwned>(raw: &RawValue) -> Option<(Text<'_>, serde_json::Error)> {
    let members: Members<'_> = serde_json::from_str(raw.get()).ok()?;
    members.0.into_iter().find_map(|(name, value)| {
        let alone = format!("{{{}:{value}}}", serde_json::Value::from(name.as_str()));
        serde_json::from_str::<T>(&alone).err().map(|error| (name, error))
    })
}
