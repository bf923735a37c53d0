//! The whole way of an entry, composed from its parts in this process: producer, receiver, sinks, reader, gateway.

use std::sync::Arc;
use std::time::Duration;

use agentworks_gateway::auth::{JwtAuth, Secret, mint};
use agentworks_gateway::drain::Drain;
use agentworks_gateway::hub::{Hub, HubLimits};
use agentworks_gateway::roster::Roster;
use agentworks_gateway::routing::{Router, RoutingConfig};
use agentworks_gateway::search::{Search, SearchConfig};
use agentworks_gateway::server::{self, Ending, Probes, Slots};
use agentworks_gateway::{Gateway, GatewayConfig, Metrics};
use agentworks_ingest::producer::Producer;
use agentworks_ingest::receiver::{Receiver, ReceiverConfig, ReceiverMetrics};
use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_processors::blocks::Sharing;
use agentworks_processors::epochs::SinkEpochs;
use agentworks_processors::erasure::Eraser;
use agentworks_processors::hot::{HotConfig, HotSink};
use agentworks_processors::reader::{ColdTier, LogReader};
use agentworks_processors::runs::{RunsConfig, RunsSink};
use agentworks_processors::runtime::{Runtime, RuntimeConfig, RuntimeHandle};
use agentworks_processors::sink::Sink;
use agentworks_processors::warm::{WarmConfig, WarmSink};
use agentworks_schemas::access::{Authenticate, Claims, Role};
use agentworks_store::{EmbeddedStore, Store};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use warp::Filter;

use super::index::Index;
use super::records::create_topics;
use super::{Scratch, eventually, kafka};

/// What tokens are signed with.
pub const SECRET: &str = "a secret of the tests, long enough";

/// What differs from stack to stack.
#[derive(Clone, Debug)]
pub struct StackConfig {
    pub gateway: GatewayConfig,
    pub hub: HubLimits,
    pub hot: HotConfig,
    pub warm: WarmConfig,
    /// Further settings of librdkafka, for all but the producer.
    pub kafka: Vec<(String, String)>,
    /// Where the tiers lie; in an embedded store of the stack's own, if nothing is said.
    pub store: Option<Arc<dyn Store>>,
    /// Whether there is a search index.
    pub search: bool,
    /// What is kept for longest, if there is such a thing.
    pub cold: Option<Arc<dyn ColdTier>>,
    /// What else tells of epochs.
    pub elsewhere: Vec<Arc<dyn SinkEpochs>>,
}

impl Default for StackConfig {
    fn default() -> Self {
        // Blocks are written soon, so that what is read comes from hot and from the log.
        let hot = HotConfig { block_age: Duration::from_millis(700), ..HotConfig::default() };
        let warm = WarmConfig { block_age: Duration::from_millis(1500), ..WarmConfig::default() };
        StackConfig {
            gateway: GatewayConfig::default(),
            hub: HubLimits::default(),
            hot,
            warm,
            kafka: Vec::new(),
            store: None,
            search: false,
            cold: None,
            elsewhere: Vec::new(),
        }
    }
}

/// Everything, running.
pub struct Stack {
    /// `127.0.0.1:PORT`, of the gateway.
    pub address: String,
    /// The same as a URL, `http://127.0.0.1:PORT`.
    pub url: String,
    pub settings: KafkaSettings,
    pub store: Arc<dyn Store>,
    pub producer: Producer,
    pub reader: LogReader,
    pub metrics: Arc<Metrics>,
    secret: Secret,
    runtime: RuntimeHandle,
    eraser: JoinHandle<()>,
    index: Option<Index>,
    gateway: Gateway,
    ending: Ending,
    server: Option<JoinHandle<()>>,
    _folder: Scratch,
}

impl Stack {
    /// On the Kafka of all tests, with topics of its own.
    pub async fn start(prefix: &str, partitions: i32) -> Stack {
        Stack::start_with(&kafka().await.bootstrap(), prefix, partitions, StackConfig::default()).await
    }

