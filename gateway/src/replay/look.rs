//! Whether a run goes on, and where its log ends now.

use std::time::Duration;

use agentworks_processors::reader::{KnownRun, LogReader, ReadError};
use agentworks_schemas::protocol::{RunStatus, RunSummary};
use agentworks_schemas::{Cursor, Timestamp, Topic};
use tokio::time::{Instant, sleep};

/// A run that nobody has said to have begun or ended counts as ended when it has been quiet for so long.
const QUIET: Duration = Duration::from_secs(60);
/// How often it is asked whether a run goes on.
const RUN: Duration = Duration::from_secs(1);

/// The end of the log, at some moment.
#[derive(Debug)]
pub(super) struct Look {
    /// The end of what is read.
    pub(super) end: Cursor,
    /// When it was asked for.
    pub(super) asked: Instant,
    /// Whether nothing comes beyond it.
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
        Look { end: run.end(include_system), asked: now, is_last: false, run: None, known: now }
    }
}

/// What a look needs.
pub(super) struct Looking {
    pub(super) reader: LogReader,
    pub(super) run: KnownRun,
    pub(super) include_system: bool,
    /// When the run was asked for last.
    pub(super) known: Instant,
    /// The record timestamp of the last entry read.
    pub(super) last: Timestamp,
    /// What is later isn't shown.
    pub(super) until: Option<Timestamp>,
    pub(super) after: Duration,
}

impl Looking {
    /// Looks; at the run, too, if `refresh` is set, or that was long ago.
    pub(super) async fn look(self, refresh: bool) -> Result<Look, ReadError> {
        let Looking { reader, run, include_system, mut known, last, until, after } = self;
        if !after.is_zero() {
            sleep(after).await;
        }
        let mut newer = None;
        if refresh || !is_over(&run.summary, last, until) && known.elapsed() >= RUN {
            let RunSummary { run_id, card_id, .. } = &run.summary;
            newer = reader.run(run.scope().workspace(), run_id, Some(card_id)).await?;
            known = Instant::now();
        }
        // Looked at before the end is: what came before the run was over lies before the end.
        let is_last = is_over(&newer.as_ref().unwrap_or(&run).summary, last, until);
        let asked = Instant::now();
        let end = end(&reader, &run, include_system).await?;
        Ok(Look { end, asked, is_last, run: newer, known })
    }
}

/// Whether nothing that is shown will come any more: `last` is the record timestamp of the last entry, and what is later
/// than `until` isn't shown.
pub(super) fn is_over(run: &RunSummary, last: Timestamp, until: Option<Timestamp>) -> bool {
    let now = Timestamp::now();
    run.status != RunStatus::Running
        || run.inferred && now.since(last) >= QUIET
        || until.is_some_and(|until| until < now)
}

/// The end of the log right now, in the partitions that are read.
pub(super) async fn end(reader: &LogReader, run: &KnownRun, include_system: bool) -> Result<Cursor, ReadError> {
    let end = reader.end(&run.scope()).await?;
    Ok(end.iter().filter(|(partition, ..)| include_system || partition.topic == Topic::AgentLogs).collect())
}
