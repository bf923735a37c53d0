//! Reading a ledger back.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use agentworks_schemas::TopicPartition;

use super::{LedgerError, Sent, Written};

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The ledger does not say: the record is in the log once, or not at all.
    Unknown,
    /// Kafka has it, at this offset unless even the broker had forgotten it.
    Acked(TopicPartition, Option<i64>),
    /// It failed; it may be in the log nevertheless, once.
    Failed(String),
}

/// A record with its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What was sent.
    pub sent: Sent,
    /// What became of it.
    pub outcome: Outcome,
}

/// A ledger that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    lines: Vec<Line>,
    length: u64,
    torn: usize,
}

impl Contents {
    /// Reads a ledger. A last line that a crash has torn is left out.
    pub fn read(path: &Path) -> Result<Self, LedgerError> {
        let mut file = BufReader::with_capacity(256 * 1024, File::open(path)?);
        let mut contents = Contents::default();
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            if file.read_until(b'\n', &mut text)? == 0 {
                break;
            }
            match contents.take(&text) {
                Ok(()) => contents.length += text.len() as u64,
                // A torn line is the last one.
                Err(_) if file.fill_buf()?.is_empty() => contents.torn = text.len(),
                Err(reason) => return Err(LedgerError::Damaged { line, reason }),
            }
        }
        Ok(contents)
    }

    fn take(&mut self, text: &[u8]) -> Result<(), String> {
        if !text.ends_with(b"\n") {
            return Err("the end of the line is missing".into());
        }
        match serde_json::from_slice(text).map_err(|error| error.to_string())? {
            Written::Sent(sent) => {
                if sent.n != self.lines.len() as u64 {
                    return Err(format!("number {} follows after {} records", sent.n, self.lines.len()));
                }
                self.lines.push(Line { sent, outcome: Outcome::Unknown });
            }
            Written::Acked { n, partition, offset } => {
                let line = self.line(n)?;
                line.outcome = Outcome::Acked(TopicPartition::new(line.sent.topic, partition), offset);
            }
            Written::Failed { n, error } => self.line(n)?.outcome = Outcome::Failed(error),
        }
        Ok(())
    }

    fn line(&mut self, n: u64) -> Result<&mut Line, String> {
        let line = usize::try_from(n).ok().and_then(|n| self.lines.get_mut(n));
        line.ok_or_else(|| format!("number {n} was never sent"))
    }

    /// The records in the order of sending; the index is the number.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// How many records Kafka acknowledged.
    pub fn acked(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line.outcome, Outcome::Acked(..))).count()
    }

    /// The length of the whole lines, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How many bytes of a torn last line were left out.
    pub fn torn(&self) -> usize {
        self.torn
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_ingest::producer::{DeliveryError, RecordMetadata};
    use agentworks_schemas::{Timestamp, Topic};

    use super::super::Ledger;
    use super::*;
    use crate::fleet::{Fleet, Record};

    fn records(count: usize) -> Vec<Record> {
        Fleet::new(1, Timestamp(1_764_670_530_000)).steps().take(count).map(|step| step.record).collect()
    }

    fn at(record: &Record, offset: i64) -> Result<RecordMetadata, DeliveryError> {
        Ok(RecordMetadata { partition: TopicPartition::new(record.topic(), 2), offset: Some(offset) })
    }

    async fn written(path: &Path) -> Vec<Record> {
        let records = records(30);
        let mut ledger = Ledger::create(path).unwrap();
        assert_eq!(ledger.sent(&records[..20]).await.unwrap(), 0);
        assert_eq!(ledger.sent(&records[20..]).await.unwrap(), 20);
        for (n, record) in records.iter().enumerate().take(10) {
            ledger.results().settled(n as u64, &at(record, n as i64));
        }
        ledger.results().settled(10, &Err(DeliveryError::TimedOut));
        ledger.close().await.unwrap();
        records
    }

    #[tokio::test]
    async fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let records = written(&path).await;
        let contents = Contents::read(&path).unwrap();
        assert_eq!((contents.lines().len(), contents.acked(), contents.torn()), (30, 10, 0));
        for (line, record) in contents.lines().iter().zip(&records) {
            assert_eq!((line.sent.id.as_str(), line.sent.topic), (record.id(), record.topic()));
        }
        let first = TopicPartition::new(records[0].topic(), 2);
        assert_eq!(contents.lines()[0].outcome, Outcome::Acked(first, Some(0)));
        assert_eq!(contents.lines()[0].sent.topic, Topic::RunEvents, "a run begins with its event");
        assert!(matches!(&contents.lines()[10].outcome, Outcome::Failed(error) if error.contains("in time")));
        assert_eq!(contents.lines()[29].outcome, Outcome::Unknown);
    }

    #[tokio::test]
    async fn a_torn_tail_is_left_out_wherever_it_is_torn_and_writing_goes_on_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let records = written(&path).await;
        let whole = std::fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for end in [last + 1, last + 20, whole.len() - 1] {
            std::fs::write(&path, &whole[..end]).unwrap();
            let contents = Contents::read(&path).unwrap();
            assert_eq!((contents.lines().len(), contents.torn()), (30, end - last));
            assert_eq!(contents.lines()[10].outcome, Outcome::Unknown);

            let mut ledger = Ledger::resume(&path).unwrap();
            ledger.results().settled(10, &at(&records[10], 10));
            assert_eq!(ledger.sent(&records[..1]).await.unwrap(), 30);
            ledger.close().await.unwrap();
            let contents = Contents::read(&path).unwrap();
            assert_eq!((contents.lines().len(), contents.acked(), contents.torn()), (31, 11, 0));
        }
    }

    #[tokio::test]
    async fn damage_before_the_end_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        written(&path).await;
        let mut whole = std::fs::read(&path).unwrap();
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        whole[second] = b'#';
        std::fs::write(&path, &whole).unwrap();
        assert!(matches!(Contents::read(&path), Err(LedgerError::Damaged { line: 2, .. })));
    }

    #[tokio::test]
    async fn a_disk_that_fails_is_told_to_who_sends() {
        let mut ledger = Ledger::create(Path::new("/dev/full")).unwrap();
        assert!(matches!(ledger.sent(&records(1)).await, Err(LedgerError::Io(_))));
        assert!(matches!(ledger.sent(&records(1)).await, Err(LedgerError::Stopped)));
    }
}
