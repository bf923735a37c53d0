//! Asking the filters of splits that aren't at hand, so that a split without the terms of a search isn't downloaded.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use agentworks_objects::Objects;
use agentworks_objects::object_store::ObjectStoreExt;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::SplitCache;
use crate::exec::Required;
use crate::lately::Lately;
use crate::split::filter::{FilterPlace, Partition};
use crate::split::{SplitId, SplitMeta, object_name};

/// How many partitions a search reads of one split: each is up to 64 KiB.
const PARTITIONS: usize = 8;
/// How many partitions are read at once, by all searches together.
const READS: usize = 32;
/// How long a partition is waited for. A search has time for the split itself then, whose download goes on without it.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many bytes of partitions are remembered, and of answers: a search goes through all splits, and the next page goes
/// through them again.
const REMEMBERED: usize = 32 << 20;
/// About how many bytes an answer takes.
const ANSWER: usize = 128;

/// Partitions that were read, and what they have answered.
#[derive(Debug)]
pub(super) struct Filters {
    answers: Mutex<Lately<(SplitId, u64), bool>>,
    known: Mutex<Lately<(SplitId, u32), Partition>>,
    reads: Semaphore,
}

impl Filters {
    pub(super) fn new() -> Self {
        let (answers, known) = (Mutex::new(Lately::new(REMEMBERED)), Mutex::new(Lately::new(REMEMBERED)));
        Filters { answers, known, reads: Semaphore::new(READS) }
    }

    /// A partition of a split's filter; `None` if it can't be had, or is damaged.
    async fn partition(
        &self,
        objects: &Objects,
        split: &SplitId,
        place: &FilterPlace,
        number: u32,
    ) -> Option<Partition> {
        let id = (split.clone(), number);
        if let Some(known) = self.known.lock().get(&id) {
            return Some(known);
        }
        let path = objects.path(&object_name(split));
        let read = async {
            let _turn = self.reads.acquire().await.ok()?;
            Some(objects.store().get_range(&path, place.range(number)).await)
        };
        let partition = match timeout(PATIENCE, read).await.ok().flatten()? {
            Ok(bytes) => Partition::open(place, number, &bytes),
            Err(error) => {
                tracing::debug!(%split, %error, "a filter can't be read");
                return None;
            }
        };
        match &partition {
            Some(partition) => self.known.lock().put(id, partition.clone(), partition.memory()),
            None => tracing::warn!(%split, partition = number, "a filter is damaged; the split is searched without"),
        }
        partition
    }
}

impl SplitCache {
    /// Whether a search can find anything in a split, as far as can be told without downloading it: `false` only if the split
    /// certainly lacks a term that the search requires. Of splits that are at hand nothing is read, nor of those that have no
    /// filter; where a filter is damaged, can't be read, or would have to be read in many places, the answer is `true`.
    pub async fn may_have(&self, meta: &SplitMeta, required: &Required) -> bool {
        let Some(place) = meta.filter.filter(|place| place.is_sound(meta.bytes)) else { return true };
        if self.is_at_hand(&meta.id) {
            return true;
        }
        let chosen = choose(&place, required);
        // First what most splits lack, by itself; then all the rest at once.
        let (first, others) = chosen.split_at(chosen.len().min(1));
        let mut read = HashMap::new();
        for some in [first, others] {
            let (filters, objects) = (&self.shared.filters, &self.shared.objects);
            let known = |key: &u64| filters.answers.lock().get(&(meta.id.clone(), *key));
            let unknown = some.iter().copied().flatten().filter(|key| known(key).is_none());
            let wanted: BTreeSet<u32> = unknown.map(|key| place.partition_of(*key)).collect();
            let wanted: Vec<u32> = wanted.into_iter().filter(|number| !read.contains_key(number)).collect();
            let partitions = wanted.iter().map(|number| filters.partition(objects, &meta.id, &place, *number));
            read.extend(wanted.iter().copied().zip(join_all(partitions).await));
            let lacks = |key: &u64| {
                if let Some(may_have) = known(key) {
                    return !may_have;
                }
                let Some(Some(partition)) = read.get(&place.partition_of(*key)) else { return false };
                let may_have = partition.may_have(*key);
                filters.answers.lock().put((meta.id.clone(), *key), may_have, ANSWER);
                !may_have
            };
            if some.iter().any(|keys| keys.iter().all(lacks)) {
                return false;
            }
        }
        true
    }

    fn is_at_hand(&self, id: &SplitId) -> bool {
        if self.shared.objects.file(&object_name(id)).is_some() {
            return true;
        }
        let known = self.shared.known.lock();
        known.copies.contains_key(id) || known.open.get(id).is_some_and(|entry| entry.split.initialized())
    }
}

