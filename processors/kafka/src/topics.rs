//! Creating topics, and what the brokers say of them.
//!
//! - [`grow`]: adding partitions.
//! - [`ids`]: telling a topic from one of the same name that was there before.
//! - `watermarks`: where logs begin and end.

pub mod grow;
pub mod ids;
mod watermarks;

use std::time::{Duration, Instant};

use agentworks_bootstrap::create;
use agentworks_schemas::Topic;
use agentworks_schemas::codec::MAX_RECORD;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use crate::error::KafkaError;
use crate::settings::KafkaSettings;
use crate::trace::Traced;

pub(crate) use watermarks::known_end_of;
pub use watermarks::{Watermarks, last_known_end, query_ends, query_watermarks, watermarks_of};

/// How long the brokers have for an answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// How often to ask whether a new topic is known.
const PROPAGATION: Duration = Duration::from_millis(20);

/// The largest batch that a topic takes, in bytes: a record of [`MAX_RECORD`], its key and headers, and the framing.
pub const MAX_BATCH: usize = MAX_RECORD + 64 * 1024;

/// How topics are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicOptions {
    /// How many partitions each topic has.
    pub partitions: i32,
    /// On how many brokers each partition lies.
    pub replication: i32,
    /// How long records are kept; the brokers' default if not set.
    pub retention: Option<Duration>,
    /// How many bytes a partition may keep; the brokers' default if not set.
    pub retention_bytes: Option<u64>,
}

/// A topic as the brokers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name on the brokers.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// The offsets that its partitions hold, added up: about the number of records.
    pub offsets: i64,
    /// Its settings `message.timestamp.type`, `max.message.bytes`, `retention.ms`, `retention.bytes`.
    pub settings: Vec<(String, String)>,
}

/// Creates the three topics and the dead-letter topic with `partitions` each, `LogAppendTime`; those that are there stay.
pub async fn create_topics(settings: &KafkaSettings, partitions: i32, replication: i32) -> Result<(), KafkaError> {
    let options = TopicOptions { partitions, replication, retention: None, retention_bytes: None };
    create_topics_with(settings, options).await.map(|_| ())
}

/// Creates the three topics and the dead-letter topic; those that are there stay as they are. Returns the names of those
/// that were created.
pub async fn create_topics_with(settings: &KafkaSettings, options: TopicOptions) -> Result<Vec<String>, KafkaError> {
    let admin: AdminClient<Traced> =
        settings.admin().create_with_context(Traced::default()).map_err(|error| failed(&error))?;
    let names = all_names(settings);
    let max_batch = MAX_BATCH.to_string();
    let retention = options.retention.map(|retention| retention.as_millis().to_string());
    let retention_bytes = options.retention_bytes.map(|bytes| bytes.to_string());
    let topics: Vec<_> = names
        .iter()
        .map(|name| {
            // The broker's clock is the clock of keys and retention.
            let topic = NewTopic::new(name, options.partitions, TopicReplication::Fixed(options.replication))
                .set("message.timestamp.type", "LogAppendTime")
                .set("max.message.bytes", &max_batch);
            let limits = [("retention.ms", &retention), ("retention.bytes", &retention_bytes)];
            let topic = limits.into_iter().fold(topic, |topic, (name, value)| match value {
                Some(value) => topic.set(name, value),
                None => topic,
            });
            // One of three brokers may be down, and what was acknowledged is still on another.
            if options.replication >= 3 { topic.set("min.insync.replicas", "2") } else { topic }
        })
        .collect();
    let admin_options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
    let results = admin.create_topics(&topics, &admin_options).await.map_err(|error| failed(&error))?;
    let mut created = Vec::new();
    for result in results {
        match result {
            Ok(name) => created.push(name),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code @ (RDKafkaErrorCode::InvalidReplicationFactor | RDKafkaErrorCode::InvalidPartitions))) => {
                let TopicOptions { partitions, replication, .. } = options;
                return Err(KafkaError::Failed(format!(
                    "{name} can't be created with {partitions} partitions on {replication} brokers each: {code}"
                )));
            }
            Err((name, code)) => return Err(KafkaError::from_code(code, &name)),
        }
    }
    if !created.is_empty() {
        wait_until_known(settings, created.clone()).await?;
    }
    Ok(created)
}

