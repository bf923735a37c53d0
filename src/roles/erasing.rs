//! Erasing what lies among the objects.

use std::time::Duration;

use agentworks_archive::Maintenance;
use agentworks_processors::erasure::{Clear, Clearing, Erasure, Tier};
use agentworks_processors::sink::SinkError;
use agentworks_schemas::Timestamp;
use agentworks_search::maintain::{Erased, Maintainer};
use async_trait::async_trait;

/// The tables of the archive.
#[derive(Debug)]
pub(crate) struct ErasedFromArchive {
    pub(crate) maintenance: Maintenance,
    /// How long removed files stay.
    pub(crate) grace: Duration,
}

#[async_trait]
impl Clear for ErasedFromArchive {
    fn tier(&self) -> Tier {
        Tier::Archive
    }

    async fn clear(&self, erasure: &Erasure, clearing: &mut Clearing) -> Result<Option<Timestamp>, SinkError> {
        if !self.maintenance.has_passed(erasure).await? {
            return Ok(None);
        }
        self.maintenance.erase(erasure, clearing).await?;
        Ok(Some(in_time(self.grace)))
    }
}

/// The splits of the search index.
#[derive(Debug)]
pub(crate) struct ErasedFromIndex {
    pub(crate) maintainer: Maintainer,
    /// How long removed splits stay.
    pub(crate) grace: Duration,
}

#[async_trait]
impl Clear for ErasedFromIndex {
    fn tier(&self) -> Tier {
        Tier::Search
    }

    async fn clear(&self, erasure: &Erasure, clearing: &mut Clearing) -> Result<Option<Timestamp>, SinkError> {
        match self.maintainer.erase(erasure).await? {
            Erased::NotYet => Ok(None),
            Erased::Done(rewritten) => {
                clearing.replaced.files += rewritten as u64;
                Ok(Some(in_time(self.grace)))
            }
        }
    }
}

/// Now and so much later.
fn in_time(grace: Duration) -> Timestamp {
    let millis = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    Timestamp(Timestamp::now().millis().saturating_add(millis))
}
