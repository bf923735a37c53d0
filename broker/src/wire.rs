//! As much of Kafka's protocol as it takes to ask two questions: Metadata, version 2, and ListOffsets, version 1, the
//! oldest of which Kafka 4 still knows. <https://kafka.apache.org/protocol>

const METADATA: i16 = 3;
const METADATA_VERSION: i16 = 2;
const LIST_OFFSETS: i16 = 2;
const LIST_OFFSETS_VERSION: i16 = 1;

/// What Metadata says that we want to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metadata<'a> {
    /// How many brokers have been let into the cluster.
    pub(crate) brokers: usize,
    pub(crate) cluster_id: Option<&'a [u8]>,
    pub(crate) topics: Vec<Topic<'a>>,
}

/// A topic and its partitions' numbers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Topic<'a> {
    name: &'a [u8],
    partitions: Vec<i32>,
}

/// Asks for the brokers, the cluster and all topics.
pub(crate) fn metadata_request() -> Vec<u8> {
    let mut body = Vec::new();
    // No list of topics is all of them.
    body.extend((-1_i32).to_be_bytes());
    request(METADATA, METADATA_VERSION, &body)
}

/// Reads the answer to [`metadata_request`]; `None` if it is something else.
pub(crate) fn metadata(answer: &[u8]) -> Option<Metadata<'_>> {
    let mut answer = Reader::after_correlation_id(answer)?;
    let brokers = answer.list(|broker| {
        let _node = broker.int32()?;
        let _host = broker.string()?;
        let _port = broker.int32()?;
        let _rack = broker.string()?;
        Some(())
    })?;
    let cluster_id = answer.string()?;
    let _controller = answer.int32()?;
    let topics = answer.list(|topic| {
        let _error = topic.int16()?;
        let name = topic.string()??;
        let _is_internal = topic.take::<1>()?;
        let partitions = topic.list(|partition| {
            let _error = partition.int16()?;
            let number = partition.int32()?;
            let _leader = partition.int32()?;
            let _replicas = partition.list(Reader::int32)?;
            let _in_sync = partition.list(Reader::int32)?;
            Some(number)
        })?;
        Some(Topic { name, partitions })
    })?;
    Some(Metadata { brokers: brokers.len(), cluster_id, topics })
}

