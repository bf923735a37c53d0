//! `agentworks migrate`: makes the store's tables.

use std::process::ExitCode;

use agentworks_store_cql::migrate::plan;
use agentworks_store_cql::{CqlConfig, migrate};
use anyhow::bail;
use clap::Parser;

use super::config::ConfigArgs;
use crate::config::StoreAddress;

/// Make the store's keyspace and tables, or bring them up to date.
///
/// Migrations that have been applied are left out, and several may run this at once. The password is never given on the
/// command line: store.password_file or AGENTWORKS_STORE_PASSWORD holds it.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The store: cql://USER@HOST:PORT,HOST/KEYSPACE?dc=NAME&replication=3&ca=FILE: store.url
    ///
    /// Further settings: consistency (local_quorum), concurrency, timeout, and cert and key for a certificate of our own.
    /// replication is used when the keyspace is made: a number of copies, or one for each data centre: dc1:3,dc2:3.
    #[arg(long, value_name = "ADDRESS")]
    store: Option<String>,
    /// A file that holds the password: store.password_file
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
    /// Print the statements that would be made, and make none
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        let loaded = self.config.load(&[
            ("--store", "store.url", self.store.as_deref()),
            ("--password-file", "store.password_file", self.password_file.as_deref()),
        ])?;
        let StoreAddress::Cql(config) = loaded.store()? else {
            bail!("an embedded store needs no migrations: name a database with --store cql://… or store.url");
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
