//! `agentworks`: carries the logs of fleets of AI agents.

mod allocator;
mod cli;
mod config;
mod dev;
mod lock;
mod logging;
mod roles;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
