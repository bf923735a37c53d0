//! Topics of a test's own on a real Kafka, and fleets that write to them.

use std::time::Duration;

use agentworks_ingest::producer::Producer;
use agentworks_kafka::KafkaSettings;
use agentworks_load::{Counts, Fleet, Limit, Pace, Progress, drive};
use agentworks_schemas::Timestamp;

use crate::support::records::create_topics;
use crate::support::{kafka, unique_prefix};

/// The workspaces of all that is written. Their cards and runs bear the same ids.
pub const WORKSPACES: [&str; 2] = ["left", "right"];

/// What is written with.
#[derive(Debug)]
pub struct Log {
    pub settings: KafkaSettings,
    pub partitions: i32,
    producer: Producer,
    /// The seed of the next fleet.
    seed: u64,
}

impl Log {
    /// On the Kafka of all tests.
    pub async fn new(partitions: i32, seed: u64) -> Self {
        Self::at(&kafka().await.bootstrap(), partitions, seed).await
    }

    pub async fn at(bootstrap: &str, partitions: i32, seed: u64) -> Self {
        let topics = create_topics(bootstrap, &unique_prefix(), partitions).await;
        let producer = Producer::builder(bootstrap)
            .topics(topics.clone())
            .delivery_timeout(Duration::from_secs(300))
            .build()
            .unwrap();
        Log { settings: KafkaSettings::new(bootstrap, topics), partitions, producer, seed }
    }

    /// The consumer group of the processors.
    pub fn group(&self) -> String {
        format!("{}store", self.settings.topics.prefix())
    }

    /// As fast as Kafka takes it: so many records in each workspace, of the same fleet.
    pub async fn load(&mut self, cards: usize, records: u64) {
        self.seed += 1;
        // The runs of the busiest card are long enough to have marks.
        let one = Fleet { cards, run_length: 1_200..=2_500, ..self.fleet("") };
        for workspace in WORKSPACES {
            let fleet = Fleet { workspace: workspace.into(), ..one.clone() };
            let limit = Limit { records: Some(records), time: None };
            let counts = self.drive(&fleet, Pace::Full, limit, std::future::pending()).await;
            assert_eq!((counts.acked, counts.failed), (records, 0));
        }
    }

    /// At a pace, in one workspace, until told to stop. Everything that was sent has been acknowledged when this returns.
    pub async fn stream(&self, fleet: &Fleet, limit: Limit, stop: impl Future<Output = ()>) -> Counts {
        let counts = self.drive(fleet, Pace::Fleet, limit, stop).await;
        assert_eq!((counts.acked, counts.failed), (counts.sent, 0));
        counts
    }

    /// A fleet with runs that are short enough to end.
    pub fn fleet(&self, workspace: &str) -> Fleet {
        Fleet { workspace: workspace.into(), run_length: 20..=300, ..Fleet::new(self.seed, Timestamp::now()) }
    }

    async fn drive(&self, fleet: &Fleet, pace: Pace, limit: Limit, stop: impl Future<Output = ()>) -> Counts {
        drive(fleet, pace, limit, &self.producer, None, &Progress::default(), stop).await.unwrap()
    }
}
