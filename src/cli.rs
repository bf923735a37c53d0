//! The commands, one file each.

mod client;
pub(crate) mod dev;
mod kafka;
mod load;
mod replay;
mod run;
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
    /// Ship lines from standard input or a file
    Ship(ship::Args),
    /// Run a command, and ship what it prints
    Run(run::Args),
    /// Watch a card in the shell
    Tail(tail::Args),
    /// Replay a run in the shell
    Replay(replay::Args),
    /// Mint a token
    Token(token::Args),
    /// Create and list the topics
    Topics(topics::Args),
    /// Simulate a fleet of agents, with a ledger of what was sent
    Load(load::Args),
}

impl Cli {
    /// Runs the command to its end.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("cannot start the asynchronous runtime")?;
        if !matches!(self.command, Command::Dev(_)) {
            logging::to_stderr();
        }
        runtime.block_on(async {
            match self.command {
                Command::Dev(args) => args.execute().await,
                Command::Ship(args) => args.execute().await,
                Command::Run(args) => args.execute().await,
                Command::Tail(args) => args.execute().await,
                Command::Replay(args) => args.execute().await,
                Command::Token(args) => args.execute().await,
                Command::Topics(args) => args.execute().await,
                Command::Load(args) => args.execute().await,
            }
        })
    }
}
