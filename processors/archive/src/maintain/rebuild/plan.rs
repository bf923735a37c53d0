//! Which files of a table are damaged, and what is missing without them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use agentworks_schemas::TopicPartition;

use super::log::LogLane;
use crate::claims::Claim;
use crate::error::ArchiveError;
use crate::files::days;
use crate::lanes;
use crate::maintain::verify::verify_file;
use crate::open::Footers;
use crate::table::{ActiveFile, Table, Version};

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Files that go, and what is wrong with each; nothing is with those that share a range with one that is damaged.
    pub(super) files: Vec<(ActiveFile, Option<String>)>,
    /// What no file that stays covers.
    pub(super) missing: Vec<Missing>,
}

/// A range that is to be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Missing {
    pub(super) partition: TopicPartition,
    pub(super) epoch: u32,
    pub(super) from: i64,
    pub(super) to: i64,
    /// The first and the last day that it can lie in, where that is known.
    pub(super) days: (Option<i32>, Option<i32>),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, epoch {}: {}..{}", self.partition, self.epoch, self.from, self.to)
    }
}

impl Damage {
    /// Whether the log has what is missing.
    ///
    /// # Errors
    /// [`ArchiveError::Refused`] if it doesn't.
    pub(super) fn check(&self, table: &Table, lanes: &[LogLane]) -> Result<(), ArchiveError> {
        let mut lost = Vec::new();
        for missing in &self.missing {
            let of_lane = |lane: &&LogLane| lane.partition == missing.partition && lane.epoch == missing.epoch;
            match lanes.iter().find(of_lane) {
                Some(lane) if lane.from <= missing.from && missing.to <= lane.to => {}
                Some(lane) => lost.push(format!("{missing} (it has {}..{})", lane.from, lane.to)),
                None => lost.push(format!("{missing} (the topic has been made again, or is gone)")),
            }
        }
        if lost.is_empty() {
            return Ok(());
        }
        let name = table.spec().name;
        let paths: Vec<_> = self.files.iter().map(|(file, _)| format!("{name}/{}", file.path)).collect();
        Err(ArchiveError::Refused(format!(
            "nothing of the table {name} was restored, for the log no longer has {}. Bring these files back as they were \
             from a copy of the archive, under the same names: {}",
            lost.join(", "),
            paths.join(", ")
        )))
    }
}

/// A lane's tiles: first offset, the one after the last, and the day.
type Tiles = BTreeSet<(i64, i64, i32)>;
type Lane = (TopicPartition, u32);

struct Looked {
    file: ActiveFile,
    /// What is wrong with it.
    reason: Option<String>,
    /// What it claims to hold, if that can be read.
    claims: Option<Arc<Vec<Claim>>>,
}

/// Reads all files of a version.
pub(super) async fn look(table: &Table, version: &Version) -> Result<Damage, ArchiveError> {
    let footers = Footers::default();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for file in version.files(table).await? {
        match verify_file(table, &footers, &file).await {
            Ok((_, claims)) => good.push(Looked { file, reason: None, claims: Some(claims) }),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                // A footer whose sum is right says what the file was to hold, whatever became of its rows.
                let claims = footers.claims(table, &file).await.ok();
                bad.push(Looked { file, reason: Some(error.to_string()), claims });
            }
        }
    }
    // A range that was spread over several files can't be told apart again: all of them are made anew.
    loop {
        let parts = with_missing_parts(&good);
        if parts.is_empty() {
            break;
        }
        let (go, stay) = good.into_iter().partition(|looked| parts.contains(&looked.file.path));
        good = stay;
        bad.extend::<Vec<_>>(go);
    }
    let missing = missing(table, version, &good, &bad).await?;
    Ok(Damage { files: bad.into_iter().map(|looked| (looked.file, looked.reason)).collect(), missing })
}

/// Which of how many parts of a range a file has, and its path.
type Share<'a> = ((u32, u32), &'a str);

