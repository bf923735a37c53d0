//! Going on where a file is damaged: what can't be done without it is passed over, and everything else is done.

use super::Maintenance;
use crate::error::ArchiveError;
use crate::table::Table;

/// What a step has passed over because a file is damaged. Each is told and counted at once, and the first is what the step
/// ends with.
#[derive(Debug, Default)]
pub(super) struct PassedOver {
    first: Option<ArchiveError>,
}

impl PassedOver {
    /// Gives what was done of a table; `None` if it couldn't be because a file is damaged.
    ///
    /// # Errors
    /// Any other fault: it isn't this file's.
    pub(super) fn unless_damaged<T>(
        &mut self,
        keeper: &Maintenance,
        table: &Table,
        done: Result<T, ArchiveError>,
    ) -> Result<Option<T>, ArchiveError> {
        match done {
            Err(error @ ArchiveError::Corrupt(_)) => {
                let error = error.at(table.spec().name);
                tracing::error!(
                    %error,
                    "passed over: `agentworks archive verify` tells all that is damaged, `agentworks archive rebuild` \
                     restores it from the log"
                );
                keeper.damaged.inc();
                self.first.get_or_insert(error);
                Ok(None)
            }
            done => done.map(Some),
        }
    }

    /// Ends the step.
    ///
    /// # Errors
    /// The first that was passed over.
    pub(super) fn end<T>(self, done: T) -> Result<T, ArchiveError> {
        self.first.map_or(Ok(done), Err)
    }
}
