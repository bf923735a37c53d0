//! An indexer, a merger, or a searcher, as a process of its own: this test binary, started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_processors::reader::LogReader;
use agentworks_processors::runtime::{Runtime, RuntimeConfig};
use agentworks_query::{PartialAnswer, SearchRequest};
use agentworks_schemas::Topics;
use agentworks_search::cache::{CacheConfig, SplitCache};
use agentworks_search::exec::ByTerms;
use agentworks_search::fresh::LocalFresh;
use agentworks_search::indexer::{IndexerConfig, indexer};
use agentworks_search::maintain::{MaintainConfig, Maintainer, MergePolicy, Round};
use agentworks_search::manifest::{Grace, Manifest};
use agentworks_search::remote::{Answering, LeaseKeeper, PeerKey, follow};
use agentworks_search::searcher::{Searcher, SearcherConfig, SeekTail};
use agentworks_store::Store;
use prometheus_client::registry::Registry;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use uuid::Uuid;

use super::place::{Place, Plan, dying};
use crate::child::{self, Child, tell};
use crate::member::{Pace, commands};
use crate::remote::RemoteStore;
use crate::world::{PATIENCE, World};

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    Index,
    /// Merges, and deletes what was merged.
    Merge,
    Search,
}

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub work: Work,
    pub brokers: String,
    pub prefix: String,
    pub group: String,
    pub instance: Option<String>,
    pub store: SocketAddr,
    pub place: Place,
    /// Local scratch space of its own.
    pub folder: PathBuf,
    pub plan: Option<Plan>,
    pub extra: Vec<(String, String)>,
}

impl Order {
    pub fn new(work: Work, world: &World, place: &Place, folder: &Path) -> Self {
        let order = world.order(Pace::Brisk);
        Order {
            work,
            brokers: order.brokers,
            prefix: order.prefix,
            group: format!("{}-search", order.group),
            instance: None,
            store: order.store,
            place: place.clone(),
            folder: folder.to_owned(),
            plan: None,
            extra: order.extra,
        }
    }

    fn settings(&self) -> KafkaSettings {
        let mut settings = KafkaSettings::new(&self.brokers, Topics::with_prefix(&self.prefix));
        settings.extra.clone_from(&self.extra);
        settings
    }

    /// A cache of splits that knows nothing yet of what others have written.
    fn cache(&self, objects: &agentworks_objects::Objects) -> SplitCache {
        SplitCache::new(objects.clone(), CacheConfig::new(self.folder.join("splits"))).unwrap()
    }
}

/// A running member. It is killed when this is dropped.
#[derive(Debug)]
pub struct Member(Child);

impl Member {
    pub fn start(order: &Order) -> Self {
        Member(Child::start("search::member::process_of_other_tests", order))
    }

    pub fn signal(&self, signal: Signal) {
        self.0.signal(signal);
    }

    pub async fn kill_9(self) {
        self.0.kill_9().await;
    }

    /// Has it end in order.
    pub async fn leave(mut self) {
        let _ = self.0.say("leave").await;
        timeout(PATIENCE, self.0.wait()).await.expect("it leaves");
    }

    /// The next thing that it tells, if that comes in time.
    pub async fn told(&mut self, within: Duration) -> Option<String> {
        timeout(within, self.0.told()).await.ok().flatten()
    }

    /// Waits until it has killed itself.
    pub async fn dies(&mut self, within: Duration) -> bool {
        let died = async {
            while let Some(line) = self.0.told().await {
                if line.starts_with("died") {
                    return true;
                }
            }
            false
        };
        timeout(within, died).await == Ok(true) && timeout(within, self.0.wait()).await.is_ok()
    }

    /// Has a searcher search. `None` if it has died.
    pub async fn ask(&mut self, request: &SearchRequest) -> Option<Result<PartialAnswer, String>> {
        self.0.say(&serde_json::to_string(request).unwrap()).await.ok()?;
        let answer = timeout(PATIENCE, self.0.told()).await.expect("it answers")?;
        if answer.starts_with("died") {
            return None;
        }
        Some(serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}")))
    }
}

#[test]
#[ignore = "a process that other tests start"]
fn process_of_other_tests() {
    child::run(async |order: Order| match order.work {
        Work::Index => index(order).await,
        Work::Merge => merge(order).await,
        Work::Search => search(order).await,
    });
}

fn key() -> PeerKey {
    PeerKey::new(b"a secret of the tests, long enough")
}

async fn index(order: Order) {
    let store: Arc<dyn Store> = Arc::new(RemoteStore::new(order.store));
    let manifest = Manifest::new(dying(order.place.open(), order.plan));
    let making = IndexerConfig {
        age: Duration::from_millis(300),
        segment_docs: 300,
        ..IndexerConfig::new(order.folder.join("making"))
    };
    let (sink, live) = indexer(making, manifest, &mut Registry::default()).unwrap();
    let instance = Uuid::new_v4().simple().to_string();
    let answering =
        Answering::new(&instance, key(), Arc::new(LocalFresh::new(live.clone(), Arc::new(ByTerms::default()))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(warp::serve(answering.routes()).incoming(listener).run());
    let lease = LeaseKeeper::start(store.clone(), &instance, address, live);
    let runtime = RuntimeConfig {
        instance: order.instance.clone(),
        dead_letters: false,
        ..RuntimeConfig::new(order.settings(), order.group.clone(), store, vec![sink])
    };
    let runtime = Runtime::start(runtime).unwrap();
    if commands().recv().await.as_deref() == Some("leave") {
        runtime.shutdown().await;
        lease.end().await;
    }
}

async fn merge(order: Order) {
    let objects = dying(order.place.open(), order.plan);
    let cache = order.cache(&objects);
    // What was merged goes so soon that searchers notice.
    let grace = Grace { removed: Duration::from_secs(1), ..Grace::default() };
    // Any two are merged, and then those with the next.
    let merge =
        MergePolicy { factor: 2, max_docs: 1_000_000, min_docs: 1_000_000, own_docs: 3_000, ..MergePolicy::default() };
    let config = MaintainConfig { grace, merge, ..MaintainConfig::new(order.folder.join("making")) };
    let maintainer = Maintainer::new(Manifest::new(objects), cache, config, None);
    let mut commands = commands();
    while let Err(tokio::sync::mpsc::error::TryRecvError::Empty) = commands.try_recv() {
        match maintainer.round().await {
            Ok(round) if round == Round::default() => tell("idle"),
            Ok(_) => {}
            Err(error) => eprintln!("merging: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn search(order: Order) {
    let store: Arc<dyn Store> = Arc::new(RemoteStore::new(order.store));
    let objects = dying(order.place.open_elsewhere(), order.plan);
    let cache = order.cache(&objects);
    let pool = SeekPool::new(order.settings(), 2);
    let tail = SeekTail::new(pool.clone()).with_lanes_of(LogReader::new(store.clone(), pool));
    let config = SearcherConfig { deadline: Duration::from_secs(30), ..SearcherConfig::default() };
    let execute = Arc::new(ByTerms::default());
    let searcher = Searcher::new(Manifest::new(objects), cache, execute, None, Some(Arc::new(tail)), config);
    tokio::spawn(follow(store, searcher.clone(), key(), Vec::new()));
    let mut commands: UnboundedReceiver<String> = commands();
    while let Some(line) = commands.recv().await {
        if line == "leave" {
            return;
        }
        let answer = searcher.partial(serde_json::from_str(&line).unwrap()).await.map_err(|error| error.to_string());
        tell(&serde_json::to_string(&answer).unwrap());
    }
}
