//! How to reach Kafka, and the librdkafka settings of each kind of client, with their reasons.
//!
//! What isn't set here has librdkafka's default. [`KafkaSettings::extra`] is laid over all of it.

mod fetch;

use std::fmt;

use agentworks_schemas::Topics;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

pub use self::fetch::FetchBy;

/// Where Kafka is and how its topics are called.
#[derive(Clone)]
pub struct KafkaSettings {
    /// `HOST:PORT`, several separated by commas.
    pub brokers: String,
    /// The topics' names.
    pub topics: Topics,
    /// Further librdkafka settings (TLS, SASL), laid over ours.
    pub extra: Vec<(String, String)>,
    /// By whom processors fetch.
    pub fetch_by: FetchBy,
}

/// What every client is told.
const COMMON: &[(&str, &str)] = &[
    // A broker that restarts is found again within a second; the default backs off to ten.
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    // Firewalls drop idle connections silently.
    ("socket.keepalive.enable", "true"),
    // Small requests leave at once.
    ("socket.nagle.disable", "true"),
    // Brokers close idle connections; that is no news.
    ("log.connection.close", "false"),
];

/// What every consumer is told.
const CONSUMER: &[(&str, &str)] = &[
    // Positions come from the sinks or from the caller.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // A position that the log doesn't have is a fault to be shown, never a reason to read from somewhere else.
    ("auto.offset.reset", "error"),
    // A misspelt topic must not come into being.
    ("allow.auto.create.topics", "false"),
    // What an aborted transaction wrote isn't there.
    ("isolation.level", "read_committed"),
    // How soon a consumer whose queue was full looks whether it may fetch again. The default of 1000 stalls it.
    ("fetch.queue.backoff.ms", "5"),
    // How soon it fetches again after a fault.
    ("fetch.error.backoff.ms", "100"),
    // The largest answer, and so what the brokers' buffers and ours hold at once. The default is 50 MiB.
    ("fetch.max.bytes", "8388608"),
];

/// What members of a group are told.
const GROUP: &[(&str, &str)] = &[
    // A rebalance takes from a member only what it loses.
    ("partition.assignment.strategy", "cooperative-sticky"),
    // A member that died is noticed after this; the default is 45 s. Brokers refuse less than 6 s.
    ("session.timeout.ms", "10000"),
    // A member learns of a rebalance by the answer to a heartbeat.
    ("heartbeat.interval.ms", "1000"),
    // How long a member may go without polling: longer than it may drain on revocation, short enough that others get the
    // partitions of one that hangs.
    ("max.poll.interval.ms", "60000"),
    // A partition that was just assigned waits until the outstanding fetch is answered.
    ("fetch.wait.max.ms", "100"),
    // What may lie undelivered in librdkafka, over all partitions: the default is 64 MiB, and it counts per consumer.
    ("queued.max.messages.kbytes", "16384"),
    ("queued.min.messages", "50000"),
    // Says where a partition ends, which shows that nothing lies behind the last record.
    ("enable.partition.eof", "true"),
    // How soon added partitions are noticed; the default is five minutes.
    ("topic.metadata.refresh.interval.ms", "30000"),
];

/// What seeking readers are told.
const SEEK: &[(&str, &str)] = &[
    // librdkafka can't assign without a group. Nobody ever joins this one.
    ("group.id", "agentworks-seek"),
    // Never wait at the end of the log: a seek reader leaves it at once, and its next read waits for the answer.
    ("fetch.wait.max.ms", "0"),
    // What is fetched beyond a read is thrown away, and records are delivered only when the whole answer has come.
    ("fetch.message.max.bytes", "524288"),
    ("queued.max.messages.kbytes", "2048"),
    ("queued.min.messages", "5000"),
    // Tells the end of a read whose last offsets hold no records (compaction, transaction markers).
    ("enable.partition.eof", "true"),
];

/// What seeking readers of short ranges are told beside that: a range costs what its whole fetch costs, to decompress and to
/// take apart.
const PAGE: &[(&str, &str)] = &[
    // One batch of records is answered even if it is larger.
    ("fetch.message.max.bytes", "65536"),
    ("queued.max.messages.kbytes", "512"),
    // What has come is nearly always enough: nothing more is fetched while it lies there.
    ("queued.min.messages", "1"),
];

/// What live tails are told.
const TAIL: &[(&str, &str)] = &[
    ("group.id", "agentworks-tail"),
    // A partition that joins waits until the outstanding fetch is answered; records are answered at once in any case.
    ("fetch.wait.max.ms", "20"),
    ("queued.max.messages.kbytes", "8192"),
    ("queued.min.messages", "20000"),
];

