//! What is to be found, read from the topics; and what there is, read from the splits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentworks_kafka::Content;
use agentworks_query::answer::FacetField;
use agentworks_query::request::{Facet, Wanted};
use agentworks_query::{PartialAnswer, Scan, SearchRequest, language};
use agentworks_schemas::{Position, Timestamp, Topic};
use agentworks_search::cache::{CacheConfig, SplitCache};
use agentworks_search::manifest::Manifest;
use agentworks_search::schema::lane_of;

use super::place::Place;
use crate::hands::Batches;
use crate::log::WORKSPACES;
use crate::support::{Scratch, eventually};
use crate::world::{PATIENCE, World};

/// Searches of all sorts, in both workspaces.
pub fn requests() -> Vec<SearchRequest> {
    let queries = ["*", "level:>=warn", "data:* AND NOT level:debug", "message:a* OR component:*"];
    let facets = vec![Facet { field: FacetField::Card, top: 5 }, Facet { field: FacetField::Level, top: 5 }];
    let wanted = Wanted { count: true, distributions: true, timeline: Some(60_000), facets };
    let request = |workspace: &str, query: &str| {
        let query = language::parse(query, Timestamp(0)).unwrap();
        SearchRequest { limit: 50, wanted: wanted.clone(), ..SearchRequest::new(workspace, query) }
    };
    WORKSPACES.iter().flat_map(|workspace| queries.map(|query| request(workspace, query))).collect()
}

/// What a look at every entry of the topics finds.
pub fn expected(batches: &Batches, request: &SearchRequest) -> PartialAnswer {
    let mut scan = Scan::new(request).unwrap();
    for batch in batches.all() {
        for record in batch.records() {
            if let Content::Entry(entry) = &record.content {
                let position = Position { partition: batch.partition, epoch: batch.epoch, offset: record.offset };
                scan.add(position, entry, || record.body.to_vec());
            }
        }
    }
    scan.finish()
}

/// How an answer differs from what it should be; `None` if it doesn't.
pub fn difference(found: &PartialAnswer, expected: &PartialAnswer) -> Option<String> {
    if !found.incomplete.is_empty() {
        return Some(format!("incomplete: {:?}", found.incomplete));
    }
    if found.count != expected.count {
        return Some(format!("{} are found of {}", found.count, expected.count));
    }
    if found.hits != expected.hits {
        let positions = |answer: &PartialAnswer| -> Vec<_> { answer.hits.iter().map(|hit| hit.key.position).collect() };
        return Some(format!("hits {:?} instead of {:?}", positions(found), positions(expected)));
    }
    let counts = |answer: &PartialAnswer| {
        format!("{:?} {:?} {:?} {:?}", answer.levels, answer.sources, answer.timeline, answer.facets)
    };
    (counts(found) != counts(expected)).then(|| format!("{} instead of {}", counts(found), counts(expected)))
}

/// Waits until all lanes are published to their ends; then every entry must lie in one split, once.
///
/// # Panics
/// If one doesn't, or the positions differ from the entries.
pub async fn check(world: &World, place: &Place) -> usize {
    let mut ends = world.ends().await;
    ends.retain(|partition, _| Topic::LOGS.contains(&partition.topic));
    let manifest = Manifest::new(place.open());
    let state = eventually(PATIENCE, async || {
        let state = manifest.refresh().await.ok()?;
        let is_held = ends.iter().all(|(lane, end)| state.position(*lane) == Some((0, *end)));
        is_held.then_some(state)
    })
    .await;
    assert_eq!(state.lanes.len(), ends.len(), "lanes that there are not");
    assert!(state.lanes.values().all(|lane| lane.low == 0), "{:?}", state.lanes);
    let mut wanted = BTreeSet::new();
    for batch in Batches::read(&world.log).await.all() {
        let entries = batch.records().iter().filter(|record| matches!(record.content, Content::Entry(_)));
        wanted.extend(entries.map(|record| (batch.partition, record.offset)));
    }
    let folder = Scratch::new("check");
    let cache = SplitCache::new(place.open(), CacheConfig::new(folder.path().join("splits"))).unwrap();
    let (mut held, mut twice) = (BTreeSet::new(), Vec::new());
    for meta in state.splits.values() {
        let split = cache.open(meta).await.unwrap_or_else(|error| panic!("AGENTWORKS_SEED={}: {error}", world.seed));
        let mut docs = 0;
        for segment in split.searcher().segment_readers() {
            let columns = segment.fast_fields();
            let (lanes, offsets) = (columns.u64("lane").unwrap(), columns.i64("offset").unwrap());
            for doc in 0..segment.max_doc() {
                let at = (lane_of(lanes.first(doc).unwrap()).unwrap(), offsets.first(doc).unwrap());
                docs += 1;
                if !held.insert(at) {
                    twice.push(at);
                }
            }
        }
        assert_eq!(docs, meta.docs, "split {} isn't what the manifest says", meta.id);
    }
    let missing: Vec<_> = wanted.difference(&held).take(5).collect();
    let strange: Vec<_> = held.difference(&wanted).take(5).collect();
    assert!(
        missing.is_empty() && strange.is_empty() && twice.is_empty(),
        "AGENTWORKS_SEED={}: missing {missing:?}, strange {strange:?}, twice {:?}",
        world.seed,
        twice.iter().take(5).collect::<Vec<_>>()
    );
    // The highest offsets that are indexed are those below the positions, but for events, which aren't searched.
    let mut highest = BTreeMap::new();
    for (lane, offset) in &held {
        highest.insert(*lane, *offset);
    }
    for (lane, offset) in highest {
        assert_eq!(state.position(lane), Some((0, offset + 1)), "{lane}");
    }
    held.len()
}

/// Fails if a searcher in this process, with nobody to ask, doesn't find all.
pub async fn check_alone(world: &World, place: &Place) {
    use agentworks_kafka::SeekPool;
    use agentworks_search::exec::ByTerms;
    use agentworks_search::searcher::{Searcher, SearcherConfig, SeekTail};

    let folder = Scratch::new("alone");
    let cache = SplitCache::new(place.open(), CacheConfig::new(folder.path().join("splits"))).unwrap();
    let tail = Arc::new(SeekTail::new(SeekPool::new(world.log.settings.clone(), 1)));
    let (manifest, execute) = (Manifest::new(place.open()), Arc::new(ByTerms::default()));
    let searcher = Searcher::new(manifest, cache, execute, None, Some(tail), SearcherConfig::default());
    let batches = Batches::read(&world.log).await;
    for request in requests() {
        let found = searcher.partial(request.clone()).await.unwrap();
        if let Some(difference) = difference(&found, &expected(&batches, &request)) {
            panic!("AGENTWORKS_SEED={}: {}: {difference}", world.seed, request.query);
        }
    }
}
