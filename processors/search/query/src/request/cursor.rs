//! Where a page of hits ended.

use std::fmt;
use std::str::FromStr;

use agentworks_schemas::{Position, Timestamp, Topic, TopicPartition};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Order, Sort, SortBy};
use crate::answer::SortKey;

/// The last hit of a page; the next page begins after it.
///
/// Clients see an opaque word: a version, the order that it belongs to, the hit's score, instant and position, all of fixed
/// width, and a check sum, in URL-safe base64. Whether a hit comes after it doesn't depend on what was found meanwhile, and
/// an entry's score doesn't on where it lies: pages neither lose nor repeat one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct After {
    /// The order of the search.
    pub sort: Sort,
    /// The hit.
    pub key: SortKey,
}

/// The text is not a cursor of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one that a search gave out; ask again without it")]
pub struct CursorError;

const VERSION: u8 = 1;
const LEN: usize = 36;

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(LEN);
        let by = u8::from(self.sort.by == SortBy::Relevance);
        let order = u8::from(self.sort.order == Order::Desc);
        bytes.extend([VERSION, by << 1 | order, self.key.position.partition.topic as u8]);
        bytes.extend(self.key.score.to_be_bytes());
        bytes.extend(self.key.timestamp.0.to_be_bytes());
        bytes.extend(self.key.position.partition.partition.to_be_bytes());
        bytes.extend(self.key.position.epoch.to_be_bytes());
        bytes.extend(self.key.position.offset.to_be_bytes());
        bytes.extend(checksum(&bytes));
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for After {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        if text.len() > 2 * LEN {
            return Err(CursorError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let (body, check) = bytes.split_last_chunk::<4>().ok_or(CursorError)?;
        if checksum(body) != *check {
            return Err(CursorError);
        }
        read(body).filter(|after| after.key.score.is_finite()).ok_or(CursorError)
    }
}

fn read(body: &[u8]) -> Option<After> {
    let (&[version, sort, topic], rest) = body.split_first_chunk::<3>()?;
    let (score, rest) = rest.split_first_chunk::<4>()?;
    let (timestamp, rest) = rest.split_first_chunk::<8>()?;
    let (partition, rest) = rest.split_first_chunk::<4>()?;
    let (epoch, rest) = rest.split_first_chunk::<4>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    if version != VERSION || sort > 3 || !rest.is_empty() {
        return None;
    }
    let by = if sort & 2 == 0 { SortBy::Timestamp } else { SortBy::Relevance };
    let order = if sort & 1 == 0 { Order::Asc } else { Order::Desc };
    let partition = TopicPartition::new(Topic::from_u8(topic)?, i32::from_be_bytes(*partition));
    let position = Position { partition, epoch: u32::from_be_bytes(*epoch), offset: i64::from_be_bytes(*offset) };
    let key =
        SortKey { score: f32::from_be_bytes(*score), timestamp: Timestamp(i64::from_be_bytes(*timestamp)), position };
    Some(After { sort: Sort { by, order }, key })
}

/// FNV-1a, 32 bits: against a slip, not against malice, for a cursor gives no rights.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let hash = bytes.iter().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.to_be_bytes()
}

impl Serialize for After {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cursors_survive_their_text(
            relevance in any::<bool>(), desc in any::<bool>(), score in -1e9..1e9f32, timestamp in any::<i64>(),
            topic in proptest::sample::select(&Topic::ALL), partition in any::<i32>(), epoch in any::<u32>(),
            offset in any::<i64>(), flipped in 0..60usize,
        ) {
            let by = if relevance { SortBy::Relevance } else { SortBy::Timestamp };
            let order = if desc { Order::Desc } else { Order::Asc };
            let position = Position { partition: TopicPartition::new(topic, partition), epoch, offset };
            let after = After { sort: Sort { by, order }, key: SortKey { score, timestamp: Timestamp(timestamp), position } };
            let text = after.to_string();
            prop_assert_eq!(text.parse::<After>(), Ok(after));
            // One letter else is another word, and not a cursor.
            let mut letters = text.clone().into_bytes();
            let at = flipped % (letters.len() - 1);
            letters[at] = if letters[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(letters).unwrap();
            prop_assert_eq!(other.parse::<After>(), Err(CursorError));
        }

        #[test]
        fn any_text_is_a_cursor_or_an_error(text in "[A-Za-z0-9_-]{0,60}|.*") {
            let _ = text.parse::<After>();
        }
    }
}
