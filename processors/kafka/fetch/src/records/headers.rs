//! The headers of a record.

use std::borrow::Cow;
use std::iter::FusedIterator;

use super::varint;

/// Headers, each with its name and its value.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    at: usize,
    left: usize,
}

/// The headers in these bytes, which are those of [`Place::headers`](super::Place::headers). Their number is known at once:
/// [`ExactSizeIterator::len`].
///
/// Of other bytes it ends where they make no sense, before `len` says.
pub fn headers(bytes: &[u8]) -> Headers<'_> {
    let mut at = 0;
    let claimed = varint::length(bytes, &mut at).unwrap_or(0);
    // Each takes two bytes at least: whoever reserves room for them needn't know whether these were checked.
    Headers { bytes, at, left: claimed.min((bytes.len() - at) / 2) }
}

impl<'a> Headers<'a> {
    fn read(&mut self) -> Option<(Cow<'a, str>, Option<&'a [u8]>)> {
        let name = varint::length(self.bytes, &mut self.at)?;
        let name = String::from_utf8_lossy(self.take(name)?);
        let value = match usize::try_from(varint::int(self.bytes, &mut self.at)?) {
            Ok(len) => Some(self.take(len)?),
            Err(_) => None,
        };
        Some((name, value))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..)?.get(..len)?;
        self.at += len;
        Some(taken)
    }
}

impl<'a> Iterator for Headers<'a> {
    /// Its name, with U+FFFD for what isn't UTF-8, and its value, which may be null.
    type Item = (Cow<'a, str>, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let header = self.read();
        if header.is_none() {
            self.left = 0;
        }
        header
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

impl FusedIterator for Headers<'_> {}
