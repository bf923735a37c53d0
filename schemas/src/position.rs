//! Where a record lies in the log, and how far a reader has come.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::topics::Topic;

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Topic,
    /// The partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: Topic, partition: i32) -> Self {
        TopicPartition { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// Where one record lies: its identity, for ever.
///
/// The *epoch* counts how often the topic was made again, since offsets begin anew then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The topic and partition.
    pub partition: TopicPartition,
    /// Which making of the topic.
    pub epoch: u32,
    /// The offset of the record.
    pub offset: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.partition, self.epoch, self.offset)
    }
}

/// How far a reader has come: per partition, the epoch and the offset that it reads *next*.
///
/// Clients see a cursor as an opaque word ([`fmt::Display`], [`FromStr`]): a version byte, then per partition the topic,
/// partition, epoch and offset as LEB128, in URL-safe base64. A partition that is not in it has not been read at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Sorted by partition, each at most once.
    next: Vec<(TopicPartition, u32, i64)>,
}

/// The text is not a cursor that this version wrote.
#[derive(Debug, thiserror::Error)]
#[error("the position is not one that this service gave out: {0}")]
pub struct ParseCursorError(&'static str);

const VERSION: u8 = 1;
/// More partitions than any card's records lie in; a longer cursor is not ours.
const MAX_PARTITIONS: usize = 256;
/// More partitions than all topics together have.
const MAX_OF_LOG: usize = 1 << 18;

impl Cursor {
    /// A cursor that has read nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The epoch and next offset in `partition`.
    pub fn get(&self, partition: TopicPartition) -> Option<(u32, i64)> {
        let index = self.find(partition).ok()?;
        Some((self.next[index].1, self.next[index].2))
    }

    /// Sets the next offset of a partition, whatever it was.
    pub fn set(&mut self, partition: TopicPartition, epoch: u32, next: i64) {
        match self.find(partition) {
            Ok(index) => self.next[index] = (partition, epoch, next),
            Err(index) => self.next.insert(index, (partition, epoch, next)),
        }
    }

    /// Moves past the record at `position`, if the cursor is not beyond it already. An epoch never goes back.
    pub fn advance(&mut self, position: Position) {
        let next = (position.epoch, position.offset + 1);
        if self.get(position.partition).is_none_or(|current| current < next) {
            self.set(position.partition, next.0, next.1);
        }
    }

    /// Whether the record at `position` lies before the cursor: it has been read.
    pub fn has_passed(&self, position: Position) -> bool {
        self.get(position.partition).is_some_and(|next| (position.epoch, position.offset) < next)
    }

    /// Whether the record at `position` was there when the log, whose end this cursor was, had these partitions alone: it
    /// lies before the cursor, or in a partition that the topic had in an earlier making, and in this one has no more. One
    /// that was added later is of the same making.
    pub fn covers(&self, position: Position) -> bool {
        if self.find(position.partition).is_ok() {
            return self.has_passed(position);
        }
        let of_topic = self.next.partition_point(|(at, ..)| at.topic < position.partition.topic);
        let mut of_topic = self.next[of_topic..].iter().take_while(|(at, ..)| at.topic == position.partition.topic);
        of_topic.any(|(_, epoch, _)| position.epoch < *epoch)
    }

    /// Drops a partition.
    pub fn remove(&mut self, partition: TopicPartition) {
        self.next.retain(|(tp, ..)| *tp != partition);
    }

    /// The partitions with their epoch and next offset, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (TopicPartition, u32, i64)> + '_ {
        self.next.iter().copied()
    }

    /// Whether nothing has been read.
    pub fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// Deserialises the end of a log, which may have more partitions than a cursor that clients give.
    ///
    /// # Errors
    /// If it is not a cursor.
    pub fn deserialize_end<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?, MAX_OF_LOG).map_err(serde::de::Error::custom)
    }

    /// Reads one of at most so many partitions.
    fn parse(text: &str, most: usize) -> Result<Self, ParseCursorError> {
        if text.len() > most * 32 {
            return Err(ParseCursorError("too long"));
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ParseCursorError("not base64"))?;
        let mut rest = match bytes.split_first() {
            Some((&VERSION, rest)) => rest,
            Some(_) => return Err(ParseCursorError("of another version")),
            None => return Err(ParseCursorError("empty")),
        };
        let mut cursor = Cursor::new();
        while let Some((&topic, after)) = rest.split_first() {
            rest = after;
            let topic = Topic::from_u8(topic).ok_or(ParseCursorError("unknown topic"))?;
            let partition = i32::try_from(take_varint(&mut rest)?).map_err(|_| ParseCursorError("partition"))?;
            let epoch = u32::try_from(take_varint(&mut rest)?).map_err(|_| ParseCursorError("epoch"))?;
            let next = i64::try_from(take_varint(&mut rest)?).map_err(|_| ParseCursorError("offset"))?;
            cursor.set(TopicPartition { topic, partition }, epoch, next);
            if cursor.next.len() > most {
                return Err(ParseCursorError("too many partitions"));
            }
        }
        Ok(cursor)
    }

    fn find(&self, partition: TopicPartition) -> Result<usize, usize> {
        self.next.binary_search_by_key(&partition, |(tp, ..)| *tp)
    }
}

