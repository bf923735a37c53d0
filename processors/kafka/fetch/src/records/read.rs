//! Taking batches apart.

use bytes::Bytes;

use super::batch::{HEADER, Header, whole};
use super::decompress::{Source, Tools};
use super::transactions::Transactions;
use super::{Aborted, Place, RecordsError, What, corrupt, record, varint};

/// The longest record that can be, in bytes: 128 MiB, which is far beyond what brokers are configured to take.
const LONGEST: usize = 128 << 20;

/// How much a buffer holds at most when a record is begun: 1 GiB, so that a [`Span`](super::Span) reaches all of it.
const MOST: usize = 1 << 30;

/// How much is taken at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// That many records are enough.
    pub records: usize,
    /// That many bytes are enough.
    pub bytes: usize,
}

/// Reads what a fetch answered: whole batches, of which the last may be cut. What isn't committed isn't there; nor are the
/// broker's own records.
///
/// It holds, beside the answer, a piece of what was decompressed (some 16 KiB, and a record that isn't whole), and one block
/// or window of the codec.
pub struct Reader {
    /// What's left, from the beginning of a batch.
    data: Bytes,
    next: i64,
    /// No batch may begin below this offset.
    floor: i64,
    transactions: Transactions,
    batch: Option<Batch>,
    /// What of the batch was decompressed already, and goes to the beginning of the next buffer.
    carry: Vec<u8>,
    tools: Tools,
    failed: Option<RecordsError>,
}

impl Reader {
    /// Over what a fetch from the offset `next` answered; with the aborted transactions that it lists.
    pub fn new(data: Bytes, aborted: Vec<Aborted>, next: i64) -> Self {
        Reader {
            data,
            next,
            floor: 0,
            transactions: Transactions::new(aborted),
            batch: None,
            carry: Vec::new(),
            tools: Tools::take(),
            failed: None,
        }
    }

    /// Appends records to `buffer`, and where each lies to `places`, until these hold as many records or bytes as `full` says,
    /// with what was in them before, or nothing is left. Returns whether anything may be left.
    ///
    /// The last record may go beyond `full.bytes`, which counts as 1 GiB at most.
    ///
    /// # Errors
    ///
    /// A batch that can't be read. What came before it has been appended then, and [`next`](Reader::next) is the offset after
    /// that. Later calls return the same error.
    pub fn fill(&mut self, buffer: &mut Vec<u8>, places: &mut Vec<Place>, full: Full) -> Result<bool, RecordsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let full = Full { records: full.records, bytes: full.bytes.min(MOST) };
        let filled = self.read(buffer, places, full);
        if let Err(error) = &filled {
            self.failed = Some(error.clone());
            self.batch = None;
            self.data.clear();
        }
        filled
    }

    /// All below this offset has been seen: handed over by [`fill`](Reader::fill), or no record.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// How many bytes are held beside the answer.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.carry.capacity() + self.tools.held()
    }

    fn read(&mut self, buffer: &mut Vec<u8>, places: &mut Vec<Place>, full: Full) -> Result<bool, RecordsError> {
        loop {
            if places.len() >= full.records || buffer.len() >= full.bytes {
                // A batch that can't be read is left too, for the next call to say so.
                return Ok(self.batch.is_some() || !matches!(whole(&self.data), Ok(None)));
            }
            let Some(batch) = &mut self.batch else {
                if self.open()? {
                    continue;
                }
                return Ok(false);
            };
            let base = batch.header.base;
            // What goes wrong leaves whole records only.
            let mut end = buffer.len();
            buffer.append(&mut self.carry);
            let into = Into { buffer, end: &mut end, places, full, next: &mut self.next };
            let read = batch.read(&mut self.tools, into);
            match read {
                Ok(true) => {
                    self.next = self.next.max(batch.header.last + 1);
                    self.batch = None;
                }
                Ok(false) => {
                    if !batch.source.take_back(buffer.len() - end) {
                        self.carry.extend_from_slice(&buffer[end..]);
                    }
                }
                Err(_) => {}
            }
            buffer.truncate(end);
            read.map_err(|what| corrupt(base, what))?;
        }
    }

    /// Comes to the next batch, and opens it unless it is passed over. Returns whether there was one.
    fn open(&mut self) -> Result<bool, RecordsError> {
        let Some(size) = whole(&self.data)? else { return Ok(false) };
        let bytes = self.data.split_to(size);
        let header = Header::parse(&bytes)?;
        header.check(&bytes)?;
        if header.base < self.floor {
            return Err(corrupt(header.base, format!("a batch before it ends at offset {}", self.floor - 1)));
        }
        self.floor = header.last + 1;
        let aborted = self.transactions.reach(&header);
        let passed_over = header.is_control() || aborted || header.last < self.next;
        if !passed_over || (header.is_control() && aborted && header.count > 0) {
            let source = Source::new(header.codec(), bytes.slice(HEADER..), &mut self.tools)
                .ok_or(RecordsError::Codec { offset: header.base, codec: header.codec() })?
                .map_err(|what| corrupt(header.base, what))?;
            let batch = Batch { header, source, left: header.count, last: -1 };
            if !passed_over {
                self.batch = Some(batch);
                return Ok(true);
            }
            self.control(batch).map_err(|what| corrupt(header.base, what))?;
        }
        self.next = self.next.max(header.last + 1);
        Ok(true)
    }

    /// Reads the first record of a control batch whose producer has a transaction that was aborted.
    fn control(&mut self, mut batch: Batch) -> Result<(), What> {
        let (mut buffer, mut places, mut end, mut next) = (Vec::new(), Vec::new(), 0, i64::MIN);
        let full = Full { records: 1, bytes: MOST };
        let into = Into { buffer: &mut buffer, end: &mut end, places: &mut places, full, next: &mut next };
        batch.read(&mut self.tools, into)?;
        let key = places.first().and_then(|place| place.key);
        let key = key.and_then(|key| buffer.get(key.start as usize..)?.get(..key.len as usize));
        self.transactions.mark(batch.header.producer_id, key)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        std::mem::take(&mut self.tools).keep();
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("next", &self.next).field("left", &self.data.len()).finish_non_exhaustive()
    }
}

