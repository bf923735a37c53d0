//! Avro's binary encoding: the few of its types that our records are made of.

use super::check::MAX_TAGS;
use super::reject::Reject;
use crate::text::Text;

/// A number: zigzag, then seven bits a byte, the lowest first. Enums and unions are written by a number too.
pub(super) fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_long(out, text.len() as i64);
    out.extend_from_slice(text.as_bytes());
}

/// A union of null and something, in this order.
pub(super) fn put_optional<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    put_long(out, i64::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

pub(super) fn put_optional_text(out: &mut Vec<u8>, text: &Option<Text<'_>>) {
    put_optional(out, text.as_deref(), put_text);
}

/// An array: one block of all, and an empty one that ends it.
pub(super) fn put_texts(out: &mut Vec<u8>, texts: &[Text<'_>]) {
    if !texts.is_empty() {
        put_long(out, texts.len() as i64);
        texts.iter().for_each(|text| put_text(out, text));
    }
    put_long(out, 0);
}

/// What is wrong with a datum, in words.
#[derive(Debug)]
pub(super) struct Fault(&'static str);

impl From<Fault> for Reject {
    fn from(fault: Fault) -> Self {
        Reject::Avro { reason: fault.0.into() }
    }
}

/// How many bytes at the front are of ASCII.
fn ascii_prefix(bytes: &[u8]) -> usize {
    const NOT_ASCII: u64 = 0x8080_8080_8080_8080;
    // The largest steps first: most records are of ASCII but for a few bytes of numbers and lengths.
    let (chunks, _) = bytes.as_chunks::<32>();
    let passed = 32 * chunks.iter().take_while(|chunk| chunk.is_ascii()).count();
    let (words, _) = bytes[passed..].as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let high = u64::from_le_bytes(*word) & NOT_ASCII;
        if high != 0 {
            return passed + 8 * index + high.trailing_zeros() as usize / 8;
        }
    }
    let passed = passed + 8 * words.len();
    passed + bytes[passed..].iter().take_while(|byte| byte.is_ascii()).count()
}

/// Reads a datum from its front. What it returns borrows from the datum; only arrays allocate, at most [`MAX_TAGS`]
/// elements.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// How many bytes at the front of the rest are known to be of ASCII. What is of ASCII is UTF-8: to look for that in large
    /// steps, once for several fields, takes a fraction of what the standard library's check of short strings that begin
    /// anywhere does, which was two fifths of what decoding a record cost.
    ascii: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(datum: &'a [u8]) -> Self {
        Reader { rest: datum, ascii: 0 }
    }

    /// Takes so many bytes off the front, or none if there are fewer.
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        self.ascii = self.ascii.saturating_sub(count);
        Some(bytes)
    }

    /// Ends the datum, which must have been read whole.
    pub(super) fn finish(self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(Fault("bytes are left over after the last field")) }
    }

    pub(super) fn long(&mut self) -> Result<i64, Fault> {
        if let [byte @ 0..0x80, ..] = self.rest {
            self.take(1);
            return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        let mut value = 0u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                if index == 9 && *byte > 1 {
                    break;
                }
                self.take(index + 1);
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Fault(if self.rest.len() < 10 { "cut short within a number" } else { "a number is too large" }))
    }

    pub(super) fn int(&mut self) -> Result<i32, Fault> {
        i32::try_from(self.long()?).map_err(|_| Fault("a number is too large"))
    }

    pub(super) fn double(&mut self) -> Result<f64, Fault> {
        let bytes = self.take(size_of::<f64>()).and_then(<[u8]>::as_array);
        Ok(f64::from_le_bytes(*bytes.ok_or(Fault("cut short within a number"))?))
    }

    pub(super) fn text(&mut self) -> Result<Text<'a>, Fault> {
        let length = usize::try_from(self.long()?).map_err(|_| Fault("the length of a string is negative"))?;
        if self.ascii < length {
            self.ascii += ascii_prefix(&self.rest[self.ascii..]);
        }
        let is_ascii = self.ascii >= length;
        let bytes = self.take(length).ok_or(Fault("cut short within a string"))?;
        let text = if is_ascii {
            // SAFETY: ASCII is UTF-8.
            unsafe { std::str::from_utf8_unchecked(bytes) }
        } else {
            std::str::from_utf8(bytes).map_err(|_| Fault("a string is not UTF-8"))?
        };
        Ok(Text::from(text))
    }

    /// An enum, whose symbols are `names` in this order.
    pub(super) fn symbol<T: Copy>(&mut self, symbols: &[T]) -> Result<T, Fault> {
        let index = usize::try_from(self.long()?).ok();
        index.and_then(|index| symbols.get(index)).copied().ok_or(Fault("an enum has no such symbol"))
    }

    /// A union of null and something, in this order.
    pub(super) fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<Option<T>, Fault> {
        match self.long()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(Fault("a union has no such branch")),
        }
    }

    pub(super) fn optional_text(&mut self) -> Result<Option<Text<'a>>, Fault> {
        self.optional(Self::text)
    }

    /// An array: blocks of so many elements each, until one of none. A negative count is followed by the block's length
    /// in bytes, for readers that skip it.
    pub(super) fn texts(&mut self) -> Result<Vec<Text<'a>>, Fault> {
        let mut texts = Vec::new();
        loop {
            let count = self.long()?;
            if count < 0 {
                self.long()?;
            }
            let count = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            if count == 0 {
                return Ok(texts);
            }
            if count > MAX_TAGS - texts.len() {
                return Err(Fault("an array has too many elements"));
            }
            texts.reserve(count);
            for _ in 0..count {
                texts.push(self.text()?);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ascii_prefix;

    #[test]
    fn what_is_not_of_ascii_is_found_wherever_it_is() {
        for length in 0..100 {
            let mut bytes = vec![b'a'; length];
            assert_eq!(ascii_prefix(&bytes), length);
            for at in (0..length).rev() {
                bytes[at] = 0x80;
                assert_eq!(ascii_prefix(&bytes), at, "of {length}");
            }
        }
    }
}
