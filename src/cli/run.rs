//! `agentworks run`: a program whose output is shipped.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use agentworks_ingest::run::{Command, Job, run};
use agentworks_ingest::ship::LongLines;
use agentworks_ingest::signals::Signals;
use agentworks_schemas::{Level, Source};
use anyhow::Context;
use clap::Parser;
use uuid::Uuid;

use super::ship::writer::{Writer, say, seconds};

/// The program's standard output and standard error are passed through unchanged and at once, and each of their lines
/// becomes an entry, in the order of arrival, as with `agentworks ship`. The run begins and ends with the program.
///
/// The program sees pipes instead of a terminal. Signals are passed on to its process group; when standard input is a
/// terminal, it shares ours, so that it may read there, and has Ctrl-C from the terminal itself.
///
/// Kafka never disturbs the program. Lines wait in memory for it; those that find the memory full are passed through but
/// missing in the log, which is said at once, at the end, and in the log.
///
/// Exit status: the program's; 128 + N when signal N ended it; 127 when there is no such program, 126 when it can't be
/// started, 2 when the command line is wrong.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    writer: Writer,
    /// The card that the lines are shown on
    #[arg(long, value_name = "ID")]
    card: String,
    /// The run that the program is; a new one if not given, whose id is printed
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// The level of lines that show none
    #[arg(long, value_name = "LEVEL", default_value_t = Level::Info)]
    level: Level,
    /// Who writes the lines: orchestrator, provider, agent or system
    #[arg(long, value_name = "SOURCE", default_value_t = Source::Agent)]
    source: Source,
    /// What becomes of a line beyond 256 KiB: `split` it into several entries, `cut` it, or `refuse` it
    #[arg(long, value_name = "POLICY", default_value = "split")]
    long_lines: LongLines,
    /// How long to wait for Kafka when the program has ended, in seconds; Ctrl-C ends the waiting
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    flush_timeout: Duration,
    /// Print nothing of our own but what went wrong
    #[arg(long, short)]
    quiet: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How many bytes of lines wait in memory beside the producer's buffer.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new().context("cannot receive signals")?;
        let mut command = self.command.into_iter();
        let program = command.next().context("there is no command")?;
        let producer = self.writer.producer()?;
        let id = self.run.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
        if self.run.is_none() && !self.quiet {
            say(format_args!("agentworks run: card {}, run {id}", self.card));
        }
        let job = Job {
            command: Command { program, arguments: command.collect() },
            run: producer.run(&self.writer.workspace, &self.card, &id),
            producer,
            source: self.source,
            level: self.level,
            long_lines: self.long_lines,
            queue_bytes: QUEUE_BYTES,
            patience: self.flush_timeout,
        };
        let report = run(job, &mut signals).await.context("cannot run a command")?;
        if let (false, Some(reason)) = (report.exit.started, &report.exit.reason) {
            say(format_args!("agentworks run: {reason}"));
        }
        if report.lost > 0 {
            let reason = report.error.map_or("Kafka did not keep up".to_owned(), |error| error.to_string());
            say(format_args!("agentworks run: {} lines or events are not in the log: {reason}", report.lost));
        }
        Ok(ExitCode::from(u8::try_from(report.exit.code).unwrap_or(u8::MAX)))
    }
}
