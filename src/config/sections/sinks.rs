//! The sinks, and the runtime that drives them.

use std::net::SocketAddr;
use std::time::Duration;

use agentworks_processors::hot::HotConfig;
use agentworks_processors::lane::Retention;
use agentworks_processors::runs::RunsConfig;
use agentworks_processors::warm::WarmConfig;
use serde::{Deserialize, Serialize};

use super::loopback;
use crate::config::forms::{List, Named, Size, Time};

/// The sinks that there are.
pub(crate) const SINKS: [&str; 5] = ["hot", "warm", "runs", "search", "archive"];

/// Those that fill the store. They share a consumer group, and one decoding; each of the others has a group of its own, for
/// it holds its positions back for longer.
const STORE_SINKS: [&str; 3] = ["hot", "warm", "runs"];

/// The consumer group that fills the store.
const STORE_GROUP: &str = "agentworks-store";

/// A consumer group, and what this process fills as a member of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) sinks: Vec<&'static str>,
}

impl Group {
    /// Whether it fills the store. Of the groups that read the same topics, this one writes dead letters.
    pub(crate) fn fills_store(&self) -> bool {
        self.sinks.iter().all(|sink| STORE_SINKS.contains(sink))
    }
}

/// The hot sink: blocks by card.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Hot {
    pub(crate) retention: Time,
    /// The retention of single workspaces, by id.
    pub(crate) workspaces: Named<Time>,
    pub(crate) block_bytes: Size,
    pub(crate) block_age: Time,
    pub(crate) partition_bytes: Size,
    pub(crate) zstd_level: i32,
    pub(crate) writes: usize,
    pub(crate) known_cards: usize,
}

impl Default for Hot {
    fn default() -> Self {
        let HotConfig { retention, block_bytes, block_age, partition_bytes, writes, zstd_level, known_cards } =
            HotConfig::default();
        Hot {
            retention: retention.default.into(),
            workspaces: Named::default(),
            block_bytes: Size(block_bytes),
            block_age: block_age.into(),
            partition_bytes: Size(usize::try_from(partition_bytes).unwrap_or(usize::MAX)),
            zstd_level,
            writes,
            known_cards,
        }
    }
}

impl Hot {
    /// As the sink takes it.
    pub(crate) fn sink(&self) -> HotConfig {
        HotConfig {
            retention: retention(self.retention, &self.workspaces),
            block_bytes: self.block_bytes.0,
            block_age: self.block_age.0,
            partition_bytes: self.partition_bytes.0 as u64,
            writes: self.writes,
            zstd_level: self.zstd_level,
            known_cards: self.known_cards,
        }
    }
}

/// The warm sink: blocks by run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Warm {
    pub(crate) retention: Time,
    /// The retention of single workspaces, by id.
    pub(crate) workspaces: Named<Time>,
    pub(crate) block_bytes: Size,
    pub(crate) block_age: Time,
    pub(crate) partition_bytes: Size,
    pub(crate) zstd_level: i32,
    pub(crate) writes: usize,
    pub(crate) known_runs: usize,
}

impl Default for Warm {
    fn default() -> Self {
        let WarmConfig { retention, block_bytes, block_age, partition_bytes, writes, zstd_level, known_runs } =
            WarmConfig::default();
        Warm {
            retention: retention.default.into(),
            workspaces: Named::default(),
            block_bytes: Size(block_bytes),
            block_age: block_age.into(),
            partition_bytes: Size(usize::try_from(partition_bytes).unwrap_or(usize::MAX)),
            zstd_level,
            writes,
            known_runs,
        }
    }
}

impl Warm {
    /// As the sink takes it.
    pub(crate) fn sink(&self) -> WarmConfig {
        WarmConfig {
            retention: retention(self.retention, &self.workspaces),
            block_bytes: self.block_bytes.0,
            block_age: self.block_age.0,
            partition_bytes: self.partition_bytes.0 as u64,
            writes: self.writes,
            zstd_level: self.zstd_level,
            known_runs: self.known_runs,
        }
    }
}

pub(super) fn retention(default: Time, workspaces: &Named<Time>) -> Retention {
    let workspaces = workspaces.0.iter().map(|(workspace, time)| (workspace.clone(), time.0));
    Retention { default: default.0, workspaces: workspaces.collect() }
}

/// The runs sink: summaries and marks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Runs {
    pub(crate) max_age: Time,
    pub(crate) max_age_of_status: Time,
    pub(crate) cached_parts: usize,
}

impl Default for Runs {
    fn default() -> Self {
        let RunsConfig { max_age, max_age_of_status, cached_parts } = RunsConfig::default();
        Runs { max_age: max_age.into(), max_age_of_status: max_age_of_status.into(), cached_parts }
    }
}

