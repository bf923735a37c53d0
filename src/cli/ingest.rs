//! `agentworks ingest`: entries over HTTP, into the log.

use std::process::ExitCode;

use clap::Parser;

use super::config::RoleArgs;
use crate::{logging, roles};

/// Take entries over HTTP and write them to Kafka.
///
/// Answers POST /v1/logs and POST /v1/events, and /metrics, /healthz, /readyz. SIGTERM ends it once everything that was
/// taken is in Kafka. Should Kafka's client fail for good, which only a new process mends, it ends with an error: have it
/// started again. Start as many as are needed.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    role: RoleArgs,
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        let loaded = self.role.config.load(&[("--listen", "ingest.listen", self.role.listen.as_deref())])?;
        loaded.known_keys()?;
        if self.role.check {
            return Ok(ExitCode::SUCCESS);
        }
        logging::for_service(&loaded.config.log)?;
        roles::ingest::run(&loaded).await
    }
}
