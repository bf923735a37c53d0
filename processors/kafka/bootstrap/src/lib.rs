//! Clients of Kafka that find their brokers again, whatever the brokers have said.
//!
//! Since version 2.10 librdkafka drops the brokers that an answer about metadata doesn't name. A broker that is about to
//! end, or has just begun, may name topics and no broker at all: then all are dropped, and once nobody is left to be asked
//! nothing is tried any more, for as long as the client lives
//! ([librdkafka#5301](https://github.com/confluentinc/librdkafka/issues/5301)). A single broker that is restarted while a
//! client is busy is enough.
//!
//! So what a client made by [`create`] says of itself is looked at every few seconds. Where it has no broker any more, it
//! is given those of `bootstrap.servers` anew.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::bindings::{rd_kafka_brokers_add, rd_kafka_fatal_error};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{FutureProducer, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::{RDKafka, RDKafkaConfRes, RDKafkaRespErr};
use serde::Deserialize;
use tracing::warn;

/// How often a client says how it is, in milliseconds, unless its settings say otherwise.
const EVERY: &str = "5000";

/// Makes a client that finds its brokers again. Its context is made with what it is to give the client's statistics to; see
/// [`Bootstrap::look`]. It must be polled now and then, for else they pile up: an `AdminClient` never is.
///
/// # Errors
/// librdkafka's, if it refuses the settings.
pub fn create<C: ClientContext, T: FromClientConfigAndContext<C> + Native>(
    config: ClientConfig,
    context: impl FnOnce(Bootstrap) -> C,
) -> KafkaResult<T> {
    let brokers = config.get("bootstrap.servers").and_then(|brokers| CString::new(brokers).ok()).unwrap_or_default();
    create_for(brokers, config, context)
}

fn create_for<C: ClientContext, T: FromClientConfigAndContext<C> + Native>(
    brokers: CString,
    mut config: ClientConfig,
    context: impl FnOnce(Bootstrap) -> C,
) -> KafkaResult<T> {
    let bootstrap = Bootstrap(Arc::new(Shared { brokers, client: Mutex::default() }));
    if config.get("statistics.interval.ms").is_none() {
        config.set("statistics.interval.ms", EVERY);
    }
    let client: T = config.create_with_context(context(bootstrap.clone()))?;
    *bootstrap.0.client.lock() = NonNull::new(client.native()).map(Handle);
    Ok(client)
}

/// A setting that librdkafka does not take. Nothing here has its value, which may be a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The setting's name.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Refused {
    /// What the error says; `None` if it is of another kind.
    pub fn from_error(error: &KafkaError) -> Option<Self> {
        let KafkaError::ClientConfig(result, reason, name, value) = error else { return None };
        let reason = match result {
            // It has the name alone.
            RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => reason.trim(),
            _ if repeats(reason, value) => "invalid value",
            _ => reason.trim(),
        };
        Some(Refused { name: name.clone(), reason: reason.to_owned() })
    }
}

/// Whether librdkafka's reason has something of the value in it. Of settings that take one of several names, or a list of
/// them, it repeats what it doesn't know, as far as there is room; of numbers, the number.
fn repeats(reason: &str, value: &str) -> bool {
    /// As much as shows that it is the value.
    const ENOUGH: usize = 8;
    let beginning = |part: &str| part.chars().take(ENOUGH).collect::<String>();
    let parts = value.split(',').map(|part| part.trim().trim_start_matches(['+', '-']));
    let mut parts = [value.trim()].into_iter().chain(parts).filter(|part| !part.is_empty());
    !reason.contains("outside allowed range") && parts.any(|part| reason.contains(&beginning(part)))
}

/// Gives a client its brokers again. Part of the client's context.
#[derive(Clone)]
pub struct Bootstrap(Arc<Shared>);

struct Shared {
    brokers: CString,
    /// As soon as it is made.
    client: Mutex<Option<Handle>>,
}

struct Handle(NonNull<RDKafka>);

// SAFETY: librdkafka's handles may be used by several threads at once.
unsafe impl Send for Handle {}

/// The part of a client's statistics that is of interest.
#[derive(Debug, Deserialize)]
struct Statistics {
    #[serde(default)]
    brokers: HashMap<String, Broker>,
}

#[derive(Debug, Deserialize)]
struct Broker {
    source: Source,
}

/// How a client knows a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Configured,
    Learned,
    /// A coordinator, of which another entry says where it is.
    Logical,
    /// None at all: what isn't meant for any broker waits there.
    Internal,
}

impl Bootstrap {
    /// Looks at the statistics of the client, and gives it its brokers again if there are none.
    ///
    /// # Safety
    /// The client must be alive: this is for its context to call in [`ClientContext::stats_raw`] alone.
    pub unsafe fn look(&self, statistics: &[u8]) {
        if has_brokers(statistics) {
            return;
        }
        let Some(Handle(client)) = &*self.0.client.lock() else { return };
        warn!("the client has no broker any more, and is given those that it began with");
        // SAFETY: whoever calls this knows that the client is alive; the list is copied.
        unsafe { rd_kafka_brokers_add(client.as_ptr(), self.0.brokers.as_ptr()) };
    }

    /// Why the client has failed for good, if it has. Of the error that is told to [`ClientContext::error`] nothing says that
    /// it is such a one, for its code is the one behind it.
    ///
    /// What happens before [`create`] has returned may not be known here.
    ///
    /// # Safety
    /// The client must be alive: this is for its context to call in [`ClientContext::error`] alone.
    pub unsafe fn fatal_error(&self) -> Option<String> {
        let client = self.0.client.lock();
        let Handle(client) = client.as_ref()?;
        let mut text = [0; 512];
        // SAFETY: whoever calls this knows that the client is alive; no more is written than there is room for.
        let code = unsafe { rd_kafka_fatal_error(client.as_ptr(), text.as_mut_ptr(), text.len()) };
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: where there is an error, its text was written, and ends with a 0.
        Some(unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
    }
}

/// Whether there is any that can be connected to. What can't be understood says nothing.
fn has_brokers(statistics: &[u8]) -> bool {
    let Ok(Statistics { brokers }) = serde_json::from_slice(statistics) else { return true };
    brokers.values().any(|broker| matches!(broker.source, Source::Configured | Source::Learned))
}

impl fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bootstrap").field("brokers", &self.0.brokers).finish_non_exhaustive()
    }
}

/// What has a client of librdkafka's.
pub trait Native {
    /// That client.
    fn native(&self) -> *mut RDKafka;
}

impl<C: ConsumerContext> Native for BaseConsumer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}

impl<C: ProducerContext + 'static> Native for ThreadedProducer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}

impl<C: ClientContext + 'static> Native for FutureProducer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}
