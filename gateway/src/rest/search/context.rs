//! What stands around a hit in its run.

use agentworks_kafka::KafkaError;
use agentworks_processors::reader::{LogReader, ReadError, ReadFilter, ReadItem, Scope, StoredEntry};
use agentworks_schemas::protocol::PositionedEntry;
use agentworks_schemas::{Cursor, Position};
use serde::Serialize;
use warp::reply::Response;

use crate::kept::{self, Kept, before_item};
use crate::rest::asked::{Asked, Id};
use crate::rest::error::ApiError;
use crate::rest::json;

/// The most entries on each side.
const MAX: usize = 500;
const DEFAULT: usize = 10;
/// How many entries of the run are read to come to the hit, at most: more than what lies between two of its marks.
const MAX_WAY: usize = 50_000;

#[derive(Debug, Serialize)]
struct Context {
    before: Vec<PositionedEntry<'static>>,
    entry: PositionedEntry<'static>,
    after: Vec<PositionedEntry<'static>>,
    /// What is missing, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

/// `GET /v1/entries/{position}/context`: the entry with this `position`, as a search tells it, and those of its run
/// around it: `before` and `after` (0 to 500 each, 10 by default), system entries among them. `card` is the entry's. Where
/// the hit isn't found among what lies beside it in other partitions, only those of its own are told, as `incomplete` says.
pub(super) async fn show(Id(position): Id, mut asked: Asked) -> Result<Response, ApiError> {
    let count = |params: &mut crate::rest::asked::Params, name| -> Result<usize, ApiError> {
        let count = params.value(name)?.unwrap_or(DEFAULT);
        let fits = count <= MAX;
        fits.then_some(count).ok_or_else(|| ApiError::Invalid(format!("{name}: {count} is more than {MAX}")))
    };
    let (before, after) = (count(&mut asked.params, "before")?, count(&mut asked.params, "after")?);
    let Some(card) = asked.params.text("card") else {
        return Err(ApiError::Invalid("card: it is the entry's cardId, and has to be given".to_owned()));
    };
    asked.params.finish()?;
    asked.check_card(&card)?;
    let at = place(&position)?;
    let around = Around { reader: &asked.gateway.reader, workspace: &asked.claims.workspace, card: &card };
    let Some(entry) = around.entry(at).await? else {
        let message = format!("there is no entry of card {card:?} at this position; it may be erased or expired");
        return Err(ApiError::NotFound(message));
    };
    Ok(json(&around.context(entry, before, after).await?))
}

/// The entry that a position comes with: that of a hit names its own partition alone.
fn place(position: &str) -> Result<Position, ApiError> {
    let cursor: Cursor = position.parse().map_err(|error| ApiError::Invalid(format!("position: {error}")))?;
    let places: Vec<_> = cursor.iter().collect();
    match places[..] {
        [(partition, epoch, next @ 1..)] => Ok(Position { partition, epoch, offset: next - 1 }),
        _ => Err(ApiError::Invalid("position: it is not that of a hit, which names one entry".to_owned())),
    }
}

/// What is looked at.
struct Around<'a> {
    reader: &'a LogReader,
    workspace: &'a str,
    card: &'a str,
}

