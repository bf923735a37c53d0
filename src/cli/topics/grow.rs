//! `agentworks topics grow`: adds partitions.

use agentworks_kafka::grow_topics;
use anyhow::Context;

use crate::cli::kafka::KafkaArgs;

/// Add partitions to all topics, for more processes to share the work.
///
/// From then on new records of most cards lie in other partitions than before. Running processes notice within half a
/// minute; terminals and readers show both, in order per partition, and across partitions by time. Records that are
/// written while producers learn of it may lie in either. Partitions can't be taken away again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// How many partitions each topic is to have
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub(super) async fn execute(self) -> anyhow::Result<()> {
        let grown = grow_topics(&self.kafka.settings()?, self.partitions, self.dry_run).await;
        let grown = grown.context("cannot add partitions")?;
        let verb = if self.dry_run { "would grow" } else { "grew" };
        for topic in &grown {
            println!("{verb} {} from {} to {} partitions", topic.name, topic.from, topic.to);
        }
        if grown.is_empty() {
            println!("all topics have {} partitions already", self.partitions);
        } else {
            println!(
                "new records of most cards lie in other partitions from then on: what is there stays where it is, and \
                 readers know both"
            );
        }
        Ok(())
    }
}
