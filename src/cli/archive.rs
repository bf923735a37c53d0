//! `agentworks archive`: keeps the archive, by hand: merges, deletes what nothing needs, verifies, restores, counts.
//!
//! - [`print`]: how it is told.
//! - [`rebuild`]: what is restored from the log.
//! - [`restore`]: what is restored into the store.

mod print;
mod rebuild;
mod restore;

use std::io;
use std::process::ExitCode;

use agentworks_archive::{Archive, Maintenance};
use agentworks_objects::Objects;
use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

use super::config::ConfigArgs;
use crate::config::Loaded;

/// Keep the archive by hand: merge, delete what nothing needs, verify, restore, count.
///
/// Processes with the sink archive do most of this by themselves, every archive.maintain. Each command may run beside
/// them, and may be ended at any time.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how many files, rows and bytes there are, and from when
    Stats {
        #[command(flatten)]
        place: PlaceArgs,
        /// By workspace as well, as of the days that are over; reads all run rows
        #[arg(long)]
        workspaces: bool,
    },
    /// Read everything, and say whether it is what was written and whole; exits with 1 if it isn't
    Verify {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Take out what is kept no longer, merge the small files of days that are over, and sum up their runs
    Compact {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Delete files that no version of a table has needed for archive.grace
    Vacuum {
        #[command(flatten)]
        place: PlaceArgs,
        /// Only say which they are
        #[arg(long)]
        dry_run: bool,
    },
    Rebuild(rebuild::Args),
    Restore(restore::Args),
}

/// Which archive.
#[derive(Clone, Debug, clap::Args)]
struct PlaceArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where objects are, a folder or s3://BUCKET/PREFIX: objects.url
    #[arg(long, value_name = "URL")]
    objects: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Which archive, and which store.
#[derive(Clone, Debug, clap::Args)]
struct PlacesArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Where the store is: store.url
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl PlacesArgs {
    fn load(&self) -> anyhow::Result<Loaded> {
        self.place.load(&[("--store", "store.url", self.store.as_deref())])
    }
}

impl PlaceArgs {
    fn load(&self, flags: &[(&str, &str, Option<&str>)]) -> anyhow::Result<Loaded> {
        let own = [("--objects", "objects.url", self.objects.as_deref())];
        self.config.load(&[&own[..], flags].concat())
    }

    /// What keeps the archive.
    async fn open(&self) -> anyhow::Result<Maintenance> {
        maintenance(&self.load(&[])?).await
    }
}

async fn maintenance(loaded: &Loaded) -> anyhow::Result<Maintenance> {
    Ok(Maintenance::new(open(loaded).await?, loaded.config.archive.maintenance())?)
}

/// Opens the archive that is there; none is made.
async fn open(loaded: &Loaded) -> anyhow::Result<Archive> {
    let Some(objects) = loaded.objects()? else {
        bail!("where is the archive? Give --objects, or objects.url in the configuration");
    };
    let objects = Objects::open(&objects).context("cannot open objects.url")?.child("archive");
    find(&objects).await?.with_context(|| {
        format!(
            "there is no archive in {}: is objects.url what the processes with the sink archive have?",
            objects.url()
        )
    })
}

/// The archive in `objects`, if there is one; none is made.
pub(super) async fn find(objects: &Objects) -> anyhow::Result<Option<Archive>> {
    match Archive::is_there(objects).await.context("cannot look for the archive")? {
        true => Ok(Some(Archive::open(objects).await.context("cannot open the archive")?)),
        false => Ok(None),
    }
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        let mut is_whole = true;
        let told = match self.command {
            Command::Stats { place, workspaces } => {
                let keeper = place.open().await?;
                let tables = keeper.stats().await?;
                let workspaces = if workspaces { Some(keeper.workspaces().await?) } else { None };
                print::stats(&tables, workspaces.as_ref(), place.json)
            }
            Command::Verify { place } => {
                let verified = place.open().await?.verify().await?;
                is_whole = verified.problems.is_empty();
                print::verified(&verified, place.json)
            }
            Command::Compact { place } => {
                let keeper = place.open().await?;
                // Each is done, whatever becomes of the others.
                let (retained, merged, runs) = (keeper.retain().await, keeper.compact().await, keeper.roll_up().await);
                print::compacted(retained?, merged?, runs?, place.json)
            }
            Command::Vacuum { place, dry_run } => {
                let keeper = place.open().await?;
                let files = if dry_run { keeper.unneeded().await? } else { keeper.vacuum().await? };
                print::vacuumed(&files, dry_run, place.json)
            }
            Command::Rebuild(args) => args.execute().await?,
            Command::Restore(args) => args.execute().await?,
        };
        match told {
            // Nobody reads on: that is no fault.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            told => told.context("cannot write to standard output")?,
        }
        Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
