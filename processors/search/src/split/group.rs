//! Which entries lie beside each other.

/// What entries of one run have in common, and beside it those of the same card. Two runs may have the same, seldom.
pub(crate) fn group(card: &str, run: &str) -> u64 {
    u64::from(half(card.as_bytes())) << 32 | u64::from(half(run.as_bytes()))
}

/// The half of a [`group`] that a card or a run is.
pub(super) fn half(id: &[u8]) -> u32 {
    crc32fast::hash(id)
}
