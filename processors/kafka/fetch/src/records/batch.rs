//! The header of a batch.

use bytes::Buf;

use super::{RecordsError, corrupt};

/// The bytes of a header, up to the records.
pub(super) const HEADER: usize = 61;

/// How many of them come before `magic`'s end; in older formats too they hold the offset, the length, and the version.
const PREFIX: usize = 17;

/// What comes before that which the length counts: offset and length.
const UNCOUNTED: usize = 12;

/// Where that begins which the checksum covers: `attributes`.
const CHECKED: usize = 21;

/// What a batch says about itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Its first offset; that record may be gone by compaction.
    pub(super) base: i64,
    /// Its last offset, likewise. Below `i64::MAX`, and not below `base`.
    pub(super) last: i64,
    pub(super) leader_epoch: i32,
    crc: u32,
    attributes: i16,
    base_timestamp: i64,
    max_timestamp: i64,
    pub(super) producer_id: i64,
    /// How many records it has.
    pub(super) count: u32,
}

/// How many bytes the batch at the beginning of `data` has; `None` if it isn't whole.
pub(super) fn whole(data: &[u8]) -> Result<Option<usize>, RecordsError> {
    let Some(mut fields) = data.get(..PREFIX) else { return Ok(None) };
    let offset = fields.get_i64();
    let length = fields.get_i32();
    fields.advance(4);
    match fields.get_i8() {
        2 => {}
        magic @ 0..2 => return Err(RecordsError::OldFormat { offset, magic }),
        magic => return Err(corrupt(offset, format!("its message format is v{magic}, which isn't known here"))),
    }
    match usize::try_from(length) {
        Ok(length) if length >= HEADER - UNCOUNTED => {
            let size = UNCOUNTED + length;
            Ok((size <= data.len()).then_some(size))
        }
        _ => Err(corrupt(offset, format!("a length of {length} bytes is less than its header takes"))),
    }
}

impl Header {
    /// Of a whole batch.
    pub(super) fn parse(batch: &[u8]) -> Result<Self, RecordsError> {
        let Some(mut fields) = batch.get(..HEADER) else { return Err(corrupt(-1, "its header isn't whole")) };
        let base = fields.get_i64();
        fields.advance(4);
        let leader_epoch = fields.get_i32();
        fields.advance(1);
        let crc = fields.get_u32();
        let attributes = fields.get_i16();
        let last_delta = fields.get_i32();
        let base_timestamp = fields.get_i64();
        let max_timestamp = fields.get_i64();
        let producer_id = fields.get_i64();
        fields.advance(2 + 4);
        let count = fields.get_i32();

        let last = base.checked_add(i64::from(last_delta)).filter(|&last| base >= 0 && last >= base && last < i64::MAX);
        let Some(last) = last else {
            return Err(corrupt(base, format!("its offsets can't be {base} to {last_delta} beyond that")));
        };
        let count = u32::try_from(count).map_err(|_| corrupt(base, format!("it can't have {count} records")))?;
        Ok(Header { base, last, leader_epoch, crc, attributes, base_timestamp, max_timestamp, producer_id, count })
    }

    /// Compares its checksum with that of the batch's bytes.
    pub(super) fn check(&self, batch: &[u8]) -> Result<(), RecordsError> {
        let found = crc32c::crc32c(batch.get(CHECKED..).unwrap_or_default());
        if found == self.crc {
            return Ok(());
        }
        Err(corrupt(self.base, format!("its checksum is {:08x}, that of its bytes {found:08x}", self.crc)))
    }

    /// The number of the codec that compressed its records; 0 if none did.
    pub(super) fn codec(&self) -> u8 {
        (self.attributes & 0x07) as u8
    }

    /// Whether its records belong to a transaction.
    pub(super) fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Whether its records are the broker's own, such as the markers at which transactions end.
    pub(super) fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// The timestamp of a record that says it is so much after the base.
    #[inline]
    pub(super) fn timestamp(&self, delta: i64) -> i64 {
        // LogAppendTime: when the broker wrote it, which is one time for all of a batch.
        if self.attributes & 0x08 != 0 { self.max_timestamp } else { self.base_timestamp.wrapping_add(delta) }
    }
}
