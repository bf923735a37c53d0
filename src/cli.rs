//! The commands, one file each.

mod archive;
mod client;
mod config;
pub(crate) mod dev;
mod dlq;
mod erase;
mod ingest;
mod kafka;
mod load;
mod migrate;
mod process;
mod reindex;
mod replay;
mod run;
mod search;
mod serve;
mod ship;
mod tail;
mod token;
mod topics;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::logging;

/// Carries the logs of fleets of AI agents: live, replayable, searchable, archived.
#[derive(Debug, Parser)]
#[command(name = "agentworks", version, max_term_width = 100, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine: Kafka, the sinks, the gateway and its terminal
    Dev(dev::Args),
    /// Take entries over HTTP and write them to Kafka
    Ingest(ingest::Args),
    /// Read the log and fill the store
    Process(process::Args),
    /// Serve terminals: streams, replay, REST, the terminal's page
    Serve(serve::Args),
    /// Show and check the configuration of these three
    Config(config::Args),
    /// Ship lines from standard input or a file
    Ship(ship::Args),
    /// Run a command, and ship what it prints
    Run(run::Args),
    /// Watch a card in the shell
    Tail(tail::Args),
    /// Replay a run in the shell
    Replay(replay::Args),
    /// Search all that was logged
    Search(search::Args),
    /// Mint a token
    Token(token::Args),
    /// Erase a run or a workspace
    Erase(erase::Args),
    /// Make splits of the search index again, from the log
    Reindex(reindex::Args),
    /// Keep the archive: merge, vacuum, verify, restore, count
    Archive(archive::Args),
    /// Make the store's tables
    Migrate(migrate::Args),
    /// Create, list and grow the topics; adopt one that was made again
    Topics(topics::Args),
    /// Look at records that could not be taken, and produce them again
    Dlq(dlq::Args),
    /// Simulate a fleet of agents, with a ledger of what was sent
    Load(load::Args),
}

impl Cli {
    /// Runs the command to its end.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("cannot start the asynchronous runtime")?;
        // Services choose where their log goes by what they are configured to.
        let is_service =
            matches!(self.command, Command::Dev(_) | Command::Ingest(_) | Command::Process(_) | Command::Serve(_));
        if !is_service {
            logging::to_stderr();
        }
        runtime.block_on(async {
            match self.command {
                Command::Dev(args) => args.execute().await,
                Command::Ingest(args) => args.execute().await,
                Command::Process(args) => args.execute().await,
                Command::Serve(args) => args.execute().await,
                Command::Config(args) => args.execute().await,
                Command::Ship(args) => args.execute().await,
                Command::Run(args) => args.execute().await,
                Command::Tail(args) => args.execute().await,
                Command::Replay(args) => args.execute().await,
                Command::Search(args) => args.execute().await,
                Command::Token(args) => args.execute().await,
                Command::Erase(args) => args.execute().await,
                Command::Reindex(args) => args.execute().await,
                Command::Archive(args) => args.execute().await,
                Command::Migrate(args) => args.execute().await,
                Command::Topics(args) => args.execute().await,
                Command::Dlq(args) => args.execute().await,
                Command::Load(args) => args.execute().await,
            }
        })
    }
}
