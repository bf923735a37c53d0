//! Workspaces whose entries are not kept for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentworks_schemas::{Timestamp, TopicPartition};
use arrow_array::BooleanArray;

use super::damage::PassedOver;
use super::rewrite::Keep;
use super::{Changed, Maintenance};
use crate::decode::texts;
use crate::error::ArchiveError;
use crate::files::day;
use crate::lanes;
use crate::open::Footers;
use crate::pending::number;
use crate::table::{Change, CommitError, Move, Operation, Table, Version};

/// The first day that is kept, where so many are.
pub(super) fn first_kept(days: u32) -> i32 {
    number(Timestamp::now()).saturating_sub(i32::try_from(days).unwrap_or(i32::MAX))
}

impl Maintenance {
    /// Takes the rows of workspaces that are older than these are kept out of the tables. What readers may rely on for
    /// such a workspace moves up first, so that none sees half a day.
    ///
    /// # Errors
    /// The service's; or that a file is damaged, after the rows have been taken out of all others.
    pub async fn retain(&self) -> Result<Changed, ArchiveError> {
        let (mut changed, mut passed) = (Changed::default(), PassedOver::default());
        for (workspace, days) in self.config.retention.clone() {
            let first = day(first_kept(days))?.to_string();
            for (table, footers) in self.logs() {
                let version = table.version().await?;
                changed += self.retain_from((table, &version), footers, &workspace, &first, &mut passed).await?;
            }
        }
        passed.end(changed)
    }

    /// Takes a workspace's rows of before the day `first` out of a table, as it was at a version.
    pub(super) async fn retain_from(
        &self,
        (table, version): (&Table, &Version),
        footers: &Footers,
        workspace: &str,
        first: &str,
        passed: &mut PassedOver,
    ) -> Result<Changed, ArchiveError> {
        let mut old = Vec::new();
        let mut lows: BTreeMap<(TopicPartition, u32), i64> = BTreeMap::new();
        for file in version.files(table).await?.into_iter().filter(|file| file.date.as_str() < first) {
            let claims = passed.unless_damaged(self, table, footers.claims(table, &file).await)?;
            let Some(claims) = claims else { continue };
            for claim in claims.iter() {
                let low = lows.entry((claim.lane(), claim.epoch)).or_insert(claim.to);
                *low = claim.to.max(*low);
            }
            old.push(file);
        }
        let names: Vec<_> = lows.keys().map(|(lane, epoch)| lanes::low_of(*lane, *epoch, workspace)).collect();
        let known = version.recorded(table, names.clone()).await?;
        let raised = names.into_iter().zip(known).zip(lows.into_values());
        let raised = raised.filter(|((_, known), low)| known.is_none_or(|known| known < *low));
        // Compared, for another keeper may have raised them further since this version was looked at: a low that went back
        // would have readers rely on what that one takes out.
        let moves: Vec<_> = raised.map(|((name, from), to)| Move { name, from, to }).collect();
        if !moves.is_empty() {
            let (add, remove, record) = (Vec::new(), Vec::new(), Vec::new());
            match table.commit(Change { operation: Operation::Append, add, remove, moves, record }).await {
                Ok(_) => {}
                Err(CommitError::Fault(error)) => return Err(error),
                // Nothing has been taken out yet: the next round does it.
                Err(CommitError::Moved(_) | CommitError::Gone(_)) => return Ok(Changed::default()),
            }
        }
        let keep: Keep = {
            let workspace = workspace.to_owned();
            Arc::new(move |batch| {
                let workspaces = texts(batch, "workspace_id")?;
                Ok((0..batch.num_rows()).map(|row| Some(workspaces.value(row) != workspace)).collect::<BooleanArray>())
            })
        };
        let mut changed = Changed::default();
        for file in old.into_iter().filter(|file| file.rows > 0 && file.bounds.may_have("workspace_id", workspace)) {
            // One that others have rewritten meanwhile is left to the next round.
            let done = self.without(table, footers, file, keep.clone()).await;
            changed += passed.unless_damaged(self, table, done)?.flatten().unwrap_or_default();
        }
        Ok(changed)
    }
}
