//! Integers of variable length: seven bits a byte, the lowest first, zigzag-coded so that small negative ones are short.
//! <https://protobuf.dev/programming-guides/encoding/#varints>

/// The most bytes that an `i32` takes.
pub(super) const LONGEST: usize = 5;

/// The integer at `at`, which is moved behind it; `None` if it isn't whole, or longer than an `i32` may be. Like Java's
/// client, this doesn't look at bits beyond the 32nd.
#[inline]
pub(super) fn int(bytes: &[u8], at: &mut usize) -> Option<i32> {
    // Most are short.
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(i32::from(first >> 1) ^ -i32::from(first & 1));
    }
    let value = unsigned::<LONGEST>(bytes, at)? as u32;
    Some((value >> 1) as i32 ^ -((value & 1) as i32))
}

/// The same for an `i64`.
#[inline]
pub(super) fn long(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let value = unsigned::<10>(bytes, at)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

#[inline]
fn unsigned<const LONGEST: usize>(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for (index, &byte) in bytes.get(*at..)?.iter().take(LONGEST).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *at += index + 1;
            return Some(value);
        }
    }
    None
}

/// The integer at `at` as a length, which can't be negative.
#[inline]
pub(super) fn length(bytes: &[u8], at: &mut usize) -> Option<usize> {
    usize::try_from(int(bytes, at)?).ok()
}