/// Asks for the end offset of each partition.
pub(crate) fn ends_request(topics: &[Topic<'_>]) -> Vec<u8> {
    // Where a follower has its number a consumer has -1; as the time of a record, -1 means the end.
    const CONSUMER: i32 = -1;
    const END: i64 = -1;

    let mut body = Vec::new();
    body.extend(CONSUMER.to_be_bytes());
    body.extend(length(topics.len()));
    for Topic { name, partitions } in topics {
        // A topic's name has at most 249 bytes.
        body.extend((name.len() as i16).to_be_bytes());
        body.extend(*name);
        body.extend(length(partitions.len()));
        for partition in partitions {
            body.extend(partition.to_be_bytes());
            body.extend(END.to_be_bytes());
        }
    }
    request(LIST_OFFSETS, LIST_OFFSETS_VERSION, &body)
}

/// Whether the answer to [`ends_request`] has an offset for each partition; `None` if it is something else.
pub(crate) fn no_errors_in_ends(answer: &[u8]) -> Option<bool> {
    let topics = Reader::after_correlation_id(answer)?.list(|topic| {
        let _name = topic.string()?;
        topic.list(|partition| {
            let _number = partition.int32()?;
            let error = partition.int16()?;
            let _time = partition.take::<8>()?;
            let _offset = partition.take::<8>()?;
            Some(error)
        })
    })?;
    Some(topics.iter().flatten().all(|&error| error == 0))
}

/// A request with its length, correlation id 0 and no client id.
fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    const CORRELATION_ID: i32 = 0;
    const NO_CLIENT_ID: i16 = -1;

    let mut bytes = Vec::new();
    bytes.extend(length(10 + body.len()));
    bytes.extend(key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(CORRELATION_ID.to_be_bytes());
    bytes.extend(NO_CLIENT_ID.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// Of something whose size the largest answer bounds.
fn length(length: usize) -> [u8; 4] {
    (length as i32).to_be_bytes()
}

/// What is still to be read of an answer. `None` from any method: it is cut short, or something else.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn after_correlation_id(answer: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(answer);
        reader.int32()?;
        Some(reader)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn int16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn int32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    /// A string, or none where the length is -1.
    fn string(&mut self) -> Option<Option<&'a [u8]>> {
        let Ok(length) = usize::try_from(self.int16()?) else { return Some(None) };
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Some(string))
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.int32()?).map(|_| item(self)).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn put_string(bytes: &mut Vec<u8>, string: &str) {
        bytes.extend((string.len() as i16).to_be_bytes());
        bytes.extend(string.as_bytes());
    }

    /// What Kafka answers to [`metadata_request`].
    pub(crate) fn metadata_answer(brokers: i32, cluster_id: &str, topics: &[(&str, i32)]) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend(brokers.to_be_bytes());
        for node in 0..brokers {
            bytes.extend(node.to_be_bytes());
            put_string(&mut bytes, "127.0.0.1");
            bytes.extend(9092_i32.to_be_bytes());
            bytes.extend((-1_i16).to_be_bytes());
        }
        put_string(&mut bytes, cluster_id);
        bytes.extend(1_i32.to_be_bytes());
        bytes.extend(length(topics.len()));
        for (name, partitions) in topics {
            bytes.extend(0_i16.to_be_bytes());
            put_string(&mut bytes, name);
            bytes.push(0);
            bytes.extend(partitions.to_be_bytes());
            for partition in 0..*partitions {
                bytes.extend(0_i16.to_be_bytes());
                bytes.extend(partition.to_be_bytes());
                for number in [1_i32, 1, 1, 1, 1] {
                    bytes.extend(number.to_be_bytes());
                }
            }
        }
        bytes
    }

    /// What Kafka answers to [`ends_request`] for one topic, whose partitions have these errors.
    pub(crate) fn ends_answer(topic: &str, errors: &[i16]) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend(1_i32.to_be_bytes());
        put_string(&mut bytes, topic);
        bytes.extend(length(errors.len()));
        for (partition, error) in errors.iter().enumerate() {
            bytes.extend(length(partition));
            bytes.extend(error.to_be_bytes());
            bytes.extend([0xff; 16]);
        }
        bytes
    }

    #[test]
    fn metadata_is_read_and_its_topics_are_asked_for() {
        let answer = metadata_answer(2, "cluster", &[("a", 3), ("b", 1)]);
        let metadata = metadata(&answer).unwrap();
        assert_eq!((metadata.brokers, metadata.cluster_id), (2, Some(&b"cluster"[..])));
        let topics = [Topic { name: b"a", partitions: vec![0, 1, 2] }, Topic { name: b"b", partitions: vec![0] }];
        assert_eq!(metadata.topics, topics);

        let request = ends_request(&metadata.topics);
        assert_eq!(request[..4], length(request.len() - 4));
        assert_eq!(request[4..8], [0, 2, 0, 1]);
        assert_eq!(request.len(), 4 + 10 + 8 + 2 * (2 + 1 + 4) + 4 * 12);
    }

    #[test]
    fn one_partition_without_an_answer_is_enough() {
        assert_eq!(no_errors_in_ends(&ends_answer("log", &[0, 0, 0])), Some(true));
        assert_eq!(no_errors_in_ends(&ends_answer("log", &[0, 6, 0])), Some(false));
        assert_eq!(no_errors_in_ends(&ends_answer("log", &[])), Some(true));
    }

    #[test]
    fn an_answer_cut_short_anywhere_is_none() {
        let answer = metadata_answer(2, "cluster", &[("a", 3)]);
        assert!((0..answer.len()).all(|length| metadata(&answer[..length]).is_none()));
        let answer = ends_answer("log", &[0, 0]);
        assert!((0..answer.len()).all(|length| no_errors_in_ends(&answer[..length]).is_none()));
    }

    #[test]
    fn a_list_that_claims_to_be_long_costs_nothing() {
        let mut answer = vec![0; 4];
        answer.extend(i32::MAX.to_be_bytes());
        assert_eq!(metadata(&answer), None);
    }
}
