//! `agentworks migrate`: makes the store's tables.

use std::path::PathBuf;
use std::process::ExitCode;

use agentworks_store_cql::migrate::plan;
use agentworks_store_cql::{CqlConfig, Password, migrate};
use anyhow::Context;
use clap::Parser;

/// Make the store's keyspace and tables, or bring them up to date.
///
/// Migrations that have been applied are left out, and several may run this at once. The user's password is read from
/// AGENTWORKS_STORE_PASSWORD or from --password-file, never from the command line.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The store: cql://USER@HOST:PORT,HOST/KEYSPACE?dc=NAME&replication=3&ca=FILE
    ///
    /// Further settings: consistency (local_quorum), concurrency, timeout, and cert and key for a certificate of our own.
    /// replication is used when the keyspace is made: a number of copies, or one for each data centre: dc1:3,dc2:3.
    // Read further below: clap repeats a value that won't do, and it might hold a password.
    #[arg(long, env = "AGENTWORKS__STORE__URL", value_name = "ADDRESS", hide_env_values = true)]
    store: String,
    /// A file whose first line is the password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Print the statements that would be made, and make none
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        let mut config: CqlConfig = self.store.parse().context("--store")?;
        config.password = match &self.password_file {
            Some(file) => {
                Some(Password::from_file(file).with_context(|| format!("--password-file {}", file.display()))?)
            }
            None => Password::from_env(),
        };
        if self.dry_run {
            print_plan(&config).await?;
        } else {
            let migrated = migrate(&config).await?;
            match migrated.applied.as_slice() {
                [] => println!("all migrations are applied already"),
                applied => applied.iter().for_each(|file| println!("applied {file}")),
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn print_plan(config: &CqlConfig) -> anyhow::Result<()> {
    let plan = plan(config).await?;
    if let Some(keyspace) = &plan.keyspace {
        println!("{keyspace};");
    }
    if plan.pending.is_empty() {
        println!("-- all migrations are applied already");
    }
    for (file, statements) in &plan.pending {
        println!("-- {file}");
        statements.iter().for_each(|statement| println!("{statement};"));
    }
    Ok(())
}
