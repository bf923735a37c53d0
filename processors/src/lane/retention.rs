//! How long entries are kept.
//!
//! What is configured may change; what has been written under the old terms stays where it is and expires when it was
//! to. So a position says which terms have been in force from which offset on. Readers go by that and need no
//! configuration, and a change loses nothing: it holds from the next offset on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agentworks_schemas::Timestamp;
use serde::{Deserialize, Serialize};

/// How long entries are kept after the end of the hour (hot) or the day (warm) in which they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Those of all workspaces but the following.
    pub default: Duration,
    /// Those of single workspaces, by id. Positions repeat it: it is meant for hundreds of workspaces, not for all of
    /// very many.
    pub workspaces: BTreeMap<String, Duration>,
}

impl Retention {
    /// The same for all workspaces.
    pub fn new(default: Duration) -> Self {
        Retention { default, workspaces: BTreeMap::new() }
    }

    /// That of a workspace.
    pub fn of(&self, workspace: &str) -> Duration {
        *self.workspaces.get(workspace).unwrap_or(&self.default)
    }

    /// What of a workspace has a record timestamp before this has expired `now`.
    pub fn bound(&self, workspace: &str, now: Timestamp) -> Timestamp {
        let kept = i64::try_from(self.of(workspace).as_millis()).unwrap_or(i64::MAX);
        Timestamp(now.millis().saturating_sub(kept))
    }
}

/// What a sink keeps: the grain of its buckets in milliseconds, and for how long.
#[derive(Clone, Debug)]
pub struct Keep {
    /// See [`super::HOUR`], [`super::DAY`].
    pub grain: i64,
    /// How long.
    pub retention: Retention,
}

/// A time that was in force from an offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// The first offset.
    pub since: i64,
    /// How long entries are kept after the end of their bucket, in milliseconds.
    pub ttl: i64,
}

/// How long entries have been kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How long a bucket is, in milliseconds, but for its being cut short by its size.
    pub grain: i64,
    /// The terms of all workspaces but the following, by offset; never empty, and the first one holds from `low` on.
    pub(super) default: Vec<Term>,
    /// Those of single workspaces; likewise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) workspaces: BTreeMap<String, Vec<Term>>,
}

fn millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Adds what is in force from an offset on, unless that is what was in force before.
fn change(terms: &mut Vec<Term>, since: i64, ttl: i64) {
    if terms.last().is_none_or(|last| last.ttl != ttl) {
        // What was never in force is forgotten.
        terms.retain(|term| term.since < since);
        if terms.last().is_none_or(|last| last.ttl != ttl) {
            terms.push(Term { since, ttl });
        }
    }
}

impl Terms {
    pub(super) fn new(keep: &Keep, since: i64) -> Self {
        let term = |ttl: Duration| vec![Term { since, ttl: millis(ttl) }];
        let Retention { default, workspaces } = &keep.retention;
        let workspaces = workspaces.iter().map(|(workspace, ttl)| (workspace.clone(), term(*ttl))).collect();
        Terms { grain: keep.grain, default: term(*default), workspaces }
    }

    /// The terms of a workspace, by offset.
    pub fn of(&self, workspace: &str) -> &[Term] {
        self.workspaces.get(workspace).unwrap_or(&self.default)
    }

    /// How long an entry of a workspace at `offset` is kept after the end of its bucket, in milliseconds.
    pub fn ttl(&self, workspace: &str, offset: i64) -> i64 {
        let terms = self.of(workspace);
        let later = terms.partition_point(|term| term.since <= offset);
        terms.get(later.saturating_sub(1)).map_or(0, |term| term.ttl)
    }

    /// All lists of terms that there are.
    pub(super) fn all(&self) -> impl Iterator<Item = &[Term]> {
        self.workspaces.values().chain([&self.default]).map(Vec::as_slice)
    }

    /// What is configured is in force from `since` on.
    pub(super) fn change(&mut self, retention: &Retention, since: i64) {
        let named: BTreeSet<&String> = self.workspaces.keys().chain(retention.workspaces.keys()).collect();
        let mut workspaces = BTreeMap::new();
        for workspace in named {
            let mut terms = self.of(workspace).to_vec();
            change(&mut terms, since, millis(*retention.workspaces.get(workspace).unwrap_or(&retention.default)));
            workspaces.insert(workspace.clone(), terms);
        }
        change(&mut self.default, since, millis(retention.default));
        // Whoever has the terms of all needs none of their own.
        workspaces.retain(|workspace, terms| retention.workspaces.contains_key(workspace) || *terms != self.default);
        self.workspaces = workspaces;
    }

    /// Forgets what was in force only below `low`.
    pub(super) fn forget_below(&mut self, low: i64) {
        for terms in self.workspaces.values_mut().chain([&mut self.default]) {
            let later = terms.partition_point(|term| term.since <= low);
            terms.drain(..later.saturating_sub(1));
        }
    }
}
