//! Sends what a fleet says, at its pace.

use std::iter::Peekable;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agentworks_ingest::producer::{Delivery, Producer, SendError};
use tokio::sync::mpsc;

use crate::fleet::{Fleet, Record, Step, Steps};
use crate::ledger::{Ledger, LedgerError, Results};

/// When to stop, beside the fleet's own end: at whichever comes first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit {
    /// After so many records.
    pub records: Option<u64>,
    /// After so long.
    pub time: Option<Duration>,
}

/// How a drive sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At the fleet's rate; behind it when Kafka does not keep up, and then as fast as it can until it has caught up.
    Fleet,
    /// As fast as Kafka takes it.
    Full,
}

/// Counts what was done so far; shared with whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    sent: AtomicU64,
    acked: AtomicU64,
    failed: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that were sent.
    pub sent: u64,
    /// Those of them that Kafka acknowledged.
    pub acked: u64,
    /// Those of them that failed.
    pub failed: u64,
}

impl Progress {
    /// The counts now.
    pub fn counts(&self) -> Counts {
        // What was acknowledged is read first, so that it never exceeds what was sent.
        let (acked, failed) = (self.acked.load(Ordering::Acquire), self.failed.load(Ordering::Acquire));
        Counts { sent: self.sent.load(Ordering::Acquire), acked, failed }
    }
}

/// Sending had to stop.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The producer takes no more.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The ledger can't be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// So many records share one write to the disk, at most.
const GROUP: usize = 1000;

/// Sends what `fleet` says until `limit`, its end or `stop`; then waits until everything has its result. Single records
/// that fail are counted and noted, and do not end it.
pub async fn drive(
    fleet: &Fleet,
    pace: Pace,
    limit: Limit,
    producer: &Producer,
    mut ledger: Option<Ledger>,
    progress: &Progress,
    stop: impl Future<Output = ()>,
) -> Result<Counts, DriveError> {
    let (deliveries, sent) = mpsc::unbounded_channel();
    let settling = settle(sent, ledger.as_ref().map(Ledger::results), progress);
    let steps = Due { steps: fleet.steps().peekable(), pace, limit, start: Instant::now(), taken: 0 };
    let (result, ()) = tokio::join!(send(steps, producer, ledger.as_mut(), deliveries, progress, stop), settling);
    if let Some(ledger) = ledger {
        ledger.close().await?;
    }
    result.map(|()| progress.counts())
}

async fn send(
    mut steps: Due,
    producer: &Producer,
    mut ledger: Option<&mut Ledger>,
    deliveries: mpsc::UnboundedSender<(u64, Delivery)>,
    progress: &Progress,
    stop: impl Future<Output = ()>,
) -> Result<(), DriveError> {
    let mut stop = std::pin::pin!(stop);
    let mut next = 0;
    loop {
        let group = tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            group = steps.next_group() => group,
        };
        if group.is_empty() {
            return Ok(());
        }
        let first = match &mut ledger {
            Some(ledger) => ledger.sent(group.iter().map(|step| &step.record)).await?,
            None => next,
        };
        next = first + group.len() as u64;
        for (n, step) in (first..).zip(&group) {
            let delivery = tokio::select! {
                biased;
                delivery = send_record(producer, &step.record) => delivery?,
                () = &mut stop => return Ok(()),
            };
            progress.sent.fetch_add(1, Ordering::AcqRel);
            // The other side goes only when this one has gone.
            let _ = deliveries.send((n, delivery));
        }
    }
}

async fn send_record(producer: &Producer, record: &Record) -> Result<Delivery, SendError> {
    match record {
        Record::Entry(entry) => producer.send(entry).await,
        Record::Event(event) => producer.send_event(event).await,
    }
}

async fn settle(mut sent: mpsc::UnboundedReceiver<(u64, Delivery)>, results: Option<Results>, progress: &Progress) {
    while let Some((n, delivery)) = sent.recv().await {
        let result = delivery.await;
        if let Some(results) = &results {
            results.settled(n, &result);
        }
        let count = if result.is_ok() { &progress.acked } else { &progress.failed };
        count.fetch_add(1, Ordering::AcqRel);
    }
}

/// The steps whose time has come.
struct Due {
    steps: Peekable<Steps>,
    pace: Pace,
    limit: Limit,
    start: Instant,
    taken: u64,
}

impl Due {
    /// Waits for the next steps; none when it is over.
    async fn next_group(&mut self) -> Vec<Step> {
        let left = self.limit.records.map_or(u64::MAX, |records| records.saturating_sub(self.taken));
        let end = self.limit.time.unwrap_or(Duration::MAX);
        let Some(first) = self.steps.peek() else { return Vec::new() };
        let due = match self.pace {
            Pace::Fleet => {
                tokio::time::sleep(first.at.min(end).saturating_sub(self.start.elapsed())).await;
                self.start.elapsed()
            }
            Pace::Full => Duration::MAX,
        };
        if left == 0 || self.start.elapsed() >= end {
            return Vec::new();
        }
        let most = usize::try_from(left).unwrap_or(GROUP).min(GROUP);
        let group: Vec<Step> = std::iter::from_fn(|| self.steps.next_if(|step| step.at <= due)).take(most).collect();
        self.taken += group.len() as u64;
        group
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::Timestamp;

    use super::*;
    use crate::checker::{Checked, Checker};
    use crate::ledger::Contents;

    fn producer() -> Producer {
        Producer::builder("ignored").property("test.mock.num.brokers", "1").build().unwrap()
    }

    fn fleet() -> Fleet {
        Fleet { rate: 2000.0, ..Fleet::new(5, Timestamp::now()) }
    }

    #[tokio::test]
    async fn every_record_has_its_result_in_the_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let ledger = Ledger::create(&path).unwrap();
        let limit = Limit { records: Some(2500), time: None };
        let progress = Progress::default();
        let never = std::future::pending();
        let counts = drive(&fleet(), Pace::Full, limit, &producer(), Some(ledger), &progress, never).await.unwrap();
        assert_eq!(counts, Counts { sent: 2500, acked: 2500, failed: 0 });
        let contents = Contents::read(&path).unwrap();
        assert_eq!((contents.lines().len(), contents.acked()), (2500, 2500));
        let none = Checker::new(&contents).only(|line| line.sent.card == "no such").check(&[]).unwrap();
        assert_eq!(none, Checked { acked: 0, unacked: 0 });
    }

    #[tokio::test]
    async fn the_pace_is_the_fleets() {
        let limit = Limit { records: None, time: Some(Duration::from_millis(500)) };
        let progress = Progress::default();
        let never = std::future::pending();
        let counts = drive(&fleet(), Pace::Fleet, limit, &producer(), None, &progress, never).await.unwrap();
        assert!((700..1300).contains(&counts.sent), "{counts:?}");
    }

    #[tokio::test]
    async fn it_stops_when_told_and_still_waits_for_the_results() {
        let progress = Progress::default();
        let enough = async {
            while progress.counts().acked < 10 {
                tokio::task::yield_now().await;
            }
        };
        let limit = Limit::default();
        let counts = drive(&fleet(), Pace::Fleet, limit, &producer(), None, &progress, enough).await.unwrap();
        assert_eq!(counts.sent, counts.acked);
        assert!(counts.acked >= 10);
    }
}