/// Files that have parts of a range of which others are not there, or are there twice.
fn with_missing_parts(files: &[Looked]) -> BTreeSet<String> {
    let mut shares: BTreeMap<(Lane, i64, i64), Vec<Share<'_>>> = BTreeMap::new();
    for looked in files {
        for claim in looked.claims.iter().flat_map(|claims| claims.iter()) {
            let range = ((claim.lane(), claim.epoch), claim.from, claim.to);
            shares.entry(range).or_default().push((claim.share, &looked.file.path));
        }
    }
    let mut found = BTreeSet::new();
    for mut shares in shares.into_values() {
        shares.sort_unstable();
        let of = shares.first().map_or(1, |((_, of), _)| *of);
        let is_whole = shares.iter().map(|(share, _)| *share).eq((0..of).map(|share| (share, of)));
        if !is_whole {
            found.extend(shares.into_iter().map(|(_, path)| path.to_owned()));
        }
    }
    found
}

/// What the good files don't cover of the lanes.
async fn missing(
    table: &Table,
    version: &Version,
    good: &[Looked],
    bad: &[Looked],
) -> Result<Vec<Missing>, ArchiveError> {
    let covered = tiles(good)?;
    let known = tiles(bad)?;
    let unknown = bad.iter().filter(|looked| looked.claims.is_none()).map(|looked| days(&looked.file.date));
    let unknown = unknown.collect::<Result<BTreeSet<i32>, _>>()?;
    let begun = lanes::begun(table, version).await?;
    let lanes: BTreeSet<Lane> = covered.keys().chain(known.keys()).copied().chain(begun).collect();
    let mut found = BTreeSet::new();
    let none = Tiles::new();
    for (partition, epoch) in lanes {
        let (covered, known) = (of(&covered, partition, epoch, &none), of(&known, partition, epoch, &none));
        let mut add = |(from, to), days| {
            found.insert(Missing { partition, epoch, from, to, days });
        };
        for (from, to, day) in known {
            gaps((*from, *to), covered.iter()).into_iter().for_each(|gap| add(gap, (Some(*day), Some(*day))));
        }
        let Some(held) = lanes::held(table, version, partition, epoch, None).await? else { continue };
        let both: Tiles = covered.union(known).copied().collect();
        for (from, to) in gaps((held.low, held.high), both.iter()) {
            // Days go up along a lane, so it lies between those of its neighbours.
            let before = both.iter().filter(|(_, end, _)| *end <= from).map(|(.., day)| *day).max();
            let after = both.iter().filter(|(begin, ..)| *begin >= to).map(|(.., day)| *day).min();
            add((from, to), (before.max(unknown.first().copied()), least(after, unknown.last().copied())));
        }
    }
    Ok(found.into_iter().collect())
}

fn least(a: Option<i32>, b: Option<i32>) -> Option<i32> {
    a.into_iter().chain(b).min()
}

fn of<'a>(tiles: &'a BTreeMap<Lane, Tiles>, partition: TopicPartition, epoch: u32, none: &'a Tiles) -> &'a Tiles {
    tiles.get(&(partition, epoch)).unwrap_or(none)
}

/// What files claim to hold, by lane.
fn tiles(files: &[Looked]) -> Result<BTreeMap<Lane, Tiles>, ArchiveError> {
    let mut tiles: BTreeMap<Lane, Tiles> = BTreeMap::new();
    for looked in files {
        let day = days(&looked.file.date)?;
        for claim in looked.claims.iter().flat_map(|claims| claims.iter()) {
            tiles.entry((claim.lane(), claim.epoch)).or_default().insert((claim.from, claim.to, day));
        }
    }
    Ok(tiles)
}

/// What of a range lies in none of the tiles, which ascend.
fn gaps<'a>((from, to): (i64, i64), tiles: impl Iterator<Item = &'a (i64, i64, i32)>) -> Vec<(i64, i64)> {
    let (mut next, mut gaps) = (from, Vec::new());
    for (begin, end, _) in tiles {
        if *begin > next && next < to {
            gaps.push((next, (*begin).min(to)));
        }
        next = next.max(*end);
    }
    if next < to {
        gaps.push((next, to));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_no_tile_covers() {
        let tiles = [(0, 10, 1), (10, 20, 1), (30, 40, 2), (35, 50, 2), (90, 100, 3)];
        assert_eq!(gaps((5, 120), tiles.iter()), [(20, 30), (50, 90), (100, 120)]);
        assert_eq!(gaps((12, 60), tiles.iter()), [(20, 30), (50, 60)]);
        assert_eq!(gaps((0, 20), tiles.iter()), []);
        assert_eq!(gaps((3, 4), [].iter()), [(3, 4)]);
    }
}
