//! `agentworks replay`: a run in the shell, at its own pace or another.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use agentworks_schemas::protocol::{
    ClientMessage, ErrorCode, ErrorInfo, ReconnectInfo, ReplayComplete, ReplayOptions, ReplaySeeked, ReplayStartInfo,
    RunSummary, SeekPosition, SeekTo,
};
use clap::Parser;
use serde::Deserialize;
use tokio::time::sleep;

use super::client::backoff::Backoff;
use super::client::http::get;
use super::client::print::{Output, Printer};
use super::client::stream::{Ended, Frame, Stream};
use super::client::{Endpoint, Failure, GatewayArgs, exit_on_interrupt, finish};

/// Replay a run: its lines as they were written, at their pace or another.
///
/// It goes on where it was when the connection is lost. What is said of the replay itself goes to standard error.
#[derive(Debug, Parser)]
#[command(after_help = "Exit codes: 0 done, 1 failure, 3 token refused, 4 no such run, 5 no gateway, 130 interrupted")]
pub(crate) struct Args {
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The run
    run: String,
    /// Its card; needed only for a run that has only just begun
    #[arg(long, value_name = "CARD")]
    card: Option<String>,
    /// How many times its own pace; `max` for as fast as it can be read
    #[arg(long, value_name = "TIMES", default_value = "1")]
    speed: Speed,
    /// Begin at this entry, counted from 0
    #[arg(long, value_name = "ORDINAL", default_value_t = 0)]
    from: u64,
    /// How lines are printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Show lines of source `system` too
    #[arg(long)]
    include_system: bool,
}

/// How many times the original pace; 0 for as fast as possible.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Speed(f64);

impl FromStr for Speed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == "max" {
            return Ok(Speed(0.0));
        }
        let number: Option<f64> = text.trim_end_matches(['x', '×']).parse().ok();
        let number = number.filter(|number| number.is_finite() && *number >= 0.0);
        number.map(Speed).ok_or("a number such as 0.5, 1 or 16 is wanted, or max")
    }
}

impl Args {
    pub(crate) async fn execute(self) -> anyhow::Result<ExitCode> {
        Ok(finish(self.run().await))
    }

    async fn run(self) -> Result<(), Failure> {
        let endpoint = self.gateway.endpoint()?;
        exit_on_interrupt();
        let hint: Vec<_> = self.card.map(|card| ("card", card)).into_iter().collect();
        let run: RunSummary = get(&endpoint, &["runs", &self.run], &hint).await?;
        let options =
            ReplayOptions { speed: self.speed.0, include_system_logs: self.include_system, ..ReplayOptions::default() };
        let printer = Printer::stdout(self.output);
        let mut replay = Replay { endpoint, run, options, printer, next: self.from, session: None, is_moving: false };
        replay.play().await
    }
}

/// A replay, and how far it has been printed.
struct Replay {
    endpoint: Endpoint,
    run: RunSummary,
    options: ReplayOptions,
    printer: Printer,
    /// The ordinal of the next entry to print.
    next: u64,
    /// The gateway's name for it, once it has begun.
    session: Option<String>,
    /// Until the gateway has moved to `next`, what it sends lies elsewhere.
    is_moving: bool,
}

/// An entry's place in a replay.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    session_id: String,
    replay_position: u64,
}

/// Whether there is more to come.
enum Shown {
    More,
    End,
}

impl Replay {
    async fn play(&mut self) -> Result<(), Failure> {
        let mut backoff = Backoff::default();
        let mut is_lost = false;
        loop {
            let ended = match self.connect().await {
                Ok(stream) => {
                    if is_lost {
                        eprintln!("replay: connected again");
                    }
                    is_lost = false;
                    match self.receive(stream, &mut backoff).await {
                        Ok(()) => return Ok(self.printer.flush()?),
                        Err(ended) => ended,
                    }
                }
                Err(ended) => ended,
            };
            self.printer.flush()?;
            match ended {
                Ended::Failed(failure) => return Err(failure),
                // It is there still, and asked to be left in good time.
                Ended::Left => continue,
                Ended::Lost(reason) if is_lost => tracing::debug!(reason, "still no connection"),
                Ended::Lost(reason) => eprintln!("replay: the connection was lost ({reason}); trying again"),
            }
            is_lost = true;
            sleep(backoff.next()).await;
        }
    }

