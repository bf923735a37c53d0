//! The partitions that are followed, and who leads them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::Token;
use crate::error::FetchError;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct State {
    partitions: BTreeMap<Token, Followed>,
    /// The brokers' addresses, by their ids.
    pub(super) brokers: HashMap<i32, String>,
    /// The leaders that have a task.
    pub(super) served: HashSet<i32>,
    turn: u64,
}

/// A partition that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) topic: StrBytes,
    pub(super) number: i32,
    /// The offset that comes next.
    pub(super) next: i64,
    /// The leader's epoch in which the record before it was written; -1 before the first. The leader compares it with its
    /// own log (KIP-595), and so says if what was read has been cut off.
    pub(super) written_in: i32,
    /// The topic's id, since it is known.
    pub(super) topic_id: Option<Uuid>,
    /// Who leads it; `None` if that has to be found out.
    pub(super) leader: Option<i32>,
    /// The epoch of whom we took for the leader last; -1 if it isn't known.
    pub(super) leader_epoch: i32,
    /// How often a leader was named since whose epoch is older.
    pub(super) outdated: u32,
    /// Whether anything was handed over.
    pub(super) was_read: bool,
    /// Whether the leader compares what was read with its own log.
    pub(super) is_compared: bool,
    /// Whether it was said that the next offset isn't in the log; once may be too soon after an election.
    pub(super) is_beyond: bool,
    /// Not to be asked for before.
    pub(super) not_before: Option<Instant>,
    /// When it last had something: who has waited longest is asked for first, for a broker gives one of them a batch that
    /// is larger than there is room for.
    turn: u64,
    /// Where it was said to end.
    pub(super) ended_at: Option<i64>,
    /// What was said to be wrong since something came.
    pub(super) faults: Vec<FetchError>,
}

/// What is asked of a broker.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) token: Token,
    pub(super) topic: StrBytes,
    pub(super) topic_id: Option<Uuid>,
    pub(super) partition: FetchPartition,
}

impl Followed {
    /// Puts off what is asked next.
    pub(super) fn put_off(&mut self, time: Duration) {
        self.not_before = Some(Instant::now() + time);
    }

    /// Whether this fault is news.
    pub(super) fn is_news(&mut self, fault: &FetchError) -> bool {
        let is_news = !self.faults.iter().any(|said| said.is_like(fault));
        if is_news {
            self.faults.push(fault.clone());
        }
        is_news
    }
}

impl State {
    pub(super) fn follow(&mut self, token: Token, topic: String, number: i32, next: i64) {
        self.turn += 1;
        let followed = Followed {
            topic: StrBytes::from_string(topic),
            number,
            next,
            written_in: -1,
            topic_id: None,
            leader: None,
            leader_epoch: -1,
            outdated: 0,
            was_read: false,
            is_compared: false,
            is_beyond: false,
            not_before: None,
            turn: self.turn,
            ended_at: None,
            faults: Vec::new(),
        };
        self.partitions.insert(token, followed);
    }

    pub(super) fn leave(&mut self, token: Token) {
        self.partitions.remove(&token);
    }

    pub(super) fn get(&mut self, token: Token) -> Option<&mut Followed> {
        self.partitions.get_mut(&token)
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = (Token, &mut Followed)> {
        self.partitions.iter_mut().map(|(token, followed)| (*token, followed))
    }

    /// Notes that something came of a partition: others have their turn.
    pub(super) fn had_its_turn(&mut self, token: Token) {
        self.turn += 1;
        if let Some(followed) = self.partitions.get_mut(&token) {
            followed.turn = self.turn;
        }
    }

    /// The topics of partitions whose leader isn't known.
    pub(super) fn leaderless(&self) -> HashSet<StrBytes> {
        let leaderless = self.partitions.values().filter(|followed| followed.leader.is_none());
        leaderless.map(|followed| followed.topic.clone()).collect()
    }

    /// The topics of all partitions.
    pub(super) fn topics(&self) -> HashSet<StrBytes> {
        self.partitions.values().map(|followed| followed.topic.clone()).collect()
    }

    /// The leaders that have no task yet; they are taken to have one from now on.
    pub(super) fn unserved(&mut self) -> Vec<i32> {
        let leaders: HashSet<_> = self.partitions.values().filter_map(|followed| followed.leader).collect();
        leaders.into_iter().filter(|leader| self.served.insert(*leader)).collect()
    }

    /// What to ask of a leader now; and when there will be something else, if nothing changes.
    pub(super) fn to_ask(&self, leader: i32, partition_bytes: i32) -> (Vec<Ask>, Option<Instant>) {
        let (now, mut later, mut seen) = (Instant::now(), None::<Instant>, HashSet::new());
        let mut chosen: Vec<_> =
            self.partitions.iter().filter(|(_, followed)| followed.leader == Some(leader)).collect();
        chosen.retain(|(_, followed)| match followed.not_before.filter(|time| *time > now) {
            Some(time) => {
                later = Some(later.map_or(time, |later| later.min(time)));
                false
            }
            None => true,
        });
        chosen.sort_by_key(|(_, followed)| followed.turn);
        // An answer doesn't say which of two questions about a partition it means; the second one's turn comes.
        chosen.retain(|(_, followed)| seen.insert((&followed.topic, followed.number)));
        let ask = |(token, followed): (&Token, &Followed)| Ask {
            token: *token,
            topic: followed.topic.clone(),
            topic_id: followed.topic_id,
            partition: FetchPartition::default()
                .with_partition(followed.number)
                .with_fetch_offset(followed.next)
                .with_current_leader_epoch(followed.leader_epoch)
                .with_last_fetched_epoch(followed.written_in)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(partition_bytes),
        };
        (chosen.into_iter().map(ask).collect(), later)
    }
}

/// The topics of a request of this version, each where its first partition is.
pub(super) fn topics(asked: &[Ask], version: i16) -> Vec<FetchTopic> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut places = HashMap::new();
    for ask in asked {
        // One that was made again may still be followed beside the one that took its place.
        let place = *places.entry((&ask.topic, ask.topic_id)).or_insert_with(|| {
            let topic = match ask.topic_id.filter(|_| version >= BY_ID) {
                Some(id) => FetchTopic::default().with_topic_id(id),
                None => FetchTopic::default().with_topic(TopicName(ask.topic.clone())),
            };
            topics.push(topic);
            topics.len() - 1
        });
        let mut partition = ask.partition.clone();
        if version < EPOCH_OF_LEADER {
            partition.current_leader_epoch = -1;
        }
        if version < EPOCH_OF_RECORD {
            partition.last_fetched_epoch = -1;
        }
        topics[place].partitions.push(partition);
    }
    topics
}

/// From this version on, topics are called by their ids.
pub(super) const BY_ID: i16 = 13;
/// From this version on, a request says whom it takes for the leader.
const EPOCH_OF_LEADER: i16 = 9;
/// From this version on, a request says in which epoch the last record was written.
pub(super) const EPOCH_OF_RECORD: i16 = 12;
