//! What lies in the dead-letter topic: dead letters, marks of those that were produced again, and what was erased.

use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::{Duration, Instant};

use agentworks_bootstrap::create;
use agentworks_schemas::Timestamp;
use agentworks_schemas::dead_letter::header;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::batch::RecordHeaders;
use crate::error::KafkaError;
use crate::headers;
use crate::seek::end::{EndOfLog, Met};
use crate::settings::KafkaSettings;
use crate::topics::{TIMEOUT, Watermarks, known_end_of, partitions_of, watermarks_of};
use crate::trace::Traced;

/// A reading fails if nothing at all comes for so long.
const STALL: Duration = Duration::from_secs(15);

/// How long to wait before asking again what could not be answered.
const AGAIN: Duration = Duration::from_millis(100);

/// What the names of all headers begin with that Kafka Connect has for faults.
const CONNECT: &str = "__connect.errors.";

/// The headers of our own that a dead letter gets.
const OURS: [&str; 7] = [
    header::EPOCH,
    header::TIMESTAMP,
    header::LENGTH,
    header::SHA256,
    header::KEY_LENGTH,
    header::HEADERS_LEFT_OUT,
    header::REDRIVEN_AT,
];

/// Where a record lies in the dead-letter topic: `PARTITION@OFFSET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterPosition {
    /// The partition's number.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl fmt::Display for LetterPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}@{}", self.partition, self.offset))
    }
}

impl FromStr for LetterPosition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('@').and_then(|(partition, offset)| {
            Some(LetterPosition { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
        });
        parsed.filter(|at| at.partition >= 0 && at.offset >= 0).ok_or_else(|| {
            format!("{text:?} is not a position in the dead-letter topic, such as 3@17: partition 3, offset 17")
        })
    }
}

/// Where a dead letter comes from. A record has one origin, however often it was written to the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The topic's name on the brokers.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// Which making of the topic.
    pub epoch: u32,
    /// The offset.
    pub offset: i64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { topic, partition, epoch, offset } = self;
        f.pad(&format!("{topic}[{partition}]/{epoch}@{offset}"))
    }
}

/// A dead letter.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where it lies in the dead-letter topic.
    pub position: LetterPosition,
    /// When it was written there.
    pub written: Timestamp,
    /// Where it comes from.
    pub origin: Origin,
    /// The record timestamp that it had there.
    pub timestamp: Timestamp,
    /// The kind of fault.
    pub code: String,
    /// The fault in words.
    pub reason: String,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's payload, or the beginning of a long one; `None` of a tombstone.
    pub payload: Option<Vec<u8>>,
    /// The payload's original length, in bytes.
    pub length: usize,
    /// What is missing of the original, if anything is.
    pub cut: Option<String>,
    /// The record's own headers.
    pub headers: RecordHeaders,
}

/// A record of the dead-letter topic.
#[derive(Clone, Debug)]
pub enum Found {
    /// A dead letter.
    Letter(Box<Letter>),
    /// A mark: the dead letter of this origin has been produced again.
    Redriven(Origin),
    /// An erasure, as JSON: see [`super::erased`].
    Erasure(Vec<u8>),
    /// Something that was not written by us.
    Foreign(LetterPosition),
}

