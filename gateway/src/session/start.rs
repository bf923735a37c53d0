//! Where a stream begins and what it shows, as the URL says.

use std::str::FromStr;
use std::sync::Arc;

use agentworks_schemas::Cursor;
use agentworks_schemas::protocol::LiveFilters;

use crate::hub::Filters;

/// The most entries that a client is shown first; who asks for more gets so many.
const MAX_HISTORY: usize = 1000;

/// How a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Where to go on; otherwise it begins at the end of the log.
    pub(super) position: Option<Cursor>,
    /// How many entries before the end are shown first, if it begins there.
    pub(super) history: usize,
}

impl Start {
    /// At a position if there is one, or else with so much history, or else as much as is usual.
    pub(super) fn new(position: Option<Cursor>, history: Option<usize>, default: usize) -> Self {
        Start { position, history: history.unwrap_or(default).min(MAX_HISTORY) }
    }
}

/// What a connection is opened with.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) start: Start,
    pub(super) filters: Option<Arc<Filters>>,
    /// What of the query can't be, in words.
    pub(super) complaints: Vec<String>,
}

impl Beginning {
    /// What the query says; `default` is how much history there is if it doesn't.
    pub(super) fn of(query: &str, default: usize) -> Self {
        let (mut position, mut history) = (None, None);
        let mut said = LiveFilters::default();
        let mut complaints = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let complaint = match &*name {
                "history" => match value.parse() {
                    Ok(count) => {
                        history = Some(count);
                        None
                    }
                    Err(_) => Some(format!("history is not a number; {default} are shown")),
                },
                "position" => match value.parse() {
                    Ok(cursor) => {
                        position = Some(cursor);
                        None
                    }
                    Err(error) => Some(format!("{error}; the stream begins at its end instead")),
                },
                "levels" => list(&value, &mut said.levels),
                "sources" => list(&value, &mut said.sources),
                "components" => list(&value, &mut said.components),
                "text" => {
                    said.text = Some(value.into_owned());
                    None
                }
                _ => None,
            };
            complaints.extend(complaint);
        }
        let filters = Filters::new(said).unwrap_or_else(|reason| {
            complaints.push(format!("{reason}; all entries are shown"));
            None
        });
        Beginning { start: Start::new(position, history, default), filters, complaints }
    }
}

/// Adds the values of a list to those that are there; what is wrong with it, if anything is.
fn list<T: FromStr<Err: std::fmt::Display>>(text: &str, into: &mut Option<Vec<T>>) -> Option<String> {
    // A list of nothing lets nothing pass.
    let items = text.split(',').filter(|_| !text.is_empty());
    match items.map(str::parse).collect::<Result<Vec<T>, _>>() {
        Ok(values) => {
            into.get_or_insert_default().extend(values);
            None
        }
        Err(error) => Some(format!("{error}; entries are shown whatever theirs is")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::{Level, Source};

    use super::*;

    #[test]
    fn the_query_says_where_to_begin() {
        let Beginning { start, filters, complaints } = Beginning::of("", 100);
        assert!(start == Start { position: None, history: 100 } && filters.is_none() && complaints.is_empty());
        let begin = Beginning::of(&format!("history=7&position={}&token=x", Cursor::new()), 100);
        assert_eq!(begin.start, Start { position: Some(Cursor::new()), history: 7 });
        assert!(begin.complaints.is_empty());
    }

    #[test]
    fn the_query_says_what_is_shown() {
        let query = "levels=warn,error&sources=agent&sources=system&components=a,b%20c&text=Disk+full";
        let begin = Beginning::of(query, 100);
        let wanted = crate::hub::Wanted { filters: begin.filters, ..Default::default() };
        let said = LiveFilters {
            levels: Some(vec![Level::Warn, Level::Error]),
            sources: Some(vec![Source::Agent, Source::System]),
            components: Some(vec!["a".to_owned(), "b c".to_owned()]),
            text: Some("Disk full".to_owned()),
        };
        assert_eq!(wanted.said(), Some(said));
        assert!(begin.complaints.is_empty());
    }

    #[test]
    fn a_list_of_nothing_lets_nothing_pass() {
        let begin = Beginning::of("levels=", 100);
        let wanted = crate::hub::Wanted { filters: begin.filters, ..Default::default() };
        assert_eq!(wanted.said().and_then(|said| said.levels), Some(Vec::new()));
        assert!(begin.complaints.is_empty());
    }

    #[test]
    fn what_can_not_be_is_told() {
        assert_eq!(Beginning::of("history=1001", 100).start.history, 1000);
        for query in ["history=-1", "history=many", "position=%21", "position=", "levels=loud", "sources=agent,"] {
            let begin = Beginning::of(query, 100);
            assert_eq!(begin.start, Start { position: None, history: 100 }, "{query}");
            assert!(begin.filters.is_none() && begin.complaints.len() == 1, "{query}");
        }
        let begin = Beginning::of(&format!("text={}", "x".repeat(5000)), 100);
        assert!(begin.filters.is_none() && begin.complaints.len() == 1);
    }
}