impl FromIterator<(TopicPartition, u32, i64)> for Cursor {
    fn from_iter<I: IntoIterator<Item = (TopicPartition, u32, i64)>>(items: I) -> Self {
        let mut cursor = Cursor::new();
        for (partition, epoch, next) in items {
            cursor.set(partition, epoch, next);
        }
        cursor
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        for (tp, epoch, next) in &self.next {
            bytes.push(tp.topic as u8);
            put_varint(&mut bytes, u64::from(tp.partition.unsigned_abs()));
            put_varint(&mut bytes, u64::from(*epoch));
            put_varint(&mut bytes, next.unsigned_abs());
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, MAX_PARTITIONS)
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, ParseCursorError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(ParseCursorError("cut short"))?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(ParseCursorError("number too large"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn partition() -> impl Strategy<Value = TopicPartition> {
        let topic = proptest::sample::select(&Topic::ALL);
        (topic, prop_oneof![0..16, 0..=i32::MAX]).prop_map(|(topic, partition)| TopicPartition { topic, partition })
    }

    fn cursor() -> impl Strategy<Value = Cursor> {
        vec((partition(), any::<u32>(), 0..=i64::MAX), 0..20).prop_map(|items| items.into_iter().collect())
    }

    fn at(partition: i32, epoch: u32, offset: i64) -> Position {
        Position { partition: TopicPartition::new(Topic::AgentLogs, partition), epoch, offset }
    }

    proptest! {
        #[test]
        fn cursors_survive_their_text(cursor in cursor()) {
            let text = cursor.to_string();
            prop_assert_eq!(&text.parse::<Cursor>().unwrap(), &cursor);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            let json = serde_json::to_string(&cursor).unwrap();
            prop_assert_eq!(serde_json::from_str::<Cursor>(&json).unwrap(), cursor);
        }

        #[test]
        fn any_text_is_a_cursor_or_an_error(text in "[A-Za-z0-9_-]{0,60}|.*") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
            }
        }

        #[test]
        fn any_bytes_are_a_cursor_or_an_error(mut bytes in vec(any::<u8>(), 0..60)) {
            bytes.insert(0, VERSION);
            drop(URL_SAFE_NO_PAD.encode(bytes).parse::<Cursor>());
        }

        #[test]
        fn a_cursor_has_passed_what_it_advanced_over(
            positions in vec((0..3i32, 0..3u32, 0..50i64), 1..50),
        ) {
            let mut cursor = Cursor::new();
            for (index, &(partition, epoch, offset)) in positions.iter().enumerate() {
                let before = cursor.clone();
                cursor.advance(at(partition, epoch, offset));
                // It never goes back, in no partition.
                for (partition, epoch, next) in before.iter() {
                    prop_assert!(cursor.get(partition).unwrap() >= (epoch, next));
                }
                for &(partition, epoch, offset) in &positions[..=index] {
                    prop_assert!(cursor.has_passed(at(partition, epoch, offset)));
                }
            }
            let order: Vec<_> = cursor.iter().map(|(partition, ..)| partition).collect();
            prop_assert!(order.is_sorted() && order.len() <= 3);
        }
    }

    #[test]
    fn a_cursor_stands_before_the_next_record() {
        let mut cursor = Cursor::new();
        assert!(cursor.is_empty() && !cursor.has_passed(at(0, 0, 0)));
        cursor.advance(at(0, 1, 41));
        assert_eq!(cursor.get(at(0, 0, 0).partition), Some((1, 42)));
        assert!(cursor.has_passed(at(0, 1, 41)) && !cursor.has_passed(at(0, 1, 42)));
        assert!(cursor.has_passed(at(0, 0, 1000)), "an older making of the topic");
        assert!(!cursor.has_passed(at(0, 2, 0)), "a newer one");
        cursor.set(at(0, 0, 0).partition, 0, 7);
        assert_eq!(cursor.get(at(0, 0, 0).partition), Some((0, 7)), "set goes back too");
        cursor.remove(at(0, 0, 0).partition);
        assert!(cursor.is_empty());
    }

    #[test]
    fn partitions_that_a_topic_has_lost_are_covered_and_those_it_gets_later_are_not() {
        let system = |partition, epoch| Position {
            partition: TopicPartition::new(Topic::SystemLogs, partition),
            epoch,
            offset: 0,
        };
        // agent-logs was made again with two partitions, and system-logs never was.
        let ends = [(at(0, 1, 0).partition, 1, 5), (at(1, 1, 0).partition, 1, 0), (system(0, 0).partition, 0, 7)];
        let end: Cursor = ends.into_iter().collect();
        for (position, covered) in [
            (at(0, 1, 4), true),
            (at(0, 1, 5), false),
            (at(1, 0, 1_000), true),
            (at(9, 0, 1_000), true),
            (at(9, 1, 0), false),
            (at(9, 2, 0), false),
            (system(0, 0), true),
            (system(9, 0), false),
            (Position { partition: TopicPartition::new(Topic::RunEvents, 0), ..at(0, 0, 0) }, false),
        ] {
            assert_eq!(end.covers(position), covered, "{position}");
        }
        assert!(!end.has_passed(at(9, 0, 0)), "nobody has read it");
    }

    #[test]
    fn errors_say_why() {
        let error = |text: &str| text.parse::<Cursor>().unwrap_err().to_string();
        let encoded = |bytes: &[u8]| error(&URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(error("???"), "the position is not one that this service gave out: not base64");
        assert_eq!(encoded(&[]), "the position is not one that this service gave out: empty");
        assert!(encoded(&[2]).ends_with("of another version"));
        assert!(encoded(&[1, 9]).ends_with("unknown topic"));
        assert!(encoded(&[1, 0, 5]).ends_with("cut short"));
        assert!(
            encoded(&[1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).ends_with("number too large")
        );
        assert!(encoded(&[1, 0, 0x80, 0x80, 0x80, 0x80, 0x10]).ends_with("partition"));
        assert!(error(&"A".repeat(10_000)).ends_with("too long"));
        let many: Cursor =
            (0..=MAX_PARTITIONS as i32).map(|p| (TopicPartition::new(Topic::AgentLogs, p), 0, 0)).collect();
        assert!(error(&many.to_string()).ends_with("too many partitions"));
        let json = serde_json::to_value(&many).unwrap();
        assert!(serde_json::from_value::<Cursor>(json.clone()).is_err());
        assert_eq!(Cursor::deserialize_end(json).unwrap(), many, "the end of a log has as many as there are");
    }

    #[test]
    fn positions_are_written_for_people() {
        assert_eq!(at(3, 1, 17).to_string(), "agent-logs[3]/1@17");
    }
}
