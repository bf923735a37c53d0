//! What a block says of itself, so that a reader needn't fetch it to see that it has nothing for them.

use agentworks_schemas::{Level, LogEntry, Source, Timestamp};

use super::varint;

/// Version 1 has no [`Detail`].
const VERSION: u8 = 2;

/// What a block says of itself, beside its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockStats {
    /// How many entries it holds.
    pub count: u32,
    /// The least and the greatest record timestamp.
    pub time: (Timestamp, Timestamp),
    /// How many entries of each level, in the order of [`Level::ALL`].
    pub levels: [u32; 5],
    /// The rest; `None` in a block that was written before there was more.
    pub detail: Option<Detail>,
}

/// What newer blocks say of themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// How many entries of each source, in the order of [`Source::ALL`].
    pub sources: [u32; 4],
    /// The least and the greatest timestamp of the entries' own.
    pub timestamps: (Timestamp, Timestamp),
    /// The components that wrote them.
    pub components: Names,
    /// The runs that they are of.
    pub runs: Names,
}

/// A set of names, of which it is known only that some are certainly not in it: a Bloom filter of 64 bits, two a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names(u64);

impl Names {
    /// Adds a name.
    pub fn insert(&mut self, name: &str) {
        self.0 |= bits(name);
    }

    /// Whether a name may be in it; if not, it certainly isn't.
    pub fn may_have(self, name: &str) -> bool {
        let bits = bits(name);
        self.0 & bits == bits
    }
}

/// Two bits for a name. They are stored, and so must never be others.
fn bits(name: &str) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    let hash = words.fold(name.len() as u64, |hash, word| (hash.rotate_left(23) ^ word).wrapping_mul(ODD));
    // The highest bits are those into which all others have gone.
    let hash = (hash ^ hash >> 32).wrapping_mul(ODD);
    1 << (hash >> 58) | 1 << (hash >> 52 & 63)
}

impl BlockStats {
    /// Those of no entries.
    pub(super) fn new() -> Self {
        let (none, nothing) = ((Timestamp(i64::MAX), Timestamp(i64::MIN)), Names::default());
        let detail = Detail { sources: [0; 4], timestamps: none, components: nothing, runs: nothing };
        BlockStats { count: 0, time: none, levels: [0; 5], detail: Some(detail) }
    }

    /// Counts an entry. Its run is noted unless it `is_of_same_run` as those that have been counted.
    pub(super) fn add(&mut self, recorded: Timestamp, entry: &LogEntry<'_>, is_of_same_run: bool) {
        let widen = |span: &mut (Timestamp, Timestamp), time| *span = (span.0.min(time), span.1.max(time));
        self.count += 1;
        self.levels[entry.level as usize] += 1;
        widen(&mut self.time, recorded);
        if let Some(detail) = &mut self.detail {
            detail.sources[entry.source as usize] += 1;
            widen(&mut detail.timestamps, entry.timestamp);
            detail.components.insert(&entry.component);
            if !is_of_same_run || self.count == 1 {
                detail.runs.insert(&entry.run_id);
            }
        }
    }

    /// Counts the entries of another.
    pub(super) fn merge(&mut self, other: &BlockStats) {
        let widen = |span: &mut (Timestamp, Timestamp), by: (Timestamp, Timestamp)| {
            *span = (span.0.min(by.0), span.1.max(by.1));
        };
        self.count += other.count;
        self.levels.iter_mut().zip(other.levels).for_each(|(count, more)| *count += more);
        widen(&mut self.time, other.time);
        match (&mut self.detail, &other.detail) {
            (Some(detail), Some(other)) => {
                detail.sources.iter_mut().zip(other.sources).for_each(|(count, more)| *count += more);
                widen(&mut detail.timestamps, other.timestamps);
                detail.components.0 |= other.components.0;
                detail.runs.0 |= other.runs.0;
            }
            _ => self.detail = None,
        }
    }

    /// Whether there are entries of a level.
    pub fn has_level(&self, level: Level) -> bool {
        self.levels[level as usize] > 0
    }

    /// Whether there may be entries of a source.
    pub fn may_have_source(&self, source: Source) -> bool {
        self.detail.as_ref().is_none_or(|detail| detail.sources[source as usize] > 0)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![if self.detail.is_some() { VERSION } else { 1 }];
        varint::put(&mut out, self.count.into());
        let put_span = |out: &mut Vec<u8>, span: (Timestamp, Timestamp)| {
            varint::put_signed(out, span.0.millis());
            varint::put_signed(out, span.1.millis());
        };
        put_span(&mut out, self.time);
        self.levels.iter().for_each(|count| varint::put(&mut out, (*count).into()));
        if let Some(Detail { sources, timestamps, components, runs }) = &self.detail {
            sources.iter().for_each(|count| varint::put(&mut out, (*count).into()));
            put_span(&mut out, *timestamps);
            out.extend(components.0.to_le_bytes());
            out.extend(runs.0.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, mut rest) = bytes.split_first()?;
        let count = u32::try_from(varint::take(&mut rest)?).ok()?;
        let time = take_span(&mut rest)?;
        let levels = take_counts(&mut rest)?;
        let detail = match version {
            1 => None,
            VERSION => Some(Detail {
                sources: take_counts(&mut rest)?,
                timestamps: take_span(&mut rest)?,
                components: take_names(&mut rest)?,
                runs: take_names(&mut rest)?,
            }),
            _ => return None,
        };
        rest.is_empty().then_some(BlockStats { count, time, levels, detail })
    }
}

fn take_span(rest: &mut &[u8]) -> Option<(Timestamp, Timestamp)> {
    Some((Timestamp(varint::take_signed(rest)?), Timestamp(varint::take_signed(rest)?)))
}

fn take_counts<const N: usize>(rest: &mut &[u8]) -> Option<[u32; N]> {
    let mut counts = [0; N];
    for count in &mut counts {
        *count = u32::try_from(varint::take(rest)?).ok()?;
    }
    Some(counts)
}

fn take_names(rest: &mut &[u8]) -> Option<Names> {
    let (bits, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(Names(u64::from_le_bytes(*bits)))
}