/// Reads all of the dead-letter topic, up to where it ends now, partition by partition, until `visit` breaks. Blocks; call
/// it from a thread that may.
///
/// # Errors
/// If the topic isn't there, or Kafka's.
pub fn read_letters(
    settings: &KafkaSettings,
    mut visit: impl FnMut(Found) -> ControlFlow<()>,
) -> Result<(), KafkaError> {
    let name = settings.topics.dead_letters();
    let fault = |error: ClientError| KafkaError::from_client(&error, &name);
    let consumer: BaseConsumer<Traced> = create(settings.seek_reader(), Traced::new).map_err(fault)?;
    for partition in 0..partitions_of(&consumer, &name)? {
        let (low, high) = ends(&consumer, &name, partition)?;
        if read_range(&consumer, &name, partition, low..high, &mut visit)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The dead letter at a position, or whatever lies there. Blocks.
///
/// # Errors
/// As [`read_letters`].
pub fn read_letter(settings: &KafkaSettings, at: LetterPosition) -> Result<Option<Found>, KafkaError> {
    let name = settings.topics.dead_letters();
    let fault = |error: ClientError| KafkaError::from_client(&error, &name);
    let consumer: BaseConsumer<Traced> = create(settings.seek_reader(), Traced::new).map_err(fault)?;
    if at.partition >= partitions_of(&consumer, &name)? {
        return Ok(None);
    }
    let (low, high) = ends(&consumer, &name, at.partition)?;
    if !(low..high).contains(&at.offset) {
        return Ok(None);
    }
    let mut found = None;
    let take = |record| {
        found = Some(record);
        ControlFlow::Break(())
    };
    // A marker of a transaction may lie there, and then nothing does.
    read_range(&consumer, &name, at.partition, at.offset..at.offset + 1, take).map(drop)?;
    Ok(found)
}

/// Where a partition begins and ends. One that was made a moment ago may have no leader yet.
fn ends(consumer: &BaseConsumer<Traced>, name: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
    let begun = Instant::now();
    loop {
        match watermarks_of(consumer, name, partition) {
            Ok(Watermarks { low, high }) => return Ok((low, high)),
            Err(error) if error.is_transient() && begun.elapsed() < TIMEOUT => std::thread::sleep(AGAIN),
            Err(error) => return Err(error),
        }
    }
}

fn read_range(
    consumer: &BaseConsumer<Traced>,
    name: &str,
    partition: i32,
    offsets: std::ops::Range<i64>,
    mut visit: impl FnMut(Found) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, KafkaError> {
    if offsets.is_empty() {
        return Ok(ControlFlow::Continue(()));
    }
    let fault = |error: &ClientError| KafkaError::from_client(error, name);
    let assign = |next| {
        let mut list = TopicPartitionList::with_capacity(1);
        let assigned = list.add_partition_offset(name, partition, Offset::Offset(next));
        assigned.and_then(|()| consumer.assign(&list)).map_err(|error| fault(&error))
    };
    let mut next = offsets.start;
    assign(next)?;
    let (mut heard, mut log_end) = (Instant::now(), EndOfLog::default());
    while heard.elapsed() < STALL {
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            // Of the partition before, perhaps.
            Some(Ok(message)) if message.partition() != partition => {}
            Some(Err(ClientError::PartitionEOF(number))) if number != partition => {}
            Some(Err(ClientError::PartitionEOF(_))) => {
                let known = known_end_of(consumer, name, partition);
                if log_end.met(known, offsets.end) == Met::Nothing {
                    return Ok(ControlFlow::Continue(()));
                }
                log_end.meet_again(known, offsets.end, || watermarks_of(consumer, name, partition))?;
                assign(next)?;
            }
            Some(Ok(message)) if message.offset() < next => {}
            Some(Ok(message)) if message.offset() >= offsets.end => return Ok(ControlFlow::Continue(())),
            Some(Ok(message)) => {
                next = message.offset() + 1;
                log_end.went_on();
                if visit(found(&message)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                // What is done with it may take long.
                heard = Instant::now();
                if next >= offsets.end {
                    return Ok(ControlFlow::Continue(()));
                }
            }
            Some(Err(error)) => match fault(&error) {
                error if error.is_transient() => {}
                error => return Err(error),
            },
        }
    }
    Err(KafkaError::Unavailable(format!("nothing came from {name} for {STALL:?}")))
}

fn found(message: &BorrowedMessage<'_>) -> Found {
    let position = LetterPosition { partition: message.partition(), offset: message.offset() };
    let headers = headers::copy(message);
    let Some(origin) = origin(&headers) else {
        return match (text(&headers, header::ERASURE), message.payload()) {
            (Some(_), Some(json)) => Found::Erasure(json.to_vec()),
            _ => Found::Foreign(position),
        };
    };
    // Ours come after the record's own, which may bear any name; a mark has no fault.
    let Some(code) = text(&headers, header::EXCEPTION_CLASS) else {
        return match text(&headers, header::REDRIVEN_AT) {
            Some(_) => Found::Redriven(origin),
            None => Found::Foreign(position),
        };
    };
    let payload = message.payload().map(<[u8]>::to_vec);
    Found::Letter(Box::new(Letter {
        position,
        written: Timestamp(message.timestamp().to_millis().unwrap_or_default()),
        timestamp: Timestamp(number(&headers, header::TIMESTAMP).unwrap_or_default()),
        reason: text(&headers, header::EXCEPTION_MESSAGE).unwrap_or_default(),
        key: message.key().map(<[u8]>::to_vec),
        length: number(&headers, header::LENGTH).unwrap_or(payload.as_ref().map_or(0, Vec::len)),
        cut: cut(&headers),
        payload,
        origin,
        code,
        headers: headers.into_iter().filter(|(name, _)| is_own(name)).collect(),
    }))
}

/// Whether a header was the record's own.
fn is_own(name: &str) -> bool {
    !name.starts_with(CONNECT) && !OURS.contains(&name)
}

fn origin(headers: &RecordHeaders) -> Option<Origin> {
    Some(Origin {
        topic: text(headers, header::TOPIC)?,
        partition: number(headers, header::PARTITION)?,
        epoch: number(headers, header::EPOCH).unwrap_or_default(),
        offset: number(headers, header::OFFSET)?,
    })
}

fn cut(headers: &RecordHeaders) -> Option<String> {
    let of = |name, what: &str| text(headers, name).map(|number| format!("{what} {number}"));
    let parts = [
        of(header::LENGTH, "the payload was cut: its length was"),
        of(header::KEY_LENGTH, "the key was cut: its length was"),
        of(header::HEADERS_LEFT_OUT, "headers left out:"),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The last value of a header.
fn text(headers: &RecordHeaders, name: &str) -> Option<String> {
    let (_, value) = headers.iter().rev().find(|(other, _)| other == name)?;
    Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
}

fn number<T: FromStr>(headers: &RecordHeaders, name: &str) -> Option<T> {
    text(headers, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn headers(list: &[(&str, &str)]) -> RecordHeaders {
        list.iter().map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec()))).collect()
    }

    #[test]
    fn positions_are_read_as_they_are_written() {
        let position = LetterPosition { partition: 3, offset: 17 };
        assert_eq!(position.to_string().parse(), Ok(position));
        for wrong in ["", "3", "3@", "@17", "-1@17", "3@-1", "a@b", "3@17@1"] {
            assert!(wrong.parse::<LetterPosition>().unwrap_err().contains("such as 3@17"), "{wrong}");
        }
    }

    #[test]
    fn our_headers_come_last_and_win() {
        let forged = headers(&[
            (header::TOPIC, "forged"),
            (header::TOPIC, "agent-logs"),
            (header::PARTITION, "3"),
            (header::OFFSET, "41"),
            (header::EPOCH, "2"),
        ]);
        assert_eq!(origin(&forged).unwrap().to_string(), "agent-logs[3]/2@41");
        assert_eq!(origin(&headers(&[(header::TOPIC, "agent-logs")])), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(cut(&headers(&[("x", "1")])), None);
        let both = headers(&[(header::LENGTH, "100000"), (header::HEADERS_LEFT_OUT, "2")]);
        assert_eq!(cut(&both).unwrap(), "the payload was cut: its length was 100000; headers left out: 2");
        assert!(is_own("trace") && is_own(header::REDRIVEN_FROM) && !is_own(header::LENGTH) && !is_own(header::OFFSET));
    }
}
