//! `agentworks dlq`: what lies in the dead-letter topic, and producing it again.
//!
//! - [`list`], [`show`], [`redrive`]: the commands.
//! - [`filter`]: which letters; [`erased`]: which of them were erased.
//! - [`shown`]: how a letter is told, and bytes that may be anything.

mod erased;
mod filter;
mod list;
mod redrive;
mod show;
mod shown;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

/// Look at records that could not be taken, and produce them again.
///
/// They lie in the topic agent-logs.dlq with their original bytes, where they came from and what was wrong with them.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them, the newest last
    List(list::Args),
    /// Show one: its headers, what was wrong with it, and its bytes
    Show(show::Args),
    /// Produce them again, each once, to the topic that they came from
    Redrive(redrive::Args),
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List(args) => args.execute().await?,
            Command::Show(args) => args.execute().await?,
            Command::Redrive(args) => args.execute().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Does what blocks where that is allowed.
async fn blocking<T: Send + 'static, E: Into<anyhow::Error> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> anyhow::Result<T> {
    let result = tokio::task::spawn_blocking(work).await.context("the reading was given up")?;
    result.map_err(Into::into).context("cannot read or write the dead-letter topic")
}