/// Of the things that a search requires those that can be looked for in a few partitions: of each the keys of which one must
/// be there.
fn choose<'r>(place: &FilterPlace, required: &'r Required) -> Vec<&'r [u64]> {
    let (mut chosen, mut partitions) = (Vec::new(), Vec::new());
    for keys in required.alternatives() {
        let before = partitions.len();
        let fits = keys.iter().all(|key| {
            let number = place.partition_of(*key);
            if !partitions.contains(&number) {
                partitions.push(number);
            }
            partitions.len() <= PARTITIONS
        });
        match fits {
            true => chosen.push(keys),
            false => partitions.truncate(before),
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_query::{Keyword, Query, SearchRequest};

    use super::super::tests::{elsewhere, uploaded};
    use super::*;
    use crate::cache::CacheConfig;
    use crate::split::filter::encode;

    fn required(query: Query) -> Required {
        Required::of(&SearchRequest::new("workspace-1", query))
    }

    fn card(card: &str) -> Required {
        required(Query::keyword(Keyword::Card, card))
    }

    #[tokio::test]
    async fn filters_are_asked_of_what_is_elsewhere_alone() {
        let (folder, objects) = (tempfile::tempdir().unwrap(), elsewhere());
        let meta = uploaded(&objects, 0).await;
        let cache = SplitCache::new(objects.clone(), CacheConfig::new(folder.path())).unwrap();
        assert!(cache.may_have(&meta, &card("card-3")).await && !cache.may_have(&meta, &card("nobody's")).await);
        let both = |card, word: &str| {
            let word = agentworks_query::parse(word, agentworks_schemas::Timestamp(0)).unwrap();
            required(Query::and([Query::keyword(Keyword::Card, card), word]))
        };
        assert!(cache.may_have(&meta, &both("card-3", "\"rate limit\" data.http.status:>0")).await);
        assert!(!cache.may_have(&meta, &both("card-3", "unheard")).await);
        assert!(cache.may_have(&meta, &required(Query::All)).await);
        assert_eq!(cache.size(), (0, 0), "nothing was downloaded");
        let before = SplitMeta { filter: None, ..(*meta).clone() };
        assert!(cache.may_have(&before, &card("nobody's")).await, "a split of before has none");
        let place = meta.filter.map(|place| FilterPlace { bytes: u64::MAX, ..place });
        assert!(cache.may_have(&SplitMeta { filter: place, ..before }, &card("nobody's")).await);
        // What was read is remembered, of a split that is gone as well.
        objects.delete(&object_name(&meta.id)).await.unwrap();
        assert!(!cache.may_have(&meta, &card("nobody's")).await);
        let anew = SplitCache::new(objects, CacheConfig::new(folder.path())).unwrap();
        assert!(anew.may_have(&meta, &card("nobody's")).await, "what is missing is told when it is opened");
    }

    #[tokio::test]
    async fn a_split_that_is_at_hand_is_not_asked() {
        let (folder, local, objects) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), elsewhere());
        let meta = uploaded(&objects, 0).await;
        let cache = SplitCache::new(objects, CacheConfig::new(folder.path())).unwrap();
        cache.open(&meta).await.unwrap();
        assert!(cache.may_have(&meta, &card("nobody's")).await);
        let objects = Objects::folder(local.path()).unwrap();
        let meta = uploaded(&objects, 0).await;
        let cache = SplitCache::new(objects, CacheConfig::new(folder.path().join("other"))).unwrap();
        assert!(cache.may_have(&meta, &card("nobody's")).await);
    }

    #[tokio::test]
    async fn a_damaged_filter_hides_nothing() {
        let (folder, objects) = (tempfile::tempdir().unwrap(), elsewhere());
        let meta = uploaded(&objects, 0).await;
        let name = object_name(&meta.id);
        let mut contents = objects.get(&name).await.unwrap().to_vec();
        contents[meta.filter.unwrap().offset as usize + 7] ^= 1;
        objects.put(&name, contents.into()).await.unwrap();
        let cache = SplitCache::new(objects, CacheConfig::new(folder.path())).unwrap();
        assert!(cache.may_have(&meta, &card("nobody's")).await && cache.may_have(&meta, &card("card-3")).await);
    }

    #[test]
    fn a_search_reads_few_partitions() {
        let (filter, partitions) = encode((0..2_000_000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect());
        let place = FilterPlace { offset: 0, bytes: filter.len() as u64, partitions };
        let cards: Vec<String> = (0..100).map(|n| format!("card-{n}")).collect();
        let words = (0..20)
            .map(|n| Query::Match(agentworks_query::Field::Message, agentworks_query::Test::Text(format!("word{n}"))));
        let request = SearchRequest { cards: Some(cards), ..SearchRequest::new("w", Query::and(words)) };
        let required = Required::of(&request);
        let chosen = choose(&place, &required);
        let read: BTreeSet<u32> = chosen.iter().map(|keys| place.partition_of(keys[0])).collect();
        assert!(partitions > 40 && read.len() == PARTITIONS, "{chosen:?}");
        assert!(chosen.iter().all(|keys| keys.len() == 1), "words, since the cards are too many");
        // In a small one there are no more to read.
        let place = FilterPlace { offset: 0, bytes: 36, partitions: 1 };
        assert_eq!(choose(&place, &required).len(), 21);
    }
}
