//! Pages of entries, in both directions.

use agentworks_processors::reader::{LogReader, ReadFilter, ReadItem, Scope};
use agentworks_schemas::Cursor;
use agentworks_schemas::protocol::{Gap, PositionedEntry};
use serde::Serialize;

use super::error::ApiError;
use crate::kept::{self, Kept, after_item, before_item};

/// A page of entries, in the log's order. Large entries make short pages.
#[derive(Debug, Default, Serialize)]
pub(super) struct Page {
    /// The entries, each with the cursor just after it.
    entries: Vec<PositionedEntry<'static>>,
    /// Ranges within the page that are held nowhere any more.
    gaps: Vec<Gap>,
    /// Where the next page in the same direction begins; `None` if there is nothing more now.
    next: Option<Cursor>,
    /// How far the page reaches: a stream that begins there goes on right after it, whatever the filter left out.
    end: Cursor,
}

/// The page after `after`.
pub(super) async fn forward(
    reader: &LogReader,
    scope: Scope,
    filter: ReadFilter,
    after: Cursor,
    limit: usize,
) -> Result<Page, ApiError> {
    let end = reader.end(&scope).await?;
    let mut stream = reader.read(scope, filter, after.clone(), end.clone());
    let mut kept = Kept::default();
    while let Some(item) = stream.recv().await {
        let item = item?;
        if kept.is_full(limit) {
            let next = kept.last().map_or(after, |last| after_item(last).clone());
            return Ok(Page::new(kept, Some(next.clone()), next));
        }
        kept.push_back(item);
    }
    Ok(Page::new(kept, None, furthest(after, &end)))
}

/// The further of two cursors in each partition.
fn furthest(mut cursor: Cursor, other: &Cursor) -> Cursor {
    for (partition, epoch, next) in other.iter() {
        if cursor.get(partition).is_none_or(|there| there < (epoch, next)) {
            cursor.set(partition, epoch, next);
        }
    }
    cursor
}

/// The page before `before`, or before the end of the log.
pub(super) async fn backward(
    reader: &LogReader,
    scope: Scope,
    filter: ReadFilter,
    before: Option<Cursor>,
    limit: usize,
) -> Result<Page, ApiError> {
    let end = match before {
        Some(before) => before,
        None => reader.end(&scope).await?,
    };
    // One entry more than wanted tells whether there is another page.
    let mut kept = kept::newest(reader, &scope, &filter, &end, limit + 1).await?;
    kept.trim_front(limit);
    let next = kept.first().filter(|_| !kept.is_all()).map(before_item);
    Ok(Page::new(kept, next, end))
}

impl Page {
    fn new(kept: Kept, next: Option<Cursor>, end: Cursor) -> Page {
        let mut page = Page { next, end, ..Page::default() };
        for item in kept {
            match item {
                ReadItem::Entry { entry, cursor } => {
                    page.entries.push(PositionedEntry { position: cursor, entry: entry.entry });
                }
                ReadItem::Gap { partition, from, to, .. } => {
                    let topic = partition.topic.to_string();
                    page.gaps.push(Gap { topic, partition: partition.partition, from, to });
                }
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::kept::testing::{AGENT, SYSTEM, entry};

    #[test]
    fn a_page_is_json_with_the_position_beside_the_entrys_fields() {
        let mut kept = Kept::default();
        kept.push_back(entry(AGENT, 5, "x", &[(AGENT, 1, 6)]));
        let cursor = [(AGENT, 1, 9)].into_iter().collect();
        kept.push_back(ReadItem::Gap { partition: AGENT, from: 6, to: 9, cursor });
        let json = serde_json::to_value(Page::new(kept, None, Cursor::new())).unwrap();
        let position = Cursor::from_iter([(AGENT, 1, 6)]).to_string();
        assert_eq!(json["entries"][0]["position"], position.as_str());
        assert_eq!(json["entries"][0]["message"], "x");
        assert_eq!(json["gaps"][0], serde_json::json!({"topic": "agent-logs", "partition": 3, "from": 6, "to": 9}));
        assert_eq!(json["next"], serde_json::Value::Null);
    }

    #[test]
    fn a_page_reaches_as_far_as_the_log_and_never_back() {
        let after = Cursor::from_iter([(AGENT, 1, 9)]);
        let end = Cursor::from_iter([(AGENT, 1, 5), (SYSTEM, 1, 4)]);
        assert_eq!(furthest(after, &end), Cursor::from_iter([(AGENT, 1, 9), (SYSTEM, 1, 4)]));
    }
}
