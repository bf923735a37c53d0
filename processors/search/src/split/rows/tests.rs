#![allow(clippy::unwrap_used)]

use agentworks_schemas::codec::encode_entry_body;
use agentworks_schemas::text::JsonObject;
use agentworks_schemas::{Level, LogEntry, Source, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::decode::TOO_LONG;
use super::digits::{digits, from_v7, uuid_text};
use super::*;

fn pack(rows: &[Vec<u8>]) -> Parts {
    let mut end = 0;
    let ends = rows.iter().map(|row| {
        end += row.len() as u32;
        end
    });
    let (ends, mut parts) = (ends.collect::<Vec<u32>>(), Parts::default());
    Encoder::default().encode(&Layout::entry(), &rows.concat(), &ends, &mut parts);
    parts
}

fn unpack(parts: &Parts, max: usize) -> Result<Vec<Vec<u8>>, &'static str> {
    let (mut out, mut ends) = (vec![1], vec![1]);
    Decoder::default().decode(&Layout::entry(), &parts.parts, &parts.plain, max, &mut out, &mut ends)?;
    assert!(out.len() <= max && ends.last().is_none_or(|end| *end as usize == out.len()));
    let mut start = 0;
    let rows = ends.iter().map(|end| out[std::mem::replace(&mut start, *end as usize)..*end as usize].to_vec());
    Ok(rows.collect())
}

/// Packs rows and unpacks them; how they were kept.
fn kept(rows: &[Vec<u8>]) -> u8 {
    let parts = pack(rows);
    let length = rows.iter().map(Vec::len).sum();
    assert_eq!(unpack(&parts, length).as_deref(), Ok(rows));
    assert!(length == 0 || unpack(&parts, length - 1).is_err());
    parts.parts[0][0]
}

/// Texts of all kinds: such as come again, ids, digits, and such as are nearly those.
fn text() -> impl Strategy<Value = String> {
    let id = (any::<u128>(), 0..4u8).prop_map(|(number, kind)| match kind {
        0 => String::from_utf8(uuid_text(number).to_vec()).unwrap(),
        1 => String::from_utf8(uuid_text(from_v7(number, (number >> 80) as i64)).to_vec()).unwrap(),
        2 => format!("{number:032x}"),
        _ => String::from_utf8(uuid_text(number).to_vec()).unwrap().to_uppercase(),
    });
    let few = (0..50u8).prop_map(|number| format!("value {number}"));
    let within = vec(("[a-f0-9]{0,40}", "[ g]{0,2}|-é"), 0..6).prop_map(|words| {
        words
            .into_iter()
            .map(|(digits, other)| digits.repeat(1 + digits.len() % 3) + &digits[..digits.len() / 9] + &other)
            .collect()
    });
    let nearly = prop_oneof![
        Just("019ac3b4-0000-7000-8000-00000000000g".to_owned()),
        Just("019ac3b4_0000-7000-8000-000000000000".to_owned()),
        Just("019ac3b400007000800000000000000".to_owned()),
    ];
    prop_oneof![4 => Just("same".to_owned()), 4 => few, 4 => id, 2 => within, 1 => nearly, 1 => ".{0,300}"]
}

