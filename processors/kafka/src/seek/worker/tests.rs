#![allow(clippy::unwrap_used)]

use agentworks_schemas::{Topic, Topics};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::*;
use crate::batch::Batch;
use crate::seek::SeekRequest;

const LANE: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };

/// A log, and a worker to which it was known to end at 100.
struct Bench {
    _cluster: MockCluster<'static, DefaultProducerContext>,
    settings: KafkaSettings,
    queue: Arc<Queue>,
    passed: Arc<Passed>,
}

impl Bench {
    fn new(records: usize) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let settings = KafkaSettings::new(cluster.bootstrap_servers(), Topics::with_prefix("seek-"));
        cluster.create_topic(&settings.topics.name(LANE.topic), 1, 1).unwrap();
        let bench = Bench { _cluster: cluster, settings, queue: Arc::default(), passed: Arc::default() };
        bench.write(records);
        // There is one worker, and no more are wanted.
        let (settings, queue, passed) = (bench.settings.clone(), Arc::clone(&bench.queue), Arc::clone(&bench.passed));
        std::thread::spawn(move || {
            let consumer = create(settings.page_reader(), Traced::new).unwrap();
            Worker { settings, consumer, queue, ends: HashMap::from([((LANE, 0), 100)]), passed }.work();
        });
        bench
    }

    fn write(&self, records: usize) {
        let producer: BaseProducer = self.settings.admin().create().unwrap();
        let name = self.settings.topics.name(LANE.topic);
        let line = r#"{"runId":"run","cardId":"card","workspaceId":"space","message":"a line"}"#;
        for _ in 0..records {
            let record = BaseRecord::<(), _>::to(&name).partition(0).payload(line);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(10)).unwrap();
    }

    fn read(&self, from: i64, to: i64) -> mpsc::Receiver<Result<Arc<Batch>, KafkaError>> {
        let (sender, batches) = mpsc::channel(16);
        let request = SeekRequest { partition: LANE, epoch: 0, from, to, key: None };
        let read = Read::new(request, &self.passed, sender, Handle::current());
        self.queue.push(Job::Read(Box::new(read)), 1);
        batches
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// How many records come of a read, and up to where it says that there are no more.
async fn all(
    batches: &mut mpsc::Receiver<Result<Arc<Batch>, KafkaError>>,
    to: i64,
) -> Result<(usize, i64), KafkaError> {
    let (mut records, mut reached) = (0, 0);
    while reached < to
        && let Some(batch) = batches.recv().await
    {
        let batch = batch?;
        records += batch.records().len() + batch.rejects().len();
        reached = batch.to;
    }
    Ok((records, reached))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_does_not_know_yet_how_far_its_log_reaches_is_waited_for() {
    let bench = Bench::new(95);
    let mut batches = bench.read(90, 100);
    assert_eq!(all(&mut batches, 95).await.unwrap(), (5, 95));
    let early = tokio::time::timeout(Duration::from_millis(300), batches.recv()).await;
    assert!(early.is_err(), "{early:?}");
    bench.write(5);
    assert_eq!(all(&mut batches, 100).await.unwrap(), (5, 100));
    assert!(batches.recv().await.is_none());
    // And where nothing comes before the end.
    let mut batches = bench.read(97, 100);
    assert_eq!(all(&mut batches, 100).await.unwrap(), (3, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_stays_shorter_than_it_was_is_not_taken_for_empty() {
    let bench = Bench::new(95);
    let begun = Instant::now();
    let mut batches = bench.read(95, 100);
    let error = all(&mut batches, 100).await.unwrap_err();
    assert!(error.is_transient() && begun.elapsed() >= BEHIND, "{error}");
    // What was known is known no longer.
    let mut batches = bench.read(94, 100);
    assert_eq!(all(&mut batches, 100).await.unwrap(), (1, 95));
    assert!(batches.recv().await.is_none());
}
