//! `agentworks serve`: streams, REST, the terminal.

use std::process::ExitCode;

use clap::Parser;

use super::config::RoleArgs;
use crate::{logging, roles};

/// Serve terminals: streams, replay, REST, the terminal's page.
///
/// Answers everything of docs/protocol.md, and /metrics, /healthz, /readyz. SIGTERM has clients connect again elsewhere.
/// Start as many as are needed.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    role: RoleArgs,
    /// Where the store is: store.url
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        let loaded = self.role.config.load(&[
            ("--listen", "gateway.listen", self.role.listen.as_deref()),
            ("--store", "store.url", self.store.as_deref()),
        ])?;
        loaded.known_keys()?;
        loaded.has_name()?;
        if self.role.check {
            return Ok(ExitCode::SUCCESS);
        }
        logging::for_service(&loaded.config.log)?;
        roles::serve::run(&loaded).await
    }
}