impl Runs {
    /// As the sink takes it.
    pub(crate) fn sink(&self) -> RunsConfig {
        RunsConfig {
            max_age: self.max_age.0,
            max_age_of_status: self.max_age_of_status.0,
            cached_parts: self.cached_parts,
        }
    }
}

/// `agentworks process`: what drives the sinks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Runtime {
    /// Where the probes and the metrics are.
    pub(crate) listen: SocketAddr,
    pub(crate) sinks: List,
    /// The consumer group. Members of one group fill the same sinks, so that by default its name says which.
    pub(crate) group: Option<String>,
    /// A name of this process that stays when it is started again: it then has its partitions back at once. No two
    /// processes may have the same.
    pub(crate) instance: Option<String>,
    /// Whether records that can't be taken go to the dead-letter topic. Of all groups, one does this.
    pub(crate) dead_letters: bool,
    /// Whether the brokers are asked for the topics' ids, by which a topic that was made again is known.
    pub(crate) topic_ids: bool,
    /// How much pending data the sinks may hold together.
    pub(crate) memory: Size,
    /// How much may be decoded and wait for the sinks.
    pub(crate) queue: Size,
    pub(crate) linger: Time,
    /// How long to go on writing what is pending when partitions are taken away, or on SIGTERM.
    pub(crate) drain: Time,
}

impl Default for Runtime {
    fn default() -> Self {
        Runtime {
            listen: loopback(7072),
            sinks: List(STORE_SINKS.map(str::to_owned).to_vec()),
            group: None,
            instance: None,
            dead_letters: true,
            topic_ids: true,
            memory: Size(128 << 20),
            queue: Size(32 << 20),
            linger: Time(Duration::from_millis(30)),
            drain: Time::seconds(10),
        }
    }
}

impl Runtime {
    /// Whether any of the sinks writes objects.
    pub(crate) fn writes_objects(&self) -> bool {
        self.sinks.0.iter().any(|sink| SINKS.contains(&sink.as_str()) && !STORE_SINKS.contains(&sink.as_str()))
    }

    /// The consumer groups that this process is a member of, that of the store first. Those that weren't named begin as the
    /// topics do: installations that share a Kafka share no group.
    pub(crate) fn groups(&self, topic_prefix: &str) -> Vec<Group> {
        let own = |sinks: &[&'static str]| {
            sinks.iter().copied().filter(|sink| self.sinks.0.iter().any(|own| own == sink)).collect::<Vec<_>>()
        };
        let store = own(&STORE_SINKS);
        let name = match &self.group {
            Some(group) => group.clone(),
            None if store.len() == STORE_SINKS.len() => format!("{topic_prefix}{STORE_GROUP}"),
            None => format!("{topic_prefix}{STORE_GROUP}-{}", store.join("-")),
        };
        let others = own(&SINKS[STORE_SINKS.len()..]).into_iter().map(|sink| Group {
            name: match &self.group {
                Some(group) => format!("{group}-{sink}"),
                None => format!("{topic_prefix}agentworks-{sink}"),
            },
            sinks: vec![sink],
        });
        Some(Group { name, sinks: store }).filter(|group| !group.sinks.is_empty()).into_iter().chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_one_set_of_sinks() {
        let of = |sinks: &[&str], group: Option<&str>| {
            let sinks = List(sinks.iter().map(|&sink| sink.to_owned()).collect());
            let runtime = Runtime { sinks, group: group.map(str::to_owned), ..Runtime::default() };
            let groups = runtime.groups("");
            let theirs = runtime.groups("a.").into_iter().map(|group| group.name);
            let is_shared = |(own, other): (&Group, String)| own.name == other;
            assert!(
                groups.iter().zip(theirs).all(|both| is_shared(both) == group.is_some()),
                "topics' prefixes part them"
            );
            groups.iter().map(|group| format!("{}: {}", group.name, group.sinks.join(" "))).collect::<Vec<_>>()
        };
        assert_eq!(of(&["runs", "hot", "warm"], None), ["agentworks-store: hot warm runs"]);
        assert_eq!(of(&["runs", "hot"], None), ["agentworks-store-hot-runs: hot runs"]);
        assert_eq!(of(&["runs"], Some("mine")), ["mine: runs"]);
        let all = ["agentworks-store: hot warm runs", "agentworks-search: search", "agentworks-archive: archive"];
        assert_eq!(of(&SINKS, None), all);
        assert_eq!(of(&["archive"], Some("mine")), ["mine-archive: archive"]);
    }
}
