//! What a search requires is in the filter of every index in which it finds anything.

use agentworks_query::ast::{Field, Keyword, Test};
use proptest::collection::vec;
use proptest::prelude::*;

use super::differential::{asked, entry};
use super::*;
use crate::split::FilterPlace;
use crate::split::filter::{Partition, encode, keys_of};

/// Whether the filter of an index says that it may have what a search requires.
struct Filter {
    place: FilterPlace,
    bytes: Vec<u8>,
}

impl Filter {
    fn of(index: &Opened) -> Self {
        let (bytes, partitions) = encode(keys_of(index).unwrap().unwrap());
        Filter { place: FilterPlace { offset: 0, bytes: bytes.len() as u64, partitions }, bytes }
    }

    fn may_have(&self, request: &SearchRequest) -> bool {
        let has = |key: u64| {
            let number = self.place.partition_of(key);
            let range = self.place.range(number);
            let bytes = &self.bytes[range.start as usize..range.end as usize];
            Partition::open(&self.place, number, bytes).unwrap().may_have(key)
        };
        Required::of(request).alternatives().all(|keys| keys.iter().any(|key| has(*key)))
    }
}

fn finds(index: &Opened, request: &SearchRequest) -> bool {
    let mut request = SearchRequest { limit: 0, offset: 0, after: None, ..request.clone() };
    request.wanted.count = true;
    search_index(index, &request, &Limits::default(), soon()).unwrap().count > 0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_found_is_in_the_filter(entries in vec(entry(), 1..40), requests in vec(asked(), 48)) {
        let (left, right) = entries.split_at(entries.len() / 2);
        let index = index(&[left, right]);
        let filter = Filter::of(&index);
        for request in requests {
            // Without what else may leave nothing to be found.
            let request = SearchRequest { from: None, to: None, hidden: Vec::new(), kept_from: None, ..request };
            prop_assert!(filter.may_have(&request) || !finds(&index, &request), "{} {:?}", request.query, request.cards);
        }
    }

    /// Each thing that an entry has, asked for by itself.
    #[test]
    fn what_an_entry_has_is_in_the_filter(entries in vec(entry(), 1..20)) {
        let index = index(&[&entries]);
        let filter = Filter::of(&index);
        for entry in &entries {
            let keywords = Keyword::ALL.into_iter().flat_map(|keyword| {
                let values: Vec<&str> = keyword.values(entry).collect();
                values.into_iter().map(move |value| (Field::Keyword(keyword), value))
            });
            let texts = [(Field::Message, entry.message.as_str()), (Field::Any, entry.component.as_str())];
            for (field, value) in keywords.chain(texts) {
                let query = Query::Match(field, Test::Text(value.to_owned()));
                let request = SearchRequest::new(entry.workspace_id.as_str(), query);
                prop_assert!(filter.may_have(&request), "{}", request.query);
            }
        }
    }
}

#[test]
fn most_of_what_is_not_there_is_not_in_the_filter() {
    let entries = lines(60);
    let filter = Filter::of(&index(&[&entries]));
    for (query, may_have) in [
        ("card:c1 line", true),
        ("card:c1 AND \"line 5 of w1\"", true),
        ("component:runner OR nothing", true),
        ("unheard", false),
        ("card:c9", false),
        ("card:unheard OR run:unheard", false),
        ("line unheard", false),
        ("\"line unheard\"", false),
        ("unheard*", true),
        ("NOT unheard", true),
    ] {
        assert_eq!(filter.may_have(&request(query)), may_have, "{query}");
    }
}
