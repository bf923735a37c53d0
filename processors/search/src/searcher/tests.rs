#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use agentworks_kafka::Content;
use agentworks_objects::Objects;
use agentworks_processors::erasure::Erasure;
use agentworks_processors::sink::{Flush, Sink};
use agentworks_query::answer::FacetField;
use agentworks_query::request::{Facet, Sort, SortBy, Wanted};
use agentworks_query::{Keyword, Query, Scan, language};
use agentworks_schemas::Timestamp;
use agentworks_store::{EmbeddedStore, Store};
use prometheus_client::registry::Registry;

use super::*;
use crate::cache::CacheConfig;
use crate::cache::tests::elsewhere;
use crate::execute::LookAtAll;
use crate::fresh::LocalFresh;
use crate::indexer::{IndexerConfig, indexer};
use crate::testing::{FakeLog, at, batch, entries, erase, publish, record_time};

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) manifest: Manifest,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifest = Manifest::new(Objects::folder(&folder.path().join("objects")).unwrap());
        World { folder, manifest }
    }

    pub(crate) fn indexer(&self, name: &str) -> (Box<dyn Sink>, Arc<dyn Fresh>) {
        let config = IndexerConfig { segment_docs: 20, ..IndexerConfig::new(self.folder.path().join(name)) };
        let manifest = Manifest::new(self.manifest.objects().clone());
        let (sink, live) = indexer(config, manifest, &mut Registry::default()).unwrap();
        (sink, Arc::new(LocalFresh::new(live, Arc::new(LookAtAll))))
    }

    fn searcher(&self, tail: Option<FakeLog>, erasures: Option<Erasures>, config: SearcherConfig) -> Searcher {
        self.searcher_of(self.manifest.clone(), tail, erasures, config)
    }

    /// One with what `manifest` has read.
    pub(crate) fn searcher_of(
        &self,
        manifest: Manifest,
        tail: Option<FakeLog>,
        erasures: Option<Erasures>,
        config: SearcherConfig,
    ) -> Searcher {
        let cache =
            SplitCache::new(self.manifest.objects().clone(), CacheConfig::new(self.folder.path().join("cache")));
        let tail = tail.map(|tail| Arc::new(tail) as Arc<dyn LogTail>);
        Searcher::new(manifest, cache.unwrap(), Arc::new(LookAtAll), erasures, tail, config)
    }
}

fn request(query: &str) -> SearchRequest {
    SearchRequest { limit: 7, ..SearchRequest::new("workspace-1", language::parse(query, Timestamp(0)).unwrap()) }
}

/// Some searches, of all sorts.
fn requests() -> Vec<SearchRequest> {
    let mut requests = Vec::new();
    for query in
        ["tool", "level:error", "\"rate limit\" AND data.http.status:>=450", "nothing", "run:run-3 OR card:card-1"]
    {
        for by in [SortBy::Timestamp, SortBy::Relevance] {
            let request = SearchRequest { sort: Sort { by, ..Sort::default() }, ..request(query) };
            let facets = vec![Facet { field: FacetField::Card, top: 3 }];
            let wanted = Wanted { count: true, distributions: true, timeline: Some(10), facets };
            requests.push(SearchRequest { wanted, ..request.clone() });
            requests.push(SearchRequest { from: Some(Timestamp(900_010)), to: Some(Timestamp(900_060)), ..request });
        }
    }
    requests
}

/// The answer of whoever looks at all entries below an end, one by one.
fn expected(request: &SearchRequest, ends: &[(i32, i64)]) -> PartialAnswer {
    let mut scan = Scan::new(request).unwrap();
    for (partition, end) in ends {
        let batch = batch(*partition, 0..*end);
        for record in batch.records() {
            let Content::Entry(entry) = &record.content else { panic!("no entry") };
            scan.add(at(*partition, record.offset), entry, || record.body.to_vec());
        }
    }
    scan.finish()
}

