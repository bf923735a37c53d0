//! Which of overlapping blocks to read, and in which order.

/// Of some intervals (first, last), both included, those that have to be visited to see, once each and in order, all
/// places at or beyond `next` that lie in any. Each is returned with the value that came with it.
///
/// It is assumed that an interval holds all there is between its ends. So whatever lies in several is seen in the first
/// one visited, and needn't be looked for in the others.
pub(crate) fn cover<T>(mut intervals: Vec<(i64, i64, T)>, mut next: i64) -> Vec<(i64, i64, T)> {
    intervals.sort_by_key(|(first, last, _)| (*first, -last));
    let mut chosen = Vec::new();
    let mut rest = intervals.into_iter().peekable();
    loop {
        // Of those that begin here or before, the one that reaches furthest; else the one that begins soonest.
        let mut best = None;
        while let Some(interval) = rest.next_if(|(first, ..)| *first <= next) {
            if interval.1 >= next && best.as_ref().is_none_or(|(_, last, _)| interval.1 > *last) {
                best = Some(interval);
            }
        }
        let Some(interval) = best.or_else(|| rest.next()) else { return chosen };
        next = interval.1 + 1;
        chosen.push(interval);
    }
}

/// The same from the other end: what lies at or before `next`, backwards.
pub(crate) fn cover_backwards<T>(intervals: Vec<(i64, i64, T)>, next: i64) -> Vec<(i64, i64, T)> {
    let mirror = |intervals: Vec<(i64, i64, T)>| {
        intervals.into_iter().map(|(first, last, value)| (-last, -first, value)).collect()
    };
    mirror(cover(mirror(intervals), -next))
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_interval_may_do_for_many() {
        let intervals = vec![(0, 9, 'a'), (0, 3, 'b'), (4, 6, 'c'), (5, 20, 'd'), (30, 40, 'e'), (30, 31, 'f')];
        let names = |found: Vec<(i64, i64, char)>| found.into_iter().map(|(.., name)| name).collect::<String>();
        assert_eq!(names(cover(intervals.clone(), 0)), "ade");
        assert_eq!(names(cover(intervals.clone(), 7)), "de");
        assert_eq!(names(cover(intervals.clone(), 41)), "");
        assert_eq!(names(cover_backwards(intervals.clone(), 100)), "eda");
        assert_eq!(names(cover_backwards(intervals, 10)), "da");
    }

    proptest! {
        /// Places that exist, cut into intervals that each hold all between their ends, with some cut anew and in part.
        #[test]
        fn all_places_are_seen_once_and_in_order(
            places in prop::collection::btree_set(0..200i64, 1..40),
            cuts in prop::collection::vec((0..40usize, 0..40usize), 0..20),
            next in 0..200i64,
        ) {
            let places: Vec<_> = places.into_iter().collect();
            let at = |index: usize| places[index.min(places.len() - 1)];
            let intervals: Vec<_> = cuts.into_iter().map(|(a, b)| (at(a.min(b)), at(a.max(b)), ())).collect();
            let held = |place: &&i64| intervals.iter().any(|(first, last, ())| (first..=last).contains(place));

            let mut seen = Vec::<&i64>::new();
            let mut from = next;
            for (first, last, ()) in cover(intervals.clone(), next) {
                seen.extend(places.iter().filter(|place| **place >= from && (first..=last).contains(place)));
                from = last + 1;
            }
            prop_assert_eq!(seen, places.iter().filter(|place| **place >= next).filter(held).collect::<Vec<_>>());

            let mut seen = Vec::<&i64>::new();
            let mut to = next;
            for (first, last, ()) in cover_backwards(intervals.clone(), next) {
                seen.extend(places.iter().rev().filter(|place| **place <= to && (first..=last).contains(place)));
                to = first - 1;
            }
            prop_assert_eq!(seen, places.iter().rev().filter(|place| **place <= next).filter(held).collect::<Vec<_>>());
        }
    }
}
