//! Going through the segments of an index.

use std::time::Instant;

use agentworks_query::answer::{FacetField, SortKey, Tally};
use agentworks_query::request::{Order, SortBy, bucket};
use agentworks_query::{PartialAnswer, SearchRequest};
use agentworks_schemas::{Level, Source, Timestamp};
use tantivy::columnar::Column;
use tantivy::query::{EnableScoring, Scorer};
use tantivy::{COLLECT_BLOCK_BUFFER_LEN, DocAddress, DocId, SegmentReader, TERMINATED};

use super::columns::{Columns, Counter, Positions, Texts};
use super::compile::{Compiler, Plan};
use super::fixed::OfTerm;
use super::top::Top;
use super::{BLOCKS_A_LOOK, Deadline, ExecError, Limits, Opened, each_block, micros};
use crate::schema::fields;

/// A search in progress.
pub(super) struct Search<'a> {
    index: &'a Opened,
    request: &'a SearchRequest,
    limits: &'a Limits,
    pub(super) deadline: Deadline,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    pub(super) found: PartialAnswer,
    pub(super) top: Top,
    pub(super) facets: Vec<Tally>,
}

/// A segment, and its entries' own instants.
pub(super) struct Segment<'a> {
    pub(super) ord: u32,
    pub(super) reader: &'a SegmentReader,
    columns: &'a Columns,
    pub(super) times: &'a Column<i64>,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        index: &'a Opened,
        request: &'a SearchRequest,
        limits: &'a Limits,
        deadline: Deadline,
    ) -> Result<Self, ExecError> {
        let (from, to) = request.times();
        Ok(Search {
            index,
            request,
            limits,
            deadline,
            from,
            to,
            found: PartialAnswer::default(),
            top: Top::new(request.window(), request.sort),
            facets: request.wanted.facets.iter().map(|_| Tally::default()).collect(),
        })
    }

    /// The segments, those first whose hits come first.
    pub(super) fn segments(&self) -> Result<Vec<Segment<'a>>, ExecError> {
        let mut segments = Vec::new();
        for (ord, reader) in self.index.segment_readers().iter().enumerate() {
            let (ord, columns) = (ord as u32, self.index.columns(ord as u32));
            let times = columns.times(reader)?;
            let (first, last) = (Timestamp(times.min_value()), Timestamp(times.max_value()));
            segments.push(Segment { ord, reader, columns, times, first, last });
        }
        match self.request.sort.order {
            Order::Desc => segments.sort_by_key(|segment| std::cmp::Reverse(segment.last)),
            Order::Asc => segments.sort_by_key(|segment| segment.first),
        }
        Ok(segments)
    }

    pub(super) fn run(&mut self) -> Result<(), ExecError> {
        for segment in self.segments()? {
            self.deadline.check()?;
            self.segment(&segment)?;
        }
        Ok(())
    }

    /// Whether a segment has no entry in the range of time.
    pub(super) fn is_outside(&self, segment: &Segment<'_>) -> bool {
        self.from.is_some_and(|from| segment.last < from) || self.to.is_some_and(|to| segment.first > to)
    }

    /// Whether all entries of a segment were on the pages before.
    fn is_before_page(&self, segment: &Segment<'_>) -> bool {
        self.request.after.is_some_and(|after| match self.request.sort.order {
            Order::Desc => segment.first > after.key.timestamp,
            Order::Asc => segment.last < after.key.timestamp,
        })
    }

    /// What is looked for in a segment, but for what is seen to while going through it.
    pub(super) fn plan(&self, segment: &Segment<'_>) -> Result<Plan, ExecError> {
        let compiler =
            Compiler::new(segment.reader, self.limits, self.deadline, self.is_scored(), &self.request.workspace);
        let workspace = compiler.filter(fields().workspace, std::slice::from_ref(&self.request.workspace))?;
        if let Plan::None = workspace {
            return Ok(Plan::None);
        }
        let cards = match &self.request.cards {
            Some(cards) => compiler.filter(fields().card, cards)?,
            None => Plan::All,
        };
        if let Plan::None = cards {
            return Ok(Plan::None);
        }
        Ok(Plan::and([workspace, cards, compiler.query(&self.request.query, true)?]))
    }

    fn is_scored(&self) -> bool {
        self.request.sort.by == SortBy::Relevance && !self.top.is_empty_window()
    }

    fn segment(&mut self, segment: &Segment<'_>) -> Result<(), ExecError> {
        let wanted = &self.request.wanted;
        // Whether any of its hits can be among the first.
        let edge = if self.request.sort.order == Order::Desc { segment.last } else { segment.first };
        let hits = self.is_scored() || self.top.may_take(edge) && !self.is_before_page(segment);
        if self.is_outside(segment) || !hits && !wanted.is_any() {
            self.found.cost.pruned += 1;
            return Ok(());
        }
        let begun = Instant::now();
        let plan = self.plan(segment)?;
        let every = matches!(plan, Plan::All);
        let Some(query) = plan.into_query() else {
            self.found.cost.pruned += 1;
            self.found.cost.planning += micros(begun);
            return Ok(());
        };
        let scoring = match self.is_scored() {
            true => EnableScoring::enabled_from_searcher(self.index),
            false => EnableScoring::disabled_from_searcher(self.index),
        };
        // What is counted without a look at any document.
        let at_once = every || query.is::<OfTerm>();
        let weight = query.weight(scoring)?;
        self.found.cost.planning += micros(begun);
        self.found.cost.segments += 1;
        self.found.cost.documents += u64::from(segment.reader.num_docs());
        let begun = Instant::now();
        let mut pass = Pass::new(self, segment, hits)?;
        if pass.only_counts() {
            let count = match at_once {
                _ if every => segment.reader.num_docs(),
                true => weight.count(segment.reader)?,
                false => pass.count(self, weight.scorer(segment.reader, 1.0)?.as_mut())?,
            };
            self.found.count += u64::from(count);
            let one = wanted.timeline.filter(|_| count > 0);
            if let Some(interval) = one {
                *self.found.timeline.entry(bucket(segment.first, interval).millis()).or_default() += u64::from(count);
            }
        } else {
            let mut scorer = weight.scorer(segment.reader, 1.0)?;
            pass.run(self, scorer.as_mut())?;
            pass.finish(self)?;
        }
        self.found.cost.searching += micros(begun);
        Ok(())
    }
}

