//! The Kafka of one machine: our child, or one that is there.

use std::future;

use agentworks_broker::{Broker, Config, State};
use agentworks_kafka::KafkaSettings;
use agentworks_schemas::Topics;
use anyhow::Context;
use tokio::sync::watch;

use super::folder::DataFolder;
use crate::cli::dev::Args;

/// Kafka, whoever runs it.
#[derive(Debug)]
pub(super) enum Kafka {
    Child { broker: Broker, state: watch::Receiver<State> },
    Theirs { brokers: String },
}

/// Tells whether Kafka serves, as far as this process knows.
#[derive(Clone, Debug)]
pub(super) struct KafkaWatch(Option<watch::Receiver<State>>);

impl Kafka {
    /// Starts Kafka, unless there is one to use.
    pub(super) async fn start(args: &Args, folder: &DataFolder) -> anyhow::Result<Self> {
        if let Some(brokers) = &args.brokers {
            return Ok(Kafka::Theirs { brokers: brokers.clone() });
        }
        eprintln!("starting Kafka in {}", folder.kafka().display());
        let config = Config { port: args.kafka_port, ..Config::new(folder.kafka()) };
        let broker = Broker::start(config).await.context("cannot start Kafka")?;
        let state = broker.events();
        Ok(Kafka::Child { broker, state })
    }

    /// How to reach it; a Kafka of our own asks for no login, whatever is configured.
    pub(super) fn settings(&self, topics: Topics, configured: KafkaSettings) -> KafkaSettings {
        let (brokers, extra) = match self {
            Kafka::Child { broker, .. } => (broker.bootstrap(), Vec::new()),
            Kafka::Theirs { brokers } => (brokers.clone(), configured.extra),
        };
        KafkaSettings { brokers, topics, extra, ..configured }
    }

    pub(super) fn watch(&self) -> KafkaWatch {
        match self {
            Kafka::Child { state, .. } => KafkaWatch(Some(state.clone())),
            Kafka::Theirs { .. } => KafkaWatch(None),
        }
    }

    /// Waits until it is clear that Kafka won't come back, and says why.
    pub(super) async fn failed(&mut self) -> String {
        let Kafka::Child { state, .. } = self else { return future::pending().await };
        let failed = state.wait_for(|state| matches!(state, State::Failed { .. } | State::Stopped)).await;
        match failed.as_deref() {
            Ok(State::Failed { reason }) => reason.clone(),
            _ => "it was stopped".to_owned(),
        }
    }

    pub(super) async fn stop(self) {
        if let Kafka::Child { broker, .. } = self {
            broker.stop().await;
        }
    }
}

impl KafkaWatch {
    /// Whether Kafka serves; if not, what it does instead.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.0.as_ref().map(|state| state.borrow().clone()) {
            None | Some(State::Ready { .. }) => Ok(()),
            Some(State::Starting) => Err("Kafka is starting".into()),
            Some(State::Restarting { reason }) => Err(format!("Kafka is being started again: {reason}")),
            Some(State::Failed { reason }) => Err(format!("Kafka has failed: {reason}")),
            Some(State::Stopped) => Err("Kafka has been stopped".into()),
        }
    }
}
