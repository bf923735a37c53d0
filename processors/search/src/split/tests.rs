#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use agentworks_schemas::Timestamp;
use agentworks_schemas::codec::decode_entry_body;
use proptest::prelude::*;
use tantivy::Term;
use tantivy::collector::Count;
use tantivy::query::{AllQuery, TermQuery};
use tantivy::schema::IndexRecordOption;

use super::filter::{Kind, Partition, key};
use super::*;
use crate::schema::{fields, lane_number, lane_of};
use crate::testing::{at, entries, entry, packed};

fn count(split: &Split, workspace: &str) -> usize {
    let term = Term::from_field_text(fields().workspace, workspace);
    split.searcher().search(&TermQuery::new(term, IndexRecordOption::Basic), &Count).unwrap()
}

#[test]
fn a_split_has_what_was_put_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let (packed, meta) = packed(folder.path(), &[entries(0, 0..50), entries(1, 10..20)]);
    assert_eq!((meta.docs, meta.lanes.len()), (60, 2));
    let path = packed.path().to_owned();
    let split = Split::open(Arc::new(meta.clone()), &path).unwrap();
    assert_eq!(split.searcher().search(&AllQuery, &Count).unwrap(), 60);
    for (workspace, part) in &meta.workspaces {
        assert_eq!(count(&split, workspace) as u64, part.docs, "{workspace}");
    }
    assert_eq!(split.searcher().segment_readers().len(), 2);
    drop(packed);
    assert!(!path.exists());
    assert_eq!(split.searcher().search(&AllQuery, &Count).unwrap(), 60, "a mapping outlives its file's name");
}

/// How many documents a split has; fails unless each has the body of the entry that lies where it says.
fn bodies_are_of_their_documents(split: &Split) -> usize {
    let mut docs = 0;
    for (number, segment) in split.searcher().segment_readers().iter().enumerate() {
        let columns = segment.fast_fields();
        let (lanes, offsets) = (columns.u64("lane").unwrap(), columns.i64("offset").unwrap());
        let bodies = split.searcher().bodies(number as u32);
        assert_eq!(bodies.docs(), segment.max_doc());
        let mut bodies = bodies.reader().unwrap();
        for doc in 0..segment.max_doc() {
            let partition = lane_of(lanes.first(doc).unwrap()).unwrap();
            let expected = entry(at(partition.partition, offsets.first(doc).unwrap()));
            let found = decode_entry_body(bodies.get(doc).unwrap()).unwrap();
            assert_eq!((&*found.id, &*found.message), (&*expected.id, &*expected.message));
            docs += 1;
        }
    }
    docs
}

#[test]
fn a_split_is_made_of_a_part_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let (one, meta) = packed(folder.path(), &[entries(0, 0..50), entries(1, 10..20)]);
    let first = Split::open(Arc::new(meta), one.path()).unwrap();
    let (two, meta) = packed(folder.path(), &[entries(0, 50..80)]);
    let second = Split::open(Arc::new(meta), two.path()).unwrap();
    let lanes: Vec<_> = first.meta().lanes.iter().chain(&second.meta().lanes).copied().collect();
    let mut positions = Vec::new();
    let (packed, meta) = rebuild(&[first.clone(), second], lanes, 1, folder.path(), &mut |found| {
        assert_eq!(found.record_time, Timestamp(1_000_000 + found.position.offset));
        let keeps = found.position.partition == at(0, 0).partition && found.run != "run-3";
        if keeps {
            positions.push(found.position.offset);
        }
        keeps
    })
    .unwrap()
    .unwrap();
    let split = Split::open(Arc::new(meta.clone()), packed.path()).unwrap();
    assert_eq!(split.searcher().search(&AllQuery, &Count).unwrap(), positions.len());
    assert_eq!(bodies_are_of_their_documents(&split), positions.len());
    assert_eq!((meta.docs, meta.tier), (positions.len() as u64, 1));
    assert_eq!(meta.lanes.len(), 2, "ranges that follow on each other are one");
    assert_eq!(meta.workspaces.values().map(|part| part.docs).sum::<u64>(), meta.docs);
    assert!(rebuild(&[first], [], 1, folder.path(), &mut |_| false).unwrap().is_none());
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 3, "scratch space is given back");
}