/// One pass through what a query finds in a segment.
struct Pass<'s, 'a> {
    segment: &'s Segment<'a>,
    /// Whether instants must be looked at, since some are out of the range.
    narrow: bool,
    /// The interval of the timeline; `None` as well if all of the segment is in one bucket.
    timeline: Option<i64>,
    /// The one bucket that all of the segment is in.
    bucket: Option<i64>,
    /// The timeline's counts from its first bucket on.
    buckets: Vec<u64>,
    positions: Option<&'a Positions>,
    runs: Option<&'a Texts>,
    /// The record timestamps, if some have expired.
    record_times: Option<&'a Column<i64>>,
    levels: Option<Counter<'a>>,
    sources: Option<Counter<'a>>,
    facets: Vec<Counter<'a>>,
    hits: bool,
    times: [Option<i64>; COLLECT_BLOCK_BUFFER_LEN],
}

/// The most buckets that are counted by their number; beyond, one by one.
const DENSE_BUCKETS: i64 = 1 << 16;

impl<'s, 'a> Pass<'s, 'a> {
    fn new(search: &Search<'_>, segment: &'s Segment<'a>, hits: bool) -> Result<Self, ExecError> {
        let (request, reader, columns) = (search.request, segment.reader, segment.columns);
        let wanted = &request.wanted;
        let hides = !request.hidden.is_empty();
        let bucket_of = |at| wanted.timeline.map(|interval| bucket(at, interval).millis());
        let one = bucket_of(segment.first) == bucket_of(segment.last);
        let timeline = wanted.timeline.filter(|_| !one);
        let spread = timeline.map_or(0, |interval| segment.last.0.saturating_sub(segment.first.0) / interval + 2);
        let record_times = match request.kept_from {
            Some(bound) => Some(columns.record_times(reader)?).filter(|times| times.min_value() < bound.millis()),
            None => None,
        };
        let counter = |field| columns.texts(reader, field).map(Counter::of);
        let distributions = |field| if wanted.distributions { counter(field).map(Some) } else { Ok(None) };
        Ok(Pass {
            segment,
            narrow: search.from.is_some_and(|from| segment.first < from)
                || search.to.is_some_and(|to| segment.last > to),
            timeline,
            bucket: bucket_of(segment.first).filter(|_| one),
            buckets: vec![0; if spread <= DENSE_BUCKETS { spread as usize } else { 0 }],
            positions: if hits || hides { Some(columns.positions(reader)?) } else { None },
            runs: if hides { columns.texts(reader, FacetField::Run)? } else { None },
            record_times,
            levels: distributions(FacetField::Level)?,
            sources: distributions(FacetField::Source)?,
            facets: wanted.facets.iter().map(|facet| counter(facet.field)).collect::<Result<_, _>>()?,
            hits,
            times: [None; COLLECT_BLOCK_BUFFER_LEN],
        })
    }

