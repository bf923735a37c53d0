//! `agentworks topics`: creates, lists and grows the topics, and adopts one that was made again.

mod adopt;
mod grow;

use std::process::ExitCode;
use std::time::Duration;

use agentworks_kafka::topics::{TopicOptions, create_topics_with, describe_topics};
use anyhow::Context;
use clap::{Parser, Subcommand};

use super::kafka::KafkaArgs;

/// Create, list and grow the topics; adopt one that was made again.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create the topics that are not there: agent-logs, system-logs, run-events, agent-logs.dlq
    Create(Create),
    /// Show the topics that are there
    List {
        #[command(flatten)]
        kafka: KafkaArgs,
    },
    /// Add partitions
    Grow(grow::Args),
    /// Go on with a topic that was made again or cut back, or after records were deleted untaken
    Adopt(adopt::Args),
}

#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// How many partitions each gets
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// On how many brokers each partition is kept
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=32))]
    replication: i32,
    /// For how many days records are kept; the broker's own setting if not given
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    retention_days: Option<u64>,
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Create(create) => create.execute().await?,
            Command::List { kafka } => list(&kafka).await?,
            Command::Grow(args) => args.execute().await?,
            Command::Adopt(args) => return Ok(args.execute().await),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Create {
    async fn execute(self) -> anyhow::Result<()> {
        let options = TopicOptions {
            partitions: self.partitions,
            replication: self.replication,
            retention: self.retention_days.map(|days| Duration::from_secs(days * 24 * 3600)),
            retention_bytes: None,
        };
        let created = create_topics_with(&self.kafka.settings()?, options).await.context("cannot create the topics")?;
        match created.as_slice() {
            [] => println!("all topics are there already"),
            created => created.iter().for_each(|name| println!("created {name}")),
        }
        Ok(())
    }
}

async fn list(kafka: &KafkaArgs) -> anyhow::Result<()> {
    let topics = describe_topics(&kafka.settings()?).await.context("cannot list the topics")?;
    if topics.is_empty() {
        println!("no topics yet: `agentworks topics create` makes them");
    }
    for topic in topics {
        println!("{:<24} {:>4} partitions {:>12} offsets", topic.name, topic.partitions, topic.offsets);
        for (name, value) in topic.settings {
            println!("    {name} = {value}");
        }
    }
    Ok(())
}
