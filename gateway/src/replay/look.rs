//! Whether a run goes on, and where its log ends now.

use std::time::Duration;

use agentworks_processors::reader::{KnownRun, LogReader, ReadError};
use agentworks_schemas::protocol::{RunStatus, RunSummary};
use agentworks_schemas::{Cursor, Timestamp, Topic};
use tokio::time::{Instant, sleep};

/// A run that nobody has said to have begun or ended counts as ended when nothing of it has come for so long.
const QUIET: Duration = Duration::from_secs(60);
/// How often it is asked whether a run goes on.
const RUN: Duration = Duration::from_secs(1);

/// The end of the log, at some moment.
#[derive(Debug)]
pub(super) struct Look {
    /// The end of what is read.
    pub(super) end: Cursor,
    /// When it was asked for, by both clocks.
    pub(super) asked: Instant,
    pub(super) at: Timestamp,
    /// Whether nothing comes beyond it, whatever lies before it.
    pub(super) is_last: bool,
    /// The run, if it was asked for again.
    pub(super) run: Option<KnownRun>,
    /// When it was asked for last.
    pub(super) known: Instant,
}

impl Look {
    /// How long to wait before the next look at a run that goes on, after so many that found nothing of it.
    pub(super) fn pause(vain: u32) -> Duration {
        const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
        PAUSE.1.min(PAUSE.0 * (1 + vain / 5))
    }

    /// What is known of a run that was just asked for.
    pub(super) fn first(run: &KnownRun, include_system: bool) -> Self {
        let now = Instant::now();
        let end = run.end(include_system);
        Look { end, asked: now, at: Timestamp::now(), is_last: false, run: None, known: now }
    }

    /// Whether the run was quiet for so long when the end was asked for that it counts as ended. `newest` is the record
    /// timestamp of the newest entry before the end: that of another one says nothing.
    pub(super) fn is_quiet(&self, run: &RunSummary, newest: Timestamp) -> bool {
        run.inferred && self.at.since(newest) >= QUIET
    }

    /// Whether a replay is over that has read all up to the end, `newest` last. `vain` is how many looks there were since
    /// it read that: a run that is quiet by what was known long ago may have gone on since.
    pub(super) fn is_over(&self, run: &RunSummary, newest: Timestamp, vain: u32) -> bool {
        self.is_last || vain > 0 && self.is_quiet(run, newest)
    }
}

/// What a look needs.
pub(super) struct Looking {
    pub(super) reader: LogReader,
    pub(super) run: KnownRun,
    pub(super) include_system: bool,
    /// When the run was asked for last.
    pub(super) known: Instant,
    /// What is later isn't shown.
    pub(super) until: Option<Timestamp>,
    pub(super) after: Duration,
}

impl Looking {
    /// Looks; at the run, too, if `refresh` is set, or that was long ago.
    pub(super) async fn look(self, refresh: bool) -> Result<Look, ReadError> {
        let Looking { reader, run, include_system, mut known, until, after } = self;
        if !after.is_zero() {
            sleep(after).await;
        }
        let mut newer = None;
        // What was only inferred may have turned out otherwise.
        let may_change = run.summary.inferred || !has_ended(&run.summary, until);
        if refresh || may_change && known.elapsed() >= RUN {
            let RunSummary { run_id, card_id, .. } = &run.summary;
            newer = reader.run(run.scope().workspace(), run_id, Some(card_id)).await?;
            known = Instant::now();
        }
        // Looked at before the end is: what came before the run was over lies before the end.
        let is_last = has_ended(&newer.as_ref().unwrap_or(&run).summary, until);
        let (asked, at) = (Instant::now(), Timestamp::now());
        let end = end(&reader, &run, include_system).await?;
        Ok(Look { end, asked, at, is_last, run: newer, known })
    }
}

/// Whether nothing that is shown will come any more, by what is known of the run: what is later than `until` isn't shown.
pub(super) fn has_ended(run: &RunSummary, until: Option<Timestamp>) -> bool {
    run.status != RunStatus::Running || until.is_some_and(|until| until < Timestamp::now())
}

/// The end of the log right now, in the partitions that are read.
pub(super) async fn end(reader: &LogReader, run: &KnownRun, include_system: bool) -> Result<Cursor, ReadError> {
    let end = reader.end(&run.scope()).await?;
    Ok(end.iter().filter(|(partition, ..)| include_system || partition.topic == Topic::AgentLogs).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::testing::summary;

    fn run(inferred: bool) -> RunSummary {
        RunSummary { inferred, ..summary("r") }
    }

    fn look(at: Timestamp) -> Look {
        let now = Instant::now();
        Look { end: Cursor::new(), asked: now, at, is_last: false, run: None, known: now }
    }

    #[test]
    fn a_quiet_run_is_over_when_a_new_look_brought_nothing() {
        let (newest, quiet) = (Timestamp(1_000), QUIET.as_millis() as i64);
        let late = look(Timestamp(1_000 + quiet));
        // Read at leisure to the end that there was when it was opened, it may have gone on since.
        assert!(!late.is_over(&run(true), newest, 0));
        assert!(late.is_over(&run(true), newest, 1));
        // The new look brought more, which was read: what was read last is newer.
        assert!(!late.is_over(&run(true), Timestamp(1_001), 1));
        assert!(!late.is_over(&run(false), newest, 9), "of a run with events they alone say when it ends");
        // However long ago the look was: what came since isn't known.
        assert!(!look(Timestamp(999 + quiet)).is_over(&run(true), newest, 1));
        let last = Look { is_last: true, ..look(Timestamp(0)) };
        assert!(last.is_over(&run(false), newest, 0));
    }

    #[test]
    fn a_run_has_ended_by_its_status_or_where_nothing_later_is_shown() {
        assert!(!has_ended(&run(true), None) && !has_ended(&run(false), Some(Timestamp(i64::MAX))));
        assert!(has_ended(&run(false), Some(Timestamp(1))));
        let run = RunSummary { status: RunStatus::Failed, ..run(false) };
        assert!(has_ended(&run, None));
    }
}