/// The groups of a split's documents, in the order of their bodies.
fn groups(split: &Split) -> Vec<u64> {
    let segment = &split.searcher().segment_readers()[0];
    let groups = merge::Groups::open(segment).unwrap();
    split.searcher().bodies(0).documents().into_iter().flatten().map(|doc| groups.of(doc)).collect()
}

#[test]
fn merging_lays_bodies_of_a_run_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let open = |(packed, meta): (Packed, SplitMeta)| {
        let split = Split::open(Arc::new(meta), packed.path()).unwrap();
        bodies_are_of_their_documents(&split);
        split
    };
    let merged = |parts: &[Split], keeps: fn(&Found<'_>) -> bool| {
        open(rebuild(parts, [], 1, folder.path(), &mut |found| keeps(found)).unwrap().unwrap())
    };
    // In pieces, one of them in no order at all, and with documents left out.
    let sorted = |partition, offsets: std::ops::Range<i64>| {
        let (range, mut all) = entries(partition, offsets);
        all.sort_by_cached_key(|(position, ..)| group(&entry(*position).card_id, &entry(*position).run_id));
        (range, all)
    };
    let one = open(packed(folder.path(), &[sorted(0, 0..40), sorted(0, 40..100), entries(0, 100..400)]));
    let two = open(packed(folder.path(), &[sorted(1, 0..300)]));
    let all = merged(&[one.clone(), two.clone()], |_| true);
    assert_eq!(groups(&all).len(), 700);
    assert!(groups(&all).is_sorted());
    let part = merged(&[one, two], |found| found.position.offset % 3 != 0);
    assert!(groups(&part).is_sorted());
    // What was merged before has its bodies in another order than its documents.
    let three = open(packed(folder.path(), &[sorted(2, 0..200)]));
    let again = merged(&[part, three, all], |found| found.position.offset % 5 != 0);
    assert!(groups(&again).is_sorted());
    // Those of one run as they came.
    let columns = again.searcher().segment_readers()[0].fast_fields();
    let (lanes, offsets) = (columns.u64("lane").unwrap(), columns.i64("offset").unwrap());
    let docs: Vec<_> = again.searcher().bodies(0).documents().into_iter().flatten().collect();
    let of_lane_two = docs.iter().filter(|doc| lanes.first(**doc) == Some(lane_number(at(2, 0).partition)));
    let of_one = of_lane_two.filter(|doc| offsets.first(**doc).unwrap() % 35 == 1);
    assert!(of_one.map(|doc| offsets.first(*doc)).is_sorted());
}

/// Whether the filter of a packed split, where its meta says that it lies, may have a term.
fn may_have(packed: &Packed, meta: &SplitMeta, kind: Kind, term: &str) -> bool {
    let (place, object) = (meta.filter.unwrap(), packed.contents().unwrap());
    assert!(place.is_sound(meta.bytes));
    let key = key(kind, term.as_bytes());
    let (number, range) = (place.partition_of(key), place.range(place.partition_of(key)));
    Partition::open(&place, number, &object[range.start as usize..range.end as usize]).unwrap().may_have(key)
}

#[test]
fn a_filter_has_the_terms_of_all_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (one, meta) = packed(folder.path(), &[entries(0, 0..50), entries(1, 10..20)]);
    let first = Split::open(Arc::new(meta.clone()), one.path()).unwrap();
    let keeps_first = &mut |found: &Found<'_>| found.position.partition == at(0, 0).partition;
    let lanes = meta.lanes.clone();
    let (two, merged) = rebuild(&[first], lanes, 1, folder.path(), keeps_first).unwrap().unwrap();
    let has_all = |packed, meta| {
        [
            (Kind::Id, format!("id-{}", at(0, 49))),
            (Kind::Card, "card-4".to_owned()),
            (Kind::Run, "run-6".to_owned()),
            (Kind::Provider, "anthropic".to_owned()),
            (Kind::Tags, "tag-1".to_owned()),
            (Kind::Word, "runner".to_owned()),
            (Kind::Word, "limit".to_owned()),
        ]
        .into_iter()
        .all(|(kind, term)| may_have(packed, meta, kind, &term))
    };
    assert!(has_all(&one, &meta) && has_all(&two, &merged));
    let left_out = format!("id-{}", at(1, 15));
    assert!(may_have(&one, &meta, Kind::Id, &left_out), "of the other segment");
    assert!(!may_have(&two, &merged, Kind::Id, &left_out), "what is left out of a split is not in its filter");
    assert!(!may_have(&one, &meta, Kind::Word, "card-4") && !may_have(&one, &meta, Kind::Card, "card"));
    // Whoever reads a manifest of before reads splits that have none.
    let json = serde_json::to_value(SplitMeta { filter: None, ..meta.clone() }).unwrap();
    assert!(json.get("filter").is_none());
    assert_eq!(serde_json::from_value::<SplitMeta>(json).unwrap().filter, None);
    let json = serde_json::to_string(&meta).unwrap();
    assert_eq!(serde_json::from_str::<SplitMeta>(&json).unwrap(), meta);
}

