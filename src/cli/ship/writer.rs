//! What the commands that write into the log have in common.

use std::io::Write;
use std::time::Duration;

use agentworks_ingest::producer::Producer;
use anyhow::Context;

use crate::cli::kafka::KafkaArgs;

/// Where to write.
#[derive(Debug, clap::Args)]
pub(crate) struct Writer {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// A further setting of librdkafka (TLS, SASL), as NAME=VALUE; may be given several times
    #[arg(long = "kafka-option", value_name = "NAME=VALUE", value_parser = option)]
    options: Vec<(String, String)>,
    /// The workspace to write to
    #[arg(long, env = "AGENTWORKS_WORKSPACE", value_name = "ID", default_value = "default")]
    pub(crate) workspace: String,
}

fn option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is not of the form NAME=VALUE")?;
    Ok((name.into(), value.into()))
}

impl Writer {
    /// A producer that tries for ever: whoever uses it decides when it has waited long enough.
    pub(crate) fn producer(&self) -> anyhow::Result<Producer> {
        let kafka = self.kafka.settings()?;
        let builder = Producer::builder(&kafka.brokers).topics(kafka.topics).delivery_timeout(Duration::ZERO);
        let options = kafka.extra.iter().chain(&self.options);
        let builder = options.fold(builder, |builder, (name, value)| builder.property(name, value));
        builder.build().context("cannot set up the producer")
    }
}

/// A number of seconds, also with decimals.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "is not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// `1 line`, `2 lines`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Tells something on standard error. That nobody may be listening there any more is no reason to fail.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
