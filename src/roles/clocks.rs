//! Whose clock the records of the topics bear.
//!
//! Buckets, retention and replays go by the record timestamps, which `agentworks topics create` has the brokers set. Topics that
//! were there before may bear their producers' instead: of one that is ahead all that comes after it expires so much later.

use agentworks_kafka::KafkaSettings;
use agentworks_kafka::topics::{TopicInfo, describe_topics};
use tracing::{debug, warn};

const SETTING: &str = "message.timestamp.type";
const BROKERS: &str = "LogAppendTime";

/// Warns of topics whose records bear their producers' clocks.
pub(super) async fn look(settings: KafkaSettings) {
    match describe_topics(&settings).await {
        Ok(topics) => topics.iter().filter_map(fault).for_each(|fault| warn!("{fault}")),
        // It takes a right of its own, which nothing else here needs.
        Err(error) => debug!(%error, "whose clocks the topics' records bear isn't known"),
    }
}

/// What is wrong with a topic's clock, if anything.
fn fault(topic: &TopicInfo) -> Option<String> {
    let (_, kind) = topic.settings.iter().find(|(name, value)| name == SETTING && !value.is_empty())?;
    let name = &topic.name;
    (kind != BROKERS).then(|| {
        format!(
            "the records of topic {name} bear their producers' clocks ({SETTING} is {kind}): what comes after one that is ahead \
             expires so much later; set it: kafka-configs --alter --topic {name} --add-config {SETTING}={BROKERS}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_producers_stamp_are_named_with_what_mends_it() {
        let topic = |kind: &str| TopicInfo {
            name: "p.agent-logs".to_owned(),
            partitions: 1,
            offsets: 0,
            settings: vec![(SETTING.to_owned(), kind.to_owned())],
        };
        let said = fault(&topic("CreateTime")).unwrap_or_default();
        assert!(said.contains("--topic p.agent-logs --add-config message.timestamp.type=LogAppendTime"), "{said}");
        // Brokers that don't tell are no fault.
        assert_eq!((fault(&topic(BROKERS)), fault(&topic(""))), (None, None));
    }
}
