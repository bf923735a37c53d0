//! The file, the environment and the flags: each as values that know where they come from.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use agentworks_store_cql::PASSWORD_VARIABLE;
use config::{Map, Source, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::keys::{self, Kind};

/// What the variables begin with, and what parts section from key.
const PREFIX: &str = "AGENTWORKS__";
const SEPARATOR: &str = "__";

/// Another name of a variable: the one that errors of the store ask for.
const STORE_PASSWORD: (&str, &str) = (PASSWORD_VARIABLE, "AGENTWORKS__STORE__PASSWORD");

/// A flag that sets a key.
#[derive(Clone, Debug)]
pub(crate) struct FlagValue {
    /// The flag as it is typed: `--listen`.
    pub(crate) flag: String,
    /// The key that it sets.
    pub(crate) key: String,
    /// The value as it was typed.
    pub(crate) value: String,
}

impl FlagValue {
    /// What `--set KEY=VALUE` says.
    pub(crate) fn set(key: &str, value: &str) -> Self {
        FlagValue { flag: format!("--set {key}"), key: key.to_owned(), value: value.to_owned() }
    }
}

/// Where values come from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    /// A TOML file.
    pub(crate) file: Option<PathBuf>,
    /// The process's variables; those of other programs are passed over.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Flags, of which later ones win.
    pub(crate) flags: Vec<FlagValue>,
}

/// Values of one source, by section.
#[derive(Clone, Debug)]
pub(super) struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    /// Values by their keys; what is wrong with keys is noted in `faults`.
    fn new(values: impl IntoIterator<Item = (String, Value)>, faults: &mut Vec<Fault>) -> Self {
        let mut sections = Map::<String, Map<String, Value>>::new();
        for (key, value) in values {
            match (keys::kind(&key), key.split_once('.')) {
                (Some(_), Some((section, name))) => {
                    sections.entry(section.to_owned()).or_default().insert(name.to_owned(), value);
                }
                _ => faults.push(Fault {
                    reason: keys::advice(&key),
                    source: value.origin().unwrap_or_default().to_owned(),
                    // What was meant for a secret may have come here by a slip.
                    value: None,
                    key,
                }),
            }
        }
        Layer(sections.into_iter().map(|(section, values)| (section, Value::from(values))).collect())
    }
}

impl Layer {
    /// Forgets secrets that a stronger layer gives in the other way: itself, or in a file.
    fn yield_to(&mut self, stronger: &Layer) {
        for (section, values) in &mut self.0 {
            let (ValueKind::Table(own), Some(other)) = (&mut values.kind, stronger.0.get(section)) else { continue };
            let ValueKind::Table(other) = &other.kind else { continue };
            for name in other.keys() {
                let sibling = name.strip_suffix("_file").map_or_else(|| format!("{name}_file"), str::to_owned);
                own.remove(&sibling);
            }
        }
    }
}

impl Layers {
    /// The layers, the weakest first.
    pub(super) fn collect(&self, faults: &mut Vec<Fault>) -> Vec<Layer> {
        let mut layers = Vec::new();
        if let Some(path) = &self.file {
            match file(path) {
                Ok(values) => layers.push(Layer::new(values, faults)),
                Err(fault) => faults.push(fault),
            }
        }
        let (short, long) = STORE_PASSWORD;
        let is_long_given = self.environment.iter().any(|(name, _)| name == long);
        let variables = self.environment.iter().filter_map(|(name, value)| match name.to_str()? {
            name if name == short => {
                (!is_long_given && !value.is_empty()).then(|| variable_as(long, name, value, faults)).flatten()
            }
            name => variable_as(name, name, value, faults),
        });
        let variables: Vec<_> = variables.collect();
        layers.push(Layer::new(variables, faults));
        let flags = self.flags.iter().map(|flag| {
            let origin = format!("the flag {}", flag.flag);
            (flag.key.clone(), Value::new(Some(&origin), flag.value.as_str()))
        });
        layers.push(Layer::new(flags.collect::<Vec<_>>(), faults));
        for strong in 1..layers.len() {
            let (weaker, stronger) = layers.split_at_mut(strong);
            weaker.iter_mut().for_each(|weak| weak.yield_to(&stronger[0]));
        }
        layers
    }
}

