//! `agentworks topics adopt`: goes on with a topic that was made again.

use std::io::{self, Write};
use std::process::ExitCode;

use agentworks_processors::epochs::adopt::{Adopted, CutBack, TopicReport};
use agentworks_schemas::Topic;
use anyhow::anyhow;
use serde::Deserialize;

use crate::cli::client::{Failure, GatewayArgs, finish, http};

/// Go on with a topic that was made again, in its next epoch.
///
/// A topic that was deleted and made again begins at offset 0 anew, so that nothing is taken of it until this is said.
/// What the sinks hold of the old one stays, under the epoch before. Where the store was lost and begun anew by a process
/// that doesn't know the archive, it goes on in the epoch that the archive and the search index have come to. It takes
/// a token with the role operator; running processes go on within seconds, without a restart.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// Which topics: agent-logs, system-logs, run-events; without any, all that have stopped
    #[arg(value_name = "TOPIC", value_parser = topic)]
    topics: Vec<Topic>,
    /// Where records were deleted from the log before they were taken: go on without them, from where the log begins
    #[arg(long)]
    skip_lost: bool,
    /// Where the log was cut back and has grown again: go on in it as it is, without what was written in place of the old
    /// records
    #[arg(long)]
    cut_back: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

fn topic(name: &str) -> Result<Topic, String> {
    let names = || Topic::ALL.map(Topic::as_str).join(", ");
    Topic::named(name).ok_or_else(|| format!("not one of {}", names()))
}

#[derive(Deserialize)]
struct Listed {
    topics: Vec<TopicReport>,
}

impl Args {
    pub(super) async fn execute(self) -> ExitCode {
        finish(self.run().await)
    }

    async fn run(self) -> Result<(), Failure> {
        let endpoint = self.gateway.endpoint()?;
        let mut names: Vec<_> = self.topics.iter().map(ToString::to_string).collect();
        if names.is_empty() {
            let listed: Listed = http::get(&endpoint, &["admin", "topics"], &[]).await?;
            names.extend(listed.topics.into_iter().filter(TopicReport::is_stopped).map(|report| report.topic));
        }
        if names.is_empty() {
            writeln!(io::stdout(), "all topics are as they were: there is nothing to adopt")?;
        }
        let query = [("skipLost", self.skip_lost), ("cutBack", self.cut_back), ("dryRun", self.dry_run)]
            .map(|(name, choice)| (name, choice.to_string()));
        let mut fault = None;
        for name in &names {
            match http::post::<Adopted>(&endpoint, &["admin", "topics", name, "adopt"], &query).await {
                Ok(adopted) => print(&adopted, &mut io::stdout().lock())?,
                Err(Failure::Other(error)) => {
                    // One that can't be adopted keeps no other from being.
                    eprintln!("error: {error:#}");
                    fault = Some(Failure::Other(anyhow!("{name} was not adopted")));
                }
                Err(failure) => return Err(failure),
            }
        }
        fault.map_or(Ok(()), Err)
    }
}

fn print(adopted: &Adopted, out: &mut impl Write) -> io::Result<()> {
    let Adopted { before: TopicReport { topic, epoch, recorded_id, topic_id, remade, cut_back, lanes, .. }, .. } =
        adopted;
    let would = if adopted.dry_run { "would go" } else { "goes" };
    if adopted.as_is {
        writeln!(out, "{topic} {would} on in its log as it is, which was cut back and has grown again")?;
        for CutBack { group, partition, offset } in cut_back {
            writeln!(out, "    {group:<7} partition {partition:>4}: another record lies at {offset}")?;
        }
    } else if *remade {
        let id = |id: &Option<String>| id.clone().unwrap_or_else(|| "unknown".to_owned());
        let (old, new) = (id(recorded_id), id(topic_id));
        writeln!(
            out,
            "{topic} was made again: {would} on in epoch {} (id {new}), after epoch {epoch} (id {old})",
            adopted.epoch
        )?;
        for lane in lanes {
            let start = lane.log_start.map_or("the partition is gone".to_owned(), |start| format!("begins at {start}"));
            writeln!(
                out,
                "    {:<5} partition {:>4}: held {} to {}; {start}",
                lane.sink, lane.partition, lane.low, lane.high
            )?;
        }
    } else if adopted.epoch > *epoch {
        writeln!(out, "{topic} {would} on in epoch {}, which was taken before the store forgot it", adopted.epoch)?;
        for lane in lanes.iter().filter(|lane| lane.epoch == adopted.epoch) {
            writeln!(out, "    {:<7} partition {:>4}: held {} to {}", lane.sink, lane.partition, lane.low, lane.high)?;
        }
    } else if adopted.skipped == 0 {
        writeln!(out, "{topic} {would} on: offsets that were deleted untaken had been given up before")?;
    } else {
        writeln!(out, "{topic} {would} on without {} offsets that were deleted untaken", adopted.skipped)?;
        for lane in lanes.iter().filter(|lane| lane.lost > 0) {
            let start = lane.log_start.unwrap_or_default();
            writeln!(
                out,
                "    {:<5} partition {:>4}: {} offsets, from {} to {start}",
                lane.sink, lane.partition, lane.lost, lane.high
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_processors::epochs::adopt::LaneReport;

    use super::*;

    fn adopted(remade: bool, lost: i64, taken: u32) -> String {
        said(remade, lost, taken, false)
    }

    fn said(remade: bool, lost: i64, taken: u32, as_is: bool) -> String {
        let lane = LaneReport {
            sink: "hot".into(),
            partition: 3,
            epoch: taken,
            low: 5,
            high: 90,
            log_start: Some(90 + lost),
            log_end: Some(500),
            lost,
        };
        let before = TopicReport {
            topic: "agent-logs".into(),
            epoch: 0,
            recorded_id: Some("old".into()),
            topic_id: Some(if remade { "new" } else { "old" }.into()),
            remade,
            lost,
            unfinished: false,
            cut_back: vec![CutBack { group: "store".into(), partition: 3, offset: 89 }],
            lanes: vec![lane],
        };
        let mut out = Vec::new();
        let epoch = if remade { 1 } else { taken };
        print(&Adopted { epoch, skipped: lost, as_is, dry_run: false, before }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_was_done_is_said_by_lane() {
        let again = adopted(true, 0, 0);
        assert!(again.starts_with("agent-logs was made again: goes on in epoch 1 (id new), after epoch 0 (id old)\n"));
        assert!(again.contains("hot   partition    3: held 5 to 90; begins at 90"), "{again}");
        let lost = adopted(false, 7, 0);
        assert!(lost.starts_with("agent-logs goes on without 7 offsets"), "{lost}");
        assert!(lost.contains("partition    3: 7 offsets, from 90 to 97"), "{lost}");
        let as_is = said(false, 0, 0, true);
        assert!(as_is.starts_with("agent-logs goes on in its log as it is"), "{as_is}");
        assert!(as_is.contains("store   partition    3: another record lies at 89"), "{as_is}");
        let finished = adopted(false, 0, 0);
        let forgotten = adopted(false, 0, 2);
        assert!(forgotten.starts_with("agent-logs goes on in epoch 2, which was taken"), "{forgotten}");
        assert!(forgotten.contains("hot     partition    3: held 5 to 90"), "{forgotten}");
        assert!(finished.starts_with("agent-logs goes on: ") && finished.contains("before"), "{finished}");
    }
}
