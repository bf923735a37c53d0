//! Adding partitions.

use agentworks_schemas::Topic;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::error::RDKafkaErrorCode;

use super::{TIMEOUT, blocking, failed, metadata_client, partitions_of};
use crate::error::KafkaError;
use crate::settings::KafkaSettings;
use crate::trace::Traced;

/// A topic that has got more partitions, or would get them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Its name on the brokers.
    pub name: String,
    /// How many it had.
    pub from: i32,
    /// How many it has, or would have.
    pub to: i32,
}

/// Adds partitions to the three topics and the dead-letter topic until each has `partitions`. Topics that have as many
/// already stay, so that a call that failed half way may be made again. With `dry_run` nothing is changed.
///
/// From then on new records of most cards lie in other partitions than before; readers know both, see `card_lanes`.
///
/// # Errors
/// If a topic is missing or has more than `partitions` already (partitions can't be taken away), or Kafka's.
pub async fn grow_topics(settings: &KafkaSettings, partitions: i32, dry_run: bool) -> Result<Vec<Grown>, KafkaError> {
    let owned = settings.clone();
    let counts = blocking(move || {
        let client = metadata_client(&owned)?;
        let topics = Topic::ALL.map(|topic| owned.topics.name(topic));
        let names = topics.into_iter().chain([owned.topics.dead_letters()]);
        names.map(|name| Ok((partitions_of(&client, &name)?, name))).collect::<Result<Vec<_>, KafkaError>>()
    })
    .await?;
    if let Some((count, name)) = counts.iter().find(|(count, _)| *count > partitions) {
        return Err(KafkaError::Failed(format!(
            "{name} has {count} partitions already; Kafka can't take partitions away"
        )));
    }
    let grown: Vec<_> = counts
        .into_iter()
        .filter(|(count, _)| *count < partitions)
        .map(|(from, name)| Grown { name, from, to: partitions })
        .collect();
    if dry_run || grown.is_empty() {
        return Ok(grown);
    }
    let admin: AdminClient<Traced> =
        settings.admin().create_with_context(Traced::default()).map_err(|error| failed(&error))?;
    let count = usize::try_from(partitions).unwrap_or_default();
    let more: Vec<_> = grown.iter().map(|topic| NewPartitions::new(&topic.name, count)).collect();
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
    let results = admin.create_partitions(&more, &options).await.map_err(|error| failed(&error))?;
    for result in results {
        match result {
            // Somebody else did it meanwhile.
            Ok(_) | Err((_, RDKafkaErrorCode::InvalidPartitions)) => {}
            Err((name, code)) => return Err(KafkaError::from_code(code, &name)),
        }
    }
    Ok(grown)
}
