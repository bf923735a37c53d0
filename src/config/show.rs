//! The effective values with their sources.

use std::fmt;

use serde_json::Value;

use super::keys;
use super::load::{DEFAULT, Loaded};

/// One line a key, by sections, in a form that a configuration file may have; secrets are not in it.
pub(crate) struct Shown<'a>(pub(crate) &'a Loaded);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = serde_json::to_value(&self.0.config).map_err(|_| fmt::Error)?;
        for (index, (section, values)) in values.as_object().into_iter().flatten().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            writeln!(f, "[{section}]")?;
            for (name, value) in values.as_object().into_iter().flatten() {
                let key = format!("{section}.{name}");
                match value {
                    Value::Object(named) if !named.is_empty() => {
                        for (sub, value) in named {
                            let shown = format!("{name}.{sub:?}");
                            self.line(f, &shown, &format!("{key}.{sub}"), value)?;
                        }
                    }
                    value => self.line(f, name, &key, value)?,
                }
            }
        }
        Ok(())
    }
}

impl Shown<'_> {
    fn line(&self, f: &mut fmt::Formatter<'_>, name: &str, key: &str, value: &Value) -> fmt::Result {
        let given = &self.0.given;
        let parent = key.match_indices('.').nth(1).map(|(at, _)| &key[..at]);
        let given = given.get(key).or_else(|| given.get(parent?));
        let source = given.map_or(DEFAULT, |given| &given.source);
        let line = match value {
            Value::Null => format!("# {name} ="),
            // It would be taken for the secret.
            Value::String(text) if keys::is_secret(key) => format!("# {name} = {text}"),
            Value::Object(_) => format!("{name} = {{}}"),
            Value::String(text) => format!("{name} = {text:?}"),
            value => format!("{name} = {value}"),
        };
        writeln!(f, "{line:<56} # {source}")
    }
}
