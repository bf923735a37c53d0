//! The topics, and which partition a card belongs to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::entry::Source;

/// One of the topics that carry records. Their order is the order in which records of equal time are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Topic {
    /// Entries whose source is orchestrator, provider or agent.
    AgentLogs = 0,
    /// Entries whose source is system.
    SystemLogs = 1,
    /// Lifecycle, cost and tokens of runs.
    RunEvents = 2,
}

impl Topic {
    /// All topics, in their order.
    pub const ALL: [Topic; 3] = [Topic::AgentLogs, Topic::SystemLogs, Topic::RunEvents];
    /// The topics that carry entries.
    pub const LOGS: [Topic; 2] = [Topic::AgentLogs, Topic::SystemLogs];

    /// The topic for entries of `source`.
    pub fn of(source: Source) -> Topic {
        match source {
            Source::System => Topic::SystemLogs,
            Source::Orchestrator | Source::Provider | Source::Agent => Topic::AgentLogs,
        }
    }

    /// The name without a prefix; see [`Topics::name`] for the one on the broker.
    pub fn as_str(self) -> &'static str {
        match self {
            Topic::AgentLogs => "agent-logs",
            Topic::SystemLogs => "system-logs",
            Topic::RunEvents => "run-events",
        }
    }

    /// The topic with this number, as cursors and keys write it.
    pub fn from_u8(number: u8) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| *topic as u8 == number)
    }

    /// The topic with this name, which has no prefix.
    pub fn named(name: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| topic.as_str() == name)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The names of the topics on one broker: `agent-logs`, or `PREFIXagent-logs` where several installations share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
}

impl Topics {
    /// Topics whose names begin with `prefix`; empty for none.
    pub fn with_prefix(prefix: impl Into<String>) -> Self {
        Topics { prefix: prefix.into() }
    }

    /// What the names begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The topic's name on the broker.
    pub fn name(&self, topic: Topic) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// The topic with this name on the broker.
    pub fn topic(&self, name: &str) -> Option<Topic> {
        Topic::named(name.strip_prefix(&self.prefix)?)
    }

    /// Where rejected records go.
    pub fn dead_letters(&self) -> String {
        format!("{}agent-logs.dlq", self.prefix)
    }
}

/// The partition of a record with this key, as the Java client's default partitioner chooses it:
/// `(murmur2(key) & 0x7fffffff) % partitions`.
///
/// # Panics
/// If `partitions` is not positive.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has at least one partition");
    (murmur2(key) & 0x7fff_ffff) as i32 % partitions
}

/// Murmur2 as in `org.apache.kafka.common.utils.Utils.murmur2` (seed `0x9747b28c`), which librdkafka's `murmur2`
/// partitioner equals.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    let mut hash = 0x9747_b28c_u32 ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0, |rest, byte| rest << 8 | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The keys of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        let known = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, expected) in known {
            assert_eq!(murmur2(key.as_bytes()) as i32, expected, "{key}");
        }
    }

    /// 516 keys with what the Java client (kafka-clients 4.1.0) makes of them, written by `tests/data/Murmur2Keys.java`:
    /// the empty one, tails of one to three bytes, bytes from 0x80 on, Unicode, card names, UUIDs and random bytes of each
    /// length up to 63.
    #[test]
    fn partitions_are_the_java_clients() {
        let table = include_str!("../tests/data/murmur2.tsv");
        for line in table.lines() {
            let [key, hash, partition] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            let (digits, _) = key.as_bytes().as_chunks::<2>();
            let byte = |digits: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
            let key: Vec<u8> = digits.iter().map(byte).collect();
            assert_eq!(murmur2(&key) as i32, hash.parse::<i32>().unwrap(), "{line}");
            assert_eq!(partition_of(&key, 12), partition.parse::<i32>().unwrap(), "{line}");
            assert_eq!(partition_of(&key, 1), 0);
        }
        assert_eq!(table.lines().count(), 516);
    }

    #[test]
    #[should_panic(expected = "at least one partition")]
    fn a_topic_without_partitions_has_none_for_a_key() {
        partition_of(b"card", 0);
    }

    #[test]
    fn names_are_prefixed_and_read_back() {
        for prefix in ["", "test-7."] {
            let topics = Topics::with_prefix(prefix);
            for topic in Topic::ALL {
                assert_eq!(topics.topic(&topics.name(topic)), Some(topic));
                assert_eq!(Topic::from_u8(topic as u8), Some(topic));
                assert_eq!(serde_json::to_value(topic).unwrap(), topic.as_str());
            }
            assert_eq!(topics.topic(&topics.dead_letters()), None);
        }
        let topics = Topics::with_prefix("a.");
        assert_eq!(topics.name(Topic::RunEvents), "a.run-events");
        assert_eq!(topics.dead_letters(), "a.agent-logs.dlq");
        assert_eq!(topics.topic("agent-logs"), None);
        assert_eq!(Topic::from_u8(3), None);
    }

    #[test]
    fn the_source_chooses_the_topic() {
        assert_eq!(
            Source::ALL.map(Topic::of).map(Topic::as_str),
            ["agent-logs", "agent-logs", "agent-logs", "system-logs"]
        );
    }
}
