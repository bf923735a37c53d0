//! When what tiers hold of what was erased goes of itself.

use std::time::Duration;

use agentworks_kafka::describe_topics;
use agentworks_schemas::{Timestamp, Topic};

use super::eraser::{EraseError, Eraser, may_clear};
use super::journal::Erasure;
use super::receipt::{self, Tier};
use crate::epochs::recorded;
use crate::lane;

impl Eraser {
    /// When what a tier holds goes of itself, and how.
    pub(super) async fn expiry(
        &self,
        tier: Tier,
        erasure: &Erasure,
    ) -> Result<(Option<Timestamp>, &'static str), EraseError> {
        Ok(match tier {
            Tier::Log => {
                let topics = &self.reader().kafka().topics;
                let kept = self.retention(&Topic::ALL.map(|topic| topics.name(topic))).await?;
                (kept.map(|kept| later(erasure.at, kept)), "goes with the topics' retention, segment by segment")
            }
            Tier::DeadLetters => {
                let kept = self.retention(&[self.reader().kafka().topics.dead_letters()]).await?;
                (
                    kept.map(|kept| later(erasure.at, kept)),
                    "left out by `agentworks dlq`; goes with that topic's retention",
                )
            }
            Tier::Hot if !may_clear(tier, erasure) => {
                let kept = self.kept_in_hot(erasure).await?;
                (kept, "a block holds all runs of its card: goes as blocks expire")
            }
            Tier::Hot | Tier::Warm | Tier::Runs => (None, "is deleted as soon as the sink has gone past it"),
            Tier::Search | Tier::Archive => (None, "is rewritten without it as soon as the sink has gone past it"),
        })
    }

    /// When the last rows expire that a tier of the store has left of an erasure, although it has been cleared of it, and that
    /// are found no more: those of earlier makings of topics; and in warm, those that clearing another erasure has left, for
    /// runs that it deleted are listed no more.
    pub(super) async fn left(&self, tier: Tier, erasure: &Erasure) -> Result<Option<i64>, EraseError> {
        let mut last = self.left_of_earlier_makings(tier, erasure).await?;
        if tier == Tier::Warm {
            let view = self.erasures().view().await?;
            let same = |other: &&_| is_of_same(other, erasure) && other.id != erasure.id;
            for other in view.of(&erasure.workspace).iter().map(AsRef::as_ref).filter(same) {
                let receipt = receipt::read(&**self.erasures().store(), other).await?;
                let states = receipt.tiers.iter().filter(|state| state.tier == tier && state.cleared.is_some());
                last = last.max(states.filter_map(|state| state.gone_by).max().map(Timestamp::millis));
            }
        }
        Ok(last.filter(|until| *until > Timestamp::now().millis()))
    }

    /// When the last blocks of a workspace expire that were written of topics that have been made again since.
    async fn left_of_earlier_makings(&self, tier: Tier, erasure: &Erasure) -> Result<Option<i64>, EraseError> {
        let (store, mut last) = (&**self.erasures().store(), None);
        if !matches!(tier, Tier::Hot | Tier::Warm) {
            return Ok(last);
        }
        for topic in Topic::LOGS {
            let Some(now) = recorded(store, topic).await?.filter(|recorded| recorded.epoch > 0) else { continue };
            for (partition, ..) in erasure.upto.iter().filter(|(partition, ..)| partition.topic == topic) {
                let held = lane::load(store, tier.as_str(), partition).await?;
                // Nothing of before was written later.
                last = last.max(held.and_then(|held| held.expires_by(now.adopted, &erasure.workspace)));
            }
        }
        Ok(last)
    }

    /// When the last block in hot expires that may hold something of what was erased.
    async fn kept_in_hot(&self, erasure: &Erasure) -> Result<Option<Timestamp>, EraseError> {
        let mut last = self.left_of_earlier_makings(Tier::Hot, erasure).await?;
        for (partition, ..) in erasure.upto.iter() {
            let held = lane::load(&**self.erasures().store(), Tier::Hot.as_str(), partition).await?;
            let bucket = |held: &lane::Held| held.buckets.last().map(|(bucket, _)| *bucket);
            last = last.max(held.and_then(|held| held.expires_last(bucket(&held)?, &erasure.workspace)));
        }
        Ok(last.map(Timestamp))
    }

    /// How long the brokers keep records of topics, by age; `None` if one of them is kept by size alone, or for ever.
    async fn retention(&self, names: &[String]) -> Result<Option<Duration>, EraseError> {
        let infos = describe_topics(self.reader().kafka()).await?;
        let kept = infos.iter().filter(|info| names.contains(&info.name)).map(|info| {
            let setting = info.settings.iter().find(|(name, _)| name == "retention.ms");
            // -1 is for ever.
            setting.and_then(|(_, millis)| millis.parse().ok()).map(Duration::from_millis)
        });
        Ok(kept.collect::<Option<Vec<_>>>().and_then(|kept| kept.into_iter().max()))
    }
}

/// Whether one of a workspace's erasures may be of what another of them is of.
fn is_of_same(one: &Erasure, other: &Erasure) -> bool {
    one.is_of_workspace() || other.is_of_workspace() || one.target == other.target
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.millis().saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}