    /// Whether nothing of a document matters but that it is there.
    fn only_counts(&self) -> bool {
        !self.hits
            && !self.narrow
            && self.timeline.is_none()
            && self.runs.is_none()
            && self.record_times.is_none()
            && self.positions.is_none()
            && self.levels.is_none()
            && self.facets.is_empty()
    }

    /// How many documents there are.
    fn count(&self, search: &Search<'_>, scorer: &mut dyn Scorer) -> Result<u32, ExecError> {
        let (alive, mut count) = (self.segment.reader.alive_bitset(), 0);
        let is_alive = |doc: &&DocId| alive.is_none_or(|alive| alive.is_alive(**doc));
        each_block(scorer, search.deadline, |docs| count += docs.iter().filter(is_alive).count() as u32)?;
        Ok(count)
    }

    fn run(&mut self, search: &mut Search<'_>, scorer: &mut dyn Scorer) -> Result<(), ExecError> {
        let mut docs = [0; COLLECT_BLOCK_BUFFER_LEN];
        let mut scores = [0.0; COLLECT_BLOCK_BUFFER_LEN];
        let scored = search.is_scored();
        for block in 1.. {
            let mut len = match scored {
                false => scorer.fill_buffer(&mut docs),
                true => fill_scored(scorer, &mut docs, &mut scores),
            };
            let ended = len < docs.len();
            if let Some(alive) = self.segment.reader.alive_bitset() {
                len = retain(&mut docs, &mut scores, len, |_, doc| Ok(alive.is_alive(doc)))?;
            }
            self.block(search, &mut docs, &mut scores, len)?;
            if ended {
                break;
            }
            if block % BLOCKS_A_LOOK == 0 {
                search.deadline.check()?;
            }
        }
        Ok(())
    }

    fn block(
        &mut self,
        search: &mut Search<'_>,
        docs: &mut [DocId; COLLECT_BLOCK_BUFFER_LEN],
        scores: &mut [f32; COLLECT_BLOCK_BUFFER_LEN],
        mut len: usize,
    ) -> Result<(), ExecError> {
        let (from, to) = (search.from.map_or(i64::MIN, |at| at.0), search.to.map_or(i64::MAX, |at| at.0));
        if self.narrow {
            self.read_times(&docs[..len]);
            let times = &self.times;
            len = retain(docs, scores, len, |index, _| Ok(times[index].is_some_and(|at| (from..=to).contains(&at))))?;
        }
        if let Some(times) = self.record_times {
            let is_kept = |doc| times.first(doc).is_none_or(|at| search.request.keeps(Timestamp(at)));
            len = retain(docs, scores, len, |_, doc| Ok(is_kept(doc)))?;
        }
        if !search.request.hidden.is_empty() {
            len = retain(docs, scores, len, |_, doc| Ok(!self.is_hidden(search.request, doc)?))?;
        }
        let docs = &docs[..len];
        search.found.cost.visited += len as u64;
        if search.request.wanted.is_any() {
            search.found.count += len as u64;
            let counters = self.levels.iter_mut().chain(&mut self.sources).chain(&mut self.facets);
            counters.for_each(|counter| counter.add(docs));
            if let Some(bucket) = self.bucket.filter(|_| len > 0) {
                *search.found.timeline.entry(bucket).or_default() += len as u64;
            }
        }
        if self.timeline.is_some() || self.hits {
            self.read_times(docs);
        }
        if let Some(interval) = self.timeline {
            self.count_times(search, interval, len);
        }
        if self.hits { self.keep(search, docs, scores) } else { Ok(()) }
    }

