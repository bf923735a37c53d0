//! `agentworks load`: a simulated fleet.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use agentworks_ingest::signals::Signals;
use agentworks_load::{Counts, Fleet, Ledger, Limit, Pace, Progress, drive};
use agentworks_schemas::Timestamp;
use anyhow::Context;
use clap::Parser;

use super::ship::writer::{Writer, say, seconds};

/// Agents that plan, call tools and models, warn and fail, on many cards at once. With --ledger, what is sent is on disk
/// before it is sent, and what Kafka acknowledged soon after, so that a test can tell later whether anything was lost.
///
/// While Kafka is away it waits, and goes on when Kafka is back. The first Ctrl-C stops the sending and waits for what was
/// sent; the second ends at once.
///
/// Exit status: 0 when everything that was sent was acknowledged, 1 when not, 2 when the command line is wrong.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    writer: Writer,
    /// Entries and events per second, on average; 0 for as many as Kafka takes
    #[arg(long, value_name = "N", default_value_t = 1000.0)]
    rate: f64,
    /// Stop after so many seconds
    #[arg(long, value_name = "N", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Stop after so many entries and events
    #[arg(long, value_name = "N")]
    entries: Option<u64>,
    /// How many cards there are
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    cards: u32,
    /// How many runs a card has, one after the other; without end if not given
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// How unequal the cards are: 0 for all the same, 1 as words in a text
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    skew: f64,
    /// Where all that looks random comes from; printed if not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Note here what is sent and acknowledged; one that is there is continued
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Print nothing but what went wrong
    #[arg(long, short)]
    quiet: bool,
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new().context("cannot receive signals")?;
        let producer = self.writer.producer()?;
        let seed = self.seed.unwrap_or_else(rand::random);
        if self.seed.is_none() && !self.quiet {
            say(format_args!("agentworks load: seed {seed}"));
        }
        let (pace, rate) = if self.rate > 0.0 { (Pace::Fleet, self.rate) } else { (Pace::Full, 1000.0) };
        let fleet = Fleet {
            workspace: self.writer.workspace.clone(),
            cards: self.cards as usize,
            runs_per_card: self.runs,
            rate,
            skew: self.skew,
            ..Fleet::new(seed, Timestamp::now())
        };
        let limit = Limit { records: self.entries, time: self.seconds };
        let ledger = self.open_ledger()?;
        let (progress, start) = (Progress::default(), Instant::now());

        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let mut tell = Some(tell);
        let stop = async {
            // Dropped with the end of everything only.
            let _ = told.await;
        };
        let mut driving = std::pin::pin!(drive(&fleet, pace, limit, &producer, ledger, &progress, stop));
        let mut watch = Watch { last: (start, Counts::default()), quiet: self.quiet };
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.tick().await;
        let counts = loop {
            tokio::select! {
                counts = &mut driving => break counts?,
                _ = second.tick() => watch.show(&progress),
                _ = signals.next() => match tell.take() {
                    Some(tell) => {
                        let _ = tell.send(());
                    }
                    None => {
                        let Counts { sent, acked, .. } = progress.counts();
                        say(format_args!("agentworks load: ended at once, {} of {sent} not acknowledged", sent - acked));
                        return Ok(ExitCode::FAILURE);
                    }
                },
            }
        };
        let Counts { sent, acked, failed } = counts;
        if !self.quiet {
            let took = start.elapsed().as_secs_f64();
            say(format_args!(
                "agentworks load: {acked} of {sent} acknowledged in {took:.1} s, {:.0}/s",
                acked as f64 / took
            ));
        }
        if failed > 0 {
            say(format_args!("agentworks load: {failed} failed"));
        }
        Ok(if acked == sent { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn open_ledger(&self) -> anyhow::Result<Option<Ledger>> {
        let Some(path) = &self.ledger else { return Ok(None) };
        let ledger = if path.exists() { Ledger::resume(path) } else { Ledger::create(path) };
        let ledger = ledger.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Some(ledger))
    }
}

/// Prints a line each second.
struct Watch {
    last: (Instant, Counts),
    quiet: bool,
}

impl Watch {
    fn show(&mut self, progress: &Progress) {
        let (now, counts) = (Instant::now(), progress.counts());
        let (before, last) = std::mem::replace(&mut self.last, (now, counts));
        if self.quiet {
            return;
        }
        let rate = (counts.acked - last.acked) as f64 / now.duration_since(before).as_secs_f64();
        let waiting = counts.sent - counts.acked - counts.failed;
        say(format_args!(
            "{rate:>8.0}/s  {:>10} acknowledged  {waiting:>7} waiting  {} failed",
            counts.acked, counts.failed
        ));
    }
}
