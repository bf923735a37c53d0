//! All that runs in this process: the three roles, on one port and one store.

use std::sync::Arc;
use std::time::Duration;

use agentworks_gateway::Gateway;
use agentworks_gateway::auth::Secret;
use agentworks_gateway::server::{self, Ending, Probes, Slots};
use agentworks_ingest::producer::Producer;
use agentworks_kafka::{KafkaSettings, create_topics};
use agentworks_objects::Objects;
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
use crate::config::{List, Loaded, SINKS, StoreAddress};
use crate::roles::ingest::Ingest;
use crate::roles::metrics::ProcessMetrics;
use crate::roles::process::{Places, Process};
use crate::roles::serve::Indexing;
use crate::roles::{Note, Ready, serve, store};

/// How long everything may take to become ready once Kafka serves.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// This process's name in the group that feeds the store: when it is started again after a crash it has its partitions
/// back at once.
const INSTANCE: &str = "dev";

/// Everything in this process, running.
pub(super) struct Pipeline {
    url: String,
    ingest: Ingest,
    process: Process,
    demo: Option<JoinHandle<()>>,
    gateway: Gateway,
    server: JoinHandle<()>,
    ending: Ending,
}

impl Pipeline {
    /// Starts everything, and returns when it is ready.
    pub(super) async fn start(
        args: &Args,
        loaded: Loaded,
        folder: &DataFolder,
        settings: &KafkaSettings,
        kafka: KafkaWatch,
        secret: &Secret,
        listener: TcpListener,
    ) -> anyhow::Result<Self> {
        create_topics(settings, args.partitions, 1).await.context("cannot create the topics")?;
        let auth = Arc::new(loaded.auth_with(secret)?);
        let mut config = loaded.config;
        config.runtime.sinks = List(SINKS.map(str::to_owned).to_vec());
        config.search.folder = folder.search();
        // Nobody else takes over here, and whoever has stopped it is waiting.
        config.gateway.drain_delay = Duration::ZERO.into();
        config.gateway.drain_jitter = Duration::from_millis(500).into();
        config.gateway.drain_deadline = Duration::from_secs(2).into();
        config.runtime.instance = Some(INSTANCE.to_owned());
        let store = store::open(&StoreAddress::Embedded(folder.store()), &Note::new()).await?;
        let mut registry = Registry::default();
        ProcessMetrics::register("dev", &mut registry);
        auth.register(&mut registry);
        let objects = Objects::folder(&folder.objects()).context("cannot keep objects")?;
        let archive = serve::archive(&objects, &Note::new()).await?;
        let places = Places::new(store, Some((objects, archive)));
        let process = Process::start(&config, settings, &places, &mut registry)?;
        let ingest = Ingest::start(&config.ingest, settings, auth.clone(), &mut registry)?;
        let address = listener.local_addr().context("the listener has no address")?;
        let indexing = Indexing { here: process.index(), elsewhere: None };
        let gateway = serve::gateway(&config, settings, &places, indexing, auth, address, &mut registry)?;

        let (sinks, writes) = (process.clone(), ingest.clone());
        let ready: Ready = Arc::new(move || kafka.check().and_then(|()| writes.check()).and_then(|()| sinks.check()));
        serve::follow_peers(&gateway, ready.clone(), &mut registry)?;
        let slots = Slots::new(gateway.config.server.clone());
        slots.register(&mut registry);
        let probes = Probes { ready: ready.clone(), registry: Arc::new(registry) };
        let routes = ingest.routes().or(gateway.clone().routes(probes)).unify().boxed();
        let url = format!("http://{address}");
        let ending = Ending::default();
        let server = tokio::spawn(server::serve_until(listener, routes, slots, ending.clone()));
        wait_until(&*ready).await?;

        let demo = args.demo.then(|| start_demo(ingest.producer(), &args.workspace, &ending.shutdown));
        Ok(Pipeline { url, ingest, process, demo, gateway, server, ending })
    }

    /// Where the terminal and the API are.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Waits until entries can't be written or taken any more, and says why.
    pub(super) async fn failed(&self) -> String {
        tokio::select! {
            reason = self.ingest.failed() => reason,
            reason = self.process.failed() => reason,
        }
    }

    /// Ends everything in the order of the flow, so that what was taken in reaches the log, and what was read the store.
    pub(super) async fn stop(self) {
        self.gateway.drain(&self.ending).await;
        self.ending.end();
        if let Some(demo) = self.demo {
            let _ = demo.await;
        }
        if let Err(undelivered) = self.ingest.close().await {
            eprintln!("{undelivered}");
        }
        // It serves until its clients have been told; a panic in it has been printed.
        let _ = self.server.await;
        self.process.stop().await;
    }
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