/// What the dead letters' producer is told.
const DEAD_LETTERS: &[(&str, &str)] = &[
    // Once in the log per write, and only told as written when all replicas have it.
    ("enable.idempotence", "true"),
    ("acks", "all"),
    // As our other producers place: by murmur2 of the key.
    ("partitioner", "murmur2_random"),
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    // The lane waits meanwhile, so a fault is told soon and the write made again.
    ("delivery.timeout.ms", "20000"),
    ("queue.buffering.max.kbytes", "16384"),
    // How long a topic may be unknown before that is told.
    ("topic.metadata.propagation.max.ms", "3000"),
];

impl KafkaSettings {
    /// Kafka at `brokers`, without TLS or SASL.
    pub fn new(brokers: impl Into<String>, topics: Topics) -> Self {
        KafkaSettings { brokers: brokers.into(), topics, extra: Vec::new(), fetch_by: FetchBy::default() }
    }

    /// For a member of consumer group `group`. A member with an `instance` is *static*: when it comes back within the
    /// session's timeout under the same name it has its partitions at once.
    pub fn group_consumer(&self, group: &str, instance: Option<&str>) -> ClientConfig {
        let mut config = self.config(group, &[CONSUMER, GROUP]);
        config.set("group.id", group);
        if let Some(instance) = instance {
            config.set("group.instance.id", instance);
        }
        config
    }

    /// For a consumer that reads ranges of history, one after another.
    pub fn seek_reader(&self) -> ClientConfig {
        self.config("seek", &[CONSUMER, SEEK])
    }

    /// For a consumer that reads short ranges of history, one after another.
    pub fn page_reader(&self) -> ClientConfig {
        self.config("page", &[CONSUMER, SEEK, PAGE])
    }

    /// For a consumer that follows the end of partitions which join and leave.
    pub fn live_tail(&self) -> ClientConfig {
        self.config("tail", &[CONSUMER, TAIL])
    }

    /// For asking about topics, and creating them.
    pub fn admin(&self) -> ClientConfig {
        self.config("admin", &[])
    }

    /// For writing to the dead-letter topic.
    pub fn dead_letters(&self) -> ClientConfig {
        self.config("dead-letters", &[DEAD_LETTERS])
    }

    /// For producing dead letters again, in transactions. Of all such producers the one made last fences the others.
    pub fn redrive(&self) -> ClientConfig {
        let mut config = self.config("redrive", &[DEAD_LETTERS]);
        config.set("transactional.id", format!("{}agentworks-redrive", self.topics.prefix()));
        // Of one that is killed nobody reads on in the lanes that it wrote to, until this has passed; a letter may wait for its
        // transaction's end.
        config.set("transaction.timeout.ms", "20000");
        config
    }

    fn config(&self, role: &str, parts: &[&[(&str, &str)]]) -> ClientConfig {
        let mut config = ClientConfig::new();
        // librdkafka takes its level from elsewhere otherwise; what is shown in the end is for tracing to decide.
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", format!("agentworks-{role}"));
        for (name, value) in [COMMON].iter().chain(parts).copied().flatten() {
            config.set(*name, *value);
        }
        for (name, value) in &self.extra {
            config.set(name, value);
        }
        config
    }
}

/// Without the values of [`KafkaSettings::extra`], where passwords are.
impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra: Vec<_> = self.extra.iter().map(|(name, _)| name).collect();
        f.debug_struct("KafkaSettings")
            .field("brokers", &self.brokers)
            .field("topics", &self.topics)
            .field("extra", &extra)
            .field("fetch_by", &self.fetch_by)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn settings() -> KafkaSettings {
        let mut settings = KafkaSettings::new("127.0.0.1:9", Topics::default());
        settings.extra.push(("sasl.password".into(), "hunter2".into()));
        settings.extra.push(("fetch.wait.max.ms".into(), "7".into()));
        settings
    }

    #[test]
    fn librdkafka_knows_every_setting() {
        let settings = settings();
        let group = settings.group_consumer("store", Some("one"));
        for config in [
            group,
            settings.seek_reader(),
            settings.page_reader(),
            settings.live_tail(),
            settings.admin(),
            settings.dead_letters(),
            settings.redrive(),
        ] {
            config.create_native_config().unwrap();
        }
    }

    #[test]
    fn extra_settings_lie_over_ours() {
        assert_eq!(settings().seek_reader().get("fetch.wait.max.ms"), Some("7"));
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = format!("{:?}", settings());
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
    }
}
