//! `agentworks dev`: everything on one machine, in one process beside Kafka.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use super::config::key_and_value;
use crate::config::{FlagValue, Layers, Loaded};
use crate::dev;

/// Kafka as a child process (or one that is there), the sinks on an embedded store, the gateway and its terminal, all
/// under one data folder. Everything that was acknowledged survives `kill -9` of any of it.
///
/// Variables AGENTWORKS__SECTION__KEY and --set change what docs/configuration.md lists; where Kafka, the store and the
/// objects are, who is let in, and some more, `dev` decides by itself, and says so of what is set in vain. With --brokers,
/// `kafka.` has how to log in there.
///
/// Once it is ready, DIR/dev.env holds AGENTWORKS_URL, AGENTWORKS_TOKEN and AGENTWORKS_BROKERS, which the other commands
/// read from their environment, and /readyz answers 200.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data: PathBuf,
    /// The port of the terminal and the API on 127.0.0.1; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 7070)]
    pub(crate) http_port: u16,
    /// The port of Kafka on 127.0.0.1; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 0, conflicts_with = "brokers")]
    pub(crate) kafka_port: u16,
    /// Use this Kafka instead of starting one
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) brokers: Option<String>,
    /// What the names of the topics begin with, where several installations share a Kafka
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub(crate) topic_prefix: String,
    /// How many partitions the topics get when they are made
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=1024))]
    pub(crate) partitions: i32,
    /// The workspace of the token that is printed
    #[arg(long, env = "AGENTWORKS_WORKSPACE", value_name = "ID", default_value = "default")]
    pub(crate) workspace: String,
    /// Set any key: --set archive.flush_interval=5s
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Simulate a small fleet of agents
    #[arg(long)]
    pub(crate) demo: bool,
}

impl Args {
    /// The configuration, as far as it isn't decided here.
    ///
    /// # Errors
    /// If it is wrong.
    pub(crate) fn config(&self) -> anyhow::Result<Loaded> {
        let flags = self.set.iter().map(|(key, value)| FlagValue::set(key, value)).collect();
        let layers = Layers { file: None, environment: std::env::vars_os().collect(), flags };
        Ok(Loaded::from_layers(&layers)?)
    }

    /// Whether a key says nothing to `dev`.
    pub(crate) fn decides(&self, key: &str) -> bool {
        const OWN: [&str; 9] = [
            "kafka.brokers",
            "kafka.topic_prefix",
            "store.",
            "objects.",
            "runtime.sinks",
            "runtime.instance",
            "search.folder",
            "gateway.drain_",
            "log.",
        ];
        let is_listen = key.ends_with(".listen");
        let is_login = key.starts_with("auth.") && key != "auth.revoked";
        // Its own Kafka speaks without TLS, to nobody else.
        let is_kafka = key.starts_with("kafka.") && key != "kafka.fetch_by" && self.brokers.is_none();
        is_listen || is_login || is_kafka || OWN.iter().any(|own| key.starts_with(own))
    }

    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        dev::run(self).await
    }
}
