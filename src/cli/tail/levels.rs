//! Which levels are wanted.

use std::str::FromStr;

use agentworks_schemas::Level;

/// Some levels: `warn+` for warn and graver ones, or names separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Levels(Vec<Level>);

impl Levels {
    /// Their names, separated by commas.
    pub(super) fn names(&self) -> String {
        self.0.iter().map(|level| level.as_str()).collect::<Vec<_>>().join(",")
    }
}

impl FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut levels: Vec<Level> = Vec::new();
        for item in text.split(',') {
            let (name, and_graver) = item.strip_suffix('+').map_or((item, false), |name| (name, true));
            let least: Level =
                name.trim().to_lowercase().parse().map_err(|error| format!("{error}; add + for graver ones"))?;
            let wanted = |level: &Level| *level == least || (and_graver && *level > least);
            levels.extend(Level::ALL.iter().filter(|level| wanted(level)));
        }
        Ok(Levels(Level::ALL.into_iter().filter(|level| levels.contains(level)).collect()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn levels_are_named_alone_or_with_all_graver_ones() {
        let names = |text: &str| text.parse::<Levels>().unwrap().names();
        assert_eq!(names("warn"), "warn");
        assert_eq!(names("warn+"), "warn,error,fatal");
        assert_eq!(names("WARN+"), "warn,error,fatal");
        assert_eq!(names("error,debug,error"), "debug,error");
        assert_eq!(names("debug, error+"), "debug,error,fatal");
        let error = "loud+".parse::<Levels>().unwrap_err();
        assert!(error.contains("loud") && error.contains("debug, info"), "{error}");
    }
}
