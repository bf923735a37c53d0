//! Parts in memory, and how they are called there.

use std::time::Instant;

use agentworks_schemas::TopicPartition;

use super::marks::Mark;
use super::part::{Listed, RunPart};
use crate::blocks::names;

/// What a part costs in memory beside its texts, about.
const PART: usize = 512;

/// The length of what a [`part_name`] has before its joined names.
pub(super) const PREFIX: usize = 6;

/// Writes the name of a part to `name`, over what is there: its partition in a fixed number of characters, then its joined
/// names. So parts are looked for by a buffer that is used again and not by a key made anew for each record.
pub(super) fn part_name(partition: TopicPartition, workspace: &str, run: &str, name: &mut String) {
    name.clear();
    name.push(char::from(partition.topic as u8));
    (0..5).for_each(|digit| name.push(char::from((partition.partition >> (7 * digit)) as u8 & 0x7f)));
    names::append(workspace, run, name);
}

/// The workspace and the run of a part's name.
pub(super) fn run_of_name(name: &str) -> (&str, &str) {
    names::split(name.get(PREFIX..).unwrap_or_default())
}

/// A part in memory, and what of it isn't written yet.
#[derive(Debug)]
pub(super) struct Tracked {
    /// `None` until the run's first record in the partition has been counted.
    pub(super) part: Option<RunPart>,
    pub(super) is_listed: bool,
    /// Under what the run is listed of parts that were forgotten.
    pub(super) replaced: Vec<Listed>,
    pub(super) marks: Vec<Mark>,
    /// Until when it is to be written, if there is something to write: then its name is among the lane's dirty ones.
    pub(super) due: Option<Instant>,
    /// What it was last found to cost in memory, in bytes.
    pub(super) bytes: usize,
}

impl Tracked {
    /// What the store says.
    pub(super) fn loaded(part: Option<RunPart>, name: &str) -> Self {
        let (is_listed, replaced, marks) = (part.is_some(), Vec::new(), Vec::new());
        let mut tracked = Tracked { is_listed, part, replaced, marks, due: None, bytes: 0 };
        tracked.weigh(name);
        tracked
    }

    /// Forgets the part, whose beginning was erased: the next record begins it anew.
    pub(super) fn forget(&mut self) {
        if let Some(part) = self.part.take() {
            self.replaced.extend(self.is_listed.then(|| part.listed()));
            self.replaced.extend(part.replaced);
        }
        self.is_listed = false;
        self.marks.clear();
    }

    /// Finds out anew what it costs. Returns that, and what it was before.
    pub(super) fn weigh(&mut self, name: &str) -> (usize, usize) {
        // The name lies beside its part, and once more among the dirty ones.
        let text = 2 * name.len() + self.part.as_ref().map_or(0, RunPart::text);
        let now = PART + text + self.marks.capacity() * size_of::<Mark>();
        (now, std::mem::replace(&mut self.bytes, now))
    }
}
