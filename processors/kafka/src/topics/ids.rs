//! The id that a topic got when it was made (KIP-516), by which a topic that was deleted and made again is told from the
//! one of before. rdkafka has no call for it; librdkafka has: `rd_kafka_DescribeTopics`.
//!
//! All unsafe code lies in [`describe`]; each thing of librdkafka's is owned by a guard that destroys it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use agentworks_schemas::Topic;
use rdkafka::bindings::*;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR as OK;

use super::{TIMEOUT, blocking, metadata_client};
use crate::error::KafkaError;
use crate::settings::KafkaSettings;
use crate::trace::{Traced, hear};

/// What librdkafka says where a broker gave no id: all bits are zero.
const NONE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// Asks the brokers for the ids of topics. Cheap to clone; the client ends with the last clone.
#[derive(Clone)]
pub struct TopicIds {
    settings: KafkaSettings,
    client: Arc<BaseConsumer<Traced>>,
}

impl TopicIds {
    /// One with a client of its own. Whether Kafka can be reached shows later.
    pub fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        Ok(TopicIds { settings: settings.clone(), client: Arc::new(metadata_client(settings)?) })
    }

    /// The ids of all three topics, as `kafka-topics.sh --describe` prints them; `None` from brokers too old to have any
    /// (before 2.8). A topic that isn't there is missing from the map.
    ///
    /// # Errors
    /// If the brokers don't answer, or refuse to describe the topics.
    pub async fn ask(&self) -> Result<BTreeMap<Topic, Option<String>>, KafkaError> {
        let this = self.clone();
        blocking(move || {
            let names = Topic::ALL.map(|topic| this.settings.topics.name(topic));
            let mut ids = BTreeMap::new();
            let described = describe(&this.client, &names);
            hear(&this.client);
            for (name, id) in described? {
                match (this.settings.topics.topic(&name), id) {
                    (Some(topic), Ok(id)) => drop(ids.insert(topic, id)),
                    (None, _) => {}
                    (_, Err(code)) => match KafkaError::from_code(code, &name) {
                        KafkaError::NoTopic(_) => {}
                        error => return Err(error),
                    },
                }
            }
            Ok(ids)
        })
        .await
    }
}

impl fmt::Debug for TopicIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicIds").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A thing of librdkafka's, destroyed with this.
struct Owned<T> {
    thing: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// `thing` must be valid until `destroy` has been called with it, which nobody else does.
    fn new(thing: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self, KafkaError> {
        match NonNull::new(thing) {
            Some(thing) => Ok(Owned { thing, destroy }),
            None => Err(KafkaError::Unavailable("librdkafka gave no answer about the topics".into())),
        }
    }

    fn get(&self) -> *mut T {
        self.thing.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: see `new`; this is the one call.
        unsafe { (self.destroy)(self.thing.as_ptr()) }
    }
}

/// A topic's name, and its id or what is wrong with it.
type Described = (String, Result<Option<String>, RDKafkaErrorCode>);

/// What the brokers say of each topic. Blocks for [`TIMEOUT`] and a little at most.
fn describe(client: &BaseConsumer<Traced>, names: &[String]) -> Result<Vec<Described>, KafkaError> {
    let invalid = |_| KafkaError::Failed("the name of a topic holds NUL".into());
    let names = names.iter().map(|name| CString::new(name.as_str())).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    let mut names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let timeout = i32::try_from(TIMEOUT.as_millis()).unwrap_or(i32::MAX);
    let native = client.client().native_ptr();

    // SAFETY: the client outlives this call and `names` the collection's making, which copies them. The queue, the
    // collection and the options are new and nobody else's, and are valid until their guards go.
    let (queue, topics, options) = unsafe {
        let topics = rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let options = rd_kafka_AdminOptions_new(native, rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        (
            Owned::new(rd_kafka_queue_new(native), rd_kafka_queue_destroy)?,
            Owned::new(topics, rd_kafka_TopicCollection_destroy)?,
            Owned::new(options, rd_kafka_AdminOptions_destroy)?,
        )
    };
    // SAFETY: the options are valid; no text of an error is asked for.
    unsafe { rd_kafka_AdminOptions_set_request_timeout(options.get(), timeout, ptr::null_mut(), 0) };
    // SAFETY: all four are valid, and librdkafka copies what it needs of topics and options. The answer comes as an event
    // that is ours; after the request's own timeout there is one in any case.
    let event = unsafe {
        rd_kafka_DescribeTopics(native, topics.get(), options.get(), queue.get());
        Owned::new(rd_kafka_queue_poll(queue.get(), timeout + 2_000), rd_kafka_event_destroy)?
    };
    // SAFETY: the event is valid.
    let code = unsafe { rd_kafka_event_error(event.get()) };
    if code != OK {
        return Err(KafkaError::from_code(code.into(), "the brokers"));
    }
    // SAFETY: the event is valid; the result is null if it is of another kind, and else lives as long as the event, and
    // so do the descriptions, of which there are `count`.
    let descriptions = unsafe {
        let result = rd_kafka_event_DescribeTopics_result(event.get());
        if result.is_null() {
            return Err(KafkaError::Failed("librdkafka answered something else than topics".into()));
        }
        let mut count = 0;
        let first = rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if first.is_null() { &[] } else { std::slice::from_raw_parts(first, count) }
    };
    let described = descriptions.iter().map(|description| {
        // SAFETY: the description lives as long as the event, and so do its name, id and error; texts end with NUL and
        // are copied. An error is null or valid, and null stands for none.
        unsafe {
            let name = CStr::from_ptr(rd_kafka_TopicDescription_name(*description)).to_string_lossy().into_owned();
            let code = rd_kafka_error_code(rd_kafka_TopicDescription_error(*description));
            if code != OK {
                return (name, Err(code.into()));
            }
            let id = rd_kafka_TopicDescription_topic_id(*description);
            let text = if id.is_null() { ptr::null() } else { rd_kafka_Uuid_base64str(id) };
            let text = (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned());
            (name, Ok(text.filter(|text| text != NONE)))
        }
    });
    Ok(described.collect())
}