    fn read_times(&mut self, docs: &[DocId]) {
        self.segment.times.first_vals(docs, &mut self.times[..docs.len()]);
    }

    fn count_times(&mut self, search: &mut Search<'_>, interval: i64, len: usize) {
        let base = self.segment.first.0.div_euclid(interval);
        for at in self.times[..len].iter().flatten() {
            let number = at.div_euclid(interval);
            match self.buckets.get_mut((number - base) as usize) {
                Some(count) => *count += 1,
                None => *search.found.timeline.entry(bucket(Timestamp(*at), interval).millis()).or_default() += 1,
            }
        }
    }

    /// Keeps those of a block that are among the first hits.
    fn keep(&mut self, search: &mut Search<'_>, docs: &[DocId], scores: &[f32]) -> Result<(), ExecError> {
        let scored = search.is_scored();
        let Some(positions) = self.positions else { return Ok(()) };
        for (index, doc) in docs.iter().enumerate() {
            let Some(at) = self.times[index] else {
                return Err(ExecError::Damaged(format!("document {doc} has no timestamp")));
            };
            let (timestamp, score) = (Timestamp(at), if scored { scores[index] } else { 0.0 });
            let may = match (scored, search.top.last(), search.request.sort.order) {
                (false, ..) => search.top.may_take(timestamp),
                (true, Some(last), Order::Desc) => score >= last.score,
                (true, Some(last), Order::Asc) => score <= last.score,
                (true, None, _) => true,
            };
            if !may {
                continue;
            }
            let key = SortKey { score, timestamp, position: positions.get(*doc)? };
            if search.request.is_after_cursor(&key) {
                search.top.take(key, DocAddress::new(self.segment.ord, *doc));
            }
        }
        Ok(())
    }

    fn is_hidden(&self, request: &SearchRequest, doc: DocId) -> Result<bool, ExecError> {
        let Some(positions) = self.positions else { return Ok(false) };
        let position = positions.get(doc)?;
        let mut run = None;
        for hidden in &request.hidden {
            if !hidden.before.covers(position) {
                continue;
            }
            let Some(wanted) = &hidden.run else { return Ok(true) };
            if run.is_none() {
                run = Some(self.runs.map(|runs| runs.get(doc)).transpose()?.unwrap_or_default());
            }
            if run.as_ref() == Some(wanted) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn finish(self, search: &mut Search<'_>) -> Result<(), ExecError> {
        if let Some(interval) = self.timeline {
            let base = bucket(self.segment.first, interval).millis();
            for (number, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
                *search.found.timeline.entry(base + number as i64 * interval).or_default() += count;
            }
        }
        let found = &mut search.found;
        if let Some(levels) = self.levels {
            levels.finish(|name, count| {
                if let Ok(level) = name.parse::<Level>() {
                    found.levels[level as usize] += count;
                }
            })?;
        }
        if let Some(sources) = self.sources {
            sources.finish(|name, count| {
                if let Ok(source) = name.parse::<Source>() {
                    found.sources[source as usize] += count;
                }
            })?;
        }
        for (counter, counts) in self.facets.into_iter().zip(&mut search.facets) {
            counter.finish(|value, count| counts.add(value, count))?;
        }
        Ok(())
    }
}

/// The next documents with their scores; fewer than there is room for at the end.
fn fill_scored(scorer: &mut dyn Scorer, docs: &mut [DocId], scores: &mut [f32]) -> usize {
    let mut len = 0;
    while len < docs.len() && scorer.doc() != TERMINATED {
        (docs[len], scores[len]) = (scorer.doc(), scorer.score());
        scorer.advance();
        len += 1;
    }
    len
}

/// Keeps the documents that `keep` says, by their place in the block and their number; returns how many.
fn retain(
    docs: &mut [DocId],
    scores: &mut [f32],
    len: usize,
    mut keep: impl FnMut(usize, DocId) -> Result<bool, ExecError>,
) -> Result<usize, ExecError> {
    let mut kept = 0;
    for index in 0..len {
        if keep(index, docs[index])? {
            (docs[kept], scores[kept]) = (docs[index], scores[index]);
            kept += 1;
        }
    }
    Ok(kept)
}
