//! The id that a topic got when it was made. rdkafka has no call for it, librdkafka has.

use std::ffi::{CStr, CString};

use rdkafka::bindings::*;
use rdkafka::producer::{BaseProducer, Producer};

use super::records::{PATIENCE, client};

/// The id of a topic, as `kafka-topics.sh --describe` prints it.
pub async fn topic_id(bootstrap: &str, topic: &str) -> String {
    let client: BaseProducer = client(bootstrap, &[]).create().expect("a client");
    let topic = CString::new(topic).expect("a topic's name");
    tokio::task::spawn_blocking(move || describe(&client, &topic)).await.expect("the topic is described")
}

fn describe(client: &BaseProducer, topic: &CStr) -> String {
    let mut names = [topic.as_ptr()];
    // SAFETY: every pointer is valid until it is destroyed below, each once and after its last use; what the event owns
    // is copied before the event is destroyed; `client` outlives the call.
    unsafe {
        let native = client.client().native_ptr();
        let queue = rd_kafka_queue_new(native);
        let topics = rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        rd_kafka_DescribeTopics(native, topics, std::ptr::null(), queue);
        let event = rd_kafka_queue_poll(queue, PATIENCE.as_millis() as i32);
        let result = rd_kafka_event_DescribeTopics_result(event);
        assert!(!result.is_null(), "no answer for {topic:?}");

        let mut count = 0;
        let descriptions = rd_kafka_DescribeTopics_result_topics(result, &mut count);
        assert_eq!(count, 1);
        let id = rd_kafka_TopicDescription_topic_id(*descriptions);
        let id = CStr::from_ptr(rd_kafka_Uuid_base64str(id)).to_string_lossy().into_owned();

        rd_kafka_event_destroy(event);
        rd_kafka_TopicCollection_destroy(topics);
        rd_kafka_queue_destroy(queue);
        id
    }
}
