//! Where the process's own log goes.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config::Log;

/// The variable that chooses what is logged, in `tracing`'s syntax: `info`, `agentworks_gateway=debug`.
const FILTER: &str = "AGENTWORKS_LOG";

/// For commands that talk to a person: warnings on standard error.
pub(crate) fn to_stderr() {
    let chosen = std::env::var(FILTER).unwrap_or_else(|_| "warn,delta_kernel=off".to_owned());
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    tracing_subscriber::registry().with(layer.with_filter(EnvFilter::new(chosen))).init();
}

/// For a role, which runs under a supervisor: everything on standard error, as it is configured.
pub(crate) fn for_service(config: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter).context("log.filter can't be read")?;
    let layer = fmt::layer().with_writer(std::io::stderr);
    let layer = match config.format.as_str() {
        "json" => layer.json().boxed(),
        _ => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    Ok(())
}

/// For a service with a data folder: everything into `file`, warnings on standard error too.
pub(crate) fn to_file(file: &Path) -> anyhow::Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(file);
    let log = log.with_context(|| format!("cannot write the log file {}", file.display()))?;
    let chosen = std::env::var(FILTER)
        .unwrap_or_else(|_| "info,fjall=warn,lsm_tree=warn,delta_kernel=off,tantivy=warn".to_owned());
    let all = fmt::layer().with_ansi(false).with_writer(Arc::new(log)).with_filter(EnvFilter::new(chosen));
    // librdkafka warns of much that passes by itself, and the Delta kernel of what it returns, as that there is no table yet;
    // what doesn't pass shows in what the parts that use them say.
    let warnings = Targets::new().with_default(LevelFilter::WARN);
    let warnings = warnings.with_target("librdkafka", LevelFilter::ERROR).with_target("delta_kernel", LevelFilter::OFF);
    let warnings = fmt::layer().with_writer(std::io::stderr).with_target(false).with_filter(warnings);
    tracing_subscriber::registry().with(all).with(warnings).init();
    Ok(())
}
