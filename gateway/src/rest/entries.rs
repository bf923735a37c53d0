//! Entries of cards and of runs, by position.

use std::str::FromStr;

use agentworks_processors::reader::{ReadFilter, Scope};
use agentworks_schemas::Cursor;
use agentworks_schemas::position::ParseCursorError;
use warp::reply::Response;

use super::asked::{Asked, Id, Params, check_id};
use super::error::ApiError;
use super::page::{backward, forward};
use super::{json, runs};

const LIMITS: std::ops::RangeInclusive<usize> = 1..=1000;
const DEFAULT_LIMIT: usize = 100;

/// Where a page lies.
#[derive(Debug, PartialEq, Eq)]
enum From {
    After(Cursor),
    /// Before a position, or the end of the log.
    Before(Option<Cursor>),
}

/// A position as a parameter: one that was given out, or one of the two that everybody knows.
enum Place {
    Start,
    End,
    Position(Cursor),
}

impl FromStr for Place {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        match text {
            "start" => Ok(Place::Start),
            "end" => Ok(Place::End),
            position => position.parse().map(Place::Position),
        }
    }
}

/// What page of entries is wanted.
#[derive(Debug)]
struct Wanted {
    from: From,
    filter: ReadFilter,
    limit: usize,
}

impl Wanted {
    /// Reads the parameters; `default` is where a page lies that neither `after` nor `before` says.
    fn read(params: &mut Params, default: From) -> Result<Self, ApiError> {
        let from = match (params.value("after")?, params.value("before")?) {
            (Some(_), Some(_)) => {
                return Err(ApiError::Invalid("after and before: give one of them, not both".to_owned()));
            }
            (Some(Place::Start), None) => From::After(Cursor::new()),
            (Some(Place::Position(after)), None) => From::After(after),
            (None, Some(Place::Position(before))) => From::Before(Some(before)),
            (None, Some(Place::End)) => From::Before(None),
            (Some(Place::End), None) => return Err(ApiError::Invalid("after: nothing lies after the end".to_owned())),
            (None, Some(Place::Start)) => {
                return Err(ApiError::Invalid("before: nothing lies before the start".to_owned()));
            }
            (None, None) => default,
        };
        let limit = params.limit(DEFAULT_LIMIT, LIMITS)?;
        let filter = ReadFilter {
            topics: None,
            levels: params.list("level")?,
            sources: params.list("source")?,
            components: params.list("component")?,
            since: params.value("since")?,
            until: params.value("until")?,
            text: params.value("text")?,
        };
        Ok(Wanted { from, filter, limit })
    }
}

async fn answer(asked: &Asked, scope: Scope, wanted: Wanted) -> Result<Response, ApiError> {
    let reader = &asked.gateway.reader;
    let page = match wanted.from {
        From::After(after) => forward(reader, scope, wanted.filter, after, wanted.limit).await?,
        From::Before(before) => backward(reader, scope, wanted.filter, before, wanted.limit).await?,
    };
    Ok(json(&page))
}

/// `GET /v1/cards/{card}/entries`: a page of a card's entries in the log's order: those after the position `after`
/// (`start` for the first ones), or the last ones before the position `before` (`end` for the newest, which is what
/// comes without either). At most `limit` (1 to 1000, 100 by default);
/// fewer where they are large. Only those of `level`, `source` and `component` (lists with commas), and between `since`
/// and `until` (RFC 3339).
///
/// The answer: `entries`, each with its `position`; `gaps`, ranges within the page that no tier holds any more; `next`,
/// the position to give as the same parameter for the next page, or null if there is nothing more now; and `end`, how
/// far the page reaches: a stream opened at that position goes on right after it.
pub(super) async fn of_card(Id(card): Id, mut asked: Asked) -> Result<Response, ApiError> {
    asked.check_card(&card)?;
    let wanted = Wanted::read(&mut asked.params, From::Before(None))?;
    asked.params.finish()?;
    let scope = Scope::Card { workspace: asked.claims.workspace.clone(), card };
    answer(&asked, scope, wanted).await
}

/// `GET /v1/runs/{run}/entries`: as a card's, but without `after` and `before` it begins at the run's first entry.
/// `card` helps to find a run that has only just begun; 404 if there is no such run.
pub(super) async fn of_run(Id(run): Id, mut asked: Asked) -> Result<Response, ApiError> {
    let hint = asked.params.text("card");
    let wanted = Wanted::read(&mut asked.params, From::After(Cursor::new()))?;
    asked.params.finish()?;
    check_id("run", &run)?;
    let card = runs::card_of(&asked, &run, hint).await?;
    let scope = Scope::Run { workspace: asked.claims.workspace.clone(), run, card };
    answer(&asked, scope, wanted).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_processors::reader::Needle;
    use agentworks_schemas::{Level, Source, Timestamp, Topic, TopicPartition};

    use super::*;

    fn wanted(query: &str) -> Result<Wanted, ApiError> {
        let mut params = Params::of(query);
        let wanted = Wanted::read(&mut params, From::Before(None))?;
        params.finish().map(|()| wanted)
    }

    #[test]
    fn parameters_say_which_page() {
        let cursor: Cursor = [(TopicPartition::new(Topic::AgentLogs, 1), 1, 7)].into_iter().collect();
        assert_eq!(wanted("").unwrap().from, From::Before(None));
        assert_eq!(wanted(&format!("after={cursor}")).unwrap().from, From::After(cursor.clone()));
        assert_eq!(wanted(&format!("before={cursor}")).unwrap().from, From::Before(Some(cursor.clone())));
        assert_eq!(wanted("after=start").unwrap().from, From::After(Cursor::new()));
        assert_eq!(wanted("before=end").unwrap().from, From::Before(None));
        assert!(wanted(&format!("before={cursor}&after={cursor}")).is_err());
        assert!(wanted("after=end").is_err() && wanted("before=start").is_err());
    }

    #[test]
    fn parameters_say_which_entries() {
        let wanted =
            wanted("level=warn,fatal&source=agent&component=a,b&since=2025-12-02T10:15:30Z&limit=7&text=Disk").unwrap();
        assert_eq!(wanted.limit, 7);
        assert_eq!(
            wanted.filter,
            ReadFilter {
                topics: None,
                levels: Some(vec![Level::Warn, Level::Fatal]),
                sources: Some(vec![Source::Agent]),
                components: Some(vec!["a".to_owned(), "b".to_owned()]),
                since: Some(Timestamp(1_764_670_530_000)),
                until: None,
                text: Some(Needle::new("disk")),
            }
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (query, name) in [
            ("after=xyz", "after"),
            ("until=yesterday", "until"),
            ("limit=0", "limit"),
            ("level=", "level"),
            ("source=human", "source"),
            ("lvl=warn", "lvl"),
        ] {
            let message = wanted(query).unwrap_err().parts().2;
            assert!(message.contains(name), "{query}: {message}");
        }
    }
}
