//! Copying a record's headers.

use std::ffi::CStr;
use std::os::raw::{c_char, c_void};
use std::{ptr, slice};

use rdkafka::bindings::{rd_kafka_header_get_all, rd_kafka_message_headers};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR as OK;

use crate::batch::RecordHeaders;

/// The headers of a message; most have none. A name that isn't UTF-8 is mended.
///
/// Not by rdkafka's own `Headers`, which panics on such a name: anybody may write one.
pub(crate) fn copy(message: &BorrowedMessage<'_>) -> RecordHeaders {
    let mut headers = ptr::null_mut();
    // SAFETY: the message is valid while it is borrowed, and librdkafka keeps its headers as long.
    if unsafe { rd_kafka_message_headers(message.ptr(), &mut headers) } != OK {
        return Vec::new();
    }
    let mut copies = Vec::new();
    loop {
        let mut name: *const c_char = ptr::null();
        let mut value: *const c_void = ptr::null();
        let mut length = 0;
        // SAFETY: `headers` is valid as above, and the three pointers are to our own variables.
        if unsafe { rd_kafka_header_get_all(headers, copies.len(), &mut name, &mut value, &mut length) } != OK {
            return copies;
        }
        // SAFETY: on success the name is a string that ends with NUL.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        // SAFETY: on success the value is null, or of `length` bytes.
        let value = (!value.is_null()).then(|| unsafe { slice::from_raw_parts(value.cast::<u8>(), length) }.to_vec());
        copies.push((name, value));
    }
}
