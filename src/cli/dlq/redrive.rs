//! `agentworks dlq redrive`.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentworks_kafka::dead_letter::read::{Found, Letter, LetterPosition, read_letters};
use agentworks_kafka::dead_letter::redrive::Redriver;
use agentworks_kafka::{KafkaError, KafkaSettings};
use anyhow::{Context, bail};

use super::blocking;
use super::filter::{Chosen, Filter};
use super::shown::safe;
use crate::cli::kafka::KafkaArgs;

/// How many records one transaction holds at most, and how many bytes of payload about.
const RECORDS: usize = 200;
const BYTES: usize = 4 * 1024 * 1024;

/// Produce dead letters again, to the topic that they came from, with their original key, bytes and headers.
///
/// Each is produced once: in the same transaction a mark is written to the dead-letter topic, and a letter that has one is
/// left out. What is still wrong with a record sends it there again, from its new place. Letters of which not all was kept
/// are refused, and what was erased is left out. A redrive that begins ends any other that is under way.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    filter: Filter,
    /// These letters alone, as `list` shows their positions
    #[arg(value_name = "POSITION")]
    positions: Vec<LetterPosition>,
    /// Also those that have been produced again before
    #[arg(long)]
    again: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

impl Args {
    pub(super) async fn execute(self) -> anyhow::Result<()> {
        let settings = self.kafka.settings()?;
        // Before anything is read, so that another one's marks are all there, or will never be.
        let redriver = match self.dry_run {
            true => None,
            false => {
                let settings = settings.clone();
                Some(blocking(move || Redriver::begin(&settings)).await?)
            }
        };
        let mut chosen = self.read(&settings).await?;
        self.narrow(&mut chosen)?;
        let refused = refuse(&settings, &mut chosen);
        if chosen.letters.is_empty() {
            println!("nothing to redrive");
            return outcome(refused);
        }
        for letter in &chosen.letters {
            let Letter { position, origin, code, reason, .. } = letter;
            println!("{position}  {}  {}: {}", safe(&origin.to_string()), safe(code), safe(reason));
        }
        let count = chosen.letters.len();
        let Some(redriver) = redriver else {
            println!("would redrive {count}");
            return outcome(refused);
        };
        let mut wanted = chosen.positions();
        if !self.yes {
            if !confirmed(count)? {
                bail!("nothing was redriven");
            }
            // While that was asked, something may have been erased.
            let still = self.read(&settings).await?.positions();
            wanted.retain(|position| still.contains(position));
        }
        let stop = Arc::new(AtomicBool::new(false));
        stop_at_signal(stop.clone());
        let is_stopped = stop.clone();
        let done = blocking(move || redrive(&settings, &redriver, &wanted, &is_stopped)).await?;
        println!("redrove {done}");
        if stop.load(Ordering::Relaxed) {
            bail!("stopped before all were redriven; the same command goes on");
        }
        outcome(refused)
    }

    async fn read(&self, settings: &KafkaSettings) -> anyhow::Result<Chosen> {
        let (settings, filter) = (settings.clone(), self.filter.clone());
        let chosen = blocking(move || Chosen::read(&settings, &filter)).await?;
        chosen.left_out().iter().for_each(|line| println!("{line}"));
        Ok(chosen)
    }

    /// Leaves out what was not asked for, and what has been done before.
    fn narrow(&self, chosen: &mut Chosen) -> anyhow::Result<()> {
        if !self.positions.is_empty() {
            let there = chosen.positions();
            if let Some(missing) = self.positions.iter().find(|position| !there.contains(position)) {
                bail!(
                    "{missing} is no dead letter that the filters let pass, or the second copy of one, or was erased"
                );
            }
            chosen.letters.retain(|letter| self.positions.contains(&letter.position));
        }
        if !self.again {
            let before = chosen.letters.len();
            chosen.letters.retain(|letter| !chosen.redriven.contains(&letter.origin));
            let left_out = before - chosen.letters.len();
            if left_out > 0 {
                println!("{left_out} have been redriven before and are left out; --again takes them too");
            }
        }
        Ok(())
    }
}

/// A first Ctrl-C lets the transaction come to its end that is under way: while it is open nobody reads on in the lanes that
/// it writes to. A second one ends the process.
fn stop_at_signal(stop: Arc<AtomicBool>) {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if stop.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        }
    });
}

/// Takes out what can't be produced again, and says so. Returns how many.
fn refuse(settings: &KafkaSettings, chosen: &mut Chosen) -> usize {
    let before = chosen.letters.len();
    chosen.letters.retain(|letter| match Redriver::refusal(settings, letter) {
        None => true,
        Some(refusal) => {
            eprintln!("{} can't be redriven: {}", letter.position, safe(&refusal));
            false
        }
    });
    before - chosen.letters.len()
}

fn outcome(refused: usize) -> anyhow::Result<()> {
    match refused {
        0 => Ok(()),
        refused => bail!("{refused} can't be redriven"),
    }
}

fn confirmed(count: usize) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("say --yes to redrive {count}: there is no terminal to ask at");
    }
    print!("Redrive {count}? [y/N] ");
    io::stdout().flush().context("cannot ask")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Reads the topic again, this time with payloads, and produces what is wanted in transactions of bounded size. Blocks.
fn redrive(
    settings: &KafkaSettings,
    redriver: &Redriver,
    wanted: &HashSet<LetterPosition>,
    stop: &AtomicBool,
) -> Result<usize, KafkaError> {
    let (mut letters, mut bytes, mut done) = (Vec::<Letter>::new(), 0, 0);
    let mut fault = None;
    let mut commit = |letters: &mut Vec<Letter>| {
        redriver.redrive(letters)?;
        done += letters.len();
        letters.clear();
        Ok::<_, KafkaError>(())
    };
    read_letters(settings, |found| {
        if stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        let Found::Letter(letter) = found else { return ControlFlow::Continue(()) };
        if wanted.contains(&letter.position) {
            bytes += letter.payload.as_ref().map_or(0, Vec::len);
            letters.push(*letter);
        }
        if letters.len() >= RECORDS || bytes >= BYTES {
            bytes = 0;
            if let Err(error) = commit(&mut letters) {
                fault = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = fault {
        return Err(error);
    }
    if !letters.is_empty() && !stop.load(Ordering::Relaxed) {
        commit(&mut letters)?;
    }
    Ok(done)
}