    async fn connect(&mut self) -> Result<Stream, Ended> {
        self.session = None;
        let mut stream = Stream::open(&self.endpoint, &self.run.card_id, &[("history", "0".to_owned())]).await?;
        stream.send(&ClientMessage::PauseStream {}).await?;
        let (run_id, options) = (self.run.run_id.clone(), Some(self.options.clone()));
        stream.send(&ClientMessage::ReplayRun { run_id, options }).await?;
        Ok(stream)
    }

    async fn receive(&mut self, mut stream: Stream, backoff: &mut Backoff) -> Result<(), Ended> {
        loop {
            let text = match stream.ready()? {
                Some(text) => text,
                // What has come is shown before more is waited for.
                None => {
                    self.printer.flush()?;
                    stream.next().await?
                }
            };
            let frame: Frame<'_> = serde_json::from_str(&text).map_err(anyhow::Error::from)?;
            if frame.kind == "replay_started" {
                self.begin(&frame.read()?, &mut stream).await?;
            } else if frame.kind == "reconnect" {
                stream.leave_after(Duration::from_millis(frame.read::<ReconnectInfo>()?.after));
            } else if let Shown::End = self.show(&frame)? {
                stream.close().await;
                return Ok(());
            }
            backoff.reset();
        }
    }

    async fn begin(&mut self, start: &ReplayStartInfo, stream: &mut Stream) -> Result<(), Ended> {
        self.session = Some(start.session_id.clone());
        self.is_moving = self.next > 0;
        if self.is_moving {
            let (session_id, to) = (start.session_id.clone(), SeekTo::Position(SeekPosition::Ordinal(self.next)));
            stream.send(&ClientMessage::ReplaySeek { session_id, to }).await?;
        }
        Ok(())
    }

    fn show(&mut self, frame: &Frame<'_>) -> Result<Shown, Failure> {
        let is_ours = |session: &str| self.session.as_deref() == Some(session);
        match frame.kind.as_ref() {
            "replay_log" => {
                let place: Place = frame.read()?;
                let is_wanted = is_ours(&place.session_id) && !self.is_moving && place.replay_position >= self.next;
                if let (true, Some(entry)) = (is_wanted, frame.data) {
                    self.printer.entry(entry, frame.position.as_ref())?;
                    self.next = place.replay_position + 1;
                }
            }
            "replay_seeked" => {
                let place: ReplaySeeked = frame.read()?;
                self.is_moving &= !is_ours(&place.session_id);
            }
            "replay_completed" => {
                // Where it is still to be moved, it has come to its end before it was asked to.
                let end: ReplayComplete = frame.read()?;
                if is_ours(&end.session_id) {
                    return Ok(Shown::End);
                }
            }
            "gap" => eprintln!("replay: some entries are held nowhere any more"),
            "error" => return Err(failure(frame.read()?)),
            _ => {}
        }
        Ok(Shown::More)
    }
}

fn failure(error: ErrorInfo) -> Failure {
    match error.code {
        ErrorCode::NotFound => Failure::NotFound(error.message),
        ErrorCode::AccessDenied => Failure::Refused(error.message),
        _ => Failure::Other(anyhow::anyhow!(error.message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_factor_or_max() {
        assert_eq!("4".parse(), Ok(Speed(4.0)));
        assert_eq!("0.5".parse(), Ok(Speed(0.5)));
        assert_eq!("16x".parse(), Ok(Speed(16.0)));
        assert_eq!("max".parse(), Ok(Speed(0.0)));
        for wrong in ["", "fast", "-1", "inf", "NaN", "x"] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }
}