impl Around<'_> {
    /// The entry of the card at a position.
    async fn entry(&self, at: Position) -> Result<Option<StoredEntry>, ApiError> {
        let scope = Scope::Card { workspace: self.workspace.to_owned(), card: self.card.to_owned() };
        let cursor = |offset| Cursor::from_iter([(at.partition, at.epoch, offset)]);
        let mut stream = self.reader.read(scope, ReadFilter::default(), cursor(at.offset), cursor(at.offset + 1));
        while let Some(item) = stream.recv().await {
            match item {
                Ok(ReadItem::Entry { entry, .. }) => return Ok(Some(*entry)),
                Ok(ReadItem::Gap { .. }) => {}
                // Whoever made the position up: in a partition that there isn't, there is no entry.
                Err(ReadError::Kafka(KafkaError::NoTopic(_))) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    async fn context(&self, hit: StoredEntry, before: usize, after: usize) -> Result<Context, ApiError> {
        let (workspace, run, card) = (self.workspace, hit.entry.run_id.to_string(), self.card);
        let scope = Scope::Run { workspace: workspace.to_owned(), run: run.clone(), card: card.to_owned() };
        let filter = ReadFilter::default();
        let mut end = self.reader.end(&scope).await?;
        let start = match self.reader.run(workspace, &run, Some(card)).await? {
            Some(known) => self.reader.before_time(&known, hit.entry.timestamp, true).await?.cursor,
            None => Cursor::new(),
        };
        // Where records were misplaced, or partitions added, the hit's own may not be among the card's.
        let next = (hit.position.epoch, hit.position.offset + 1);
        if end.get(hit.position.partition).is_none_or(|high| high < next) {
            end.set(hit.position.partition, next.0, next.1);
        }
        let mut stream = self.reader.read(scope.clone(), filter.clone(), start, end.clone());
        let mut way = 0;
        let mut found: Option<ReadItem> = None;
        let mut following = Kept::default();
        while (found.is_none() || !following.is_full(after))
            && way <= MAX_WAY
            && let Some(item) = stream.recv().await
        {
            let item = item?;
            let ReadItem::Entry { entry, .. } = &item else { continue };
            if found.is_some() {
                following.push_back(item);
            } else if entry.position == hit.position {
                found = Some(item);
            } else {
                way += 1;
            }
        }
        drop(stream);
        let partition = hit.position.partition;
        let in_own = |(epoch, offset)| Cursor::from_iter([(partition, epoch, offset)]);
        let mut incomplete = Vec::new();
        let (place, position) = match &found {
            Some(item @ ReadItem::Entry { cursor, .. }) => (before_item(item), cursor.clone()),
            // The run's marks didn't lead there: its own partition alone says what is around it.
            _ => {
                incomplete.push(
                    "where the hit lies among the run's entries in other partitions isn't known: those of its own partition \
                     are around it, and others, like system entries, are missing"
                        .to_owned(),
                );
                let end = end.get(partition).unwrap_or(next);
                following = self.following(scope.clone(), in_own(next), in_own(end), after).await?;
                (in_own((hit.position.epoch, hit.position.offset)), in_own(next))
            }
        };
        let mut preceding = kept::newest(self.reader, &scope, &filter, &place, before).await?;
        preceding.trim_front(before);
        let is_short = (!preceding.is_all() && preceding.entries() < before)
            || (following.is_full(after) && following.entries() < after);
        if is_short {
            incomplete.push("the entries around the hit are large: fewer are told than were asked for".to_owned());
        }
        Ok(Context {
            before: entries(preceding),
            entry: PositionedEntry { position, entry: hit.entry },
            after: entries(following),
            incomplete,
        })
    }

    /// The first `count` entries of a range.
    async fn following(&self, scope: Scope, from: Cursor, to: Cursor, count: usize) -> Result<Kept, ApiError> {
        let mut stream = self.reader.read(scope, ReadFilter::default(), from, to);
        let mut kept = Kept::default();
        while !kept.is_full(count)
            && let Some(item) = stream.recv().await
        {
            kept.push_back(item?);
        }
        Ok(kept)
    }
}

/// The entries among what was read.
fn entries(kept: Kept) -> Vec<PositionedEntry<'static>> {
    let entry = |item| match item {
        ReadItem::Entry { entry, cursor } => Some(PositionedEntry { position: cursor, entry: entry.entry }),
        ReadItem::Gap { .. } => None,
    };
    kept.into_iter().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::{Topic, TopicPartition};

    use super::*;

    #[test]
    fn a_position_of_a_hit_names_one_entry() {
        let partition = TopicPartition::new(Topic::AgentLogs, 3);
        let one = Cursor::from_iter([(partition, 1, 18)]);
        assert_eq!(place(&one.to_string()), Ok(Position { partition, epoch: 1, offset: 17 }));
        for wrong in [
            String::from("nonsense!"),
            Cursor::new().to_string(),
            Cursor::from_iter([(partition, 1, 0)]).to_string(),
            Cursor::from_iter([(partition, 1, 5), (TopicPartition::new(Topic::SystemLogs, 3), 1, 5)]).to_string(),
        ] {
            let error = place(&wrong).unwrap_err().parts().2;
            assert!(error.starts_with("position: "), "{error}");
        }
    }
}