#[test]
fn ranges_are_joined() {
    let range = |partition, from, to| LaneRange {
        from,
        to,
        ..LaneRange { partition: at(partition, 0).partition, epoch: 0, from: 0, to: 0 }
    };
    let union = LaneRange::union([range(0, 5, 9), range(1, 0, 2), range(0, 0, 5), range(0, 20, 21), range(1, 3, 3)]);
    assert_eq!(union, [range(0, 0, 9), range(0, 20, 21), range(1, 0, 2)]);
}

#[test]
fn ids_are_ids() {
    let id = SplitId::new();
    assert_eq!(id.as_str().parse::<SplitId>().unwrap(), id);
    for wrong in ["", "../../etc", &id.as_str().to_uppercase(), &format!("{id}0")] {
        assert!(wrong.parse::<SplitId>().is_err(), "{wrong}");
    }
}

fn open(meta: &SplitMeta, object: Vec<u8>) -> Result<Split, crate::SearchError> {
    Split::open_bytes(Arc::new(meta.clone()), tantivy::directory::OwnedBytes::new(object))
}

fn is_damage(result: Result<Split, crate::SearchError>, id: &SplitId) -> bool {
    matches!(result, Err(crate::SearchError::Split { id: named, .. }) if named == *id)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damage_is_found(place in 0.0..1.0f64, bit in 0..8u8, grown in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let (packed, meta) = packed(folder.path(), &[entries(0, 0..30)]);
        let object = packed.contents().unwrap().to_vec();
        prop_assert!(open(&meta, object.clone()).is_ok());
        let at = ((object.len() as f64) * place) as usize;
        let mut flipped = object.clone();
        flipped[at] ^= 1 << bit;
        prop_assert!(is_damage(open(&meta, flipped), &meta.id));
        prop_assert!(is_damage(open(&meta, object[..at].to_vec()), &meta.id));
        if grown {
            let mut longer = object[..at].to_vec();
            longer.push(0);
            longer.extend_from_slice(&object[at..]);
            prop_assert!(is_damage(open(&meta, longer), &meta.id));
        }
    }
}

#[test]
fn a_forged_footer_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (packed_one, meta) = packed(folder.path(), &[entries(0, 0..30)]);
    let (other, _) = packed(folder.path(), &[entries(0, 0..29)]);
    // Whole and sound, but another split.
    assert!(is_damage(open(&meta, other.contents().unwrap().to_vec()), &meta.id));
    // A directory of its own making, with checksums that fit.
    let object = packed_one.contents().unwrap().to_vec();
    let mut before = object.clone();
    *before.last_mut().unwrap() = b'1';
    let error = open(&meta, before).unwrap_err().to_string();
    assert!(
        error.contains("was made by a version before: `agentworks reindex --from 2020-01-01 --damaged`"),
        "{error}"
    );
    let entry =
        |offset, length| footer::FileEntry { name: "meta.json".into(), offset, length, crc32: 0, unpacked: None };
    for files in [
        vec![],
        vec![entry(0, u64::MAX)],
        vec![entry(u64::MAX, 2)],
        vec![entry(0, object.len() as u64)],
        (0..70_000).map(|_| entry(0, 0)).collect(),
    ] {
        let (end, digest) = footer::encode(&files).unwrap();
        let forged: Vec<u8> = object[..100].iter().copied().chain(end).collect();
        let meta = SplitMeta { footer: digest, ..meta.clone() };
        assert!(is_damage(open(&meta, forged), &meta.id));
    }
    let missing = Split::open(Arc::new(meta.clone()), &folder.path().join("none"));
    assert!(is_damage(missing, &meta.id));
    let error = open(&meta, vec![]).unwrap_err();
    assert!(error.to_string().contains("agentworks reindex") && !error.is_transient(), "{error}");
}
