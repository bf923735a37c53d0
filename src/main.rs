//! `agentworks`: carries the logs of fleets of AI agents.

mod cli;
mod config;
mod dev;
mod logging;
mod roles;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// glibc's own gives back what each segment of the index and each batch has used, and the kernel clears it for the next:
/// that was a third of what indexing costs. See decision 014.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
