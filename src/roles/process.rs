//! From the log, into the store, the search index and the archive.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agentworks_archive::{Archive, ArchiveSink, Maintenance};
use agentworks_kafka::KafkaSettings;
use agentworks_objects::{Objects, ObjectsConfig};
use agentworks_processors::blocks::Sharing;
use agentworks_processors::epochs::SinkEpochs;
use agentworks_processors::erasure::Erasures;
use agentworks_processors::hot::HotSink;
use agentworks_processors::runs::RunsSink;
use agentworks_processors::runtime::{Runtime, RuntimeConfig, RuntimeHandle, RuntimeMetrics, RuntimeStatus};
use agentworks_processors::sink::Sink;
use agentworks_processors::warm::WarmSink;
use agentworks_store::Store;
use anyhow::{Context, anyhow, bail};
use futures_util::future::join_all;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio::time::sleep;
use warp::Filter;

use super::Ready;
use super::clocks;
use super::elsewhere::{self, Unopened};
use super::index::Index;
use super::kafka::KafkaWatch;
use super::metrics::{Counted, LogMetrics};
use super::peers::Shown;
use super::serve;
use super::service::{Note, Service};
use super::store;
use crate::config::{Config, Loaded};

/// How often is looked whether the runtime has ended of itself.
const LOOK: Duration = Duration::from_secs(1);

/// What the sinks write to.
pub(crate) struct Places {
    /// Blocks, run summaries, positions.
    pub(crate) store: Arc<dyn Store>,
    /// Splits and tables; `None` where nothing writes any.
    pub(crate) objects: Option<(Objects, Archive)>,
    /// What tells of the topics' makings, where the store knows of none.
    elsewhere: Vec<Arc<dyn SinkEpochs>>,
}

impl Places {
    /// These.
    pub(crate) fn new(store: Arc<dyn Store>, objects: Option<(Objects, Archive)>) -> Self {
        let elsewhere = objects.as_ref().map(|(objects, archive)| elsewhere::opened(objects, archive));
        Places { store, objects, elsewhere: elsewhere.unwrap_or_default() }
    }

    /// The same, with objects of which this process opens none: what others have written there may know more than the store.
    fn beside(self, objects: Option<ObjectsConfig>) -> Self {
        match objects.filter(|_| self.objects.is_none()) {
            Some(objects) => Places { elsewhere: vec![Arc::new(Unopened(objects))], ..self },
            None => self,
        }
    }

    /// With the archive among the objects, for which is waited as in [`serve::archive`].
    pub(super) async fn open(store: Arc<dyn Store>, objects: Option<Objects>, note: &Note) -> anyhow::Result<Self> {
        let objects = match objects {
            Some(objects) => {
                let archive = serve::archive(&objects, note).await?;
                Some((objects, archive))
            }
            None => None,
        };
        Ok(Places::new(store, objects))
    }
}

/// The runtimes, one for each consumer group, and what looks after what they write. Clones share it.
#[derive(Clone)]
pub(crate) struct Process {
    /// Until they are stopped.
    runtimes: Arc<Mutex<Vec<RuntimeHandle>>>,
    index: Option<Index>,
    /// Ended when the last clone is dropped.
    _upkeep: Arc<JoinSet<()>>,
}

impl Process {
    /// Starts them; neither Kafka nor the store need be reachable yet.
    pub(crate) fn start(
        config: &Config,
        kafka: &KafkaSettings,
        places: &Places,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let logs = LogMetrics::new(config.metrics.top_workspaces);
        logs.register(registry);
        let metrics = RuntimeMetrics::default();
        metrics.register(registry);
        let mut start = Start { config, places, registry, erasures: None, index: None, upkeep: JoinSet::new() };
        let mut runtimes = Vec::new();
        for group in config.runtime.groups(kafka.topics.prefix()) {
            let (mut sinks, sharing) = (Vec::new(), Sharing::default());
            for name in &group.sinks {
                let sink = start.sink(name, &sharing)?;
                // One of all counts for all, since each takes every entry.
                let is_first = runtimes.is_empty() && sinks.is_empty();
                sinks.push(if is_first { Box::new(Counted::new(sink, logs.clone())) } else { sink });
            }
            let runtime = &config.runtime;
            // The archive counts what may be pending by its own measure.
            let memory = if group.sinks == ["archive"] { 2 * config.archive.flush_bytes.0 } else { runtime.memory.0 };
            let runtime = RuntimeConfig {
                instance: runtime.instance.clone(),
                elsewhere: places.elsewhere.clone(),
                dead_letters: runtime.dead_letters && group.fills_store(),
                topic_ids: runtime.topic_ids,
                memory,
                queue: runtime.queue.0,
                linger: runtime.linger.0,
                drain: runtime.drain.0,
                metrics: metrics.clone(),
                ..RuntimeConfig::new(kafka.clone(), group.name, places.store.clone(), sinks)
            };
            runtimes.push(Runtime::start(runtime).context("cannot start the sinks")?);
        }
        let Start { index, upkeep, .. } = start;
        Ok(Process { runtimes: Arc::new(Mutex::new(runtimes)), index, _upkeep: Arc::new(upkeep) })
    }

    /// The index that this process makes, if it does.
    pub(crate) fn index(&self) -> Option<&Index> {
        self.index.as_ref()
    }

