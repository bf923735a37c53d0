//! `agentworks reindex`: makes splits of the search index again, from the log.
//!
//! - [`source`]: the log, and the archive for what the log no longer has.

mod source;

use std::ops::Bound;
use std::process::ExitCode;
use std::sync::Arc;

use agentworks_archive::ArchiveReader;
use agentworks_kafka::SeekPool;
use agentworks_objects::Objects;
use agentworks_processors::epochs::Epochs;
use agentworks_processors::erasure::Erasures;
use agentworks_query::ast::{Ends, Query, Test};
use agentworks_query::parse;
use agentworks_schemas::Timestamp;
use agentworks_search::SearchError;
use agentworks_search::maintain::Maintainer;
use agentworks_search::split::{SplitId, SplitMeta, Times};
use agentworks_store::Store;
use anyhow::{Context, bail};
use clap::Parser;

use self::source::LogAndArchive;
use super::config::ConfigArgs;
use crate::config::Loaded;
use crate::roles::index::Splits;
use crate::roles::{Note, store};

/// How many consumers read the log.
const READERS: usize = 2;

/// Make splits of the search index again, from the log and the archive: those that a search has reported as missing or
/// damaged, or all of a span of time.
///
/// Each is put in the place of the one before as a whole, while everything runs: entries are found meanwhile as before, and
/// never twice. What was erased, or has expired, is left out. What the log no longer has is taken from the archive, if there
/// is one in objects.url. What neither has can't be made again, which is an error that says where it ends.
///
/// The configuration is that of `process`. An embedded store serves one process alone: stop that one first, and leave Kafka
/// running.
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  agentworks reindex --from 2025-12-02 --to 2025-12-03 --damaged\n  agentworks reindex --split \
                  019ad9d1b3e47c0a9f7e5d2c4b6a8190"
)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Splits with entries that came at this time or later: RFC 3339, a day, or like 2h before now
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Splits with entries that came at this time or before
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// This split, as a search has named it; it may be given several times
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "to"])]
    split: Vec<SplitId>,
    /// Only those that are missing or damaged
    #[arg(long)]
    damaged: bool,
    /// Only say which they are
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        let now = Timestamp::now();
        let moment = |flag, text: &Option<String>| text.as_ref().map(|text| moment(flag, text, now)).transpose();
        let times = match (moment("--from", &self.from)?, moment("--to", &self.to)?) {
            (None, None) if self.split.is_empty() => bail!("say which splits: --from and --to, or --split"),
            (from, to) => Times { first: from.unwrap_or(Timestamp(i64::MIN)), last: to.unwrap_or(Timestamp(i64::MAX)) },
        };
        if times.first > times.last {
            bail!("--from {} is after --to {}", times.first, times.last);
        }
        let loaded = self.config.load(&[])?;
        let Index { splits, maintainer, archive, store } = open(&loaded).await?;
        let state = splits.manifest().refresh().await.context("cannot read which splits there are")?;
        if let Some(missing) = self.split.iter().find(|id| !state.splits.contains_key(id)) {
            bail!("there is no split {missing} any more: it was merged with others, or made again, or has expired");
        }
        let is_wanted = |split: &&Arc<SplitMeta>| match self.split.is_empty() {
            true => split.record_times().is_some_and(|own| own.overlap(times)),
            false => self.split.contains(&split.id),
        };
        let mut wanted: Vec<_> = state.splits.values().filter(is_wanted).cloned().collect();
        if self.damaged {
            let damaged = maintainer.damaged(&wanted).await.context("cannot look at the splits")?;
            damaged.iter().for_each(|(split, reason)| println!("{} {reason}", split.id));
            wanted = damaged.into_iter().map(|(split, _)| split).collect();
        }
        let mut failed = 0;
        if self.dry_run {
            wanted.iter().for_each(|split| println!("{}", told(split)));
        } else {
            let log = log(&loaded, store, archive)?;
            failed = reindex(&log, &maintainer, &wanted).await?;
        }
        let (count, done) = (wanted.len() - failed, if self.dry_run { "would be" } else { "were" });
        println!("{count} of {} splits {done} made again", state.splits.len());
        if failed > 0 {
            bail!("{failed} could not be made again, as is told above");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The index, and what it is made of beside the log.
struct Index {
    splits: Splits,
    maintainer: Maintainer,
    archive: Option<ArchiveReader>,
    store: Arc<dyn Store>,
}

async fn open(loaded: &Loaded) -> anyhow::Result<Index> {
    let Some(objects) = loaded.objects()? else {
        bail!("there is no search index: objects.url says where it lies");
    };
    let objects = Objects::open(&objects).context("cannot open objects.url")?;
    // What is erased must not come back.
    let store = store::open(&loaded.store()?, &Note::new()).await?;
    let mut splits = Splits::open(&loaded.config.search, &objects, "reindex")?;
    splits.take_folder()?;
    let maintainer = splits.maintainer(&loaded.config.search, Erasures::follow(store.clone()))?;
    let archive = super::archive::find(&objects.child("archive")).await?;
    Ok(Index { splits, maintainer, archive: archive.as_ref().map(ArchiveReader::new), store })
}

/// The log, with the archive for what it no longer has.
fn log(loaded: &Loaded, store: Arc<dyn Store>, archive: Option<ArchiveReader>) -> anyhow::Result<LogAndArchive> {
    let kafka = loaded.kafka()?;
    let epochs = match loaded.config.runtime.topic_ids {
        true => Epochs::new(store, &kafka)?,
        false => Epochs::without_ids(store),
    };
    Ok(LogAndArchive::new(SeekPool::new(kafka, READERS), epochs, archive))
}

/// Makes splits again, and returns how many can't be made: of the oldest the log may have nothing any more.
async fn reindex(log: &LogAndArchive, maintainer: &Maintainer, wanted: &[Arc<SplitMeta>]) -> anyhow::Result<usize> {
    let mut failed = 0;
    for split in wanted {
        match maintainer.reindex(log, std::slice::from_ref(&split.id), None).await {
            Ok(done) => match done.first() {
                Some(done) => println!("made {} again: {} entries, before {}", split.id, done.docs.1, done.docs.0),
                None => println!("{} has been merged with others meanwhile", split.id),
            },
            Err(SearchError::Gone(_)) => println!("{} has been merged with others meanwhile", split.id),
            Err(error @ SearchError::Split { .. }) => {
                eprintln!("cannot make {} again: {error}", told(split));
                failed += 1;
            }
            Err(error) => return Err(error).with_context(|| format!("cannot make {} again", told(split))),
        }
    }
    Ok(failed)
}

/// A split in words.
fn told(split: &SplitMeta) -> String {
    let times = split.record_times().map_or_else(String::new, |times| format!(" of {} to {}", times.first, times.last));
    format!("split {}{times}: {} entries, {} bytes", split.id, split.docs, split.bytes)
}

/// A time as the query language takes it.
pub(super) fn moment(flag: &str, text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    match parse(&format!("since:\"{quoted}\""), now) {
        Ok(Query::Match(_, Test::Times(Ends { lower: Bound::Included(at), .. }))) => Ok(at),
        _ => bail!("{flag}: {text:?} is not a time: RFC 3339, a day like 2025-12-02, or like 2h before now is wanted"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn times_are_those_of_the_query_language() {
        let now = "2025-12-02T10:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2h", "2025-12-02T08:00:00Z"),
            ("2025-12-01", "2025-12-01T00:00:00Z"),
            ("2025-12-01T10:00:00Z", "2025-12-01T10:00:00Z"),
        ] {
            assert_eq!(moment("--from", text, now).unwrap(), expected.parse().unwrap());
        }
        for text in ["noon", "", "1h OR a", "\""] {
            assert!(moment("--to", text, now).unwrap_err().to_string().starts_with("--to"), "{text}");
        }
    }

    #[test]
    fn a_split_or_a_span_is_wanted() {
        let id = SplitId::new().to_string();
        assert!(Args::try_parse_from(["reindex", "--split", &id]).is_ok());
        assert!(Args::try_parse_from(["reindex", "--split", &id, "--from", "1h"]).is_err());
        assert!(Args::try_parse_from(["reindex", "--split", "x"]).is_err());
    }
}
