//! Laying the layers over the defaults, and reading the result.

use std::collections::BTreeMap;

use config::{ConfigError, Value, ValueKind};
use serde_path_to_error::Segment;

use super::fault::{Fault, Faults};
use super::layers::Layers;
use super::sections::Config;
use super::{check, keys};

/// The configuration as it is in force.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The values.
    pub(crate) config: Config,
    /// Those that don't have their default.
    pub(super) given: BTreeMap<String, Given>,
}

/// A value that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// As it was written; `None` of a secret.
    pub(super) value: Option<String>,
    /// Where.
    pub(super) source: String,
}

/// What is said of values that nobody gave.
pub(super) const DEFAULT: &str = "default";

impl Loaded {
    /// Reads and checks the layers.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub(crate) fn from_layers(layers: &Layers) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let mut builder = config::Config::builder();
        for layer in layers.collect(&mut faults) {
            builder = builder.add_source(layer);
        }
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let built = builder.build().map_err(|error| Fault {
            key: String::new(),
            value: None,
            source: "the configuration".into(),
            reason: error.to_string(),
        })?;
        let given = given(&built.cache);
        let config = read(built.cache, &given)?;
        let loaded = Loaded { config, given };
        let faults = check::all(&loaded);
        if faults.is_empty() { Ok(loaded) } else { Err(Faults(faults)) }
    }

    /// The keys that were given, each with where.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&str, &str)> {
        self.given.iter().map(|(key, given)| (key.as_str(), given.source.as_str()))
    }

    /// Something wrong with the value of a key.
    pub(crate) fn fault(&self, key: &str, reason: impl Into<String>) -> Fault {
        fault(&self.given, key, reason.into())
    }
}

/// The fault, with what was given for the key.
fn fault(given: &BTreeMap<String, Given>, key: &str, reason: String) -> Fault {
    // Of a map that was given as one string, the map.
    let parent = key.match_indices('.').nth(1).map(|(at, _)| &key[..at]);
    let given = given.get(key).or_else(|| given.get(parent?));
    Fault {
        key: key.to_owned(),
        value: given.and_then(|given| given.value.clone()),
        source: given.map_or_else(|| DEFAULT.to_owned(), |given| given.source.clone()),
        reason,
    }
}

/// What was given, by key.
fn given(root: &Value) -> BTreeMap<String, Given> {
    fn walk(path: &str, value: &Value, given: &mut BTreeMap<String, Given>) {
        if let ValueKind::Table(table) = &value.kind {
            for (name, value) in table {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&path, value, given);
            }
            return;
        }
        let shown = match &value.kind {
            ValueKind::Array(values) => {
                let values: Vec<_> = values.iter().map(ToString::to_string).collect();
                values.join(",")
            }
            _ => value.to_string(),
        };
        let value = Given {
            value: (!keys::is_secret(path)).then(|| without_password(shown)),
            source: value.origin().unwrap_or_default().to_owned(),
        };
        given.insert(path.to_owned(), value);
    }
    let mut values = BTreeMap::new();
    walk("", root, &mut values);
    values
}

/// An address as it may be shown, in case somebody has written a password into it.
fn without_password(value: String) -> String {
    let parts = value.split_once("://").and_then(|(scheme, rest)| {
        let (login, rest) = rest.split_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:(secret)@{rest}"))
    });
    parts.unwrap_or(value)
}

fn read(root: Value, given: &BTreeMap<String, Given>) -> Result<Config, Fault> {
    serde_path_to_error::deserialize(root).map_err(|error| {
        let names = error.path().iter().filter_map(|segment| match segment {
            Segment::Map { key } => Some(key.as_str()),
            _ => None,
        });
        let key = names.collect::<Vec<_>>().join(".");
        let reason = reason(error.into_inner(), keys::is_secret(&key));
        fault(given, &key, reason)
    })
}

/// What the library says, without what we say better: key and source.
fn reason(error: ConfigError, secret: bool) -> String {
    match error {
        ConfigError::At { error, .. } => reason(*error, secret),
        ConfigError::Type { expected, .. } => format!("expected {expected}"),
        _ if secret => "the value has not the right form".to_owned(),
        ConfigError::Message(message) => message,
        error => error.to_string(),
    }
}
