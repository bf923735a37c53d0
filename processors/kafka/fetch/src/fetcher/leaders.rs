//! Finding out who leads.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{sleep, timeout};
use tracing::debug;
use uuid::Uuid;

use super::state::Followed;
use super::{Backoff, Shared, What};
use crate::connection::{Connection, error_of};
use crate::error::FetchError;
use crate::settings::Settings;

/// How long a broker may take to say who leads: then another one is asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked who leads where nothing seems wrong: who was cut off from the others doesn't know that it leads no
/// more.
const REFRESH: Duration = Duration::from_secs(30);
/// The oldest request that is known here.
const LEAST: i16 = 7;
/// The youngest; from 10 on, topics have ids.
const MOST: i16 = 12;
/// Before this version, the epoch of a leader may be one of the past.
const RELIABLE: i16 = 9;
/// So often a leader may be named that isn't as young as one that was known before: then it is taken for one of another
/// topic of that name.
const OUTDATED: u32 = 5;

/// Looks for leaders wherever one isn't known, for ever.
pub(super) async fn find(shared: Rc<Shared>) {
    let mut changed = shared.changed.subscribe();
    let (mut backoff, mut attempt, mut before) = (Backoff::new(), 0, HashSet::new());
    loop {
        changed.borrow_and_update();
        let mut topics = shared.state.borrow().leaderless();
        if topics.is_empty() {
            backoff = Backoff::new();
            // The sender is ours, too, and so it never ends.
            if timeout(REFRESH, changed.changed()).await.is_ok() {
                continue;
            }
            topics = shared.state.borrow().topics();
            if topics.is_empty() {
                continue;
            }
        }
        if topics != before {
            backoff = Backoff::new();
        }
        match ask(&shared, attempt, &topics).await {
            Ok((answer, version)) => learn(&shared, answer, version, &topics),
            Err(error) => {
                debug!(%error, "who leads can't be found out");
                shared.blame(&error, |followed| followed.leader.is_none() && topics.contains(&followed.topic));
            }
        }
        attempt += 1;
        let leaders = shared.state.borrow_mut().unserved();
        leaders.into_iter().for_each(|leader| shared.serve(leader));
        shared.wake();
        if !shared.state.borrow().leaderless().is_empty() {
            sleep(backoff.next()).await;
        }
        before = topics;
    }
}

/// Asks one broker: with each attempt the next one, of those that were named and those that are known since. Any of them may
/// be gone, or be cut off from the others.
async fn ask(
    shared: &Shared,
    attempt: usize,
    topics: &HashSet<StrBytes>,
) -> Result<(MetadataResponse, i16), FetchError> {
    let mut brokers = shared.settings.bootstrap.clone();
    let mut known: Vec<_> = shared.state.borrow().brokers.values().cloned().collect();
    known.retain(|broker| !brokers.contains(broker));
    known.sort();
    brokers.extend(known);
    let none = || FetchError::Unreachable { broker: "(none)".into(), reason: "none is named".into() };
    let broker = brokers.get(attempt % brokers.len().max(1)).ok_or_else(none)?;
    let settings = Settings { patience: PATIENCE.min(shared.settings.patience), ..shared.settings.clone() };
    // Its answers are small, and gone at once; those of fetches mustn't keep it waiting.
    let mut connection = Connection::open(broker, &settings, &shared.held).await?;
    let names = topics.iter().map(|topic| MetadataRequestTopic::default().with_name(Some(TopicName(topic.clone()))));
    let request = MetadataRequest::default().with_topics(Some(names.collect())).with_allow_auto_topic_creation(false);
    let version = connection.version::<MetadataRequest>(LEAST, MOST)?;
    let answer = connection.ask(&request, version, Duration::ZERO).await?;
    Ok((answer, version))
}

/// Takes note of who leads.
fn learn(shared: &Shared, answer: MetadataResponse, version: i16, topics: &HashSet<StrBytes>) {
    let (mut news, mut astray) = (Vec::new(), Vec::new());
    {
        let mut state = shared.state.borrow_mut();
        let addresses = answer.brokers.iter().map(|broker| {
            // An IPv6 address is told without its brackets.
            let host = broker.host.as_str();
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            (broker.node_id.0, format!("{host}:{}", broker.port))
        });
        state.brokers = addresses.collect();
        let of_name = |topic: &StrBytes| {
            answer.topics.iter().find(|told| told.name.as_ref().is_some_and(|name| name.0 == *topic))
        };
        for (token, followed) in state.all().filter(|(_, followed)| topics.contains(&followed.topic)) {
            let Some(told) = of_name(&followed.topic) else { continue };
            match leader_of(told, version, followed.number) {
                Ok(leader) => {
                    if !accept(followed, leader) {
                        astray.push(token);
                    }
                }
                Err(error) => {
                    let topic = followed.topic.to_string();
                    let error = FetchError::Partition { topic, number: followed.number, error };
                    if followed.is_news(&error) {
                        news.push((token, error));
                    }
                }
            }
        }
    }
    shared.leave(&astray);
    shared.tell_faults(news);
    astray.into_iter().for_each(|token| shared.tell(token, What::Astray));
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug)]
struct Leader {
    /// The topic's id, if it has one.
    topic: Option<Uuid>,
    broker: i32,
    /// -1 if it isn't known for sure.
    epoch: i32,
}

/// Takes a leader for one; or says that what it leads isn't the log any more that was followed.
fn accept(followed: &mut Followed, leader: Leader) -> bool {
    if followed.topic_id.is_some() && leader.topic.is_some() && followed.topic_id != leader.topic {
        return false;
    }
    if leader.epoch >= 0 && leader.epoch < followed.leader_epoch {
        // Who says so hasn't heard yet of who leads since. But where topics have no ids, it may be another one.
        followed.outdated += 1;
        return followed.outdated < OUTDATED;
    }
    // A leader that can't compare what was read with its own log may lack some of it, if it has just become one.
    let is_newer = followed.leader_epoch >= 0 && leader.epoch > followed.leader_epoch;
    if is_newer && followed.was_read && !followed.is_compared {
        return false;
    }
    followed.outdated = 0;
    followed.topic_id = leader.topic.or(followed.topic_id);
    followed.leader = Some(leader.broker);
    followed.leader_epoch = leader.epoch;
    true
}

fn leader_of(topic: &MetadataResponseTopic, version: i16, number: i32) -> Result<Leader, ResponseError> {
    if let Some(error) = error_of(topic.error_code) {
        return Err(error);
    }
    let partition = topic.partitions.iter().find(|partition| partition.partition_index == number);
    let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
    match error_of(partition.error_code) {
        // Some replica is away, which may be any.
        None | Some(ResponseError::ReplicaNotAvailable) if partition.leader_id.0 >= 0 => Ok(Leader {
            topic: Some(topic.topic_id).filter(|id| !id.is_nil()),
            broker: partition.leader_id.0,
            epoch: if version < RELIABLE { -1 } else { partition.leader_epoch },
        }),
        error => Err(error.unwrap_or(ResponseError::LeaderNotAvailable)),
    }
}
