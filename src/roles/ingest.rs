//! Entries over HTTP, into the log.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agentworks_gateway::server::Probes;
use agentworks_ingest::producer::{Metrics, Producer, Undelivered};
use agentworks_ingest::receiver::{Receiver, ReceiverMetrics};
use agentworks_kafka::KafkaSettings;
use agentworks_schemas::access::Authenticate;
use anyhow::{Context, anyhow};
use prometheus_client::registry::Registry;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::kafka::KafkaWatch;
use super::service::Service;
use crate::config::{self, Loaded};

/// How long what was handed to the producer may take to reach Kafka when we stop.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The receiver and its producer. Clones share them.
#[derive(Clone)]
pub(crate) struct Ingest {
    producer: Producer,
    routes: BoxedFilter<(Response,)>,
}

impl Ingest {
    /// Makes them; Kafka needn't be there yet.
    pub(crate) fn start(
        config: &config::Ingest,
        kafka: &KafkaSettings,
        auth: Arc<dyn Authenticate>,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let metrics = Metrics::new();
        metrics.register(registry);
        let builder = Producer::builder(&kafka.brokers)
            .topics(kafka.topics.clone())
            .linger(config.linger.0)
            .buffer(config.buffer_bytes.0, config.buffer_entries)
            .metrics(metrics);
        let builder = kafka.extra.iter().fold(builder, |builder, (name, value)| builder.property(name, value));
        let producer = builder.build().context("cannot make the producer")?;
        let metrics = ReceiverMetrics::new();
        metrics.register(registry);
        let routes = Receiver::new(producer.clone(), auth, config.limits(), metrics).routes();
        Ok(Ingest { producer, routes })
    }

    /// What entries are written with.
    pub(crate) fn producer(&self) -> &Producer {
        &self.producer
    }

    /// `POST /v1/logs` and `POST /v1/events`.
    pub(crate) fn routes(&self) -> BoxedFilter<(Response,)> {
        self.routes.clone()
    }

    /// Whether entries can be written; if not, why they never will be again.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.producer.failure().map_or(Ok(()), |reason| Err(cannot_go_on(&reason)))
    }

    /// Waits until entries can't be written any more, and says why. Only another producer mends it.
    pub(crate) async fn failed(&self) -> String {
        cannot_go_on(&self.producer.failed().await)
    }

    /// Waits until everything that was taken is in the log.
    pub(crate) async fn close(self) -> Result<(), Undelivered> {
        self.producer.close(CLOSE_TIMEOUT).await
    }
}

fn cannot_go_on(reason: &str) -> String {
    format!("the producer can write no more: {reason}")
}

/// Runs the role until it is told to stop, or the producer can write no more: then it ends with that, to be started again.
pub(crate) async fn run(loaded: &Loaded) -> anyhow::Result<ExitCode> {
    let auth = Arc::new(loaded.auth()?);
    let settings = loaded.kafka()?;
    let mut service = Service::listen("ingest", loaded.config.ingest.listen)?;
    let note = service.note();
    let Some(kafka) = service.until_stopped(KafkaWatch::start(&settings, &note)).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    auth.register(service.registry());
    let ingest = Ingest::start(&loaded.config.ingest, &settings, auth.clone(), service.registry())?;
    let (writes, routes) = (ingest.clone(), ingest.routes());
    let ready = Arc::new(move || writes.check().and_then(|()| kafka.check()).and_then(|()| auth.ready()));
    let mut serving = service.serve(ready, |probes: Probes| routes.or(probes.routes()).unify().boxed());
    let ended = serving.until_stopped(async { Err(anyhow!(ingest.failed().await)) }).await;
    let finished = serving.finish(async |server| {
        // Requests that are under way come to their end first.
        server.end().await;
        ingest.close().await.context("not everything that was taken has reached Kafka")
    });
    match (ended, finished.await) {
        (Ok(()), finished) => finished,
        (Err(failed), Ok(_)) => Err(failed),
        (Err(failed), Err(unfinished)) => Err(failed.context(unfinished)),
    }
}
