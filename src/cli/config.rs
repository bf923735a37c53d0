//! `agentworks config`: what the configuration is, and whether it is right; and the flags of all roles.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::config::{FlagValue, Layers, Loaded, Shown};

/// Where the configuration comes from: defaults, then the file, then AGENTWORKS__SECTION__KEY variables, then flags.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// A TOML file; docs/configuration.md lists its keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set any key: --set runtime.memory=256MiB
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Kafka's brokers, separated by commas: kafka.brokers
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// What the names of the topics begin with: kafka.topic_prefix
    #[arg(long, value_name = "PREFIX")]
    topic_prefix: Option<String>,
}

impl ConfigArgs {
    /// Reads and checks everything. `flags` are those of the command itself: flag, key, value if it is given.
    pub(crate) fn load(&self, flags: &[(&str, &str, Option<&str>)]) -> anyhow::Result<Loaded> {
        let set = self.set.iter().map(|(key, value)| FlagValue::set(key, value));
        let common = [
            ("--brokers", "kafka.brokers", self.brokers.as_deref()),
            ("--topic-prefix", "kafka.topic_prefix", self.topic_prefix.as_deref()),
        ];
        let own = common.iter().chain(flags).filter_map(|(flag, key, value)| {
            let (flag, key) = ((*flag).to_owned(), (*key).to_owned());
            value.map(|value| FlagValue { flag, key, value: value.to_owned() })
        });
        let layers = Layers {
            file: self.config.clone(),
            environment: std::env::vars_os().collect(),
            flags: set.chain(own).collect(),
        };
        Ok(Loaded::from_layers(&layers)?)
    }
}

/// The flags of a role.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RoleArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Where to listen; port 0 for any free one, which is said on standard output
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Only say whether the configuration is right
    #[arg(long)]
    pub(crate) check: bool,
}

/// Show and check the configuration.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the values that are in force, each with its source; in the form of a file, without secrets
    Show(ConfigArgs),
    /// Say whether the configuration is right, and everything that is not
    Check(ConfigArgs),
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Show(args) => match write!(io::stdout(), "{}", Shown(&args.load(&[])?)) {
                // Whoever reads it has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                written => written.context("cannot write to standard output")?,
            },
            Command::Check(args) => {
                args.load(&[])?;
                println!("the configuration is right");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
