//! Where the log ends: up to there something is erased.
//!
//! A place is an offset in a making of its topic, and hides nothing in a later one. So the making has to be known: it is
//! the recorded one, whatever the sinks have come to, and nothing is erased while the topic that is there is another one.
//! What lies in that would be taken in the next epoch once an operator adopts it, or else never, and nobody can tell yet.

use std::sync::Arc;

use agentworks_kafka::{KafkaError, SeekPool, partition_count};
use agentworks_schemas::{Cursor, Topic, TopicPartition};
use agentworks_store::Store;
use futures_util::future::try_join_all;

use super::eraser::EraseError;
use super::receipt::Tier;
use crate::epochs::{Epochs, Sight, Sights};
use crate::lane;
use crate::reader::LogReader;

/// How often is looked again where topics change meanwhile.
const TRIES: usize = 5;

/// The sinks that say how much of the log was taken.
const SINKS: [Tier; 3] = [Tier::Hot, Tier::Warm, Tier::Runs];

/// The end of the log right now, in every partition of every topic.
///
/// # Errors
/// [`EraseError::OtherLog`] where a topic isn't the one whose records were taken.
pub(super) async fn end_of_log(reader: &LogReader) -> Result<Cursor, EraseError> {
    let (store, log) = reader.parts();
    let epochs = Epochs::new(store.clone(), reader.kafka())?;
    let look = async || Ok::<_, EraseError>((epochs.look().await?, partition_count(reader.kafka()).await?));
    let mut seen = look().await?;
    for _ in 0..TRIES {
        let (sights, count) = &seen;
        let ends = Topic::ALL.into_iter().flat_map(|topic| (0..*count).map(move |n| TopicPartition::new(topic, n)));
        let ends = ends.map(|partition| end_of_partition(&*store, &log, sights, partition));
        let ends: Cursor = try_join_all(ends).await?.into_iter().collect();
        // Whoever makes a topic again, adopts it or adds partitions at the same time may have done so in between.
        let now = look().await?;
        if now == seen {
            return Ok(ends);
        }
        seen = now;
    }
    Err(KafkaError::Unavailable("the topics keep changing".to_owned()).into())
}

/// Which making of each topic is recorded, and which one is there.
pub(super) async fn sights(reader: &LogReader) -> Result<Arc<Sights>, EraseError> {
    Ok(Epochs::new(reader.parts().0, reader.kafka())?.look().await?)
}

async fn end_of_partition(
    store: &dyn Store,
    log: &SeekPool,
    sights: &Sights,
    partition: TopicPartition,
) -> Result<(TopicPartition, u32, i64), EraseError> {
    let topic = partition.topic;
    let sight = sights.get(&topic).ok_or_else(|| KafkaError::NoTopic(log.settings().topics.name(topic)))?;
    // Before the log is asked: they follow it.
    let mut taken = None;
    for sink in SINKS {
        taken = taken.max(lane::load(store, sink.as_str(), partition).await?.map(|held| (held.epoch, held.high)));
    }
    let (epoch, next) = end(partition, sight, taken, log.watermarks(partition).await?.high)?;
    Ok((partition, epoch, next))
}

/// The making that is there and where its log ends, of which the sinks have taken so much.
fn end(
    partition: TopicPartition,
    sight: &Sight,
    taken: Option<(u32, i64)>,
    high: i64,
) -> Result<(u32, i64), EraseError> {
    if let Some(problem) = sight.problem(partition.topic) {
        return Err(EraseError::OtherLog(problem));
    }
    let epoch = taken.map_or(0, |(epoch, _)| epoch).max(sight.recorded.epoch);
    match taken.filter(|(of, _)| *of == epoch) {
        Some((_, taken)) if taken > high => Err(EraseError::OtherLog(format!(
            "{partition} was taken up to {taken}, and its log ends at {high}: topic {0} has been made again, or its log was \
             cut back. `agentworks topics adopt {0}` goes on with it, or says what to do",
            partition.topic
        ))),
        _ => Ok((epoch, high)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::Timestamp;

    use super::*;
    use crate::epochs::Epoch;

    const AT: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };

    fn sight(there: Option<&str>) -> Sight {
        let recorded = Epoch { epoch: 2, revision: 3, as_is: 0, topic_id: Some("a".into()), adopted: Timestamp(0) };
        Sight { recorded, topic_id: there.map(str::to_owned) }
    }

    #[test]
    fn the_making_is_the_recorded_one_whatever_the_sinks_have_come_to() {
        for (taken, expected) in [
            // No such sink runs; it has stopped before the topic was adopted; and it is where the log is, or behind.
            (None, (2, 50)),
            (Some((1, 1_000)), (2, 50)),
            (Some((2, 50)), (2, 50)),
            (Some((2, 0)), (2, 50)),
            // What is recorded was lost.
            (Some((3, 40)), (3, 50)),
        ] {
            assert_eq!(end(AT, &sight(Some("a")), taken, 50).unwrap(), expected, "{taken:?}");
        }
    }

    #[test]
    fn of_another_log_than_was_taken_nothing_is_erased() {
        let remade = end(AT, &sight(Some("b")), Some((2, 50)), 50).unwrap_err().to_string();
        assert!(remade.contains("was a in epoch 2 and is b now"), "{remade}");
        // Brokers that tell no ids, and a log that was cut back.
        for there in [None, Some("a")] {
            let error = end(AT, &sight(there), Some((2, 51)), 50).unwrap_err();
            assert!(matches!(error, EraseError::OtherLog(_)));
            assert!(error.to_string().contains("agent-logs[0] was taken up to 51"), "{error}");
        }
    }
}
