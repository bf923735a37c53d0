//! Searches of a client, beside its streams: one at a time.

use agentworks_schemas::protocol::{ErrorCode, LogSearchQuery, ServerMessage};

use super::Session;
use super::messages::MAX_LOOKUPS;
use crate::auth::Grant;
use crate::search::{Asking, Search, SearchFault};
use crate::socket::Frame;

const QUESTION: &str = "search_logs";
/// How many bytes of entries an answer has, whatever its limit: what waits for a client is bounded.
const MAX_BYTES: usize = 1 << 20;

impl Session {
    /// Answers with what a search has found, as soon as it has.
    pub(super) fn search(&mut self, query: Box<LogSearchQuery>) {
        let Some(search) = self.gateway.search.clone() else {
            let message = SearchFault::Unavailable.to_string();
            return self.refuse(ErrorCode::SearchUnavailable, message, QUESTION);
        };
        if self.search.as_ref().is_some_and(|search| !search.is_finished()) {
            let message = "a search of this connection goes on: wait for its search_result";
            return self.refuse(ErrorCode::LimitExceeded, message, QUESTION);
        }
        if self.lookups.len() >= MAX_LOOKUPS {
            let message = format!("{MAX_LOOKUPS} answers are still being made: wait for one");
            return self.refuse(ErrorCode::LimitExceeded, message, QUESTION);
        }
        let grant = self.bearer.grant();
        let frame = async move {
            match found(&search, &grant, *query).await {
                Ok(frame) => frame,
                Err(fault) => Frame::message(&ServerMessage::Error { data: fault.info() }),
            }
        };
        self.search = Some(self.lookups.spawn(frame));
    }
}

async fn found(search: &Search, grant: &Grant, query: LogSearchQuery) -> Result<Frame, SearchFault> {
    let claims = grant.claims();
    let mut found = search.find(Asking { query, ..Asking::default() }, &claims).await?;
    // What was counted can't be taken back from an answer.
    if grant.claims().cards != claims.cards {
        let message = "the token was exchanged for one of other cards meanwhile; ask again";
        return Err(SearchFault::Invalid(message.to_owned()));
    }
    found.fit(MAX_BYTES);
    Ok(Frame::message(&ServerMessage::SearchResult { data: found.result()? }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::*;
    use crate::search::SearchConfig;
    use crate::search::testing::{Entries, claims};

    fn answered(frame: &Frame) -> Value {
        serde_json::from_slice(frame.payload()).unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_a_frame_of_what_the_grant_allows() {
        let search = Search::new(Entries::some(40), SearchConfig::default());
        let grant = Grant::new(claims("acme", Some(&["card-1"])));
        let query = LogSearchQuery { text: Some("call".to_owned()), limit: Some(3), ..LogSearchQuery::default() };
        let message = answered(&found(&search, &grant, query).await.unwrap());
        assert_eq!((&message["type"], &message["data"]["totalCount"]), (&"search_result".into(), &10.into()));
        let logs = message["data"]["logs"].as_array().unwrap();
        assert!(
            logs.len() == 3 && logs.iter().all(|entry| entry["cardId"] == "card-1" && entry["position"].is_string())
        );
        assert!(message["data"]["cursor"].is_string());
    }
}
