//! `agentworks dlq list`.

use std::io::{self, Write};

use agentworks_kafka::dead_letter::read::Letter;

use super::filter::{Chosen, Filter};
use super::shown::{Shown, safe, short};
use super::{Output, blocking};
use crate::cli::client::plain::plain_json;
use crate::cli::kafka::KafkaArgs;

/// List dead letters, the newest last; one that was written twice is listed once, one that was erased isn't.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    filter: Filter,
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// As text, or as JSON, an object a line
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,
}

impl Args {
    pub(super) async fn execute(self) -> anyhow::Result<()> {
        let (settings, filter) = (self.kafka.settings()?, self.filter);
        let chosen = blocking(move || Chosen::read(&settings, &filter)).await?;
        let skip = chosen.letters.len().saturating_sub(self.limit as usize);
        chosen.left_out().iter().for_each(|line| eprintln!("{line}"));
        let mut out = io::stdout().lock();
        let written = match self.output {
            Output::Json => chosen.letters[skip..].iter().try_for_each(|letter| {
                let shown = Shown::new(letter, chosen.redriven.contains(&letter.origin));
                writeln!(out, "{}", plain_json(&serde_json::to_string(&shown)?))
            }),
            Output::Text => table(&chosen, skip, &mut out),
        };
        match written {
            // Nobody reads on: that is no fault.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }
}

fn table(chosen: &Chosen, skip: usize, out: &mut impl Write) -> io::Result<()> {
    if chosen.letters.is_empty() {
        return writeln!(out, "no dead letters");
    }
    let letters = &chosen.letters[skip..];
    let origin = |letter: &Letter| letter.origin.to_string();
    let width = letters.iter().map(|letter| origin(letter).len()).max().unwrap_or(0).max("ORIGIN".len());
    writeln!(out, "{:<12} {:<24} {:<width$} {:<20} {:>9}  REASON", "POSITION", "REJECTED", "ORIGIN", "CARD", "BYTES")?;
    for letter in letters {
        let card = letter.key.as_deref().map(short).unwrap_or_default();
        let state = match (&letter.cut, chosen.redriven.contains(&letter.origin)) {
            (_, true) => " (redriven)",
            (Some(_), false) => " (cut)",
            (None, false) => "",
        };
        writeln!(
            out,
            "{:<12} {:<24} {:<width$} {:<20} {:>9}  {}: {}{state}",
            letter.position,
            letter.written.to_string(),
            origin(letter),
            card,
            letter.length,
            safe(&letter.code),
            safe(&letter.reason)
        )?;
    }
    if skip > 0 {
        writeln!(out, "{skip} older ones are not listed; --limit lists more")?;
    }
    Ok(())
}
