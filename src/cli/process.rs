//! `agentworks process`: from Kafka, into the store.

use std::process::ExitCode;

use clap::Parser;

use super::config::RoleArgs;
use crate::{logging, roles};

/// Read the log and fill the store: hot blocks, run summaries.
///
/// Answers /metrics, /healthz, /readyz. SIGTERM has it write what is pending and leave its group. Start as many as there
/// is work for: they share the partitions. An embedded store serves one process alone.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    role: RoleArgs,
    /// What to fill: runtime.sinks
    #[arg(long, value_name = "SINK,…")]
    sinks: Option<String>,
    /// Where the store is: store.url
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// A name of this process that stays when it is started again: runtime.instance
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        let loaded = self.role.config.load(&[
            ("--listen", "runtime.listen", self.role.listen.as_deref()),
            ("--sinks", "runtime.sinks", self.sinks.as_deref()),
            ("--store", "store.url", self.store.as_deref()),
            ("--instance", "runtime.instance", self.instance.as_deref()),
        ])?;
        if self.role.check {
            return Ok(ExitCode::SUCCESS);
        }
        logging::for_service(&loaded.config.log)?;
        roles::process::run(&loaded).await
    }
}
