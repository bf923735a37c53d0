//! Whatever bytes a record consists of, decoding it never allocates more than 1 MiB at once, nor more than 1 MiB in all for
//! a few bytes.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use agentworks_schemas::codec::{Defaults, MAX_RECORD, RecordType, Reject, Schemas, decode_entry, decode_event};
use agentworks_schemas::protocol::ClientMessage;
use agentworks_schemas::{Cursor, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

const MIB: usize = 1024 * 1024;

/// What a thread has allocated since it began to measure: the largest piece, and the most at one time.
#[derive(Clone, Copy, Default)]
struct Use {
    largest: usize,
    current: isize,
    peak: isize,
}

thread_local! {
    static USE: Cell<Use> = const { Cell::new(Use { largest: 0, current: 0, peak: 0 }) };
}

struct Measuring;

fn note(size: usize, change: isize) {
    // A thread that ends allocates too, without its locals.
    let _ = USE.try_with(|cell| {
        let mut used = cell.get();
        used.largest = used.largest.max(size);
        used.current += change;
        used.peak = used.peak.max(used.current);
        cell.set(used);
    });
}

// SAFETY: all is the system allocator's, which is only watched.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), layout.size() as isize);
        // SAFETY: as of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, -(layout.size() as isize));
        // SAFETY: as of the caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, size as isize - layout.size() as isize);
        // SAFETY: as of the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

fn measure<T>(work: impl FnOnce() -> T) -> Use {
    USE.set(Use::default());
    drop(work());
    USE.get()
}

const ID: u32 = 9;

/// Our schemas, and one of a stranger whose fields we skip, so that an array of nothings is among what is decoded.
fn schemas() -> Schemas {
    let extra = r#"{"name": "extra", "type": {"type": "array", "items": "null"}},
                   {"name": "list", "type": {"type": "record", "name": "List", "fields": [
                       {"name": "next", "type": ["null", "List"]}]}},"#;
    let builtin = Schemas::builtin().clone();
    [RecordType::LogEntry, RecordType::RunEvent].into_iter().fold(builtin, |schemas, record| {
        let theirs = record.schema_json().replacen(r#""fields": ["#, &format!(r#""fields": [{extra}"#), 1);
        schemas.with_registered(ID, record, &theirs).unwrap()
    })
}

/// Decodes a payload as whatever it may be, and checks what that took. Returns why it is no entry.
fn check(schemas: &Schemas, payload: &[u8]) -> Option<Reject> {
    let defaults = Defaults { timestamp: Timestamp(0), id: "agent-logs[3]/1@17" };
    // Not of the record's making: errors of the standard library are prepared on first use.
    let mut reject = None;
    for used in [
        measure(|| reject = decode_entry(schemas, None, payload, defaults).err()),
        measure(|| decode_event(schemas, None, payload, defaults).map(drop)),
    ] {
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(60)]);
        assert!(used.largest <= MIB, "{} bytes at once for {} of {shown:?}", used.largest, payload.len());
        let limit = if payload.len() <= MIB / 8 { MIB } else { 4 * MIB };
        assert!(used.peak <= limit as isize, "{} bytes for {} of {shown:?}", used.peak, payload.len());
    }
    reject
}

fn header(record: RecordType) -> Vec<u8> {
    let fingerprint = Schemas::builtin().newest_fingerprint(record).to_le_bytes();
    [&[0xC3, 0x01], &fingerprint[..]].concat()
}

fn confluent() -> Vec<u8> {
    [&[0], &ID.to_be_bytes()[..]].concat()
}

