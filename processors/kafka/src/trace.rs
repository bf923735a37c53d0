//! What librdkafka says, as tracing events of target `librdkafka`.

use std::time::Duration;

use agentworks_bootstrap::Bootstrap;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, error, info, warn};

/// The context of a client that has nothing to say but its log.
#[derive(Clone, Debug, Default)]
pub struct Traced(Option<Bootstrap>);

impl Traced {
    /// The context of a client that [`create`](agentworks_bootstrap::create) makes: of each that doesn't end soon.
    pub fn new(bootstrap: Bootstrap) -> Self {
        Traced(Some(bootstrap))
    }
}

impl ClientContext for Traced {
    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(bootstrap) = &self.0 {
            // SAFETY: the client, whose context this is, calls it.
            unsafe { bootstrap.look(statistics) };
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for Traced {}

/// Takes what a consumer that reads nothing has to say of itself. Given no time at all, a poll would end with the first line
/// of its log.
pub(crate) fn hear(consumer: &BaseConsumer<Traced>) {
    while consumer.poll(Duration::from_millis(1)).is_some() {}
}

/// Passes on a line of librdkafka's log. It never holds secrets: librdkafka hides them even when it lists its settings.
pub fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        // A broker that has just started knows no producers' ids for a moment. It is asked again until it does, and
        // what is sent meanwhile waits.
        RDKafkaLogLevel::Warning if facility == "GETPID" => debug!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            error!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => warn!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => info!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Debug => debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// Passes on an error that librdkafka reports beside its log.
pub fn log_error(error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        // Not a fault.
        Some(RDKafkaErrorCode::PartitionEOF) => {}
        // Said by the log already, and mended by librdkafka.
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) => {
            debug!(target: "librdkafka", "{reason}");
        }
        _ => warn!(target: "librdkafka", %error, "{reason}"),
    }
}
