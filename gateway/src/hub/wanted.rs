//! What a viewer wants to see of a card.

use std::collections::HashSet;
use std::sync::Arc;

use agentworks_processors::reader::{Needle, ReadFilter, fold};
use agentworks_schemas::protocol::LiveFilters;
use agentworks_schemas::{Level, LogEntry, Source};

/// The most components that a filter may name.
const MAX_COMPONENTS: usize = 100;
/// The longest text and component in a filter, in bytes.
const MAX_TEXT: usize = 1024;

/// The runs that a connection has narrowed its streams to; `None` for all.
pub(crate) type Runs = Option<Arc<HashSet<String>>>;

/// What a viewer wants to see: all of its card, unless it says otherwise. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) runs: Runs,
    pub(crate) filters: Option<Arc<Filters>>,
}

/// Filters, as they were said and as entries are held against them.
#[derive(Debug)]
pub(crate) struct Filters {
    said: LiveFilters,
    read: ReadFilter,
}

/// What is asked of an entry by viewers that don't want all: taken from it once for all of them.
#[derive(Debug)]
pub(super) struct Traits {
    run: String,
    level: Level,
    source: Source,
    component: String,
    /// Its message, folded.
    message: String,
}

impl Wanted {
    /// Whether it is all of the card.
    pub(crate) fn is_all(&self) -> bool {
        self.runs.is_none() && self.filters.is_none()
    }

    pub(crate) fn has_run(&self, run: &str) -> bool {
        self.runs.as_ref().is_none_or(|runs| runs.contains(run))
    }

    /// Whether an entry is among it.
    pub(crate) fn has(&self, entry: &LogEntry<'_>) -> bool {
        self.has_run(&entry.run_id) && self.filters.as_ref().is_none_or(|filters| filters.read.passes(entry))
    }

    pub(super) fn has_traits(&self, traits: &Traits) -> bool {
        self.has_run(&traits.run) && self.filters.as_ref().is_none_or(|filters| filters.passes(traits))
    }

    /// The filters as the client said them.
    pub(crate) fn said(&self) -> Option<LiveFilters> {
        self.filters.as_ref().map(|filters| filters.said.clone())
    }

    /// The filters as history is read by them.
    pub(crate) fn read(&self) -> ReadFilter {
        self.filters.as_ref().map(|filters| filters.read.clone()).unwrap_or_default()
    }
}

impl Filters {
    /// These filters; `None` if they let everything pass.
    ///
    /// # Errors
    /// With the reason, if they are too many or too long.
    pub(crate) fn new(said: LiveFilters) -> Result<Option<Arc<Self>>, String> {
        let components = said.components.as_deref().unwrap_or_default();
        if components.len() > MAX_COMPONENTS {
            return Err(format!("a filter names {MAX_COMPONENTS} components at most"));
        }
        let text = said.text.as_deref().filter(|text| !text.is_empty());
        if components.iter().map(String::as_str).chain(text).any(|text| text.len() > MAX_TEXT) {
            return Err(format!("a filter's text and components have {MAX_TEXT} bytes at most"));
        }
        let read = ReadFilter {
            levels: said.levels.clone(),
            sources: said.sources.clone(),
            components: said.components.clone(),
            text: text.map(Needle::new),
            ..ReadFilter::default()
        };
        Ok((read != ReadFilter::default()).then(|| Arc::new(Filters { said, read })))
    }

    fn passes(&self, traits: &Traits) -> bool {
        self.read.names(traits.level, traits.source, &traits.component)
            && self.read.text.as_ref().is_none_or(|text| text.is_in_folded(&traits.message))
    }
}

impl Traits {
    pub(super) fn of(entry: &LogEntry<'_>) -> Self {
        Traits {
            run: entry.run_id.as_str().to_owned(),
            level: entry.level,
            source: entry.source,
            component: entry.component.as_str().to_owned(),
            message: fold(&entry.message).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::hub::testing::entry;

    fn wanted(filters: serde_json::Value) -> Wanted {
        let filters = Filters::new(serde_json::from_value(filters).unwrap()).unwrap();
        Wanted { filters, ..Wanted::default() }
    }

    #[test]
    fn an_entry_and_its_traits_pass_alike() {
        let entry = LogEntry { component: "planner".into(), ..entry("w", "c", "r", "The Disk is FULL, été") };
        for (filters, passes) in [
            (serde_json::json!({"levels": ["info", "warn"]}), true),
            (serde_json::json!({"levels": []}), false),
            (serde_json::json!({"sources": ["system"]}), false),
            (serde_json::json!({"sources": ["agent"], "components": ["planner"]}), true),
            (serde_json::json!({"components": ["Planner"]}), false),
            (serde_json::json!({"text": "disk is full"}), true),
            (serde_json::json!({"text": "ÉTÉ"}), true),
            (serde_json::json!({"text": "empty"}), false),
        ] {
            let wanted = wanted(filters.clone());
            assert!(!wanted.is_all());
            assert_eq!(wanted.has(&entry), passes, "{filters}");
            assert_eq!(wanted.has_traits(&Traits::of(&entry)), passes, "{filters}");
            assert_eq!(serde_json::to_value(wanted.said()).unwrap(), filters);
        }
        let run = |run: &str| Wanted { runs: Some(Arc::new(HashSet::from([run.to_owned()]))), filters: None };
        assert!(run("r").has(&entry) && !run("another").has_traits(&Traits::of(&entry)));
    }

    #[test]
    fn filters_that_let_everything_pass_are_none() {
        assert!(wanted(serde_json::json!({})).is_all());
        assert!(wanted(serde_json::json!({"text": ""})).is_all());
    }

    #[test]
    fn filters_are_bounded() {
        let text = |length| LiveFilters { text: Some("x".repeat(length)), ..LiveFilters::default() };
        assert!(Filters::new(text(MAX_TEXT)).is_ok() && Filters::new(text(MAX_TEXT + 1)).is_err());
        let components = |count| LiveFilters { components: Some(vec!["x".into(); count]), ..LiveFilters::default() };
        assert!(Filters::new(components(MAX_COMPONENTS)).is_ok() && Filters::new(components(101)).is_err());
    }
}