/// A number as Avro writes it.
fn long(value: i64) -> Vec<u8> {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

proptest! {
    #[test]
    fn arbitrary_bytes(tail in vec(any::<u8>(), 0..400), head in 0..5usize) {
        let schemas = schemas();
        let heads = [vec![], b"{\"".to_vec(), header(RecordType::LogEntry), header(RecordType::RunEvent), confluent()];
        check(&schemas, &[&heads[head][..], &tail].concat());
    }
}

#[test]
fn avro_bombs() {
    let schemas = schemas();
    let lengths = [i64::MAX, i64::MIN, -1, i64::from(u32::MAX), 1 << 31, 1 << 40, MAX_RECORD as i64, 1_000_000_000];
    // What comes before `tags` in an entry: four ids, timestamp, sequence, level, source, component, message, data and
    // three that are null.
    let before_tags = [&header(RecordType::LogEntry)[..], b"\0\x02r\x02c\x02w\0\0\0\0\0\0\0\0\0\0\0"].concat();
    for length in lengths {
        // A string of that length.
        check(&schemas, &[header(RecordType::LogEntry), long(length)].concat()).unwrap();
        check(&schemas, &[header(RecordType::RunEvent), long(length)].concat()).unwrap();
        // As many tags, in blocks with and without their size.
        for count in [length, length.wrapping_neg()] {
            let bomb = [&before_tags[..], &long(1), &long(count), &long(length), &[0; 100]].concat();
            assert_eq!(check(&schemas, &bomb).unwrap().code(), "avro");
        }
        // As many nothings, which take no bytes at all, in a field that is skipped.
        for count in [length, length.wrapping_neg()] {
            check(&schemas, &[confluent(), long(count), long(length), vec![0; 100]].concat()).unwrap();
        }
    }
    // Many blocks of few empty tags, and one of many.
    for count in [1, 2, 500, 1024, 1025, 100_000] {
        let block = [long(count), vec![0; count as usize]].concat();
        let mut bomb = [&before_tags[..], &long(1)].concat();
        while bomb.len() + block.len() < MAX_RECORD {
            bomb.extend_from_slice(&block);
        }
        bomb.resize(MAX_RECORD, 0);
        assert_eq!(check(&schemas, &bomb).unwrap().code(), "avro");
    }
    // A list of a million links, skipped.
    check(&schemas, &[confluent(), long(0), vec![2; MAX_RECORD - 6]].concat()).unwrap();
}

#[test]
fn json_bombs() {
    let schemas = schemas();
    let head = r#"{"workspaceId":"w","cardId":"c","runId":"r","message":"m","kind":"usage","#;
    let sizes = [100_000, MAX_RECORD / 2 - 200, MAX_RECORD / 2, MAX_RECORD - 200];
    for size in sizes {
        for field in ["data", "tags", "id", "level", "sequence", "timestamp", "cost", "unknown"] {
            let bombs = [
                "[".repeat(size),
                r#"{"a":"#.repeat(size / 5),
                "1".repeat(size),
                format!("1e{}", "9".repeat(size)),
                format!("-0.{}", "0".repeat(size)),
                format!(r#""{}""#, "x".repeat(size)),
                // The first part is long, so that the buffer for the rest doubles from there.
                format!(r#""{}{}""#, "x".repeat(size * 2 / 3), r"\n".repeat(size / 6)),
                format!(r#""{}""#, r"\u0001".repeat(size / 6)),
                format!(r#""{}""#, r"\ud83d".repeat(size / 6)),
                format!(r#""{}""#, "\u{1}".repeat(size)),
                format!("[{}\"\"]", r#""","#.repeat(size / 3)),
                format!("[{}{}]", "[".repeat(size / 2), "]".repeat(size / 2)),
                format!("{{\"a\":{}1}}", "\n".repeat(size)),
                format!("{{\"a\":\"{}\"}}", r"\ud83d".repeat(size / 6)),
            ];
            for bomb in bombs {
                check(&schemas, format!("{head}\"{field}\":{bomb}}}").as_bytes());
                check(&schemas, format!("{head}\"{field}\":{bomb}").as_bytes());
            }
        }
        check(&schemas, format!(r#"{head}"{}{}":1}}"#, "x".repeat(size * 2 / 3), r"\n".repeat(size / 6)).as_bytes());
        check(&schemas, format!("{}{{}}", " ".repeat(size)).as_bytes());
    }
    // The largest honest ones are taken.
    let message = |size| format!(r#"{{"workspaceId":"w","cardId":"c","runId":"r","message":"{}"}}"#, "x".repeat(size));
    assert_eq!(check(&schemas, message(MAX_RECORD / 2 - 100).as_bytes()), None);
    assert_eq!(check(&schemas, message(MAX_RECORD / 2).as_bytes()).unwrap().code(), "too_large");
}

#[test]
fn what_clients_send() {
    for size in [1000, 64 * 1024] {
        let deep = "[".repeat(size);
        for message in [
            deep.clone(),
            format!(r#"{{"type":{deep}"#),
            format!(r#"{{"type":"search_logs","query":{}{}}}"#, "[".repeat(size / 2), "]".repeat(size / 2)),
            format!(r#"{{"type":"replay_seek","sessionId":"s","position":"{}"}}"#, "A".repeat(size)),
            format!(r#"{{"type":"{}"}}"#, r"\u0001".repeat(size / 6)),
            format!("{{{}}}", r#""a":0,"#.repeat(size / 6)),
        ] {
            let used = measure(|| ClientMessage::parse(&message).unwrap_err());
            assert!(used.peak <= MIB as isize, "{} bytes", used.peak);
        }
        assert!(measure(|| "A".repeat(size).parse::<Cursor>()).peak <= MIB as isize);
    }
}
