//! `agentworks dlq show`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use agentworks_kafka::dead_letter::read::{Found, Letter, LetterPosition, read_letter};
use anyhow::bail;
use serde::Serialize;

use super::erased::{Erasures, Owner, Verdict};
use super::shown::{Shown, bytes, hex, safe, short};
use super::{Output, blocking};
use crate::cli::client::plain::plain_json;
use crate::cli::kafka::KafkaArgs;

/// Show a dead letter: where it came from, what was wrong with it, its headers, and its bytes as they were.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// Where it lies in the dead-letter topic, as `list` shows it: PARTITION@OFFSET
    position: LetterPosition,
    /// As text, or as JSON
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,
    /// Show it also if it lies before an erasure, and nobody can say whose it is
    #[arg(long)]
    unattributed: bool,
    /// Print the payload alone, byte by byte as it was
    #[arg(long, conflicts_with = "output")]
    raw: bool,
}

/// A letter as JSON, with all that it holds. Bytes are text, or hex under another name.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a> {
    #[serde(flatten)]
    shown: Shown<'a>,
    headers: BTreeMap<&'a str, Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
}

impl Args {
    pub(super) async fn execute(self) -> anyhow::Result<()> {
        let (settings, position) = (self.kafka.settings()?, self.position);
        let own = settings.clone();
        let letter = match blocking(move || read_letter(&own, position)).await? {
            Some(Found::Letter(letter)) => letter,
            Some(Found::Redriven(origin)) => bail!("{position} is no dead letter: it notes that {origin} was redriven"),
            Some(Found::Erasure(_)) => bail!("{position} is no dead letter: it notes that something was erased"),
            Some(Found::Foreign(_)) => bail!("{position} is no dead letter: somebody else has written it"),
            None => {
                bail!("nothing lies at {position} of the dead-letter topic; `agentworks dlq list` shows what there is")
            }
        };
        let erasures = blocking({
            let settings = settings.clone();
            move || Erasures::read(&settings)
        });
        match erasures.await?.verdict(&settings, &letter, &Owner::of(&settings, &letter)) {
            Verdict::Erased => bail!("{position} was erased"),
            Verdict::Unattributed if !self.unattributed => bail!(
                "{position} lies before an erasure, and nobody can say whose it is; --unattributed shows it all the same"
            ),
            Verdict::Unattributed | Verdict::Stays => {}
        }
        let mut out = io::stdout().lock();
        let written = match self.output {
            _ if self.raw => out.write_all(letter.payload.as_deref().unwrap_or_default()),
            Output::Json => writeln!(out, "{}", plain_json(&serde_json::to_string(&whole(&letter))?)),
            Output::Text => text(&letter, &mut out),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }
}

fn whole(letter: &Letter) -> Whole<'_> {
    let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    let header =
        |(name, value): &'_ (String, Option<Vec<u8>>)| value.as_deref().map(short).filter(|_| !name.is_empty());
    let payload = letter.payload.as_deref();
    Whole {
        shown: Shown::new(letter, false),
        headers: letter.headers.iter().map(|pair| (pair.0.as_str(), header(pair))).collect(),
        key_hex: letter.key.as_deref().filter(|key| !is_text(key)).map(hex),
        payload: payload.and_then(|payload| std::str::from_utf8(payload).ok()),
        payload_hex: payload.filter(|payload| !is_text(payload)).map(hex),
    }
}

fn text(letter: &Letter, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "position   {}", letter.position)?;
    writeln!(out, "rejected   {}", letter.written)?;
    writeln!(out, "origin     {}", safe(&letter.origin.to_string()))?;
    writeln!(out, "written    {}", letter.timestamp)?;
    writeln!(out, "reason     {}: {}", safe(&letter.code), safe(&letter.reason))?;
    writeln!(out, "key        {}", letter.key.as_deref().map_or("none".to_owned(), short))?;
    if let Some(cut) = &letter.cut {
        writeln!(out, "incomplete {}", safe(cut))?;
    }
    for (name, value) in &letter.headers {
        writeln!(out, "header     {} = {}", safe(name), value.as_deref().map_or("null".to_owned(), short))?;
    }
    match &letter.payload {
        None => writeln!(out, "payload    none: a tombstone"),
        Some(payload) => writeln!(out, "payload    {} bytes\n\n{}", payload.len(), bytes(payload)),
    }
}