/// The key and value of a variable that is called `name`, or stands for that and is `called` otherwise; `None` if it isn't
/// ours.
fn variable_as(name: &str, called: &str, value: &OsString, faults: &mut Vec<Fault>) -> Option<(String, Value)> {
    let rest = name.strip_prefix(PREFIX)?;
    let origin = format!("the variable {called}");
    let parts: Vec<_> = rest.split(SEPARATOR).map(str::to_lowercase).collect();
    let key = parts.join(".");
    if let [section, name, ..] = parts.as_slice() {
        let named = format!("{section}.{name}");
        if parts.len() > 2 && keys::kind(&named) == Some(Kind::Named) {
            let variable = format!("{PREFIX}{}", named.to_uppercase().replace('.', SEPARATOR));
            // Variables have no case to keep, and names may have any.
            let reason = format!("give all names in one variable: {variable}=name=value,name=value");
            faults.push(Fault { key, value: None, source: origin, reason });
            return None;
        }
    }
    let Some(value) = value.to_str() else {
        let reason = "the value is not UTF-8".to_owned();
        faults.push(Fault { key, value: None, source: origin, reason });
        return None;
    };
    Some((key, Value::new(Some(&origin), value)))
}

/// A file's values.
fn file(path: &Path) -> Result<Vec<(String, Value)>, Fault> {
    let at = |line: Option<usize>| match line {
        Some(line) => format!("{}:{line}", path.display()),
        None => path.display().to_string(),
    };
    let fault = |line, reason: String| Fault { key: String::new(), value: None, source: at(line), reason };
    let text = fs::read_to_string(path).map_err(|error| fault(None, format!("the file can't be read: {error}")))?;
    let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let table = DeTable::parse(&text).map_err(|error| {
        let line = error.span().map(|span| line_of(span.start));
        // Only the message: the rest of it quotes the line, which may hold a secret.
        fault(line, format!("this is not TOML: {}", error.message()))
    })?;
    let origin = |offset: usize| at(Some(line_of(offset)));
    let mut values = Vec::new();
    for (section, contents) in table.get_ref() {
        let section_at = origin(section.span().start);
        let DeValue::Table(contents) = contents.get_ref() else {
            values.push((section.get_ref().to_string(), Value::new(Some(&section_at), "")));
            continue;
        };
        for (key, value) in contents {
            let key_at = origin(key.span().start);
            values
                .push((format!("{}.{}", section.get_ref(), key.get_ref()), of_toml(value.get_ref(), &key_at, &origin)));
        }
        if contents.is_empty() && !keys::all().any(|(key, _)| key.starts_with(&format!("{}.", section.get_ref()))) {
            values.push((section.get_ref().to_string(), Value::new(Some(&section_at), "")));
        }
    }
    Ok(values)
}

/// A value of a file, and those in it.
fn of_toml(value: &DeValue<'_>, at: &String, origin: &impl Fn(usize) -> String) -> Value {
    let kind = match value {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Boolean(value) => ValueKind::Boolean(*value),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => ValueKind::I64(number),
            Err(_) => ValueKind::String(number.as_str().to_owned()),
        },
        DeValue::Float(number) => ValueKind::String(number.as_str().to_owned()),
        DeValue::Datetime(time) => ValueKind::String(time.to_string()),
        DeValue::Array(values) => {
            values.iter().map(|value| of_toml(value.get_ref(), at, origin)).collect::<Vec<_>>().into()
        }
        DeValue::Table(values) => {
            let named = values.iter().map(|(name, value)| {
                let at = origin(name.span().start);
                (name.get_ref().to_string(), of_toml(value.get_ref(), &at, origin))
            });
            named.collect::<Map<_, _>>().into()
        }
    };
    Value::new(Some(at), kind)
}
