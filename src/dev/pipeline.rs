//! All that runs in this process: receiver, sinks, reader, gateway.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentworks_gateway::auth::{JwtAuth, Secret};
use agentworks_gateway::hub::{Hub, HubLimits};
use agentworks_gateway::metrics::Metrics;
use agentworks_gateway::server::{self, Probes};
use agentworks_gateway::{Gateway, GatewayConfig};
use agentworks_ingest::producer::{Metrics as ProducerMetrics, Producer};
use agentworks_ingest::receiver::{Receiver, ReceiverConfig, ReceiverMetrics};
use agentworks_kafka::{KafkaSettings, SeekPool, create_topics};
use agentworks_processors::hot::{HotConfig, HotSink};
use agentworks_processors::reader::LogReader;
use agentworks_processors::runs::{RunReader, RunsConfig, RunsSink};
use agentworks_processors::runtime::{Runtime, RuntimeConfig, RuntimeHandle, RuntimeMetrics};
use agentworks_schemas::access::Authenticate;
use agentworks_store::{EmbeddedStore, Store};
use anyhow::{Context, bail};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use warp::Filter;

use super::folder::DataFolder;
use super::kafka::KafkaWatch;
use crate::cli::dev::Args;

/// How many consumers read history at once.
const SEEK_CONSUMERS: usize = 6;
/// How long everything may take to become ready once Kafka serves.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long what was handed to the producer may take to reach Kafka when we stop.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The consumer group that feeds the store, and this process's name in it: when it is started again after a crash it has
/// its partitions back at once.
const GROUP: &str = "agentworks-store";
const INSTANCE: &str = "dev";

/// The sinks' runtime, until it is shut down.
type SharedRuntime = Arc<Mutex<Option<RuntimeHandle>>>;

/// Everything in this process, running.
pub(super) struct Pipeline {
    url: String,
    producer: Producer,
    runtime: SharedRuntime,
    demo: Option<JoinHandle<()>>,
    server: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Pipeline {
    /// Starts everything, and returns when it is ready.
    pub(super) async fn start(
        args: &Args,
        folder: &DataFolder,
        settings: &KafkaSettings,
        kafka: KafkaWatch,
        secret: &Secret,
        listener: TcpListener,
    ) -> anyhow::Result<Self> {
        create_topics(settings, args.partitions, 1).await.context("cannot create the topics")?;
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(folder.store()).context("cannot open the store")?);
        let mut registry = Registry::default();
        let runtime = start_sinks(settings, &store, &mut registry)?;
        let runtime: SharedRuntime = Arc::new(Mutex::new(Some(runtime)));

        let producer_metrics = ProducerMetrics::new();
        producer_metrics.register(&mut registry);
        let producer = Producer::builder(&settings.brokers).topics(settings.topics.clone()).metrics(producer_metrics);
        let producer = producer.build().context("cannot make the producer")?;
        let auth: Arc<dyn Authenticate> = Arc::new(JwtAuth::new(secret));
        let receiver_metrics = ReceiverMetrics::new();
        receiver_metrics.register(&mut registry);
        let receiver =
            Receiver::new(producer.clone(), auth.clone(), ReceiverConfig::default(), receiver_metrics).routes();
        let gateway = start_gateway(settings, store, auth, &mut registry)?;

        let ready = readiness(kafka, runtime.clone());
        let probes = Probes { ready: ready.clone(), registry: Arc::new(registry) };
        let routes = receiver.or(gateway.routes(probes)).unify().boxed();
        let url = format!("http://{}", listener.local_addr().context("the listener has no address")?);
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(server::serve(listener, routes, shutdown.clone()));
        wait_until(&*ready).await?;

        let demo = args.demo.then(|| start_demo(&producer, &args.workspace, &shutdown));
        Ok(Pipeline { url, producer, runtime, demo, server, shutdown })
    }

    /// Where the terminal and the API are.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Ends everything in the order of the flow, so that what was taken in reaches the log, and what was read the store.
    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        if let Some(demo) = self.demo {
            let _ = demo.await;
        }
        if let Err(undelivered) = self.producer.close(CLOSE_TIMEOUT).await {
            eprintln!("{undelivered}");
        }
        // It serves until its clients have been told; a panic in it has been printed.
        let _ = self.server.await;
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown().await;
        }
    }
}

fn start_sinks(
    settings: &KafkaSettings,
    store: &Arc<dyn Store>,
    registry: &mut Registry,
) -> anyhow::Result<RuntimeHandle> {
    let hot = HotSink::new(store.clone(), HotConfig::default(), registry);
    let runs = RunsSink::new(store.clone(), RunsConfig::default());
    runs.register(registry);
    let metrics = RuntimeMetrics::default();
    metrics.register(registry);
    let config = RuntimeConfig {
        instance: Some(INSTANCE.to_owned()),
        metrics,
        ..RuntimeConfig::new(settings.clone(), GROUP, vec![Box::new(hot), Box::new(runs)])
    };
    Runtime::start(config).context("cannot start the sinks")
}

fn start_gateway(
    settings: &KafkaSettings,
    store: Arc<dyn Store>,
    auth: Arc<dyn Authenticate>,
    registry: &mut Registry,
) -> anyhow::Result<Gateway> {
    let seek = SeekPool::new(settings.clone(), SEEK_CONSUMERS);
    let reader = LogReader::new(store.clone(), seek.clone());
    reader.metrics().register(registry);
    let metrics = Arc::new(Metrics::default());
    metrics.register(registry);
    let hub = Hub::start(settings.clone(), HubLimits::default(), reader.clone(), seek, metrics.clone());
    Ok(Gateway {
        config: Arc::new(GatewayConfig::default()),
        auth,
        reader,
        runs: RunReader::new(store.clone()),
        store,
        hub: hub.context("cannot start the live hub")?,
        metrics,
        connections: agentworks_gateway::state::Connections::default(),
    })
}

type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

fn readiness(kafka: KafkaWatch, runtime: SharedRuntime) -> Ready {
    Arc::new(move || {
        kafka.check()?;
        let runtime = runtime.lock().unwrap_or_else(PoisonError::into_inner);
        match runtime.as_ref().map(RuntimeHandle::status) {
            Some(status) if status.is_ready() => Ok(()),
            Some(status) => Err(format!("the sinks are not ready: {status:?}")),
            None => Err("the sinks are being stopped".into()),
        }
    })
}

async fn wait_until(ready: &(dyn Fn() -> Result<(), String> + Send + Sync)) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    while let Err(reason) = ready() {
        if Instant::now() > deadline {
            bail!("not ready after {} s: {reason}", READY_TIMEOUT.as_secs());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn start_demo(producer: &Producer, workspace: &str, shutdown: &CancellationToken) -> JoinHandle<()> {
    let (producer, workspace, stop) = (producer.clone(), workspace.to_owned(), shutdown.clone());
    tokio::spawn(async move {
        if let Err(error) = agentworks_load::demo(&producer, &workspace, stop.cancelled()).await {
            tracing::warn!(%error, "the demo fleet has ended");
        }
    })
}
