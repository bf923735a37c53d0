//! Which splits to merge.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::Timestamp;

use crate::manifest::State;
use crate::split::SplitMeta;

/// Which splits are merged: so many neighbours in time of about the same size, so that each entry is written again only a
/// few times, whatever there is.
#[derive(Clone, Copy, Debug)]
pub struct MergePolicy {
    /// How many are merged into one.
    pub factor: usize,
    /// No merge makes a split of more entries.
    pub max_docs: u64,
    /// Those below this many count as being of one size.
    pub min_docs: u64,
    /// A workspace with as many entries among those that are merged gets a split of its own.
    pub own_docs: u64,
    /// Where no split has come for so long, those that are there are merged, however few; but a large one with others only if
    /// these have half as many entries together.
    pub settle: Duration,
}

impl Default for MergePolicy {
    fn default() -> Self {
        MergePolicy {
            factor: 8,
            max_docs: 8_000_000,
            min_docs: 50_000,
            own_docs: 1_000_000,
            settle: Duration::from_secs(600),
        }
    }
}

impl MergePolicy {
    /// The groups of splits to merge, of those that `may_be` merged, oldest first; none has a split in common with another.
    pub(super) fn plan(
        &self,
        state: &State,
        now: Timestamp,
        may_be: impl Fn(&SplitMeta) -> bool,
    ) -> Vec<Vec<Arc<SplitMeta>>> {
        let factor = self.factor.max(2);
        // Splits of one workspace are merged with each other: that they are by themselves is to stay.
        let mut by_owner = BTreeMap::<Option<&str>, Vec<&Arc<SplitMeta>>>::new();
        for split in state.splits.values().filter(|split| split.docs < self.max_docs && may_be(split)) {
            let mut workspaces = split.workspaces.keys();
            let own = workspaces.next().filter(|_| split.tier > 0 && workspaces.next().is_none());
            by_owner.entry(own.map(String::as_str)).or_default().push(split);
        }
        let mut groups = Vec::new();
        for mut splits in by_owner.into_values() {
            splits.sort_by_key(|split| (split.record_times().map(|times| times.first), split.id.clone()));
            if self.is_settled(&splits, now) {
                groups.extend(self.what_is_left(splits));
                continue;
            }
            let mut open = BTreeMap::<u32, Vec<Arc<SplitMeta>>>::new();
            for split in splits {
                let group = open.entry(self.size(split.docs)).or_default();
                let docs: u64 = group.iter().map(|split| split.docs).sum();
                if docs + split.docs > self.max_docs {
                    // One that is as large as may be, or nearly: half of what it may have is worth a merge.
                    let full = std::mem::take(group);
                    if full.len() > 1 && docs > self.max_docs / 2 {
                        groups.push(full);
                    }
                }
                group.push(split.clone());
                if group.len() == factor {
                    groups.push(std::mem::take(group));
                }
            }
        }
        groups.sort_by_key(|group| group[0].id.clone());
        groups
    }

    /// Whether nothing joins these any more.
    fn is_settled(&self, splits: &[&Arc<SplitMeta>], now: Timestamp) -> bool {
        let newest = splits.iter().map(|split| split.id.made()).max();
        newest.is_some_and(|newest| now.millis() - newest.millis() >= self.settle.as_millis() as i64)
    }

    /// Those that were never merged, and with them of the others those that aren't larger than twice what is smaller: so each
    /// entry is written again only a few times, however often something comes after a while. What was never merged is worth
    /// it by itself: its bodies are laid beside each other then.
    fn what_is_left(&self, mut splits: Vec<&Arc<SplitMeta>>) -> Vec<Vec<Arc<SplitMeta>>> {
        splits.sort_by_key(|split| (split.tier > 0, split.docs));
        let (mut groups, mut smaller, mut all) = (Vec::<Vec<Arc<SplitMeta>>>::new(), 0, 0);
        for split in splits {
            let fits = |group: &Vec<_>| group.len() < 2 * self.factor.max(2) && all + split.docs <= self.max_docs;
            let is_worth = split.tier == 0 || split.docs <= 2 * smaller;
            match groups.last_mut() {
                Some(group) if fits(group) && is_worth => group.push(split.clone()),
                _ => {
                    groups.push(vec![split.clone()]);
                    all = 0;
                }
            }
            (smaller, all) = (smaller + split.docs, all + split.docs);
        }
        groups.retain(|group| group.len() > 1 || group[0].tier == 0);
        groups
    }

