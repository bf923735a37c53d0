//! What the commands that write into the log have in common.

use std::ffi::OsStr;
use std::fmt;
use std::io::Write;
use std::time::Duration;

use agentworks_ingest::producer::Producer;
use anyhow::Context;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};

use crate::cli::kafka::KafkaArgs;

/// Where to write.
#[derive(Debug, clap::Args)]
pub(crate) struct Writer {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// A further setting of librdkafka (TLS, SASL), as NAME=VALUE; may be given several times
    #[arg(long = "kafka-option", value_name = "NAME=VALUE", value_parser = OptionParser)]
    options: Vec<KafkaOption>,
    /// The workspace to write to
    #[arg(long, env = "AGENTWORKS_WORKSPACE", value_name = "ID", default_value = "default")]
    pub(crate) workspace: String,
}

/// A setting of librdkafka, whose value may be a password and is never shown.
#[derive(Clone)]
struct KafkaOption {
    name: String,
    value: String,
}

impl fmt::Debug for KafkaOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOption").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Takes NAME=VALUE. As a plain function its fault would be told with what was given.
#[derive(Clone, Copy)]
struct OptionParser;

impl TypedValueParser for OptionParser {
    type Value = KafkaOption;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<KafkaOption, clap::Error> {
        let parts = value.to_str().and_then(|text| text.split_once('='));
        let fault = || clap::Error::raw(ErrorKind::ValueValidation, "--kafka-option is not of the form NAME=VALUE");
        let (name, value) = parts.ok_or_else(|| fault().with_cmd(command))?;
        Ok(KafkaOption { name: name.into(), value: value.into() })
    }
}

impl Writer {
    /// A producer that tries for ever: whoever uses it decides when it has waited long enough.
    pub(crate) fn producer(&self) -> anyhow::Result<Producer> {
        let kafka = self.kafka.settings()?;
        let builder = Producer::builder(&kafka.brokers).topics(kafka.topics).delivery_timeout(Duration::ZERO);
        let own = self.options.iter().map(|option| (&option.name, &option.value));
        let options = kafka.extra.iter().map(|(name, value)| (name, value)).chain(own);
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
pub(crate) fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        writer: Writer,
    }

    #[test]
    fn the_value_of_a_setting_is_not_shown_whatever_is_wrong() {
        let given = |options: &[&str]| {
            let options = options.iter().flat_map(|option| ["--kafka-option", *option]);
            Cli::try_parse_from(["agentworks", "--brokers", "127.0.0.1:9"].into_iter().chain(options))
        };
        let cli = given(&["sasl.pasword=hunter2", "client.id==a=b"]).unwrap();
        let options = &cli.writer.options;
        assert_eq!((options[1].name.as_str(), options[1].value.as_str()), ("client.id", "=a=b"));
        let shown = format!("{cli:?}");
        assert!(shown.contains("sasl.pasword") && !shown.contains("hunter2"), "{shown}");
        let error = format!("{0:#} {0:?}", cli.writer.producer().unwrap_err());
        assert!(error.contains("sasl.pasword") && !error.contains("hunter2"), "{error}");
        let error = given(&["sasl.password hunter2"]).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(error.exit_code() == 2 && shown.contains("NAME=VALUE") && !shown.contains("hunter2"), "{shown}");
    }
}