/// Where records go.
struct Into<'a> {
    buffer: &'a mut Vec<u8>,
    /// Where in it whole records end.
    end: &'a mut usize,
    places: &'a mut Vec<Place>,
    full: Full,
    /// Records below this offset are passed over.
    next: &'a mut i64,
}

/// A batch that is being read.
struct Batch {
    header: Header,
    source: Source,
    /// How many records weren't seen yet.
    left: u32,
    /// The last one's offset, from the batch's first.
    last: i32,
}

/// Why parsing stopped.
enum Stop {
    /// There is enough.
    Full,
    /// There are no more records.
    Ended,
    /// So many bytes are lacking, at least.
    Lacks(usize),
}

impl Batch {
    /// Reads on, until there is enough (`false`), or nothing left (`true`).
    fn read(&mut self, tools: &mut Tools, mut into: Into<'_>) -> Result<bool, What> {
        loop {
            let (begin, before) = (*into.end, into.places.len());
            match self.parse(&mut into)? {
                Stop::Full => return Ok(false),
                Stop::Ended => {
                    let beyond = into.buffer.len() > *into.end || self.source.more(tools, into.buffer, 0)? > 0;
                    return if beyond { Err("more follows its last record".into()) } else { Ok(true) };
                }
                Stop::Lacks(mut lacking) => {
                    if into.places.len() == before {
                        // All of them lie before where the reader begins: many may, and none is kept.
                        into.buffer.drain(begin..*into.end);
                        *into.end = begin;
                    }
                    while lacking > 0 {
                        let more = self.source.more(tools, into.buffer, lacking)?;
                        if more == 0 {
                            return Err(format!("it ends {} records before it should", self.left).into());
                        }
                        lacking = lacking.saturating_sub(more);
                    }
                }
            }
        }
    }

    /// Hands over those records that are whole.
    fn parse(&mut self, into: &mut Into<'_>) -> Result<Stop, What> {
        let buffer = into.buffer.as_slice();
        while self.left > 0 {
            if into.places.len() >= into.full.records || *into.end >= into.full.bytes {
                return Ok(Stop::Full);
            }
            let mut begin = *into.end;
            let Some(len) = varint::int(buffer, &mut begin) else {
                if buffer.len() - begin >= varint::LONGEST {
                    return Err("a record's length is too long".into());
                }
                return Ok(Stop::Lacks(1));
            };
            let len = match usize::try_from(len) {
                Ok(len) if len <= LONGEST => len,
                _ => return Err(format!("a record can't have {len} bytes").into()),
            };
            if len > buffer.len() - begin {
                return Ok(Stop::Lacks(len - (buffer.len() - begin)));
            }
            let end = begin + len;
            let record = record::parse(&buffer[..end], begin)?;
            let offset = self.header.base.saturating_add(i64::from(record.offset_delta));
            if record.offset_delta <= self.last || offset > self.header.last {
                return Err(format!("a record can't have offset {offset} there").into());
            }
            self.last = record.offset_delta;
            self.left -= 1;
            *into.end = end;
            if offset >= *into.next {
                into.places.push(Place {
                    offset,
                    timestamp: self.header.timestamp(record.timestamp_delta),
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                });
                *into.next = offset + 1;
            }
        }
        Ok(Stop::Ended)
    }
}
