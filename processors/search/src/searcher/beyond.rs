//! What lies beyond a version of the manifest: asking indexers and the log, so that each range is looked at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use agentworks_kafka::{Batch, Content};
use agentworks_query::answer::Covered;
use agentworks_query::{PartialAnswer, Scan, SearchRequest};
use agentworks_schemas::{Position, TopicPartition};
use futures_util::future::join_all;

use super::ends::End;
use super::{Lanes, LogTail, Searcher, positions};
use crate::error::SearchError;
use crate::fresh::covered;
use crate::manifest::State;
use crate::split::LaneRange;

impl Searcher {
    /// Answers for all that lies beyond the positions of a version, as far as it can be looked at.
    pub(super) async fn beyond(
        &self,
        state: &State,
        request: &Arc<SearchRequest>,
        deadline: Instant,
    ) -> Result<PartialAnswer, SearchError> {
        let beyond = Arc::new(positions(state));
        let sources = self.shared.fresh.read().clone();
        let asked = sources.iter().map(|source| source.search(request.clone(), beyond.clone(), deadline));
        let mut incomplete = Vec::new();
        let mut lanes: Lanes =
            state.lanes.iter().map(|(partition, lane)| (*partition, (lane.epoch, lane.high))).collect();
        let ends = async {
            let Some(tail) = &self.shared.tail else { return HashMap::new() };
            // Such as nobody has ever indexed, or not since their topic was made again.
            match tail.others(&lanes).await {
                Ok(others) => lanes.extend(others),
                Err(error) => incomplete.push(format!("which partitions the log has: {error}")),
            }
            self.shared.ends.lately(&lanes, self.shared.config.end_age, tail).await
        };
        let (asked, ends) = futures_util::join!(join_all(asked), ends);
        let mut answers = Vec::new();
        for (source, answer) in sources.iter().zip(asked) {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(SearchError::Deadline) => return Err(SearchError::Deadline),
                // The log has what it holds.
                Err(error) if self.shared.tail.is_some() => {
                    tracing::debug!(source = source.name(), %error, "no answer")
                }
                Err(error) => incomplete.push(format!("{} did not answer: {error}", source.name())),
            }
        }
        let mut answer = choose(answers).into_iter().fold(PartialAnswer::default(), |all, one| all.merge(one, request));
        if let Some(tail) = &self.shared.tail {
            self.shared.ends.seen(&lanes, &answer.covered);
            let rest = self.rest(&lanes, &answer.covered, &ends, &mut incomplete);
            answer = answer.merge(scan(&**tail, rest, request.clone(), &mut incomplete).await?, request);
        }
        answer.incomplete.extend(incomplete);
        Ok(answer)
    }

    /// The ranges that nobody has answered for, as many records as may be looked at.
    fn rest(
        &self,
        lanes: &Lanes,
        answered: &[Covered],
        ends: &HashMap<TopicPartition, End>,
        incomplete: &mut Vec<String>,
    ) -> Vec<LaneRange> {
        let (mut rest, mut room) = (Vec::new(), self.shared.config.tail);
        for (partition, (epoch, high)) in lanes {
            let own = answered.iter().filter(|range| (range.partition, range.epoch) == (*partition, *epoch));
            // It may have more than the log had a moment ago.
            let held = own.map(|range| range.to).max().unwrap_or(*high);
            let end = match ends.get(partition) {
                Some(Ok(end)) if end < high => {
                    incomplete.push(format!(
                        "{partition}: the log ends at {end}, but is indexed up to {high}: what there is of it isn't found, as its \
                         topic was made again and isn't adopted yet, or its log was cut back"
                    ));
                    held
                }
                Some(Ok(end)) => held.max(*end),
                Some(Err(error)) => {
                    incomplete.push(format!("{partition} beyond {held}: {error}"));
                    held
                }
                None => held,
            };
            let whole = LaneRange { partition: *partition, epoch: *epoch, from: *high, to: end };
            for mut gap in gaps(whole, answered) {
                let records = gap.to.abs_diff(gap.from);
                if records > room {
                    let (left, bound) = (records - room, self.shared.config.tail);
                    incomplete.push(format!(
                        "{partition}: {left} records are not indexed yet, beyond the {bound} that a search looks at itself"
                    ));
                    // The newest are asked for most.
                    gap.from = gap.to - i64::try_from(room).unwrap_or(i64::MAX);
                }
                room = room.saturating_sub(records);
                if gap.from < gap.to {
                    rest.push(gap);
                }
            }
        }
        rest
    }
}

/// The answers of which none has a range in common with another, those first that have most: two who answer for the same
/// lane are one who has it, and one who doesn't know yet that it has lost it.
fn choose(mut answers: Vec<PartialAnswer>) -> Vec<PartialAnswer> {
    answers
        .sort_by_key(|answer| std::cmp::Reverse(answer.covered.iter().map(|range| range.to - range.from).sum::<i64>()));
    let mut chosen = Vec::<PartialAnswer>::new();
    for answer in answers {
        let overlaps = |other: &Covered| answer.covered.iter().any(|own| overlap(own, other));
        if !chosen.iter().flat_map(|chosen| &chosen.covered).any(overlaps) {
            chosen.push(answer);
        }
    }
    chosen
}

fn overlap(one: &Covered, other: &Covered) -> bool {
    (one.partition, one.epoch) == (other.partition, other.epoch) && one.from < other.to && other.from < one.to
}

/// What of a range was not answered for. The answers don't overlap.
fn gaps(range: LaneRange, answered: &[Covered]) -> Vec<LaneRange> {
    let mut own: Vec<_> = answered.iter().filter(|covered| overlap(covered, &self::covered(&range))).collect();
    own.sort_unstable();
    let (mut gaps, mut next) = (Vec::new(), range.from);
    for covered in own {
        if covered.from > next {
            gaps.push(LaneRange { from: next, to: covered.from, ..range });
        }
        next = next.max(covered.to);
    }
    if next < range.to {
        gaps.push(LaneRange { from: next, ..range });
    }
    gaps
}

/// Looks at ranges of the log.
async fn scan(
    tail: &dyn LogTail,
    ranges: Vec<LaneRange>,
    request: Arc<SearchRequest>,
    incomplete: &mut Vec<String>,
) -> Result<PartialAnswer, SearchError> {
    let mut answer = PartialAnswer::default();
    for range in ranges {
        let (mut batches, mut next) = (tail.read(range).await, range.from);
        while let Some(batch) = batches.recv().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    incomplete.push(format!("{range} from {next} on: {error}"));
                    break;
                }
            };
            next = batch.to;
            answer = answer.merge(look(&batch, range, &request)?, &request);
        }
        answer = answer.merge(
            PartialAnswer { covered: vec![covered(&LaneRange { to: next, ..range })], ..PartialAnswer::default() },
            &request,
        );
    }
    Ok(answer)
}

fn look(batch: &Batch, range: LaneRange, request: &SearchRequest) -> Result<PartialAnswer, SearchError> {
    let mut scan = Scan::new(request)?;
    let is_in = |offset| (range.from..range.to).contains(&offset);
    let records = batch.records().iter();
    for record in records.filter(|record| is_in(record.offset) && request.keeps(record.timestamp)) {
        if let Content::Entry(entry) = &record.content {
            let position = Position { partition: batch.partition, epoch: batch.epoch, offset: record.offset };
            scan.add(position, entry, || record.body.to_vec());
        }
    }
    Ok(scan.finish())
}
