//! Hits and their order.

use std::cmp::Ordering;

use agentworks_schemas::codec::{Reject, decode_entry_body};
use agentworks_schemas::{LogEntry, Position, Timestamp, Topic, TopicPartition};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::request::{Order, Sort, SortBy};

/// What orders a hit among others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SortKey {
    /// How well it fits, where that was asked for; else 0.
    pub score: f32,
    /// The entry's own instant.
    pub timestamp: Timestamp,
    /// Where it lies, which no other hit shares.
    pub position: Position,
}

impl SortKey {
    /// Which of two hits comes first.
    pub fn compare(&self, other: &SortKey, sort: Sort) -> Ordering {
        let by_time = || (self.timestamp, self.position).cmp(&(other.timestamp, other.position));
        let order = match sort.by {
            SortBy::Timestamp => by_time(),
            SortBy::Relevance => self.score.total_cmp(&other.score).then_with(by_time),
        };
        match sort.order {
            Order::Asc => order,
            Order::Desc => order.reverse(),
        }
    }
}

/// A hit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Its place.
    pub key: SortKey,
    /// The entry's canonical body.
    #[serde(serialize_with = "put_body", deserialize_with = "take_body")]
    pub body: Vec<u8>,
}

impl Hit {
    /// The entry.
    ///
    /// # Errors
    /// If the body is none: whoever found the hit holds damaged data.
    pub fn entry(&self) -> Result<LogEntry<'_>, Reject> {
        decode_entry_body(&self.body)
    }
}

/// Where a page ends of itself: with the hit whose body takes it past so many bytes.
pub const PAGE_BYTES: usize = 8 << 20;
/// How many bytes the hits up to the end of a page may have that begins at an offset: which of them it begins with isn't
/// known before all parts are merged.
pub const WINDOW_BYTES: usize = 64 << 20;

/// Leaves of hits, which are sorted, those up to the one that takes them to `most` bytes. What is cut has as many, in whatever
/// it is merged with, too, unless what was left out is beyond the window.
pub(crate) fn cut(hits: &mut Vec<Hit>, most: usize) {
    let mut bytes = 0;
    let last = hits.iter().position(|hit| {
        bytes += hit.body.len();
        bytes >= most
    });
    if let Some(last) = last {
        hits.truncate(last + 1);
    }
}

/// Merges hits. One that comes twice, which is a fault of whoever asked for overlapping parts, is shown once.
pub(super) fn merge(mut left: Vec<Hit>, right: Vec<Hit>, sort: Sort, window: usize) -> Vec<Hit> {
    left.extend(right);
    // Both sides are sorted, which a stable sort makes use of.
    left.sort_by(|a, b| a.key.compare(&b.key, sort));
    left.dedup_by(|a, b| a.key.position == b.key.position);
    left.truncate(window);
    left
}

/// The key on the wire.
#[derive(Serialize, Deserialize)]
struct KeyParts {
    score: f32,
    timestamp: i64,
    topic: Topic,
    partition: i32,
    epoch: u32,
    offset: i64,
}

impl Serialize for SortKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Position { partition, epoch, offset } = self.position;
        KeyParts {
            score: self.score,
            timestamp: self.timestamp.millis(),
            topic: partition.topic,
            partition: partition.partition,
            epoch,
            offset,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SortKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let KeyParts { score, timestamp, topic, partition, epoch, offset } = KeyParts::deserialize(deserializer)?;
        let position = Position { partition: TopicPartition { topic, partition }, epoch, offset };
        Ok(SortKey { score, timestamp: Timestamp(timestamp), position })
    }
}

fn put_body<S: Serializer>(body: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD_NO_PAD.encode(body))
}

fn take_body<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    STANDARD_NO_PAD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
