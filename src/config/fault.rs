//! What is wrong with a configuration.

use std::fmt;

/// Something wrong with one value, or with a source as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The key, `section.key`; empty if it is about a whole source.
    pub(crate) key: String,
    /// The value as it was written, unless it is a secret or there is none.
    pub(crate) value: Option<String>,
    /// Where it comes from: a file and line, a variable, a flag.
    pub(crate) source: String,
    /// What is wrong, and what to do.
    pub(crate) reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { key, value, source, reason } = self;
        if key.is_empty() {
            return write!(f, "{source}: {reason}");
        }
        write!(f, "{key}")?;
        if let Some(value) = value {
            write!(f, " = {value:?}")?;
        }
        write!(f, " ({source}): {reason}")
    }
}

impl std::error::Error for Fault {}

/// All that is wrong: at least one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Faults(vec![fault])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [fault] => write!(f, "the configuration is wrong: {fault}"),
            faults => {
                write!(f, "the configuration is wrong in {} places:", faults.len())?;
                faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

impl std::error::Error for Faults {}
