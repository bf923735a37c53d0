//! What to read.

use agentworks_schemas::{Level, LogEntry, Source, Timestamp, Topic};

use super::text::Needle;
use crate::blocks::BlockStats;

/// Whose entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A card's.
    Card {
        /// The tenant.
        workspace: String,
        /// The card.
        card: String,
    },
    /// A run's.
    Run {
        /// The tenant.
        workspace: String,
        /// The run.
        run: String,
        /// The run's card.
        card: String,
    },
}

impl Scope {
    /// The tenant.
    pub fn workspace(&self) -> &str {
        match self {
            Scope::Card { workspace, .. } | Scope::Run { workspace, .. } => workspace,
        }
    }

    /// The card: the key under which all entries of the scope lie.
    pub fn card(&self) -> &str {
        match self {
            Scope::Card { card, .. } | Scope::Run { card, .. } => card,
        }
    }

    /// The run, if the scope is one.
    pub fn run(&self) -> Option<&str> {
        match self {
            Scope::Card { .. } => None,
            Scope::Run { run, .. } => Some(run),
        }
    }

    /// Whether an entry is of the scope. Cards of different workspaces may bear the same id and so share key and lane:
    /// only this tells them apart.
    pub fn holds(&self, entry: &LogEntry<'_>) -> bool {
        entry.card_id == self.card()
            && entry.workspace_id == self.workspace()
            && self.run().is_none_or(|run| entry.run_id == run)
    }

    /// Whether any of a block's entries may be of the scope, as far as that can be seen.
    pub fn may_be_in(&self, stats: &BlockStats) -> bool {
        match (self.run(), &stats.detail) {
            (Some(run), Some(detail)) => detail.runs.may_have(run),
            _ => true,
        }
    }
}

/// Which of them. An absent list lets all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadFilter {
    /// In these topics; others are not read at all.
    pub topics: Option<Vec<Topic>>,
    /// Of these levels.
    pub levels: Option<Vec<Level>>,
    /// Of these sources.
    pub sources: Option<Vec<Source>>,
    /// Of these components.
    pub components: Option<Vec<String>>,
    /// With a timestamp of their own not before this.
    pub since: Option<Timestamp>,
    /// With a timestamp of their own not after this.
    pub until: Option<Timestamp>,
    /// With a message that contains this.
    pub text: Option<Needle>,
}

impl ReadFilter {
    /// Whether an entry passes. Its topic is none of the entry's: see [`ReadFilter::reads`].
    pub fn passes(&self, entry: &LogEntry<'_>) -> bool {
        self.names(entry.level, entry.source, &entry.component)
            && self.since.is_none_or(|since| entry.timestamp >= since)
            && self.until.is_none_or(|until| entry.timestamp <= until)
            && self.text.as_ref().is_none_or(|text| text.is_in(&entry.message))
    }

    /// Whether an entry's level, source and component are among those named.
    pub fn names(&self, level: Level, source: Source, component: &str) -> bool {
        self.levels.as_ref().is_none_or(|levels| levels.contains(&level))
            && self.sources.as_ref().is_none_or(|sources| sources.contains(&source))
            && self.components.as_ref().is_none_or(|list| list.iter().any(|name| name == component))
    }

    /// Whether any of a block's entries may pass, as far as that can be seen.
    pub fn may_pass(&self, stats: &BlockStats) -> bool {
        let detail = stats.detail.as_ref();
        let has_component = |name: &String| detail.is_none_or(|detail| detail.components.may_have(name));
        self.levels.as_ref().is_none_or(|levels| levels.iter().any(|level| stats.has_level(*level)))
            && self.sources.as_ref().is_none_or(|sources| sources.iter().any(|source| stats.may_have_source(*source)))
            && self.components.as_ref().is_none_or(|list| list.iter().any(has_component))
            && self.since.is_none_or(|since| detail.is_none_or(|detail| detail.timestamps.1 >= since))
            && self.until.is_none_or(|until| detail.is_none_or(|detail| detail.timestamps.0 <= until))
    }

    /// Whether entries of a topic are wanted. Run events are never: they are no entries.
    pub fn reads(&self, topic: Topic) -> bool {
        Topic::LOGS.contains(&topic) && self.topics.as_ref().is_none_or(|topics| topics.contains(&topic))
    }
}
