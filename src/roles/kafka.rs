//! Whether Kafka serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentworks_bootstrap::{Bootstrap, create};
use agentworks_kafka::trace::{log_error, log_line};
use agentworks_kafka::{KafkaError, KafkaSettings};
use agentworks_schemas::Topic;
use anyhow::{Context, bail};
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use tokio::sync::oneshot;

use super::service::Note;

/// How often is asked.
const EVERY: Duration = Duration::from_secs(2);
/// How long what the client says of itself is listened to.
const HEAR: Duration = Duration::from_millis(10);
/// How long the brokers have for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the brokers for the topics again and again, on a thread of its own, until it is dropped.
#[derive(Debug)]
pub(crate) struct KafkaWatch {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why Kafka can't be worked with, if so.
    fault: Mutex<Option<String>>,
    stop: AtomicBool,
}

/// Notes what can't be seen from an answer that doesn't come: whom the brokers don't let in.
#[derive(Debug)]
struct Noting {
    bootstrap: Bootstrap,
    /// The last refusal: of the password, or of the connection's security.
    refused: Mutex<Option<(Code, String)>>,
}

impl ClientContext for Noting {
    fn stats_raw(&self, statistics: &[u8]) {
        // SAFETY: the client, whose context this is, calls it.
        unsafe { self.bootstrap.look(statistics) };
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // A handshake that fails is told here alone: by name all that went wrong is the connection.
        if facility == "FAIL" && message.contains("SSL handshake failed") {
            *self.refused.lock() = Some((Code::SSL, message.to_owned()));
        }
        log_line(level, facility, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        if let Some(code @ (Code::Authentication | Code::SSL)) = error.rdkafka_error_code() {
            *self.refused.lock() = Some((code, reason.to_owned()));
        }
        log_error(&error, reason);
    }
}

impl ConsumerContext for Noting {}

impl KafkaWatch {
    /// Waits until the brokers answer and have the topics; what it waits for stands in `note`.
    ///
    /// # Errors
    /// If the brokers don't let us in, or librdkafka refuses the settings.
    pub(super) async fn start(settings: &KafkaSettings, note: &Note) -> anyhow::Result<Self> {
        let (settings, note) = (settings.clone(), note.clone());
        let state = Arc::new(State::default());
        // Ends the thread also if this future is dropped.
        let watch = KafkaWatch { state: Arc::clone(&state) };
        let (tell, told) = oneshot::channel();
        let run = move || match connect(&settings, &note, &state) {
            Ok(client) => {
                // Nobody waits any more if the process is being stopped.
                let _ = tell.send(Ok(()));
                while !pause(&state) {
                    *state.fault.lock() = ask(&client, &settings).err();
                }
            }
            Err(error) => drop(tell.send(Err(error))),
        };
        std::thread::Builder::new().name("kafka-watch".into()).spawn(run).context("no thread to watch Kafka")?;
        told.await.context("the watch of Kafka has ended")??;
        Ok(watch)
    }

    /// Whether Kafka serves; if not, why.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.state.fault.lock().clone().map_or(Ok(()), Err)
    }
}

impl Drop for KafkaWatch {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
    }
}

/// Waits for the brokers. Blocks.
fn connect(settings: &KafkaSettings, note: &Note, state: &State) -> anyhow::Result<BaseConsumer<Noting>> {
    let mut config = settings.admin();
    config.set("allow.auto.create.topics", "false");
    let created = create(config, |bootstrap| Noting { bootstrap, refused: Mutex::default() });
    let client: BaseConsumer<Noting> = created.map_err(|error| KafkaError::from_client(&error, "the brokers"))?;
    while let Err(reason) = ask(&client, settings) {
        if let Some((Code::Authentication, reason)) = client.context().refused.lock().take() {
            bail!(
                "Kafka at {} doesn't let us in: {reason}; look at kafka.sasl_username and kafka.sasl_password",
                settings.brokers
            );
        }
        note.set(reason);
        if pause(state) {
            bail!("told to stop");
        }
    }
    Ok(client)
}

/// Waits until it is time to ask again; true if it is to end instead.
fn pause(state: &State) -> bool {
    const STEP: Duration = Duration::from_millis(100);
    let mut left = EVERY;
    while left > Duration::ZERO && !state.stop.load(Ordering::Relaxed) {
        std::thread::sleep(STEP);
        left = left.saturating_sub(STEP);
    }
    state.stop.load(Ordering::Relaxed)
}

/// Whether the brokers answer and have the topics; if not, what is wrong.
fn ask(client: &BaseConsumer<Noting>, settings: &KafkaSettings) -> Result<(), String> {
    for topic in Topic::ALL {
        let name = settings.topics.name(topic);
        let answer = client.fetch_metadata(Some(&name), TIMEOUT);
        // Has all that went wrong told to the context: without any time a poll ends with the first line of a log.
        while client.poll(HEAR).is_some() {}
        let metadata = match answer {
            Ok(metadata) => metadata,
            Err(error) => {
                let refused = client.context().refused.lock().as_ref().map(|(_, reason)| format!("; {reason}"));
                let error = KafkaError::from_client(&error, &settings.brokers);
                return Err(format!("{error}{}", refused.unwrap_or_default()));
            }
        };
        let error = metadata.topics().first().and_then(rdkafka::metadata::MetadataTopic::error);
        if let Some(error) = error {
            return Err(KafkaError::from_code(error.into(), &name).to_string());
        }
    }
    *client.context().refused.lock() = None;
    Ok(())
}
