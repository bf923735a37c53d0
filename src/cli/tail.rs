//! `agentworks tail`: a card in the shell.

mod filter;
mod history;
mod levels;

use std::process::ExitCode;
use std::time::Duration;

use agentworks_schemas::Cursor;
use agentworks_schemas::protocol::{ClientMessage, ErrorInfo, Gap, Lag, ReconnectInfo};
use clap::Parser;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::client::backoff::Backoff;
use super::client::print::{Output, Printer};
use super::client::stream::{Ended, Frame, Stream};
use super::client::{Endpoint, Failure, GatewayArgs, exit_on_interrupt, finish};
use filter::{Filter, Names};

/// Watch a card: its newest lines, then those that come.
///
/// It goes on where it was when the connection is lost: no line is missing or comes twice. What is said of the watching
/// itself goes to standard error.
#[derive(Debug, Parser)]
#[command(after_help = "Exit codes: 0 done, 1 failure, 3 token refused, 4 no such run, 5 no gateway, 130 interrupted")]
pub(crate) struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The card
    card: String,
    /// How many lines to begin with
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    history: usize,
    /// Begin just after this position, as --output json prints it
    #[arg(long, value_name = "POSITION", conflicts_with = "history")]
    since_position: Option<Cursor>,
    /// Only the lines of this run
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// How lines are printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// End after the lines that are there
    #[arg(long)]
    no_follow: bool,
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        Ok(finish(self.run().await))
    }

    async fn run(self) -> Result<(), Failure> {
        let endpoint = self.gateway.endpoint()?;
        exit_on_interrupt();
        let follow = !self.no_follow;
        let mut tail = Tail {
            endpoint,
            printer: Printer::stdout(self.output),
            card: self.card,
            run: self.run,
            filter: self.filter,
            cursor: Cursor::new(),
        };
        tail.check_run().await?;
        match self.since_position {
            Some(position) => tail.print_since(position).await?,
            None => tail.print_newest(self.history).await?,
        }
        if follow { tail.follow().await } else { Ok(()) }
    }
}

/// What is being watched, and how far it has been printed.
struct Tail {
    endpoint: Endpoint,
    printer: Printer,
    card: String,
    run: Option<String>,
    filter: Filter,
    cursor: Cursor,
}

/// What decides whether an entry is printed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Passing<'a> {
    #[serde(borrow)]
    run_id: std::borrow::Cow<'a, str>,
}

/// An entry's position within a batch.
#[derive(Deserialize)]
struct Positioned {
    position: Cursor,
}

impl Tail {
    /// Prints what comes after the cursor, until there is no use in trying any more.
    async fn follow(&mut self) -> Result<(), Failure> {
        let mut backoff = Backoff::default();
        let mut is_lost = false;
        loop {
            let ended = match self.connect().await {
                Ok(stream) => {
                    if is_lost {
                        eprintln!("tail: connected again");
                    }
                    is_lost = false;
                    self.receive(stream, &mut backoff).await
                }
                Err(ended) => ended,
            };
            self.printer.flush()?;
            match ended {
                Ended::Failed(failure) => return Err(failure),
                // It is there still, and asked to be left in good time.
                Ended::Left => continue,
                Ended::Lost(reason) if is_lost => tracing::debug!(reason, "still no connection"),
                Ended::Lost(reason) => eprintln!("tail: the connection was lost ({reason}); trying again"),
            }
            is_lost = true;
            sleep(backoff.next()).await;
        }
    }

    async fn connect(&self) -> Result<Stream, Ended> {
        let mut query = self.filter.query(Names::Stream);
        query.push(("position", self.cursor.to_string()));
        let mut stream = Stream::open(&self.endpoint, &self.card, &query).await?;
        if let Some(run) = &self.run {
            stream.send(&ClientMessage::SubscribeRun { run_id: run.clone() }).await?;
        }
        Ok(stream)
    }

