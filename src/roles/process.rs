//! From the log, into the store.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentworks_kafka::KafkaSettings;
use agentworks_processors::erasure::Erasures;
use agentworks_processors::hot::HotSink;
use agentworks_processors::runs::RunsSink;
use agentworks_processors::runtime::{Runtime, RuntimeConfig, RuntimeHandle, RuntimeMetrics};
use agentworks_processors::sink::Sink;
use agentworks_processors::warm::WarmSink;
use agentworks_store::Store;
use anyhow::{Context, bail};
use prometheus_client::registry::Registry;
use tokio::time::sleep;
use warp::Filter;

use super::Ready;
use super::kafka::KafkaWatch;
use super::metrics::{Counted, LogMetrics};
use super::service::Service;
use super::store;
use crate::config::{Config, Loaded};

/// How often is looked whether the runtime has ended of itself.
const LOOK: Duration = Duration::from_secs(1);

/// The runtime with its sinks. Clones share it.
#[derive(Clone)]
pub(crate) struct Process {
    /// Until it is stopped.
    runtime: Arc<Mutex<Option<RuntimeHandle>>>,
}

impl Process {
    /// Starts it; neither Kafka nor the store need be reachable yet.
    pub(crate) fn start(
        config: &Config,
        kafka: &KafkaSettings,
        store: &Arc<dyn Store>,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let logs = LogMetrics::new(config.metrics.top_workspaces);
        logs.register(registry);
        let mut sinks = Vec::new();
        for name in &config.runtime.sinks.0 {
            let sink = sink(name, config, store, registry)?;
            // One of them counts for all, since each takes every entry.
            sinks.push(if sinks.is_empty() { Box::new(Counted::new(sink, logs.clone())) } else { sink });
        }
        let metrics = RuntimeMetrics::default();
        metrics.register(registry);
        let runtime = &config.runtime;
        let config = RuntimeConfig {
            instance: runtime.instance.clone(),
            dead_letters: runtime.dead_letters,
            topic_ids: runtime.topic_ids,
            memory: runtime.memory.0,
            queue: runtime.queue.0,
            linger: runtime.linger.0,
            drain: runtime.drain.0,
            metrics,
            ..RuntimeConfig::new(kafka.clone(), runtime.group(), store.clone(), sinks)
        };
        let runtime = Runtime::start(config).context("cannot start the sinks")?;
        Ok(Process { runtime: Arc::new(Mutex::new(Some(runtime))) })
    }

    /// Whether it does its work; if not, why.
    pub(crate) fn check(&self) -> Result<(), String> {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        match runtime.as_ref().map(RuntimeHandle::status) {
            Some(status) if status.is_ready() => Ok(()),
            Some(status) => Err(format!("the sinks are not ready: {}", status.problems().join("; "))),
            None => Err("the sinks are being stopped".into()),
        }
    }

    /// Waits until the runtime has ended of itself, and says why.
    pub(crate) async fn failed(&self) -> String {
        loop {
            let fault = {
                let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
                runtime.as_ref().and_then(|runtime| runtime.status().fault)
            };
            if let Some(fault) = fault {
                return fault;
            }
            sleep(LOOK).await;
        }
    }

    /// Writes what is pending, as long as the configured drain allows, and leaves the group.
    pub(crate) async fn stop(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown().await;
        }
    }
}

fn sink(name: &str, config: &Config, store: &Arc<dyn Store>, registry: &mut Registry) -> anyhow::Result<Box<dyn Sink>> {
    Ok(match name {
        "hot" => Box::new(HotSink::new(store.clone(), config.hot.sink(), registry)?),
        "warm" => Box::new(WarmSink::new(store.clone(), config.warm.sink(), registry)?),
        "runs" => {
            let runs = RunsSink::new(store.clone(), config.runs.sink()).erasures(Erasures::follow(store.clone()));
            runs.register(registry);
            Box::new(runs)
        }
        other => bail!("there is no sink {other:?}"),
    })
}

/// Runs the role until it is told to stop, or the runtime can't go on.
pub(crate) async fn run(loaded: &Loaded) -> anyhow::Result<ExitCode> {
    let config = &loaded.config;
    let (settings, address) = (loaded.kafka()?, loaded.store()?);
    let mut service = Service::listen("process", config.runtime.listen)?;
    let note = service.note();
    let opened = async {
        let store = store::open(&address, &note).await?;
        Ok((KafkaWatch::start(&settings, &note).await?, store))
    };
    let Some((kafka, store)) = service.until_stopped(opened).await? else { return Ok(ExitCode::SUCCESS) };
    let process = Process::start(config, &settings, &store, service.registry())?;
    let sinks = process.clone();
    let ready: Ready = Arc::new(move || kafka.check().and_then(|()| sinks.check()));
    let mut serving = service.serve(ready, |probes| probes.routes().boxed());
    let ended = serving.until_stopped(async {
        let fault = process.failed().await;
        bail!("the sinks can't go on: {fault}")
    });
    let ended = ended.await;
    let code = serving
        .finish(async |server| {
            // The probes answer until the last block is written.
            process.stop().await;
            server.end().await;
            Ok(())
        })
        .await?;
    ended.map(|()| code)
}
