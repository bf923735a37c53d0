//! What the newest entries have, where no column counts it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agentworks_query::Field;
use agentworks_query::answer::FacetCounts;
use agentworks_query::data::{Buffers, Leaf, for_each_leaf};
use agentworks_schemas::LogEntry;
use agentworks_schemas::access::Claims;
use serde::Serialize;

use super::MAX_BYTES;
use crate::search::{Asking, Found, Search, SearchFault, entries};

/// How many entries are looked at, the newest ones.
pub(super) const SAMPLE: usize = 1000;
/// How many paths of `data` are told.
const MAX_PATHS: usize = 1000;

/// What a value of `data` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Type {
    Text,
    Number,
    Bool,
}

/// The newest entries of a search, as many as are looked at and no more bytes of them than a page has.
pub(super) async fn newest(search: &Search, claims: &Claims, mut asking: Asking) -> Result<Found, SearchFault> {
    asking.query.limit = Some(SAMPLE);
    asking.query.counts = Some(false);
    asking.forget = true;
    let mut found = search.find(asking, claims).await?;
    found.fit(MAX_BYTES);
    Ok(found)
}

/// The paths in `data` of the hits, each with what its values are; those that most have come first.
pub(super) fn paths(found: &Found) -> Result<Vec<(Field, BTreeSet<Type>)>, SearchFault> {
    let (mut known, mut buffers) = (HashMap::<String, (u64, BTreeSet<Type>)>::new(), Buffers::default());
    for hit in entries(&found.answer)? {
        let Some(data) = &hit.entry.data else { continue };
        for_each_leaf(data.as_str(), &mut buffers, |path, leaf| {
            let kind = match leaf {
                Leaf::Text(_) => Type::Text,
                Leaf::Number(_) => Type::Number,
                Leaf::Bool(_) => Type::Bool,
            };
            let (count, kinds) = known.entry(path.to_owned()).or_default();
            *count += 1;
            kinds.insert(kind);
        });
    }
    let mut known: Vec<_> = known.into_iter().filter(|(path, _)| !path.is_empty()).collect();
    known.sort_unstable_by(|(a, (n, _)), (b, (m, _))| m.cmp(n).then_with(|| a.cmp(b)));
    known.truncate(MAX_PATHS);
    Ok(known.into_iter().map(|(path, (_, kinds))| (Field::Data(path), kinds)).collect())
}

/// The values that the hits have in a field, each with how many have it.
pub(super) fn values(found: &Found, field: &Field) -> Result<FacetCounts, SearchFault> {
    let (mut counts, mut buffers) = (BTreeMap::<String, u64>::new(), Buffers::default());
    for hit in entries(&found.answer)? {
        for value in values_of(&hit.entry, field, &mut buffers) {
            *counts.entry(value).or_default() += 1;
        }
    }
    Ok(FacetCounts { counts, ..FacetCounts::default() })
}

/// The values of an entry, each once.
fn values_of(entry: &LogEntry<'_>, field: &Field, buffers: &mut Buffers) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    match field {
        Field::Data(wanted) => {
            let Some(data) = &entry.data else { return values };
            for_each_leaf(data.as_str(), buffers, |path, leaf| {
                if path == wanted {
                    values.insert(match leaf {
                        Leaf::Text(text) => text.to_owned(),
                        Leaf::Number(number) => number.to_string(),
                        Leaf::Bool(bool) => bool.to_string(),
                    });
                }
            });
        }
        Field::Keyword(keyword) => values.extend(keyword.values(entry).map(str::to_owned)),
        Field::Any | Field::Message | Field::Component | Field::AllData | Field::Timestamp => {}
    }
    values
}
