//! Copying a record's headers.
//!
//! What collects records wants them of rejects alone, and of those the dead-letter topic keeps no more than fits in
//! [`MAX_PAYLOAD`] bytes. So no more are collected, whatever a producer writes: they would all be held in memory.

use std::borrow::Cow;
use std::ffi::CStr;
use std::os::raw::{c_char, c_void};
use std::{ptr, slice};

use agentworks_fetch::records;
use agentworks_schemas::dead_letter::MAX_PAYLOAD;
use rdkafka::bindings::{rd_kafka_header_cnt, rd_kafka_header_get_all, rd_kafka_message_headers};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR as OK;

use crate::batch::RecordHeaders;

/// All headers of a message; most have none. A name that isn't UTF-8 is mended.
pub(crate) fn copy(message: &BorrowedMessage<'_>) -> RecordHeaders {
    copy_up_to(usize::MAX, message).list
}

/// The headers of a record that are kept.
#[derive(Debug, Default)]
pub(crate) struct KeptHeaders {
    pub(crate) list: RecordHeaders,
    /// How many more there were.
    pub(crate) left_out: usize,
}

impl KeptHeaders {
    /// Those of a message.
    pub(crate) fn of(message: &BorrowedMessage<'_>) -> Self {
        copy_up_to(MAX_PAYLOAD, message)
    }

    /// Those that lie in a buffer as they were written.
    pub(crate) fn in_bytes(bytes: &[u8]) -> Self {
        let headers = records::headers(bytes);
        KeptHeaders::fitting(MAX_PAYLOAD, headers.len(), headers)
    }

    /// The first of `count` headers, up to so many bytes.
    fn fitting<'a>(
        mut room: usize,
        count: usize,
        headers: impl Iterator<Item = (Cow<'a, str>, Option<&'a [u8]>)>,
    ) -> Self {
        let mut list = Vec::new();
        for (name, value) in headers.take(count) {
            let Some(left) = room.checked_sub(size(name.len(), value)) else { break };
            room = left;
            list.push((name.into_owned(), value.map(<[u8]>::to_vec)));
        }
        KeptHeaders { left_out: count - list.len(), list }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.left_out == 0
    }

    /// What they take up, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        bytes(&self.list)
    }
}

impl From<RecordHeaders> for KeptHeaders {
    fn from(list: RecordHeaders) -> Self {
        KeptHeaders { list, left_out: 0 }
    }
}

/// The first headers of a message, up to so many bytes.
///
/// Not by rdkafka's own `Headers`, which panics on a name that isn't UTF-8: anybody may write one.
fn copy_up_to(room: usize, message: &BorrowedMessage<'_>) -> KeptHeaders {
    let mut headers = ptr::null_mut();
    // SAFETY: the message is valid while it is borrowed, and librdkafka keeps its headers as long.
    if unsafe { rd_kafka_message_headers(message.ptr(), &mut headers) } != OK {
        return KeptHeaders::default();
    }
    // SAFETY: `headers` is valid as above.
    let count = unsafe { rd_kafka_header_cnt(headers) };
    let header = |index| {
        let mut name: *const c_char = ptr::null();
        let mut value: *const c_void = ptr::null();
        let mut length = 0;
        // SAFETY: `headers` is valid as above, and the three pointers are to our own variables.
        if unsafe { rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length) } != OK {
            return None;
        }
        // SAFETY: on success the name is a string that ends with NUL, and as valid as the headers.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        // SAFETY: on success the value is null, or of `length` bytes, and as valid as the headers.
        let value = (!value.is_null()).then(|| unsafe { slice::from_raw_parts(value.cast::<u8>(), length) });
        Some((name, value))
    };
    KeptHeaders::fitting(room, count, (0..count).map_while(header))
}

/// What headers take up, in bytes.
pub(crate) fn bytes(headers: &RecordHeaders) -> usize {
    headers.iter().map(|(name, value)| size(name.len(), value.as_deref())).sum()
}

/// What a header takes up: of small ones, their place in the list is the most.
fn size(name: usize, value: Option<&[u8]>) -> usize {
    size_of::<(String, Option<Vec<u8>>)>() + name + value.map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn kept(headers: &[(&CStr, Option<&[u8]>)]) -> (Vec<String>, usize) {
        let all = headers.iter().map(|(name, value)| (name.to_string_lossy(), *value));
        let kept = KeptHeaders::fitting(MAX_PAYLOAD, headers.len(), all);
        assert!(kept.bytes() <= MAX_PAYLOAD);
        (kept.list.into_iter().map(|(name, _)| name).collect(), kept.left_out)
    }

    #[test]
    fn headers_that_do_not_fit_are_left_out_and_counted() {
        let (long, short) = (vec![0; 60_000], Some(&b"1"[..]));
        assert_eq!(kept(&[]), (vec![], 0));
        assert_eq!(kept(&[(c"a", short), (c"b", None)]), (vec!["a".into(), "b".into()], 0));
        let all = [(c"a", Some(&*long)), (c"b", Some(&*long)), (c"c", short)];
        assert_eq!(kept(&all), (vec!["a".into()], 2), "those in the middle don't go missing");
    }

    #[test]
    fn many_that_are_empty_do_not_fit_either() {
        let (list, left_out) = kept(&vec![(c"", None); 500_000]);
        assert!(list.len() < 2_000, "{}", list.len());
        assert_eq!(list.len() + left_out, 500_000);
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_mended() {
        assert_eq!(kept(&[(c"\xff", None)]), (vec!["\u{fffd}".into()], 0));
    }
}
