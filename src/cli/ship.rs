//! `agentworks ship`: lines from standard input or a file, into the log.

pub(super) mod writer;

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use agentworks_ingest::ship::{CheckpointFile, Counts, Follow, Job, Labels, LongLines, Reader, Start, Tally, ship};
use agentworks_ingest::signals::Signals;
use agentworks_schemas::{Level, Source};
use anyhow::Context;
use clap::Parser;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use writer::{Writer, counted, say, seconds};

/// Every line becomes an entry, in order; reading waits while Kafka does. What a line shows of its level is understood
/// (`error[E0521]:`, `[warn]`, `level=info`, glog, systemd's `<3>`). A line that is a JSON object becomes the entry's data,
/// with its message, level and time taken from the usual fields.
///
/// Of lines that a carriage return begins anew, as progress bars do, the last state is shipped. Bytes that are not UTF-8
/// are replaced, and the entry says so.
///
/// The first Ctrl-C (or SIGTERM) stops the reading: what was read, and what lies in the pipe, is still shipped. The second
/// ends at once.
///
/// Exit status: 0 when everything that was read is in the log, 1 when not or when the state couldn't be written, 2 when the
/// command line is wrong.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    writer: Writer,
    /// The card that the lines are shown on
    #[arg(long, value_name = "ID")]
    card: String,
    /// The run that the lines belong to; a new one if not given, whose id is printed
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// The level of lines that show none
    #[arg(long, value_name = "LEVEL", default_value_t = Level::Info)]
    level: Level,
    /// Who writes the lines: orchestrator, provider, agent or system
    #[arg(long, value_name = "SOURCE", default_value_t = Source::Agent)]
    source: Source,
    /// Which part of the source writes them; `stdin` or the name of the file if not given
    #[arg(long, value_name = "NAME")]
    component: Option<String>,

    /// Read this file instead of standard input, and follow it through rotation and truncation. Files beside it count as
    /// rotated that have its name and then a number or a date (`app.log.1`, `app.log-20251202`); what was rotated before
    /// the first start isn't read, and what is compressed can't be
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// End at the end of the file, and if it was rotated meanwhile, of the one that has its name now
    #[arg(long, requires = "file")]
    no_follow: bool,
    /// Begin with the file's first line; the default
    #[arg(long, requires = "file")]
    from_start: bool,
    /// Begin with the next line that is written
    #[arg(long, requires = "file", conflicts_with = "from_start")]
    from_end: bool,
    /// Note here how far the file is shipped, and go on there after a restart, in the same run: with the file that was
    /// read, then with those that were rotated since. It is written before anything is sent, and then once Kafka has the
    /// lines: a crash ships some again, and loses none. When it can't be written any more (a full disk), shipping goes on,
    /// and the exit status is 1 if it still can't at the end
    #[arg(long, value_name = "FILE", requires = "file")]
    state: Option<PathBuf>,

    /// What becomes of a line beyond 256 KiB: `split` it into several entries, `cut` it, or `refuse` it
    #[arg(long, value_name = "POLICY", default_value = "split")]
    long_lines: LongLines,
    /// Write that the run began and ended; the default if the run is new and its lines have an end
    #[arg(long, overrides_with = "no_events")]
    events: bool,
    /// Don't write that the run began and ended
    #[arg(long)]
    no_events: bool,
    /// How long to wait for Kafka at the end, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    flush_timeout: Duration,
    /// Print only what went wrong
    #[arg(long, short)]
    quiet: bool,
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new().context("cannot receive signals")?;
        let (reader, job) = self.prepare()?;
        let (tally, stop, start) = (Tally::default(), CancellationToken::new(), Instant::now());
        let mut asked = false;
        let mut shipping = std::pin::pin!(ship(&job, reader, &stop, &tally));
        let result = loop {
            tokio::select! {
                result = &mut shipping => break result,
                _ = signals.next() => {
                    if asked {
                        say(format_args!("agentworks ship: ended at once, {}", undelivered(tally.counts())));
                        return Ok(ExitCode::FAILURE);
                    }
                    asked = true;
                    stop.cancel();
                    if !self.quiet {
                        say(format_args!("agentworks ship: shipping what was read; once more to end at once"));
                    }
                }
            }
        };
        let counts = tally.counts();
        if !self.quiet {
            let (lines, took) = (counted(counts.lines, "line"), start.elapsed().as_secs_f64());
            let bytes = counted(counts.bytes, "byte");
            say(format_args!(
                "agentworks ship: {lines}, {bytes} in {took:.1} s; card {}, run {}",
                self.card,
                job.run.id()
            ));
        }
        if counts.refused > 0 {
            say(format_args!("agentworks ship: refused {} for being too long", counted(counts.refused, "line")));
        }
        if let Err(error) = &result {
            say(format_args!("agentworks ship: {error}: {}", undelivered(counts)));
        }
        let all = result.is_ok() && counts.undelivered() == 0 && counts.refused == 0;
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn prepare(&self) -> anyhow::Result<(Reader, Job)> {
        let checkpoint = self.state.as_ref().map(CheckpointFile::new);
        let known = match &checkpoint {
            Some(file) => file.load().with_context(|| format!("cannot read the state in {}", file.path().display()))?,
            None => None,
        };
        let (run, sequence) = match (&self.run, &known) {
            (Some(run), Some(known)) if *run == known.run => (run.clone(), known.sequence),
            (Some(run), _) => (run.clone(), 0),
            (None, Some(known)) => (known.run.clone(), known.sequence),
            (None, None) => (Uuid::now_v7().to_string(), 0),
        };
        if self.run.is_none() && !self.quiet {
            say(format_args!("agentworks ship: card {}, run {run}", self.card));
        }
        let is_new = self.run.is_none() && known.as_ref().is_none_or(|known| known.unstarted);
        let start = match &known {
            Some(known) => Start::At(known.place, known.history.clone()),
            None if self.from_end => Start::End,
            None => Start::Beginning,
        };
        let producer = self.writer.producer()?;
        let has_end = self.file.is_none() || self.no_follow;
        let component = self.component.clone().or_else(|| {
            let name = self.file.as_ref()?.file_name()?;
            Some(name.to_string_lossy().into_owned())
        });
        let job = Job {
            run: producer.run(&self.writer.workspace, &self.card, &run).starting_at(sequence),
            producer,
            labels: Labels {
                source: self.source,
                component: component.unwrap_or_else(|| "stdin".into()),
                level: self.level,
            },
            long_lines: self.long_lines,
            events: self.events || (!self.no_events && is_new && has_end),
            checkpoint,
            patience: self.flush_timeout,
        };
        Ok((self.reader(start)?, job))
    }

    fn reader(&self, start: Start) -> anyhow::Result<Reader> {
        let reader = match &self.file {
            Some(path) => Reader::file(Follow { path: path.clone(), start, follow: !self.no_follow }),
            None => io::stdin().as_fd().try_clone_to_owned().and_then(Reader::stream),
        };
        reader.context("cannot begin to read")
    }
}

fn undelivered(counts: Counts) -> String {
    match counts.undelivered() {
        0 => "everything that was read is delivered".into(),
        count => format!("{} not delivered", counted(count, "line")),
    }
}