prop_compose! {
    fn entry()(
        texts in prop::array::uniform6(text()),
        options in prop::array::uniform7(option::of(text())),
        numbers in (prop_oneof![any::<i64>(), 0..9i64], prop_oneof![any::<i64>(), 0..9i64]),
        symbols in (0..Level::ALL.len(), 0..Source::ALL.len()),
        data in option::of(text()),
        tags in option::of(vec(text(), 0..3)),
    ) -> Vec<u8> {
        let [id, run, card, workspace, component, message] = texts.map(Into::into);
        let [agent_id, provider, model, user_id, correlation_id, parent_span_id, trace_id] =
            options.map(|text| text.map(Into::into));
        let entry = LogEntry {
            id,
            run_id: run,
            card_id: card,
            workspace_id: workspace,
            timestamp: Timestamp(numbers.0),
            sequence: numbers.1,
            level: Level::ALL[symbols.0],
            source: Source::ALL[symbols.1],
            component,
            message,
            data: data.and_then(|text| JsonObject::parse(serde_json::json!({ "text": text }).to_string())),
            agent_id,
            provider,
            model,
            user_id,
            tags: tags.map(|tags| tags.into_iter().map(Into::into).collect()),
            correlation_id,
            parent_span_id,
            trace_id,
        };
        let mut body = Vec::new();
        encode_entry_body(&entry, &mut body);
        body
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn entries_are_kept_by_field(rows in vec(entry(), 0..80)) {
        prop_assert_eq!(kept(&rows), BY_FIELD);
    }

    #[test]
    fn more_heads_than_have_numbers_are_kept(mut rows in vec(entry(), 1..3), count in 250..600usize) {
        for number in 0..count {
            let mut row = rows[0].clone();
            // What stands there is an empty array's beginning or no field at all, or another value.
            let at = number % row.len();
            row[at] = row[at].wrapping_add(2);
            rows.push(row);
        }
        kept(&rows);
    }

    #[test]
    fn any_rows_are_kept(rows in vec(vec(any::<u8>(), 0..60), 0..20)) {
        kept(&rows);
    }

    #[test]
    fn entries_with_another_byte_are_kept(
        mut rows in vec(entry(), 1..8),
        row in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let row = row.get_mut(&mut rows);
        *at.get_mut(row) = byte;
        kept(&rows);
    }

    #[test]
    fn what_is_damaged_is_refused_or_other_rows(rows in vec(entry(), 1..6), flip in 1..=255u8) {
        let parts = pack(&rows);
        let max = rows.iter().map(Vec::len).sum::<usize>() + 100;
        let check = |change: &dyn Fn(&mut Vec<u8>), part: usize| {
            let mut other = parts.clone();
            change(if part < other.parts.len() { &mut other.parts[part] } else { &mut other.plain });
            if let Ok(rows) = unpack(&other, max) {
                assert!(rows.iter().map(Vec::len).sum::<usize>() <= max);
                true
            } else {
                false
            }
        };
        for part in 0..=parts.parts.len() {
            let length = parts.parts.get(part).unwrap_or(&parts.plain).len();
            for at in 0..length {
                check(&|bytes| bytes[at] ^= flip, part);
                prop_assert!(!check(&|bytes| bytes.truncate(at), part));
            }
            prop_assert!(!check(&|bytes| bytes.push(flip), part));
        }
    }

    #[test]
    fn any_bytes_are_refused_or_rows(
        parts in vec(vec(prop_oneof![0..8u8, any::<u8>()], 0..300), 0..4),
        plain in vec(any::<u8>(), 0..100),
        kept in 0..2u8,
    ) {
        let mut parts = Parts { parts, plain };
        if let Some(first) = parts.parts.first_mut() {
            first.insert(0, kept);
        }
        let _ = unpack(&parts, 1000);
    }
}

/// An entry with nothing in it, except for what stands in place of some bytes: by where they are, and how many.
fn body(at: usize, length: usize, other: &[u8]) -> Vec<u8> {
    let mut row = vec![0; 19];
    row.splice(at..at + length, other.iter().copied());
    row
}

#[test]
fn what_avro_can_write_otherwise_is_kept_as_it_is() {
    assert_eq!(kept(&[body(0, 0, &[])]), BY_FIELD);
    let others: [(usize, &[u8]); 14] = [
        // Numbers longer than they need be: a length, a number, what a union has, how many tags.
        (0, &[0x80, 0]),
        (4, &[0x82, 0x80, 0]),
        (10, &[0x82, 0, 0]),
        (15, &[2, 0x82, 0, 0, 0]),
        // Too large ones.
        (4, &[0xff; 10]),
        (4, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        // Texts of negative lengths, and too long ones.
        (0, &[1]),
        (0, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        (0, &[40]),
        // Neither null nor a text.
        (10, &[4, 0]),
        (10, &[1, 0]),
        // Tags with their size, without an end, and more than there can be.
        (15, &[2, 1, 2, 0, 0]),
        (15, &[2, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        (19, &[0]),
    ];
    for (at, other) in others {
        let row = body(at, usize::from(at < 19), other);
        assert_eq!(kept(std::slice::from_ref(&row)), AS_THEY_ARE, "{other:?} at {at}");
        assert_eq!(kept(&[body(0, 0, &[]), row, body(0, 0, &[])]), AS_THEY_ARE, "{other:?} at {at}");
    }
    assert_eq!(kept(&[body(0, 0, &[]), vec![]]), AS_THEY_ARE);
    assert_eq!(kept(&[body(15, 1, &[2, 2, 0, 2, 0, 0])]), BY_FIELD);
    assert_eq!(kept(&[]), BY_FIELD);
}

#[test]
fn what_stands_in_texts_for_others_may_be_in_them() {
    for mark in [END, PAIRS, AGAIN] {
        let text = [6, mark, b'a', mark];
        assert_eq!(kept(&[body(9, 1, &text), body(9, 1, &[2, mark]), body(8, 1, &[2, mark])]), BY_FIELD);
    }
}

#[test]
fn digits_within_a_text_are_found() {
    let all = |text: &str| {
        let next = |found: &Span| digits(text.as_bytes(), found.end);
        let runs = std::iter::successors(digits(text.as_bytes(), 0), next);
        runs.map(|run| text[run.start..run.end].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(all("call_0123456789ab"), ["0123456789ab"]);
    assert_eq!(all("deadbee deadbeef9x1234567a"), ["deadbeef", "1234567a"]);
    assert_eq!(all("12345678 1764670530000 DEADBEEF").len(), 0);
    assert_eq!(all(&"a1".repeat(300)), ["a1".repeat(255), "a1".repeat(45)]);
}

#[test]
fn many_heads_are_kept_by_field() {
    let mut rows: Vec<_> = (0..2000u32).map(|at| body(6, 2, &[(at % 100) as u8, (at / 100) as u8])).collect();
    rows.extend(rows.clone());
    assert_eq!(kept(&rows), BY_FIELD);
}

#[test]
fn few_bytes_do_not_become_many() {
    // A text of a kilobyte that each of many rows has.
    let mut rows = vec![body(1, 1, &[0x80, 0x10])];
    rows[0].splice(3..3, [b'x'; 1024]);
    rows.extend_from_within(..);
    rows.extend_from_within(..);
    let parts = pack(&rows.iter().cycle().take(100_000).cloned().collect::<Vec<_>>());
    assert!(parts.parts[0].len() < 500_000);
    assert_eq!(unpack(&parts, 1 << 20), Err(TOO_LONG));
    assert_eq!(unpack(&parts, 4 << 20), Err(TOO_LONG));
}

#[test]
fn layouts_are_read_as_they_were_written() {
    let layout = Layout::entry();
    let read = Layout::parse(layout.as_bytes()).unwrap();
    assert_eq!((read.as_bytes(), read.parts(), read.fields.len()), (layout.as_bytes(), 3, 19));
    for other in [&b""[..], b"ux", b"uT", b"tt", b"u\0"] {
        assert!(Layout::parse(other).is_err(), "{other:?}");
    }
}
