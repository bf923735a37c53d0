//! What a searcher is asked.

mod convert;
mod cursor;
mod timeline;

use agentworks_schemas::{Cursor, LogEntry, Position, Timestamp};
use serde::{Deserialize, Serialize};

pub use convert::{ConvertError, from_protocol, positioned, to_protocol};
pub use cursor::{After, CursorError};
pub use timeline::{MAX_BUCKETS, bucket, buckets, coarser, interval_for};

use crate::answer::{FacetField, PAGE_BYTES, SortKey, WINDOW_BYTES};
use crate::ast::{Query, QueryError};

/// How many hits are answered where nothing else is asked for.
pub const DEFAULT_LIMIT: usize = 100;
/// The result window: offset and limit together may reach this far. Beyond it one pages by cursor.
pub const MAX_WINDOW: usize = 10_000;
/// The most values of a facet.
pub const MAX_TOP: usize = 1_000;

/// By what hits are ordered. The order is total: what is equal in that is ordered by time, then by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SortBy {
    /// By the entry's own instant.
    #[default]
    Timestamp,
    /// By how well the query fits.
    Relevance,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The oldest, or the least relevant.
    Asc,
    /// The newest, or the most relevant.
    #[default]
    Desc,
}

/// An order of hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sort {
    /// By what.
    pub by: SortBy,
    /// Which end first.
    pub order: Order,
}

/// What is erased but may still be in an index: records below `before`, of one run or of the whole workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hidden {
    /// Of which run; of all of the workspace's if `None`.
    pub run: Option<String>,
    /// Below which positions: see [`Cursor::covers`].
    #[serde(deserialize_with = "Cursor::deserialize_end")]
    pub before: Cursor,
}

/// The values of a field with their counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facet {
    /// Which field.
    pub field: FacetField,
    /// How many values, from the most frequent.
    pub top: usize,
}

/// What is counted beside the hits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// How many entries there are in all. It is counted with any of the others, too.
    pub count: bool,
    /// How many by level and by source.
    pub distributions: bool,
    /// How many per bucket of so many milliseconds.
    pub timeline: Option<i64>,
    /// The values of fields.
    pub facets: Vec<Facet>,
}

impl Wanted {
    /// Whether every hit must be visited.
    pub fn is_any(&self) -> bool {
        self.count || self.distributions || self.timeline.is_some() || !self.facets.is_empty()
    }
}

/// A search. What limits it to what its bearer may see is not in the query but beside it: `workspace`, `cards`, `hidden`,
/// `kept_from`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchRequest {
    /// The workspace of the bearer's token.
    pub workspace: String,
    /// The cards that the token is for, if it is not for all.
    pub cards: Option<Vec<String>>,
    /// What is erased.
    pub hidden: Vec<Hidden>,
    /// What has a record timestamp before this has expired, if anything has.
    #[serde(default)]
    pub kept_from: Option<Timestamp>,
    /// What is looked for.
    pub query: Query,
    /// The first instant of an entry, included.
    pub from: Option<Timestamp>,
    /// The last one, included.
    pub to: Option<Timestamp>,
    /// In which order hits come.
    pub sort: Sort,
    /// How many hits at most.
    pub limit: usize,
    /// How many hits are left out before.
    pub offset: usize,
    /// The hit that the last page ended with.
    pub after: Option<After>,
    /// What is counted.
    pub wanted: Wanted,
}

/// A search that can't be asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// The query.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Too far into the hits.
    #[error("offset and limit reach to {0}, and at most to {MAX_WINDOW}; go on with the cursor of the last page")]
    Window(usize),
    /// Both at once.
    #[error("a page begins at an offset or after a cursor, not both; leave the offset out")]
    OffsetAndCursor,
    /// The cursor is of another order.
    #[error("the cursor is of a search in another order; ask again as for that one, or without the cursor")]
    Cursor,
    /// No entry can be in it.
    #[error("the range of time ends at {to}, before it begins at {from}")]
    Range {
        /// Its begin.
        from: Timestamp,
        /// Its end.
        to: Timestamp,
    },
    /// The timeline's interval.
    #[error("an interval of {0} ms; at least 1 is taken")]
    Interval(i64),
    /// A facet's size.
    #[error("the {0} most frequent values of a facet; from 1 to {MAX_TOP} are taken")]
    Top(usize),
}

impl SearchRequest {
    /// Everything in a workspace, the newest first, with nothing counted.
    pub fn new(workspace: impl Into<String>, query: Query) -> Self {
        SearchRequest {
            workspace: workspace.into(),
            cards: None,
            hidden: Vec::new(),
            kept_from: None,
            query,
            from: None,
            to: None,
            sort: Sort::default(),
            limit: DEFAULT_LIMIT,
            offset: 0,
            after: None,
            wanted: Wanted::default(),
        }
    }

    /// How many hits each part must find, for that many to be left after merging.
    pub fn window(&self) -> usize {
        self.offset.saturating_add(self.limit)
    }

    /// How many bytes of bodies each part need not go beyond: those of a page, or where it begins at an offset, those that it
    /// may take to get there.
    pub fn window_bytes(&self) -> usize {
        if self.offset == 0 { PAGE_BYTES } else { WINDOW_BYTES }
    }

    /// Whether it may be asked.
    pub fn check(&self) -> Result<(), RequestError> {
        self.query.check()?;
        if self.window() > MAX_WINDOW {
            return Err(RequestError::Window(self.window()));
        }
        if let Some(after) = &self.after {
            if self.offset > 0 {
                return Err(RequestError::OffsetAndCursor);
            }
            if after.sort != self.sort {
                return Err(RequestError::Cursor);
            }
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && to < from
        {
            return Err(RequestError::Range { from, to });
        }
        if let Some(interval) = self.wanted.timeline.filter(|interval| *interval < 1) {
            return Err(RequestError::Interval(interval));
        }
        match self.wanted.facets.iter().find(|facet| !(1..=MAX_TOP).contains(&facet.top)) {
            Some(facet) => Err(RequestError::Top(facet.top)),
            None => Ok(()),
        }
    }

    /// Whether the bearer may see an entry that lies at `position`, and it is in the range of time. All but the query.
    pub fn admits(&self, position: Position, entry: &LogEntry<'_>) -> bool {
        entry.workspace_id == self.workspace.as_str()
            && self.cards.as_ref().is_none_or(|cards| cards.iter().any(|card| entry.card_id == card.as_str()))
            && self.from.is_none_or(|from| entry.timestamp >= from)
            && self.to.is_none_or(|to| entry.timestamp <= to)
            && !self.hidden.iter().any(|hidden| {
                hidden.run.as_ref().is_none_or(|run| entry.run_id == run.as_str()) && hidden.before.covers(position)
            })
    }

    /// Whether an entry of this record timestamp hasn't expired.
    pub fn keeps(&self, record_time: Timestamp) -> bool {
        self.kept_from.is_none_or(|bound| record_time >= bound)
    }

    /// Whether a hit comes after the cursor.
    pub fn is_after_cursor(&self, key: &SortKey) -> bool {
        self.after.as_ref().is_none_or(|after| key.compare(&after.key, self.sort).is_gt())
    }

    /// The range of time that hits can have: what is asked for, within what the query itself demands.
    pub fn times(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let (mut from, mut to) = (self.from, self.to);
        timeline::narrow(&self.query, &mut from, &mut to);
        (from, to)
    }
}