    pub async fn start_with(bootstrap: &str, prefix: &str, partitions: i32, config: StackConfig) -> Stack {
        let topics = create_topics(bootstrap, prefix, partitions).await;
        let settings = KafkaSettings { extra: config.kafka, ..KafkaSettings::new(bootstrap, topics.clone()) };
        let folder = Scratch::new("stack");
        let store = config.store.unwrap_or_else(|| Arc::new(EmbeddedStore::open(folder.path().join("store")).unwrap()));
        let mut registry = Registry::default();

        let sharing = Sharing::default();
        let warm = WarmSink::new(store.clone(), config.warm, &mut registry).unwrap().sharing(&sharing);
        let group = format!("{prefix}store");
        let seek = SeekPool::new(settings.clone(), 4);
        let reader = match config.cold {
            Some(cold) => LogReader::with_cold(store.clone(), seek.clone(), cold),
            None => LogReader::new(store.clone(), seek.clone()),
        };
        let hot = HotSink::new(store.clone(), config.hot, &mut registry).unwrap().sharing(&sharing);
        let hot = hot.erasures(reader.erasures().clone());
        let runs = RunsSink::new(store.clone(), RunsConfig::default()).erasures(reader.erasures().clone());
        let sinks: Vec<Box<dyn Sink>> = vec![Box::new(hot), Box::new(warm), Box::new(runs)];
        let runtime = RuntimeConfig::new(settings.clone(), group, store.clone(), sinks);
        let runtime = Runtime::start(RuntimeConfig { elsewhere: config.elsewhere, ..runtime }).unwrap();

        let index = config
            .search
            .then(|| Index::start(&settings, prefix, &store, reader.erasures().clone(), folder.path(), &mut registry));
        let eraser = tokio::spawn(Eraser::new(reader.clone()).work());
        let metrics = Arc::new(Metrics::default());
        metrics.register(&mut registry);
        let hub = Hub::start(settings.clone(), config.hub, reader.clone(), seek, metrics.clone()).unwrap();
        let secret = Secret::new(SECRET, "the tests").unwrap();
        let auth: Arc<dyn Authenticate> = Arc::new(JwtAuth::new(&secret));
        let gateway = Gateway {
            config: Arc::new(config.gateway),
            auth: auth.clone(),
            reader: reader.clone(),
            positions: Vec::new(),
            hub,
            metrics: metrics.clone(),
            roster: Roster::default(),
            router: Router::new(RoutingConfig::alone("http://127.0.0.1")),
            drain: Drain::default(),
            search: index.as_ref().map(|index| Search::new(index.searcher.clone(), SearchConfig::default())),
        };
        let probes = Probes { ready: Arc::new(|| Ok(())), registry: Arc::new(registry) };
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let producer = Producer::builder(bootstrap).topics(topics).linger(Duration::from_millis(1)).build().unwrap();
        let receiver = Receiver::new(producer.clone(), auth, ReceiverConfig::default(), ReceiverMetrics::new());
        let routes = receiver.routes().or(gateway.clone().routes(probes)).unify().boxed();
        let ending = Ending::default();
        let server = tokio::spawn(server::serve_until(listener, routes, Slots::default(), ending.clone()));
        let url = format!("http://{address}");
        let stack = Stack {
            address,
            url,
            settings,
            store,
            producer,
            reader,
            metrics,
            secret,
            runtime,
            eraser,
            index,
            gateway,
            ending,
            server: Some(server),
            _folder: folder,
        };
        let is_ready = || stack.runtime.is_ready() && stack.index.as_ref().is_none_or(|index| index.runtime.is_ready());
        eventually(Duration::from_secs(30), async || is_ready().then_some(())).await;
        stack
    }

    /// A token for a workspace that is valid for an hour.
    pub fn token(&self, workspace: &str, role: Role) -> String {
        self.token_with(workspace, role, None, Duration::from_secs(3600))
    }

    pub fn token_with(&self, workspace: &str, role: Role, cards: Option<&[&str]>, ttl: Duration) -> String {
        let cards = cards.map(|cards| cards.iter().map(|card| (*card).to_owned()).collect());
        let (workspace, subject) = (workspace.to_owned(), "test".to_owned());
        let claims = Claims { workspace, subject, role, cards, ..Claims::default() };
        mint(&self.secret, &claims, ttl).unwrap()
    }

    /// Another gateway over the same parts, with limits of its own: `127.0.0.1:PORT`, and what ends it.
    pub fn beside(&self, config: GatewayConfig) -> (String, Ending) {
        let (roster, drain) = (Roster::default(), Drain::default());
        let gateway = Gateway { config: Arc::new(config), roster, drain, ..self.gateway.clone() };
        let probes = Probes { ready: Arc::new(|| Ok(())), registry: Arc::default() };
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (address, ending) = (listener.local_addr().unwrap().to_string(), Ending::default());
        tokio::spawn(server::serve_until(listener, gateway.routes(probes), Slots::default(), ending.clone()));
        (address, ending)
    }

    /// Ends the gateway alone, as for a restart.
    pub async fn stop_gateway(&mut self) {
        self.ending.end();
        if let Some(server) = self.server.take() {
            server.await.unwrap();
        }
    }

    /// Ends the gateway alone, and has its clients go elsewhere before.
    pub async fn drain_gateway(&mut self) {
        self.gateway.drain(&self.ending).await;
        self.stop_gateway().await;
    }

    pub async fn stop(mut self) {
        self.stop_gateway().await;
        self.producer.close(Duration::from_secs(10)).await.unwrap();
        self.eraser.abort();
        self.runtime.shutdown().await;
        if let Some(index) = self.index {
            index.runtime.shutdown().await;
        }
    }
}