pub(crate) async fn check(searcher: &Searcher, ends: &[(i32, i64)]) {
    for request in requests() {
        let found = searcher.partial(request.clone()).await.unwrap();
        let expected = expected(&request, ends);
        assert_eq!(found.hits, expected.hits, "{request:?}");
        assert_eq!(
            (found.count, found.levels, found.sources, &found.timeline, &found.facets),
            (expected.count, expected.levels, expected.sources, &expected.timeline, &expected.facets),
            "{request:?}"
        );
        assert_eq!(found.incomplete, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn splits_indexers_and_the_log_give_one_answer() {
    let world = World::new();
    let (mut sink, fresh) = world.indexer("a");
    for partition in 0..2 {
        sink.open(at(partition, 0).partition, 0, 0).await.unwrap();
    }
    let config = SearcherConfig { manifest_age: Duration::ZERO, ..SearcherConfig::default() };
    for round in 0..4 {
        let from = round * 30;
        sink.take(&batch(0, from..from + 30)).await.unwrap();
        sink.take(&batch(1, from..from + 20)).await.unwrap();
        sink.take(&batch(1, from + 20..from + 30)).await.unwrap();
        // With an indexer that answers, and with the log alone.
        let end = from + 30;
        let log = || FakeLog { ends: BTreeMap::from([(0, end), (1, end)]), ..FakeLog::default() };
        let searcher = world.searcher(None, None, config.clone());
        searcher.set_fresh(vec![fresh.clone()]);
        check(&searcher, &[(0, end), (1, end)]).await;
        check(&world.searcher(Some(log()), None, config.clone()), &[(0, end), (1, end)]).await;
        match round {
            1 => drop(sink.flush(Flush::Free(1)).await.unwrap()),
            2 => drop(sink.flush(Flush::Partition(at(0, 0).partition)).await.unwrap()),
            _ => {}
        }
        check(&searcher, &[(0, end), (1, end)]).await;
    }
    // By a version of before the last split was published, too: the indexer still answers for that.
    let old = world.searcher(None, None, SearcherConfig { manifest_age: Duration::from_secs(600), ..config.clone() });
    old.set_fresh(vec![fresh.clone()]);
    check(&old, &[(0, 120), (1, 120)]).await;
    sink.flush(Flush::Partition(at(0, 0).partition)).await.unwrap();
    check(&old, &[(0, 120), (1, 120)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_tells_which_splits_it_takes() {
    let world = World::new();
    let (mut sink, _) = world.indexer("a");
    let lane = at(0, 0).partition;
    sink.open(lane, 0, 0).await.unwrap();
    for from in [0, 30, 60] {
        sink.take(&batch(0, from..from + 30)).await.unwrap();
        sink.flush(Flush::Partition(lane)).await.unwrap();
    }
    let cache =
        SplitCache::new(world.manifest.objects().clone(), CacheConfig::new(world.folder.path().join("c"))).unwrap();
    let by_terms = Arc::new(crate::exec::ByTerms::default());
    let searcher = Searcher::new(world.manifest.clone(), cache, by_terms, None, None, SearcherConfig::default());
    let all = searcher.plan(request("*")).await.unwrap();
    assert_eq!((all.splits.len(), all.out_of_range, all.more), (3, 0, 0));
    assert!(all.splits.is_sorted_by(|one, next| one.first > next.last), "the newest first: {all:?}");
    let documents: u64 = all.splits.iter().map(|split| split.documents).sum();
    let counted = SearchRequest { wanted: Wanted { count: true, ..Wanted::default() }, ..request("*") };
    assert_eq!(documents, expected(&counted, &[(0, 90)]).count);
    let middle = &all.splits[1];
    let one = SearchRequest { from: Some(middle.first), to: Some(Timestamp(middle.last.0 + 1)), ..request("*") };
    let one = searcher.plan(one).await.unwrap();
    assert_eq!((one.splits.len(), one.out_of_range, &one.splits[0].split), (1, 2, &middle.split));
    let nothing = searcher.plan(request("nowhere")).await.unwrap();
    assert!(nothing.splits.iter().flat_map(|split| &split.segments).all(|segment| segment.pruned.is_some()));
    let others = searcher.plan(SearchRequest { workspace: "nobody's".into(), ..request("*") }).await.unwrap();
    assert_eq!((others.splits.len(), others.out_of_range), (0, 0));
}

/// Where splits lie elsewhere, those without the card or the word aren't downloaded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn splits_without_the_terms_are_not_downloaded() {
    let (folder, manifest) = (tempfile::tempdir().unwrap(), Manifest::new(elsewhere()));
    for from in [0, 30, 60, 90, 120] {
        publish(&manifest, &[entries(0, from..from + 30)]).await;
    }
    let cache = SplitCache::new(manifest.objects().clone(), CacheConfig::new(folder.path())).unwrap();
    let config = SearcherConfig { concurrency: 1, ..SearcherConfig::default() };
    let searcher = Searcher::new(manifest, cache.clone(), Arc::new(LookAtAll), None, None, config);
    let counted = |query| SearchRequest { wanted: Wanted { count: true, ..Wanted::default() }, ..request(query) };
    let none = searcher.partial(counted("card:nobodys rate")).await.unwrap();
    assert_eq!((none.count, none.cost.splits, none.cost.pruned), (0, 0, 5));
    assert_eq!(cache.size(), (0, 0), "nothing but filters was read");
    let plan = searcher.plan(request("card:nobodys")).await.unwrap();
    assert!(plan.splits.len() == 5 && plan.splits.iter().all(|split| split.pruned.is_some()), "{plan:?}");
    // One of them has it.
    let query = Query::keyword(Keyword::Id, format!("id-{}", at(0, 70)));
    let found = searcher.partial(SearchRequest { query, ..counted("*") }).await.unwrap();
    assert_eq!((found.count, found.cost.splits, found.cost.pruned), (1, 1, 4));
    assert_eq!((found.hits[0].key.position.offset, cache.size().0), (70, 1));
    // What all have is found in all.
    let all = searcher.partial(counted("rate card:card-1")).await.unwrap();
    let expected = expected(&counted("rate card:card-1"), &[(0, 150)]);
    assert_eq!((all.count, all.hits, all.cost.splits), (expected.count, expected.hits, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_answer_for_a_lane_are_counted_once() {
    let world = World::new();
    let ((mut one, fresh_one), (mut two, fresh_two)) = (world.indexer("a"), world.indexer("b"));
    for (sink, end) in [(&mut one, 20), (&mut two, 40)] {
        sink.open(at(0, 0).partition, 0, 0).await.unwrap();
        sink.take(&batch(0, 0..end)).await.unwrap();
    }
    two.open(at(1, 0).partition, 0, 0).await.unwrap();
    one.open(at(2, 0).partition, 0, 0).await.unwrap();
    one.take(&batch(2, 0..10)).await.unwrap();
    let log = FakeLog { ends: BTreeMap::from([(0, 40), (1, 15), (2, 10)]), ..FakeLog::default() };
    let config = SearcherConfig { manifest_age: Duration::ZERO, ..SearcherConfig::default() };
    let searcher = world.searcher(Some(log), None, config);
    searcher.set_fresh(vec![fresh_one, fresh_two]);
    // What the one that wasn't taken has of other lanes is in the log.
    check(&searcher, &[(0, 40), (1, 15), (2, 10)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_looked_at_is_said() {
    let world = World::new();
    let (mut sink, _) = world.indexer("a");
    sink.open(at(0, 0).partition, 0, 0).await.unwrap();
    let log = |is_away| FakeLog { ends: BTreeMap::from([(0, 50)]), is_away, ..FakeLog::default() };
    let config = SearcherConfig { tail: 20, ..SearcherConfig::default() };
    let counted = SearchRequest { wanted: Wanted { count: true, ..Wanted::default() }, ..request("tool") };
    let found = world.searcher(Some(log(false)), None, config.clone()).partial(counted.clone()).await.unwrap();
    assert!(found.incomplete.len() == 1 && found.incomplete[0].contains("30 records"), "{:?}", found.incomplete);
    assert_eq!(found.count, (30..50).filter(|offset| offset % 3 == 1).count() as u64);
    let found = world.searcher(Some(log(true)), None, config.clone()).partial(counted.clone()).await.unwrap();
    assert!(found.incomplete.len() == 1 && found.incomplete[0].contains("away"), "{:?}", found.incomplete);
    let config = SearcherConfig { deadline: Duration::ZERO, ..config };
    sink.take(&batch(0, 0..50)).await.unwrap();
    sink.flush(Flush::Partition(at(0, 0).partition)).await.unwrap();
    world.manifest.refresh().await.unwrap();
    let error = world.searcher(None, None, config).partial(counted).await.unwrap_err();
    assert!(matches!(error, SearchError::Deadline), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_erased_or_anothers_is_not_found() {
    let world = World::new();
    let (mut sink, fresh) = world.indexer("a");
    sink.open(at(0, 0).partition, 0, 0).await.unwrap();
    sink.take(&batch(0, 0..50)).await.unwrap();
    sink.flush(Flush::Partition(at(0, 0).partition)).await.unwrap();
    sink.take(&batch(0, 50..80)).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(world.folder.path().join("store")).unwrap());
    let upto = [(at(0, 0).partition, 0, 70)].into_iter().collect();
    erase(&*store, &Erasure::new("workspace-1", Target::Run("run-3".into()), upto, "tests")).await;
    let searcher = world.searcher(None, Some(Erasures::follow(store)), SearcherConfig::default());
    searcher.set_fresh(vec![fresh]);
    let all = SearchRequest { limit: 1000, ..request("*") };
    let answer = searcher.search(all).await.unwrap();
    let found: Vec<_> = answer.found.hits.iter().map(|hit| hit.key.position.offset).collect();
    let mut expected: Vec<_> = (0..80).filter(|n| n % 3 == 1 && (n % 7 != 3 || *n >= 70)).collect();
    expected.reverse();
    assert_eq!(found, expected);
    let none =
        searcher.search(SearchRequest::new("workspace", language::parse("*", Timestamp(0)).unwrap())).await.unwrap();
    assert!(none.found.hits.is_empty());
}

/// On a new installation, or where partitions were added, and no indexer runs yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_nobody_has_indexed_are_looked_at() {
    let world = World::new();
    let log = || FakeLog { ends: BTreeMap::from([(0, 50), (1, 15)]), ..FakeLog::default() };
    check(&world.searcher(Some(log()), None, SearcherConfig::default()), &[(0, 50), (1, 15)]).await;
    let (mut sink, fresh) = world.indexer("a");
    sink.open(at(0, 0).partition, 0, 0).await.unwrap();
    sink.take(&batch(0, 0..20)).await.unwrap();
    let searcher = world.searcher(Some(log()), None, SearcherConfig::default());
    searcher.set_fresh(vec![fresh]);
    check(&searcher, &[(0, 50), (1, 15)]).await;
}

/// What is past its retention is not found, whether or not it is still in a split.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_is_not_found() {
    let world = World::new();
    let (mut sink, fresh) = world.indexer("a");
    let lane = at(0, 0).partition;
    sink.open(lane, 0, 0).await.unwrap();
    for from in [0, 40] {
        sink.take(&batch(0, from..from + 40)).await.unwrap();
        sink.flush(Flush::Partition(lane)).await.unwrap();
    }
    sink.take(&batch(0, 80..100)).await.unwrap();
    let log = || FakeLog { ends: BTreeMap::from([(0, 120)]), ..FakeLog::default() };
    let found = async |request: SearchRequest, config| {
        let searcher = world.searcher(Some(log()), None, config);
        searcher.set_fresh(vec![fresh.clone()]);
        let wanted = Wanted { count: true, ..Wanted::default() };
        let found = searcher.partial(SearchRequest { wanted, limit: 1000, ..request }).await.unwrap();
        assert_eq!(found.count, found.hits.len() as u64);
        found.hits.iter().map(|hit| hit.key.position.offset).collect::<Vec<_>>()
    };
    for first in [0, 20, 60, 90, 110] {
        let expected: Vec<_> = (first..120).rev().filter(|offset| offset % 3 == 1).collect();
        let request = SearchRequest { kept_from: Some(record_time(first)), ..request("*") };
        assert_eq!(found(request, SearcherConfig::default()).await, expected);
    }
    for (days, count) in [(1, 0), (365 * 100, 40)] {
        let of = Duration::from_secs(days * 86_400);
        let retention = Retention { default: of / 2, workspaces: [("workspace-1".to_owned(), of)].into() };
        let config = SearcherConfig { retention: Some(retention), ..SearcherConfig::default() };
        assert_eq!(found(request("*"), config).await.len(), count);
    }
}

/// An indexer that answers may be behind, or not know yet that others go on with its lane: the log has the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_behind_hides_nothing() {
    let world = World::new();
    let (mut sink, fresh) = world.indexer("a");
    for partition in 0..2 {
        sink.open(at(partition, 0).partition, 0, 0).await.unwrap();
    }
    sink.take(&batch(0, 0..20)).await.unwrap();
    let log = FakeLog { ends: BTreeMap::from([(0, 50), (1, 15)]), ..FakeLog::default() };
    let searcher = world.searcher(Some(log), None, SearcherConfig::default());
    searcher.set_fresh(vec![fresh]);
    check(&searcher, &[(0, 50), (1, 15)]).await;
}

/// The index goes on with it only when an indexer opens it, and its log may be shorter than the one before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_topic_that_was_made_again_all_is_found() {
    let world = World::new();
    let (mut sink, _) = world.indexer("a");
    let lane = at(0, 0).partition;
    sink.open(lane, 0, 0).await.unwrap();
    sink.take(&batch(0, 0..50)).await.unwrap();
    sink.flush(Flush::Partition(lane)).await.unwrap();
    let counted = SearchRequest { wanted: Wanted { count: true, ..Wanted::default() }, ..request("*") };
    let found = async |epoch, end| {
        let log = FakeLog { ends: BTreeMap::from([(0, end)]), epoch, ..FakeLog::default() };
        world.searcher(Some(log), None, SearcherConfig::default()).partial(counted.clone()).await.unwrap()
    };
    let own = |end: i64| (0..end).filter(|offset| offset % 3 == 1).count() as u64;
    for end in [30, 70] {
        let found = found(1, end).await;
        assert_eq!((found.count, &found.incomplete[..]), (own(50) + own(end), &[][..]));
    }
    // Nobody has adopted it yet.
    let found = found(0, 30).await;
    assert_eq!(found.count, own(50));
    assert!(found.incomplete.len() == 1 && found.incomplete[0].contains("made again"), "{:?}", found.incomplete);
}

/// Erases a run while it is searched for.
#[derive(Debug)]
struct ErasesMeanwhile {
    store: Arc<dyn Store>,
    erasures: Erasures,
    runtime: tokio::runtime::Handle,
}

impl Execute for ErasesMeanwhile {
    fn search(
        &self,
        index: &crate::exec::Opened,
        request: &SearchRequest,
        deadline: Instant,
    ) -> Result<PartialAnswer, SearchError> {
        let answer = LookAtAll.search(index, request, deadline)?;
        let is_known = || self.erasures.current().is_some_and(|view| !view.is_empty());
        if !is_known() {
            let upto = [(at(0, 0).partition, 0, 50)].into_iter().collect();
            let erasure = Erasure::new("workspace-1", Target::Run("run-3".into()), upto, "tests");
            self.runtime.block_on(async {
                erase(&*self.store, &erasure).await;
                while !is_known() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        }
        Ok(answer)
    }
}

/// Whoever erases is told that it isn't shown any more while searches that began before go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_erased_meanwhile_is_not_found() {
    let world = World::new();
    publish(&world.manifest, &[entries(0, 0..50)]).await;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(world.folder.path().join("store")).unwrap());
    let erasures = Erasures::follow(store.clone());
    let runtime = tokio::runtime::Handle::current();
    let execute = Arc::new(ErasesMeanwhile { store, erasures: erasures.clone(), runtime });
    let cache = CacheConfig::new(world.folder.path().join("cache"));
    let cache = SplitCache::new(world.manifest.objects().clone(), cache).unwrap();
    let config = SearcherConfig::default();
    let searcher = Searcher::new(world.manifest.clone(), cache, execute, Some(erasures), None, config);
    let all = SearchRequest { limit: 1000, ..request("*") };
    let answer = searcher.partial(all).await.unwrap();
    let found: Vec<_> = answer.hits.iter().map(|hit| hit.key.position.offset).collect();
    assert_eq!(found, (0..50).rev().filter(|n| n % 3 == 1 && n % 7 != 3).collect::<Vec<_>>());
}
