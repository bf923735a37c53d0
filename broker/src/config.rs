//! What can be chosen about a broker, and what Kafka is told.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::jars;

/// How to run a broker.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where Kafka keeps its log, and we our notes. One live broker at a time uses it; made if it isn't there.
    pub data_dir: PathBuf,
    /// The port on the loopback interface; 0 takes the one that this folder used before, or else any that is free.
    pub port: u16,
    /// The JVM's heap, in MiB. 256 hold 50,000 records/s; Kafka's data is in the page cache, not here.
    pub heap_mib: u32,
    /// How many partitions a topic gets whose maker doesn't say.
    pub partitions: u32,
    /// How long records are kept; `None` keeps them for ever.
    pub retention: Option<Duration>,
    /// How long one start may take before it counts as failed. Recovery after a crash reads at most the last segment of
    /// each partition.
    pub start_timeout: Duration,
    /// Where the jars are, or are fetched to: [`jars::default_cache`].
    pub cache: PathBuf,
    /// Further lines of `server.properties`; they override ours.
    pub properties: Vec<(String, String)>,
}

impl Config {
    /// The defaults, in this folder, on any free port.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Config {
            data_dir: data_dir.into(),
            port: 0,
            heap_mib: 256,
            partitions: 12,
            retention: Some(Duration::from_secs(7 * 24 * 3600)),
            start_timeout: Duration::from_secs(120),
            cache: jars::default_cache(),
            properties: Vec::new(),
        }
    }

    /// The JVM's flags. C1 and the serial collector start faster and, for a broker of this size, also spend less at full
    /// rate: 0.22 CPU-seconds a second at 50,000 records/s, where C2 took 0.30 and G1 0.36.
    pub(crate) fn jvm_flags(&self) -> Vec<OsString> {
        let mut flags = vec![OsString::from(format!("-Xmx{}m", self.heap_mib))];
        flags.extend(
            [
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-XX:-UsePerfData",
                "-XX:+ExitOnOutOfMemoryError",
                "-Djava.awt.headless=true",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
                // Kafka prints its 300 settings three times at each start.
                "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
            ]
            .map(OsString::from),
        );
        flags
    }

    /// The text of `server.properties`. Paths in it are relative to the data folder, where Kafka is started.
    pub(crate) fn server_properties(&self, port: u16, controller_port: u16) -> String {
        let retention_ms = self.retention.map_or("-1".to_owned(), |retention| retention.as_millis().to_string());
        let mut text = format!(
            "# Written anew at each start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=data

# The log's clock is the broker's, and nobody gets a topic by misspelling its name.
log.message.timestamp.type=LogAppendTime
auto.create.topics.enable=false
num.partitions={partitions}
log.retention.ms={retention_ms}
# A record of 1 MiB with its key and headers.
message.max.bytes={MESSAGE_MAX_BYTES}

# One node.
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# A few groups, which take over quickly.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000

# After a crash the controller waits until the broker's last session has run out (9 s by default).
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
# What a crash leaves to recover is at most a segment of each partition.
log.segment.bytes=67108864
log.index.size.max.bytes=1048576

# A small machine, and quiet when nothing happens.
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
metadata.max.idle.interval.ms=0
",
            partitions = self.partitions,
        );
        for (name, value) in &self.properties {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{name}={value}");
        }
        text
    }
}

/// The largest record batch that a broker takes, in bytes.
pub const MESSAGE_MAX_BYTES: u32 = 1024 * 1024 + 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_caller_sets_comes_last_and_so_wins() {
        let mut config = Config::new("data");
        config.retention = None;
        config.properties.push(("log.segment.bytes".into(), "1048576".into()));
        let text = config.server_properties(9092, 9093);
        assert!(text.contains("\nlisteners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n"));
        assert!(text.contains("\nlog.retention.ms=-1\n"));
        assert!(text.ends_with("\nlog.segment.bytes=1048576\n"));
    }

    #[test]
    fn the_heap_is_the_one_asked_for() {
        let config = Config { heap_mib: 512, ..Config::new("data") };
        assert_eq!(config.jvm_flags()[0], "-Xmx512m");
    }
}
