//! What a table holds of the makings of topics before others. It is asked for wherever a reading begins in a topic that was
//! made again, and hardly ever changes: each version of the table is asked once.

use std::collections::{BTreeSet, HashMap};

use agentworks_processors::lane::Held;
use agentworks_schemas::TopicPartition;
use tokio::sync::Mutex;

use crate::error::ArchiveError;
use crate::lanes;
use crate::table::{Table, Version};

/// So many answers are kept; then all are forgotten.
const ANSWERS: usize = 10_000;

/// What was found in the version that was asked last.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    version: u64,
    /// The lanes that have begun.
    begun: BTreeSet<(TopicPartition, u32)>,
    /// By the making that the answer ends before, and workspace.
    answers: HashMap<(TopicPartition, u32, String), Vec<Held>>,
}

impl Earlier {
    /// What a version holds of a partition in all makings of its topic before `epoch`, as far as a workspace goes.
    pub(super) async fn of(
        &self,
        table: &Table,
        version: &Version,
        (partition, epoch): (TopicPartition, u32),
        workspace: &str,
    ) -> Result<Vec<Held>, ArchiveError> {
        let mut known = self.known.lock().await;
        let known = match &mut *known {
            Some(known) if known.version == version.number() => known,
            known => {
                let begun = lanes::begun(table, version).await?;
                known.insert(Known { version: version.number(), begun, answers: HashMap::new() })
            }
        };
        let makings: Vec<_> = known.begun.range((partition, 0)..(partition, epoch)).map(|(_, epoch)| *epoch).collect();
        if makings.is_empty() {
            return Ok(Vec::new());
        }
        let question = (partition, epoch, workspace.to_owned());
        if let Some(answer) = known.answers.get(&question) {
            return Ok(answer.clone());
        }
        let mut answer = Vec::new();
        for epoch in makings {
            answer.extend(lanes::held(table, version, partition, epoch, Some(workspace)).await?);
        }
        if known.answers.len() >= ANSWERS {
            known.answers.clear();
        }
        known.answers.insert(question, answer.clone());
        Ok(answer)
    }
}
