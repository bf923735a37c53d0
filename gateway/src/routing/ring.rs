//! The hash ring: which gateway is a lane's home.

use std::sync::Arc;

use sha2::{Digest, Sha256};

/// How many places each member has on the ring. So many keep the members' shares within about a tenth of each other.
const VIRTUAL_NODES: u32 = 160;

/// Members and their places.
///
/// Whoever knows the members' names comes to the same ring, in any language: member `M` stands at the places
/// `hash("M#0")` to `hash("M#159")`, and lane `N` belongs to the member at the first place that isn't before
/// `hash("lane N")`, or, after the last place, at the first of all. `hash` is the first eight bytes of SHA-256, read as a
/// big-endian number. Should two members share a place, it is the one's whose name comes first.
///
/// So when a member leaves, its own lanes go to others and no other lane moves; when one joins, lanes move to it alone,
/// and about as many as is its share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Sorted, each once.
    members: Vec<Arc<str>>,
    /// Sorted by place; the number is the member's in `members`.
    places: Vec<(u64, u32)>,
}

impl Ring {
    /// A ring of these members; their order doesn't matter.
    pub fn new(members: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut members: Vec<_> = members.into_iter().collect();
        members.sort();
        members.dedup();
        let mut places = Vec::with_capacity(members.len() * VIRTUAL_NODES as usize);
        for (index, member) in (0..).zip(&members) {
            places.extend((0..VIRTUAL_NODES).map(|node| (hash(&format!("{member}#{node}")), index)));
        }
        places.sort_unstable();
        places.dedup_by_key(|(place, _)| *place);
        Ring { members, places }
    }

    /// The members, sorted.
    pub fn members(&self) -> &[Arc<str>] {
        &self.members
    }

    /// The member whose lane it is; `None` if there are none.
    pub fn home(&self, lane: i32) -> Option<&Arc<str>> {
        let place = hash(&format!("lane {lane}"));
        let index = self.places.partition_point(|(other, _)| *other < place);
        let (_, member) = self.places.get(index).or_else(|| self.places.first())?;
        self.members.get(*member as usize)
    }
}

fn hash(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::*;

    const LANES: i32 = 4000;

    fn ring(names: &[&str]) -> Ring {
        Ring::new(names.iter().map(|name| Arc::from(*name)))
    }

    fn homes(ring: &Ring) -> Vec<Arc<str>> {
        (0..LANES).map(|lane| ring.home(lane).unwrap().clone()).collect()
    }

    fn names(count: std::ops::Range<usize>) -> impl Strategy<Value = BTreeSet<String>> {
        prop::collection::btree_set("http://[a-z0-9.-]{1,20}:[1-9][0-9]{1,3}", count)
    }

    #[test]
    fn the_hash_is_the_documented_one() {
        // `printf %s 'lane 7' | sha256sum`
        assert_eq!(hash("lane 7"), 0x7b59_1853_4dcd_8682);
        assert_eq!(hash(""), 0xe3b0_c442_98fc_1c14);
    }

    #[test]
    fn nobody_and_one() {
        assert_eq!(Ring::default().home(3), None);
        let one = ring(&["a", "a"]);
        assert_eq!(one.members().len(), 1);
        assert!(homes(&one).iter().all(|home| &**home == "a"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_order_does_not_matter(names in names(1..12)) {
            let forwards = Ring::new(names.iter().map(|name| Arc::from(name.as_str())));
            let backwards = Ring::new(names.iter().rev().map(|name| Arc::from(name.as_str())));
            prop_assert_eq!(forwards, backwards);
        }

        #[test]
        fn members_have_about_equal_shares(names in names(2..16)) {
            let ring = Ring::new(names.iter().map(|name| Arc::from(name.as_str())));
            let mut counts: HashMap<_, f64> = HashMap::new();
            homes(&ring).into_iter().for_each(|home| *counts.entry(home).or_default() += 1.0);
            let fair = f64::from(LANES) / names.len() as f64;
            prop_assert_eq!(counts.len(), names.len());
            for (name, count) in counts {
                prop_assert!((0.55..1.6).contains(&(count / fair)), "{} has {} times its share", name, count / fair);
            }
        }

        #[test]
        fn only_the_lanes_of_one_who_leaves_move_and_it_gets_the_same_back(names in names(2..16), who in any::<prop::sample::Index>()) {
            let gone = who.get(&names.iter().collect::<Vec<_>>()).as_str().to_owned();
            let all = Ring::new(names.iter().map(|name| Arc::from(name.as_str())));
            let left = Ring::new(names.iter().filter(|name| **name != gone).map(|name| Arc::from(name.as_str())));
            let mut moved = 0;
            for (before, after) in homes(&all).iter().zip(&homes(&left)) {
                // Read the other way it says: one who joins gets lanes, and nobody else does.
                prop_assert_eq!(before != after, **before == *gone);
                moved += i32::from(before != after);
            }
            let fair = f64::from(LANES) / names.len() as f64;
            prop_assert!(f64::from(moved) < 1.6 * fair, "{} of {} moved", moved, LANES);
        }
    }
}