    /// Whether all do their work; if not, why.
    pub(crate) fn check(&self) -> Result<(), String> {
        let runtimes = self.runtimes.lock();
        if runtimes.is_empty() {
            return Err("the sinks are being stopped".into());
        }
        let status: Vec<_> = runtimes.iter().map(RuntimeHandle::status).collect();
        if status.iter().all(RuntimeStatus::is_ready) {
            return Ok(());
        }
        let problems: Vec<_> = status.iter().flat_map(RuntimeStatus::problems).collect();
        Err(format!("the sinks are not ready: {}", problems.join("; ")))
    }

    /// Waits until one of the runtimes has ended of itself, and says why.
    pub(crate) async fn failed(&self) -> String {
        loop {
            let fault = self.runtimes.lock().iter().find_map(|runtime| runtime.status().fault);
            if let Some(fault) = fault {
                return format!("the sinks can't go on: {fault}");
            }
            sleep(LOOK).await;
        }
    }

    /// Writes what is pending, as long as the configured drain allows, and leaves the groups.
    pub(crate) async fn stop(&self) {
        let runtimes = std::mem::take(&mut *self.runtimes.lock());
        join_all(runtimes.into_iter().map(RuntimeHandle::shutdown)).await;
    }
}

/// What is being started.
struct Start<'a> {
    config: &'a Config,
    places: &'a Places,
    registry: &'a mut Registry,
    erasures: Option<Erasures>,
    index: Option<Index>,
    upkeep: JoinSet<()>,
}

impl<'a> Start<'a> {
    fn sink(&mut self, name: &str, sharing: &Sharing) -> anyhow::Result<Box<dyn Sink>> {
        let (config, store) = (self.config, &self.places.store);
        // What one of them compresses is the other's too, if it would have done the same.
        let alone = Sharing::default();
        let sharing = if config.hot.zstd_level == config.warm.zstd_level { sharing } else { &alone };
        Ok(match name {
            "hot" => {
                let hot = HotSink::new(store.clone(), config.hot.sink(), self.registry)?.sharing(sharing);
                Box::new(hot.erasures(self.erasures()))
            }
            "warm" => Box::new(WarmSink::new(store.clone(), config.warm.sink(), self.registry)?.sharing(sharing)),
            "runs" => {
                let runs = RunsSink::new(store.clone(), config.runs.sink()).erasures(self.erasures());
                runs.register(self.registry);
                Box::new(runs)
            }
            "search" => {
                let erasures = self.erasures();
                let (objects, _) = self.objects()?;
                let (sink, index) = Index::start(&config.search, objects, erasures, self.registry)?;
                self.upkeep.spawn(index.clone().maintain());
                self.index = Some(index);
                sink
            }
            "archive" => {
                let archive = self.objects()?.1.clone();
                let keeping = Maintenance::new(archive.clone(), config.archive.maintenance())?;
                keeping.register(self.registry);
                self.upkeep.spawn(keeping.work(config.archive.maintain.0));
                Box::new(ArchiveSink::new(archive, config.archive.sink(), self.registry)?.erasures(self.erasures()))
            }
            other => bail!("there is no sink {other:?}"),
        })
    }

    /// Borrowed from the places, not from this.
    fn objects(&self) -> anyhow::Result<&'a (Objects, Archive)> {
        self.places.objects.as_ref().context("there is no place for objects: give objects.url")
    }

    fn erasures(&mut self) -> Erasures {
        self.erasures.get_or_insert_with(|| Erasures::follow(self.places.store.clone())).clone()
    }
}

/// Runs the role until it is told to stop, or the runtime can't go on.
pub(crate) async fn run(loaded: &Loaded) -> anyhow::Result<ExitCode> {
    crate::allocator::keep_longer();
    let config = &loaded.config;
    let (settings, address, objects) = (loaded.kafka()?, loaded.store()?, loaded.objects()?);
    let key = loaded.peers()?;
    let mut service = Service::listen("process", config.runtime.listen)?;
    let note = service.note();
    let opened = objects.as_ref().filter(|_| config.runtime.writes_objects()).map(Objects::open);
    let opened = opened.transpose().context("cannot open objects.url")?;
    let opened = async {
        let store = store::open(&address, &note).await?;
        let kafka = KafkaWatch::start(&settings, &note).await?;
        Ok((kafka, Places::open(store, opened, &note).await?.beside(objects)))
    };
    let Some((kafka, places)) = service.until_stopped(opened).await? else { return Ok(ExitCode::SUCCESS) };
    let process = Process::start(config, &settings, &places, service.registry())?;
    tokio::spawn(clocks::look(settings));
    let sinks = process.clone();
    let ready: Ready = Arc::new(move || kafka.check().and_then(|()| sinks.check()));
    let shown = match (process.index(), key) {
        (Some(index), Some(key)) => Shown::start(config, index, key, service.address()?, places.store.clone()).await,
        _ => None,
    };
    let routes = shown.as_ref().map(Shown::routes);
    let mut serving = service.serve(ready, |probes| match routes {
        Some(routes) => routes.or(probes.routes()).unify().boxed(),
        None => probes.routes().boxed(),
    });
    let ended = serving.until_stopped(async { Err(anyhow!(process.failed().await)) }).await;
    let code = serving
        .finish(async |server| {
            // The probes answer until the last block is written.
            process.stop().await;
            if let Some(shown) = shown {
                shown.end().await;
            }
            server.end().await;
            Ok(())
        })
        .await?;
    ended.map(|()| code)
}
