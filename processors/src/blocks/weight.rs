//! How much entries weigh in memory, and so how many are read at once.

use super::block::StoredEntry;

/// Who reads entries gives no more of them at once when they weigh so many bytes.
pub const CHUNK_BYTES: usize = 256 << 10;

impl StoredEntry {
    /// About how much memory it takes, in bytes.
    pub fn weight(&self) -> usize {
        let data = self.entry.data.as_ref().map_or(0, |data| data.as_str().len());
        size_of::<StoredEntry>() + self.entry.message.len() + data
    }
}

/// How much some entries weigh together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    count: usize,
    bytes: usize,
}

impl Weight {
    pub(crate) fn add(&mut self, entry: &StoredEntry) {
        self.count += 1;
        self.bytes += entry.weight();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether they make a chunk.
    pub(crate) fn is_chunk(&self) -> bool {
        self.bytes >= CHUNK_BYTES
    }

    /// How many make a chunk that are as large as these are on average; `None` if there are none.
    pub(crate) fn per_chunk(&self) -> Option<usize> {
        (CHUNK_BYTES * self.count).checked_div(self.bytes).map(|count| count.max(1))
    }
}

impl<'a> FromIterator<&'a StoredEntry> for Weight {
    fn from_iter<I: IntoIterator<Item = &'a StoredEntry>>(entries: I) -> Self {
        let mut weight = Weight::default();
        entries.into_iter().for_each(|entry| weight.add(entry));
        weight
    }
}