    /// The number of the size that so many entries are.
    fn size(&self, docs: u64) -> u32 {
        (docs.max(1) / self.min_docs.max(1)).checked_ilog(self.factor.max(2) as u64).map_or(0, |size| size + 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use agentworks_schemas::Timestamp;

    use super::*;
    use crate::split::{SplitId, WorkspaceMeta};

    fn split(time: i64, docs: u64, tier: u8, workspaces: &[&str]) -> Arc<SplitMeta> {
        let part = WorkspaceMeta { docs, ..WorkspaceMeta::of(Timestamp(time), Timestamp(time)) };
        let workspaces: BTreeMap<_, _> = workspaces.iter().map(|name| ((*name).to_owned(), part.clone())).collect();
        let id = SplitId::new();
        let (footer, lanes, apart, filter) = Default::default();
        Arc::new(SplitMeta { id, bytes: 1, footer, docs, tier, lanes, workspaces, apart, filter })
    }

    fn state(splits: &[Arc<SplitMeta>]) -> State {
        let splits = splits.iter().map(|split| (split.id.clone(), split.clone())).collect();
        State { splits, ..State::default() }
    }

    #[test]
    fn neighbours_of_a_size_are_merged() {
        let policy = MergePolicy { factor: 3, max_docs: 1000, min_docs: 10, own_docs: 500, ..MergePolicy::default() };
        let small: Vec<_> = (0..7).map(|n| split(n, 5, 0, &["a", "b"])).collect();
        let large: Vec<_> = (0..2).map(|n| split(n, 40, 0, &["a", "b"])).collect();
        let done: Vec<_> = (0..9).map(|n| split(n, 1000, 1, &["a", "b"])).collect();
        let own: Vec<_> = (0..3).map(|n| split(n, 6, 1, &["a"])).collect();
        let all: Vec<_> = small.iter().rev().chain(&large).chain(&done).chain(&own).cloned().collect();
        let groups = policy.plan(&state(&all), Timestamp::now(), |_| true);
        assert_eq!(groups.len(), 3);
        assert!(groups.contains(&small[..3].to_vec()) && groups.contains(&small[3..6].to_vec()));
        assert!(groups.contains(&own));
        assert!(policy.plan(&state(&small[..2]), Timestamp::now(), |_| true).is_empty());
    }

    #[test]
    fn no_merge_makes_more_than_may_be() {
        let policy =
            MergePolicy { factor: 8, max_docs: 1000, min_docs: 10, own_docs: u64::MAX, ..MergePolicy::default() };
        let splits: Vec<_> = (0..8).map(|n| split(n, 300, 1, &["a", "b"])).collect();
        let groups = policy.plan(&state(&splits), Timestamp::now(), |_| true);
        assert_eq!(groups, [splits[..3].to_vec(), splits[3..6].to_vec()]);
        let large: Vec<_> = (0..8).map(|n| split(n, 600, 1, &["a", "b"])).collect();
        assert!(policy.plan(&state(&large), Timestamp::now(), |_| true).is_empty());
        let spared = policy.plan(&state(&splits), Timestamp::now(), |split| split.id != splits[0].id);
        assert_eq!(spared, [splits[1..4].to_vec(), splits[4..7].to_vec()]);
    }

    #[test]
    fn what_nothing_joins_any_more_is_merged() {
        let policy = MergePolicy { max_docs: 1000, min_docs: 10, ..MergePolicy::default() };
        let late = Timestamp(Timestamp::now().millis() + policy.settle.as_millis() as i64 + 1000);
        let fresh: Vec<_> = [5, 300, 600, 900].iter().map(|docs| split(*docs, *docs as u64, 0, &["a", "b"])).collect();
        assert!(policy.plan(&state(&fresh), Timestamp::now(), |_| true).is_empty());
        assert_eq!(policy.plan(&state(&fresh), late, |_| true), [fresh[..3].to_vec(), fresh[3..].to_vec()]);
        let merged: Vec<_> = [5, 9, 300, 500].iter().map(|docs| split(*docs, *docs as u64, 1, &["a", "b"])).collect();
        let groups = policy.plan(&state(&merged), late, |_| true);
        assert_eq!(groups, [merged[..2].to_vec(), merged[2..].to_vec()], "300 isn't written again for the sake of 14");
        assert!(policy.plan(&state(&merged[..1]), late, |_| true).is_empty(), "merged before");
        let alone = [split(0, 5, 0, &["a", "b"]), split(1, 900, 1, &["c"]), split(2, 50, 0, &["d"])];
        assert_eq!(policy.plan(&state(&alone), late, |_| true).len(), 1, "those of tier 0 together");
        let many: Vec<_> = (0..200).map(|n| split(n, 1, 0, &["a", "b"])).collect();
        assert!(policy.plan(&state(&many), late, |_| true).iter().all(|group| group.len() <= 16));
    }

    /// How many splits there are in the end of 2,000 with 10 entries each, and how many entries merging has written, if all
    /// that is due is merged before the next one comes.
    fn filled(policy: &MergePolicy) -> (usize, u64) {
        let (mut splits, mut written) = (Vec::new(), 0);
        for n in 0..2000 {
            splits.push(split(n, 10, 0, &["a", "b"]));
            while let Some(group) = policy.plan(&state(&splits), Timestamp::now(), |_| true).into_iter().next() {
                let docs = group.iter().map(|split| split.docs).sum();
                written += docs;
                splits.retain(|split| !group.contains(split));
                splits.push(split(group[0].record_times().unwrap().first.millis(), docs, 1, &["a", "b"]));
            }
        }
        (splits.len(), written)
    }

    #[test]
    fn each_entry_is_written_again_a_few_times_only() {
        let policy =
            MergePolicy { factor: 4, max_docs: 4000, min_docs: 10, own_docs: u64::MAX, ..MergePolicy::default() };
        let (splits, written) = filled(&policy);
        assert!(written <= 20_000 * 5, "{written}");
        assert!(splits <= 20_000 / 2000 + 4 * 5, "{splits}");
    }

    /// As above, where something comes only now and then, and is merged before the next.
    #[test]
    fn what_comes_now_and_then_is_written_again_a_few_times_only() {
        let policy =
            MergePolicy { factor: 4, max_docs: 1 << 20, min_docs: 10, own_docs: u64::MAX, settle: Duration::ZERO };
        let (splits, written) = filled(&policy);
        assert!(written <= 20_000 * 12, "{written}");
        assert!(splits <= 12, "{splits}");
    }
}