    async fn receive(&mut self, mut stream: Stream, backoff: &mut Backoff) -> Ended {
        loop {
            let text = match stream.ready() {
                Ok(Some(text)) => Ok(text),
                // What has come is shown before more is waited for.
                Ok(None) => match self.printer.flush() {
                    Ok(()) => stream.next().await,
                    Err(error) => Err(error.into()),
                },
                Err(ended) => Err(ended),
            };
            let shown = text.and_then(|text| self.show(&text, &mut stream).map_err(Ended::Failed));
            match shown {
                Ok(()) => backoff.reset(),
                Err(ended) => return ended,
            }
        }
    }

    fn show(&mut self, text: &str, stream: &mut Stream) -> Result<(), Failure> {
        let frame: Frame<'_> = serde_json::from_str(text).map_err(anyhow::Error::from)?;
        match frame.kind.as_ref() {
            "log_entry" => {
                if let (Some(entry), Some(position)) = (frame.data, &frame.position) {
                    self.show_entry(entry, position, Some(position))?;
                }
            }
            "logs_batch" => {
                for entry in frame.read::<Vec<&RawValue>>()? {
                    let Positioned { position } = serde_json::from_str(entry.get()).map_err(anyhow::Error::from)?;
                    self.show_entry(entry, &position, None)?;
                }
                // It may hold nothing, and still say how far the stream has come.
                if let Some(position) = frame.position.filter(|position| !covers(&self.cursor, position)) {
                    self.cursor = position;
                }
            }
            "gap" => report_gap(&frame.read()?),
            "lag" => {
                let lag: Lag = frame.read()?;
                if lag.entries > 0 {
                    tracing::info!(entries = lag.entries, seconds = lag.seconds, "behind the log");
                }
            }
            "reconnect" => {
                let ReconnectInfo { after, reason } = frame.read()?;
                tracing::info!(after, reason, "the gateway asks to connect again");
                stream.leave_after(Duration::from_millis(after));
            }
            "error" => eprintln!("tail: {}", frame.read::<ErrorInfo>()?.message),
            _ => {}
        }
        Ok(())
    }

    /// Prints an entry unless the cursor has passed it. `splice` is the position to add to JSON that doesn't hold it.
    fn show_entry(&mut self, entry: &RawValue, position: &Cursor, splice: Option<&Cursor>) -> Result<(), Failure> {
        if covers(&self.cursor, position) {
            return Ok(());
        }
        self.cursor = position.clone();
        let passing: Passing<'_> = serde_json::from_str(entry.get()).map_err(anyhow::Error::from)?;
        // The gateway filters, but what it sent before it was asked for the run alone may be of others.
        let passes = self.run.as_ref().is_none_or(|run| *run == passing.run_id);
        if passes {
            self.printer.entry(entry, splice)?;
        }
        Ok(())
    }
}

/// Whether a reader at `cursor` has seen all that one at `position` has.
fn covers(cursor: &Cursor, position: &Cursor) -> bool {
    position.iter().all(|(partition, epoch, next)| cursor.get(partition).is_some_and(|seen| (epoch, next) <= seen))
}

fn report_gap(gap: &Gap) {
    eprintln!(
        "tail: offsets {} to {} of {}[{}] are held nowhere any more",
        gap.from,
        gap.to - 1,
        gap.topic,
        gap.partition
    );
}

#[cfg(test)]
mod tests {
    use agentworks_schemas::{Topic, TopicPartition};

    use super::*;

    #[test]
    fn a_cursor_covers_what_lies_before_it_everywhere() {
        let cursor = |agent: i64, system: i64| {
            let at = |topic| TopicPartition::new(topic, 3);
            Cursor::from_iter([(at(Topic::AgentLogs), 1, agent), (at(Topic::SystemLogs), 1, system)])
        };
        let seen = cursor(10, 5);
        assert!(covers(&seen, &cursor(10, 5)));
        assert!(covers(&seen, &cursor(9, 5)));
        assert!(!covers(&seen, &cursor(11, 5)));
        assert!(!covers(&seen, &cursor(9, 6)));
        // A topic that was made again begins anew.
        let again = Cursor::from_iter([(TopicPartition::new(Topic::AgentLogs, 3), 2, 1)]);
        assert!(!covers(&seen, &again));
        // Nothing has been seen of a partition that isn't in it.
        assert!(!covers(&seen, &Cursor::from_iter([(TopicPartition::new(Topic::AgentLogs, 4), 1, 0)])));
    }
}
