//! What is told of an erasure.

use std::fmt;

use agentworks_schemas::Timestamp;
use agentworks_store::{Scan, Store, StoreError};
use serde::{Deserialize, Serialize};

use super::journal::{ERASURES, Erasure, RECEIPTS, key};
use crate::blocks::table::json;

/// Where data lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Tier {
    /// Kafka's topics.
    Log,
    /// The dead-letter topic.
    DeadLetters,
    /// Blocks by card.
    Hot,
    /// Blocks by run.
    Warm,
    /// Run summaries, marks and listings.
    Runs,
    /// Splits of the search index, where there is one.
    Search,
    /// Tables of the archive, where there is one.
    Archive,
}

impl Tier {
    /// Those that every installation has.
    pub const ALL: [Tier; 5] = [Tier::Log, Tier::DeadLetters, Tier::Hot, Tier::Warm, Tier::Runs];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Log => "log",
            Tier::DeadLetters => "deadLetters",
            Tier::Hot => "hot",
            Tier::Warm => "warm",
            Tier::Runs => "runs",
            Tier::Search => "search",
            Tier::Archive => "archive",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Objects that were replaced by others without what was erased.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replaced {
    /// How many.
    pub files: u64,
    /// What they were called, where that is known: at most [`Replaced::NAMES`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl Replaced {
    /// How many names are kept.
    pub const NAMES: usize = 1000;
}

/// What clearing a tier of an erasure has come to so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clearing {
    /// How many rows went, where that is known.
    pub rows: u64,
    /// The objects that had them.
    pub replaced: Replaced,
}

impl Clearing {
    /// An object of this name was replaced by one that lacks so many of its rows.
    pub fn replaced(&mut self, rows: u64, name: String) {
        self.rows += rows;
        self.replaced.files += 1;
        if self.replaced.names.len() < Replaced::NAMES {
            self.replaced.names.push(name);
        }
    }
}

/// What has become of an erasure in a tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TierState {
    /// Where.
    pub tier: Tier,
    /// Since when nobody can read it through this system.
    pub unreadable_since: Timestamp,
    /// When it is, or was, physically gone at the latest; absent while that isn't known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_by: Option<Timestamp>,
    /// When the tier was cleared; absent where data goes by its expiry alone, or has yet to be cleared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleared: Option<Timestamp>,
    /// How many rows that took, where that is known; what a process had deleted that was killed before it was done isn't
    /// counted. In the archive's and the index's receipts of before it is how many objects were replaced.
    #[serde(default)]
    pub rows: u64,
    /// The archive's files and the index's splits that were replaced; absent in other tiers, while the tier isn't cleared,
    /// and in receipts of before. What a process had replaced that was killed before it was done isn't among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
    /// What else there is to know.
    pub note: String,
}

/// An erasure and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The erasure.
    #[serde(flatten)]
    pub erasure: Erasure,
    /// Tier by tier.
    pub tiers: Vec<TierState>,
}

impl Receipt {
    /// Whether something is said of each of these tiers.
    pub(super) fn has(&self, tiers: impl IntoIterator<Item = Tier>) -> bool {
        tiers.into_iter().all(|tier| self.tiers.iter().any(|state| state.tier == tier))
    }

    /// Whether nothing is left to be done: what isn't gone by now will be, at a time that is known.
    pub fn is_settled(&self) -> bool {
        let is_settled = |state: &TierState| state.cleared.is_some() || state.gone_by.is_some();
        self.has(Tier::ALL) && self.tiers.iter().all(is_settled)
    }
}

/// Writes down what has become of an erasure in a tier. A state in which it is cleared stays.
pub(super) async fn write(store: &dyn Store, erasure: &Erasure, state: &TierState) -> Result<(), StoreError> {
    let key = key(RECEIPTS, format!("{}/{}", erasure.id, state.tier));
    store.write(vec![json(&ERASURES, key, state.cleared.map_or(0, |_| 1), state)?]).await
}

/// Reads what has become of an erasure.
pub(super) async fn read(store: &dyn Store, erasure: &Erasure) -> Result<Receipt, StoreError> {
    let bound = |end: &str| vec![format!("{}{end}", erasure.id).into()];
    let scan = Scan {
        from: std::ops::Bound::Included(bound("/")),
        // The character after the slash.
        to: std::ops::Bound::Excluded(bound("0")),
        ..Scan::partition(&ERASURES, vec![RECEIPTS.into()])
    };
    let rows = store.scan(scan).await?;
    let parse = |payload: &[u8]| {
        serde_json::from_slice::<TierState>(payload)
            .map_err(|error| StoreError::Failed(format!("a receipt of erasure {} can't be read: {error}", erasure.id)))
    };
    let mut tiers = rows.iter().map(|row| parse(&row.payload)).collect::<Result<Vec<_>, _>>()?;
    tiers.sort_by_key(|state| state.tier);
    Ok(Receipt { erasure: erasure.clone(), tiers })
}