/// Waits until brokers tell of topics that a controller has made: they learn of it a moment later, and would say of what is
/// asked meanwhile that it isn't there.
async fn wait_until_known(settings: &KafkaSettings, names: Vec<String>) -> Result<(), KafkaError> {
    let settings = settings.clone();
    blocking(move || {
        let client = metadata_client(&settings)?;
        let deadline = Instant::now() + TIMEOUT;
        for name in names {
            while let Err(error) = partitions_of(&client, &name) {
                if !matches!(error, KafkaError::NoTopic(_)) || Instant::now() > deadline {
                    return Err(error);
                }
                std::thread::sleep(PROPAGATION);
            }
        }
        Ok(())
    })
    .await
}

/// How many partitions the topics have: the same for all three, or an error that says which differ.
pub async fn partition_count(settings: &KafkaSettings) -> Result<i32, KafkaError> {
    let settings = settings.clone();
    blocking(move || {
        let client = metadata_client(&settings)?;
        let mut counts = Vec::new();
        for topic in Topic::ALL {
            let name = settings.topics.name(topic);
            counts.push((partitions_of(&client, &name)?, name));
        }
        let (first, _) = counts[0];
        if counts.iter().all(|(count, _)| *count == first) {
            return Ok(first);
        }
        let counts: Vec<_> = counts.iter().map(|(count, name)| format!("{name} has {count}")).collect();
        Err(KafkaError::Failed(format!(
            "the topics must have the same number of partitions, but {}: add partitions to the smaller ones",
            counts.join(", ")
        )))
    })
    .await
}

/// Describes the topics that are there.
pub async fn describe_topics(settings: &KafkaSettings) -> Result<Vec<TopicInfo>, KafkaError> {
    const SHOWN: [&str; 4] = ["message.timestamp.type", "max.message.bytes", "retention.ms", "retention.bytes"];

    let owned = settings.clone();
    let mut infos = blocking(move || {
        let client = metadata_client(&owned)?;
        let mut infos = Vec::new();
        for name in all_names(&owned) {
            let partitions = match partitions_of(&client, &name) {
                Err(KafkaError::NoTopic(_)) => continue,
                partitions => partitions?,
            };
            let mut offsets = 0;
            for partition in 0..partitions {
                let Watermarks { low, high } = watermarks_of(&client, &name, partition)?;
                offsets += high - low;
            }
            infos.push(TopicInfo { name, partitions, offsets, settings: Vec::new() });
        }
        Ok(infos)
    })
    .await?;

    if infos.is_empty() {
        return Ok(infos);
    }
    let admin: AdminClient<Traced> =
        settings.admin().create_with_context(Traced::default()).map_err(|error| failed(&error))?;
    let topics: Vec<_> = infos.iter().map(|info| info.name.clone()).collect();
    let resources: Vec<_> = topics.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let answers = admin.describe_configs(&resources, &options).await.map_err(|error| failed(&error))?;
    for (info, answer) in infos.iter_mut().zip(answers) {
        let config = answer.map_err(|code| KafkaError::from_code(code, &info.name))?;
        for name in SHOWN {
            let value = config.get(name).and_then(|entry| entry.value.clone());
            info.settings.push((name.to_owned(), value.unwrap_or_default()));
        }
    }
    Ok(infos)
}

/// How many partitions the topic `name` has. Blocks.
pub(crate) fn partitions_of(client: &BaseConsumer<Traced>, name: &str) -> Result<i32, KafkaError> {
    let metadata = client.fetch_metadata(Some(name), TIMEOUT).map_err(|error| KafkaError::from_client(&error, name))?;
    let topic = metadata.topics().first().ok_or_else(|| KafkaError::NoTopic(name.to_owned()))?;
    match topic.error() {
        Some(error) => Err(KafkaError::from_code(error.into(), name)),
        None => Ok(i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX)),
    }
}

/// A consumer, since asking as a producer would create the topic on brokers that do so.
fn metadata_client(settings: &KafkaSettings) -> Result<BaseConsumer<Traced>, KafkaError> {
    let mut config = settings.admin();
    config.set("allow.auto.create.topics", "false");
    config.set("isolation.level", "read_committed");
    create(config, Traced::new).map_err(|error| failed(&error))
}

fn all_names(settings: &KafkaSettings) -> Vec<String> {
    let topics = Topic::ALL.map(|topic| settings.topics.name(topic));
    topics.into_iter().chain([settings.topics.dead_letters()]).collect()
}

fn failed(error: &rdkafka::error::KafkaError) -> KafkaError {
    KafkaError::from_client(error, "the brokers")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(KafkaError::Failed(format!("the request was given up: {error}"))),
    }
}
